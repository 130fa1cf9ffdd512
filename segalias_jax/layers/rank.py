"""Median filtering as a layer."""

from __future__ import annotations

import jax
from flax import nnx

from segalias_jax import ops
from segalias_jax.typing import Array, Float


class MedianFilter(nnx.Module):
    """Median over square windows, `ops.median_filter`: against impulse noise, without parameters.

    Args:
      size: side of the window in pixels, odd.
      border: "reflect", "edge" or "zero".

    Example:
      >>> import jax.numpy as jnp
      >>> MedianFilter(3)(jnp.ones((1, 8, 8, 3))).shape
      (1, 8, 8, 3)
    """

    def __init__(self, size: int, *, border: str = "reflect"):
        self.size, self.border = size, border

    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        """Filters height and width of `x`."""
        with jax.named_scope("median_filter"):
            return ops.median_filter(x, self.size, border=self.border)
