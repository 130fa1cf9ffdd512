"""Array types used in signatures, and the one label value that never counts."""

from __future__ import annotations

from typing import Any

from jax import Array
from jaxtyping import Bool, Float, Int, Num, UInt8

IGNORE_LABEL = 255
"""Pixels with this label are in no loss and no score."""

Side = Any
"""Length of an axis: a number, or a symbolic one of `jax.export`, whose type is not public."""

__all__ = ["IGNORE_LABEL", "Array", "Bool", "Float", "Int", "Num", "Side", "UInt8"]
