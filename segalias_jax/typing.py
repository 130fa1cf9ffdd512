"""Array types used in signatures, and plain values that the lowest and the highest parts share.

Importing this module does not import JAX: scoring reads label maps with NumPy alone, and half of
the time that a command needs to start would be spent on `import jax`. `Array` loads it on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxtyping import Bool, Float, Int, Num, UInt8

if TYPE_CHECKING:
    from jax import Array

IGNORE_LABEL = 255
"""Pixels with this label are in no loss and no score."""

BOUNDARY_RULES = ("laplacian", "exact")
"""What counts as a boundary pixel, see `ops.label_boundary`."""

Side = Any
"""Length of an axis: a number, or a symbolic one of `jax.export`, whose type is not public."""

__all__ = [
    "BOUNDARY_RULES",
    "IGNORE_LABEL",
    "Array",
    "Bool",
    "Float",
    "Int",
    "Num",
    "Side",
    "UInt8",
]


def __getattr__(name: str) -> Any:
    if name == "Array":
        from jax import Array

        globals()["Array"] = Array
        return Array
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
