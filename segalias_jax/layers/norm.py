"""Normalization of every pixel by itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax.typing import Array, Float


class LayerNorm(nnx.Module):
    """Normalization over the channels of each pixel.

    y = scale (x - m) / sqrt(v + epsilon) + bias

    m and v are the mean and the (biased) variance over channels, computed in float32 at least.

    Args:
      channels: number of channels.
      epsilon: keeps pixels without variance finite; published networks differ in it.

    Example:
      >>> LayerNorm(2)(jnp.asarray([[[[1.0, 3.0]]]]))[0, 0, 0].round(4)
      Array([-1.,  1.], dtype=float32)

    Reference:
      Ba et al., "Layer Normalization", 2016.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-6):
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones(channels, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels, jnp.float32))

    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        """Normalises, in the type of `x`."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = wide - wide.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        y = centred * jax.lax.rsqrt(variance + self.epsilon)
        return (y * self.scale[...] + self.bias[...]).astype(x.dtype)
