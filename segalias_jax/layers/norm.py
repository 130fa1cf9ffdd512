"""Normalization of every pixel, of groups of channels, and of channels by their response."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.ops.placement import on_any_mesh
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


class GroupNorm(nnx.Module):
    """Normalization over all pixels of an image and the channels of a group.

    y = scale (x - m) / sqrt(v + epsilon) + bias

    m and v are the mean and the (biased) variance of the group, computed in float32 at least.

    Args:
      channels: number of channels.
      groups: of neighboring channels.
      epsilon: keeps groups without variance finite.

    Raises:
      InputError: groups that cannot share the channels.

    Example:
      >>> GroupNorm(2, groups=2)(jnp.asarray([[[[1.0, 2.0], [3.0, 8.0]]]]))[0, 0].round(4)
      Array([[-1., -1.],
             [ 1.,  1.]], dtype=float32)

    Reference:
      Wu and He, "Group Normalization", ECCV 2018.
    """

    def __init__(self, channels: int, *, groups: int = 32, epsilon: float = 1e-5):
        if groups < 1 or channels % groups:
            raise InputError(f"groups is {groups}, which {channels} channels cannot be shared by")
        self.groups, self.epsilon = groups, epsilon
        self.scale = nnx.Param(jnp.ones(channels, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels, jnp.float32))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalizes, in the type of `x`."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        y = _standardized(wide, self.groups, self.epsilon)
        return (y * self.scale[...] + self.bias[...]).astype(x.dtype)


@on_any_mesh
def _standardized(
    x: Float[Array, "b h w c"], groups: int, epsilon: float
) -> Float[Array, "b h w c"]:
    apart = x.reshape(*x.shape[:3], groups, -1)
    centered = apart - apart.mean((1, 2, 4), keepdims=True)
    variance = jnp.square(centered).mean((1, 2, 4), keepdims=True)
    return (centered * jax.lax.rsqrt(variance + epsilon)).reshape(x.shape)


class ResponseNorm(nnx.Module):
    """Channels that respond more than others become stronger: global response normalization.

    y = x + scale x n + bias,  n_c = g_c / (mean(g) + 1e-6),  g_c = sqrt(sum_{i, j} x_{i j c}^2)

    g is the response of each channel over all pixels of the image, computed in float32 at least.
    scale and bias begin with 0, so that nothing is changed at first.

    Args:
      channels: number of channels.

    Example:
      >>> norm = ResponseNorm(2)
      >>> norm.scale.set_value(jnp.ones(2))
      >>> norm(jnp.asarray([[[[3.0, 1.0]]]]))[0, 0, 0].round(4)
      Array([7.5, 1.5], dtype=float32)

    Reference:
      Woo et al., "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", CVPR
      2023.
    """

    epsilon = 1e-6

    def __init__(self, channels: int):
        self.scale = nnx.Param(jnp.zeros(channels, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels, jnp.float32))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalizes, in the type of `x`."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        energy = jnp.square(wide).sum((1, 2), keepdims=True)
        # The root of 0 has no gradient; that of a channel without any response is 0, as in PyTorch.
        silent = energy == 0
        response = jnp.where(silent, 0, jnp.sqrt(jnp.where(silent, 1, energy)))
        relative = response / (response.mean(-1, keepdims=True) + self.epsilon)
        y = wide + self.scale[...] * (wide * relative) + self.bias[...]
        return y.astype(x.dtype)
