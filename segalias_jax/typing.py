"""Array types used in signatures, and plain values that the lowest and the highest parts share.

Importing this module does not import JAX: scoring reads label maps with NumPy alone, and half of
the time that a command needs to start would be spent on `import jax`. `Array` loads it on use.

Shapes in signatures are checked while testing and by nobody else. The distribution segalias-score,
which needs NumPy and OpenCV alone, has no jaxtyping; there they are left unread.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or importlib.util.find_spec("jaxtyping"):
    from jaxtyping import (
        Bool,
        Float,
        Float32,
        Float64,
        Int,
        Int32,
        Int64,
        Integer,
        Num,
        Real,
        Shaped,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
    )
else:

    class _Unread:
        """`Float[np.ndarray, "h w"]` is `np.ndarray`."""

        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            return item[0]

    Bool = Float = Float32 = Float64 = Int = Int32 = Int64 = Integer = _Unread
    Num = Real = Shaped = UInt8 = UInt16 = UInt32 = UInt64 = _Unread

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
    "Float32",
    "Float64",
    "Int",
    "Int32",
    "Int64",
    "Integer",
    "Num",
    "Real",
    "Shaped",
    "Side",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
]


def __getattr__(name: str) -> Any:
    if name == "Array":
        from jax import Array

        globals()["Array"] = Array
        return Array
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
