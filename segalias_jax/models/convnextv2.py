"""ConvNeXt V2: a ConvNeXt whose blocks normalize responses and scale nothing at their end."""

from __future__ import annotations

import functools

import jax
from flax import nnx

from segalias_jax.layers import Conv, LayerNorm, ResponseNorm, SmoothConvolutionBranch
from segalias_jax.models.convnext import ConvNeXt
from segalias_jax.models.stages import MakeMixer, make_drop_path, no_mixer
from segalias_jax.typing import Array, Float

CONVNEXTV2S = {
    "convnextv2_tiny": (96, (3, 3, 9, 3)),
    "convnextv2_base": (128, (3, 3, 27, 3)),
}
"""Channels of the first stage and number of blocks per stage, by name."""

# Published as cut off at +-2, a hundred deviations: nothing is ever cut.
_kernel_init = jax.nn.initializers.normal(0.02)


class ConvNeXtV2Block(nnx.Module):
    """A 7x7 convolution of each channel, then a small network on each pixel, and a shortcut.

    y = x + drop_path(project(response(gelu(expand(norm(mixer(depthwise(x) + branch(x))))))))

    Args:
      channels: number of channels, preserved; four times as many in between.
      drop_path: probability that training drops the branch, for each sample by itself.
      make_mixer: builds the mixer for a number of channels, or returns None.
      branched: whether there is a branch, a `layers.SmoothConvolutionBranch`.
      rngs: random streams "params" and "dropout".
    """

    def __init__(
        self,
        channels: int,
        *,
        drop_path: float = 0.0,
        make_mixer: MakeMixer = no_mixer,
        branched: bool = False,
        rngs: nnx.Rngs,
    ):
        conv = functools.partial(Conv, use_bias=True, kernel_init=_kernel_init, rngs=rngs)
        self.depthwise = conv(channels, channels, 7, groups=channels)
        self.mixer = make_mixer(channels)
        self.branch = SmoothConvolutionBranch(channels, rngs=rngs) if branched else None
        self.norm = LayerNorm(channels)
        self.expand = conv(channels, 4 * channels)
        self.response = ResponseNorm(4 * channels)
        self.project = conv(4 * channels, channels)
        self.drop_path = make_drop_path(drop_path, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the block, in the type of `x`."""
        y = self.depthwise(x) if self.branch is None else self.depthwise(x) + self.branch(x)
        y = y if self.mixer is None else self.mixer(y)
        y = jax.nn.gelu(self.expand(self.norm(y)), approximate=False)
        y = self.project(self.response(y))
        return x + (y if self.drop_path is None else self.drop_path(y))


class ConvNeXtV2(ConvNeXt):
    """A `ConvNeXt` of other blocks: "convnextv2_tiny" or "convnextv2_base".

    All else, its arguments, filters, mixers, strides and rounding of sizes too, is that of
    `ConvNeXt`. A block looks at responses over the whole image, so that a pixel depends, a little,
    on all others.

    Example:
      >>> net = ConvNeXtV2("convnextv2_tiny", width=8, downsample="daf", rngs=nnx.Rngs(0))
      >>> net.channels, net.strides
      ((8, 16, 32, 64), (4, 8, 16, 32))

    Reference:
      Woo et al., "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", CVPR
      2023.
    """

    sizes = CONVNEXTV2S
    make_block = ConvNeXtV2Block
