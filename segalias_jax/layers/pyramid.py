"""Pooling over several scales at once."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers.conv import ConvNormAct
from segalias_jax.typing import Array, Float


class PyramidPooling(nnx.Module):
    """Averages over grids of cells, mixes each, resizes back and joins all with the input.

    y = conv3x3([x, up(conv1x1(pool_1(x))), ..., up(conv1x1(pool_k(x)))])

    Args:
      in_channels: channels read.
      channels: channels of each scale and of the result.
      pool_scales: number of cells per axis, for each scale.
      align_corners: of the resizing back, see `ops.resize_bilinear`.
      rngs: random streams.

    Example:
      >>> pool = PyramidPooling(16, 8, pool_scales=(1, 2), rngs=nnx.Rngs(0))
      >>> pool(jnp.ones((2, 5, 7, 16))).shape
      (2, 5, 7, 8)

    Reference:
      Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        pool_scales: tuple[int, ...] = (1, 2, 3, 6),
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        self.pool_scales, self.align_corners = tuple(pool_scales), align_corners
        self.scales = nnx.List(
            [ConvNormAct(in_channels, channels, rngs=rngs) for _ in self.pool_scales]
        )
        joined = in_channels + channels * len(self.pool_scales)
        self.bottleneck = ConvNormAct(joined, channels, 3, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Pools, mixes and joins."""
        size = x.shape[1:3]
        parts = [x]
        for cells, mix in zip(self.pool_scales, self.scales, strict=True):
            pooled = mix(ops.adaptive_avg_pool(x, (cells, cells)))
            parts.append(ops.resize_bilinear(pooled, size, align_corners=self.align_corners))
        return self.bottleneck(jnp.concatenate(parts, -1))
