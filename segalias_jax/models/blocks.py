"""Residual blocks of ResNets."""

from __future__ import annotations

import jax
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import BatchNorm, Conv, SmoothConvolutionBranch
from segalias_jax.models.stages import MakeMixer, no_mixer
from segalias_jax.typing import Array, Float


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut; mixer or branch belong to the second one.

    Args:
      in_channels: channels read.
      planes: channels written.
      stride: of the first convolution, in pixels.
      dilation: of the first convolution, in pixels.
      pool_shortcut: whether a strided shortcut averages instead of dropping pixels.
      make_mixer: builds the mixer for a number of channels, or returns None.
      branched: whether a `layers.SmoothConvolutionBranch` stands beside the second convolution.
      rngs: random streams.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        planes: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        pool_shortcut: bool = False,
        make_mixer: MakeMixer = no_mixer,
        branched: bool = False,
        rngs: nnx.Rngs,
    ):
        self.conv1 = Conv(in_channels, planes, 3, stride=stride, dilation=dilation, rngs=rngs)
        self.norm1 = BatchNorm(planes)
        self.conv2 = Conv(planes, planes, 3, rngs=rngs)
        self.mixer = make_mixer(planes)
        self.branch = SmoothConvolutionBranch(planes, rngs=rngs) if branched else None
        self.norm2 = BatchNorm(planes, scale_init=0.0)
        self.shortcut = _shortcut(in_channels, planes, stride, pool_shortcut, rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies the block."""
        y = jax.nn.relu(self.norm1(self.conv1(x)))
        y = self.conv2(y) if self.branch is None else self.conv2(y) + self.branch(y)
        y = y if self.mixer is None else self.mixer(y)
        return jax.nn.relu(self.norm2(y) + (x if self.shortcut is None else self.shortcut(x)))


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; mixer or branch belong to the 3x3 one.

    Args:
      in_channels: channels read.
      planes: channels of the 3x3 convolution; four times as many are written.
      stride: of the 3x3 convolution, in pixels, or of the first one.
      dilation: of the 3x3 convolution, in pixels.
      pool_shortcut: whether a strided shortcut averages instead of dropping pixels.
      make_mixer: builds the mixer for a number of channels, or returns None.
      branched: whether a `layers.SmoothConvolutionBranch` stands beside the 3x3 convolution.
      stride_first: whether the first convolution strides, as in the variant v1a.
      rngs: random streams.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        planes: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        pool_shortcut: bool = False,
        make_mixer: MakeMixer = no_mixer,
        branched: bool = False,
        stride_first: bool = False,
        rngs: nnx.Rngs,
    ):
        out_channels = planes * self.expansion
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1 = Conv(in_channels, planes, stride=first, rngs=rngs)
        self.norm1 = BatchNorm(planes)
        self.conv2 = Conv(planes, planes, 3, stride=second, dilation=dilation, rngs=rngs)
        self.mixer = make_mixer(planes)
        self.branch = (
            SmoothConvolutionBranch(planes, stride=second, dilation=dilation, rngs=rngs)
            if branched
            else None
        )
        self.norm2 = BatchNorm(planes)
        self.conv3 = Conv(planes, out_channels, rngs=rngs)
        self.norm3 = BatchNorm(out_channels, scale_init=0.0)
        self.shortcut = _shortcut(in_channels, out_channels, stride, pool_shortcut, rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies the block."""
        y = jax.nn.relu(self.norm1(self.conv1(x)))
        y = self.conv2(y) if self.branch is None else self.conv2(y) + self.branch(y)
        y = y if self.mixer is None else self.mixer(y)
        y = self.conv3(jax.nn.relu(self.norm2(y)))
        return jax.nn.relu(self.norm3(y) + (x if self.shortcut is None else self.shortcut(x)))


class Projection(nnx.Module):
    """The shortcut of a block that changes size: a 1x1 convolution and a norm.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      stride: step, in pixels.
      pooled: whether a stride of 2 is an average over 2x2 pixels before the convolution (v1d)
        instead of the convolution's own.
      rngs: random streams.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        pooled: bool = False,
        rngs: nnx.Rngs,
    ):
        self.pooled = pooled and stride == 2
        stride = 1 if self.pooled else stride
        self.conv = Conv(in_channels, out_channels, stride=stride, rngs=rngs)
        self.norm = BatchNorm(out_channels)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Projects."""
        return self.norm(self.conv(ops.average_pool_2x2(x) if self.pooled else x))


def _shortcut(in_channels: int, out_channels: int, stride: int, pooled: bool, rngs: nnx.Rngs):
    if stride == 1 and in_channels == out_channels:
        return None
    return Projection(in_channels, out_channels, stride=stride, pooled=pooled, rngs=rngs)
