"""The DeepLabV3+ decoder: dilated convolutions on top, fine features below."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import AtrousPyramidPooling, ConvNormAct, SeparableConvNormAct
from segalias_jax.typing import Array, Float


class DeepLabV3Plus(nnx.Module):
    """Pools the coarsest features at several dilations and refines them by the finest.

    y = sep3x3(sep3x3([up(AtrousPyramidPooling(f_n)), conv1x1(f_1)])), sep3x3 being a depthwise and
    a 1x1 convolution.

    Args:
      in_channels: channels of the encoder's features, fine to coarse; the first and the last one
        are read.
      channels: channels of every map inside and of the result.
      dilations: of the pooling, in pixels of the coarsest features.
      low_level_channels: channels of the projected finest features.
      align_corners: of every resizing, see `ops.resize_bilinear`.
      rngs: random streams.

    Example:
      >>> decoder = DeepLabV3Plus((8, 16), channels=4, rngs=nnx.Rngs(0))
      >>> decoder((jnp.ones((1, 8, 8, 8)), jnp.ones((1, 4, 4, 16)))).shape
      (1, 8, 8, 4)

    Reference:
      Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
      Segmentation", ECCV 2018.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        channels: int = 512,
        dilations: tuple[int, ...] = (1, 12, 24, 36),
        low_level_channels: int = 48,
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        self.channels, self.align_corners = channels, align_corners
        self.pyramid = AtrousPyramidPooling(
            in_channels[-1],
            channels,
            dilations=dilations,
            align_corners=align_corners,
            rngs=rngs,
        )
        self.low_level = ConvNormAct(in_channels[0], low_level_channels, rngs=rngs)
        widths = (channels + low_level_channels, channels)
        self.refine = nnx.List([SeparableConvNormAct(c, channels, rngs=rngs) for c in widths])

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map at the size of `features[0]`."""
        with jax.named_scope("deeplabv3plus"):
            fine, size = self.low_level(features[0]), ops.image_size(features[0])
            coarse = self.pyramid(features[-1])
            y = ops.resize_bilinear(coarse, size, align_corners=self.align_corners)
            y = jnp.concatenate([y, fine], -1)
            for conv in self.refine:
                y = conv(y)
            return y
