"""Array types used in signatures, and the one label value that never counts."""

from __future__ import annotations

from jax import Array
from jaxtyping import Bool, Float, Int, Num, UInt8

IGNORE_LABEL = 255
"""Pixels with this label are in no loss and no score."""

__all__ = ["IGNORE_LABEL", "Array", "Bool", "Float", "Int", "Num", "UInt8"]
