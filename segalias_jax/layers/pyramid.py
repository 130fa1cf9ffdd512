"""Pooling over several scales at once."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers.conv import ConvNormAct, SeparableConvNormAct
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array, Float


@on_any_mesh
def _joined(*parts: Array) -> Array:
    return jnp.concatenate(parts, -1)


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
        size = ops.image_size(x)
        parts = [x]
        for cells, mix in zip(self.pool_scales, self.scales, strict=True):
            pooled = mix(ops.adaptive_avg_pool(x, (cells, cells)))
            parts.append(ops.resize_bilinear(pooled, size, align_corners=self.align_corners))
        return self.bottleneck(_joined(*parts))


class AtrousPyramidPooling(nnx.Module):
    """Looks at several distances at once: dilated convolutions and the mean of the image.

    y = conv3x3([up(conv1x1(mean(x))), conv_d1(x), ..., conv_dk(x)])

    conv_d is a depthwise 3x3 convolution of dilation d and a 1x1 one; for d = 1, the latter alone.

    Args:
      in_channels: channels read.
      channels: channels of each part and of the result.
      dilations: distance of neighboring taps, in pixels, for each part.
      align_corners: of the resizing back, see `ops.resize_bilinear`.
      rngs: random streams.

    Example:
      >>> pool = AtrousPyramidPooling(16, 8, dilations=(1, 2), rngs=nnx.Rngs(0))
      >>> pool(jnp.ones((2, 5, 7, 16))).shape
      (2, 5, 7, 8)

    Reference:
      Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
      Segmentation", ECCV 2018.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        dilations: tuple[int, ...] = (1, 12, 24, 36),
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        self.align_corners = align_corners
        self.image = ConvNormAct(in_channels, channels, rngs=rngs)
        self.scales = nnx.List(
            [
                ConvNormAct(in_channels, channels, rngs=rngs)
                if dilation == 1
                else SeparableConvNormAct(in_channels, channels, dilation=dilation, rngs=rngs)
                for dilation in dilations
            ]
        )
        joined = channels * (1 + len(dilations))
        self.bottleneck = ConvNormAct(joined, channels, 3, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Mixes each and joins."""
        mean = self.image(x.mean((1, 2), keepdims=True))
        parts = [ops.resize_bilinear(mean, ops.image_size(x), align_corners=self.align_corners)]
        parts += [mix(x) for mix in self.scales]
        return self.bottleneck(_joined(*parts))
