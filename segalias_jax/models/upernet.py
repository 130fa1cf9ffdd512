"""The UPerNet decoder: pyramid pooling on top, a feature pyramid below."""

from __future__ import annotations

import jax
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import ConvNormAct, PyramidPooling
from segalias_jax.typing import Array, Float


class UPerNet(nnx.Module):
    """Merges an encoder's features, coarse to fine, into one map at the finest stride.

    p_n = PyramidPooling(f_n);  p_i = conv1x1(f_i) + up(p_{i+1});
    y = conv3x3([conv3x3(p_1), up(conv3x3(p_2)), ..., up(p_n)])

    Args:
      in_channels: channels of the encoder's features, fine to coarse.
      channels: channels of every map inside and of the result.
      pool_scales: of the pyramid pooling.
      align_corners: of every resizing, see `ops.resize_bilinear`.
      rngs: random streams.

    Example:
      >>> import jax.numpy as jnp
      >>> decoder = UPerNet((8, 16), channels=4, rngs=nnx.Rngs(0))
      >>> decoder((jnp.ones((1, 8, 8, 8)), jnp.ones((1, 4, 4, 16)))).shape
      (1, 8, 8, 4)

    Reference:
      Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        channels: int = 128,
        pool_scales: tuple[int, ...] = (1, 2, 3, 6),
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        self.channels, self.align_corners = channels, align_corners
        self.pyramid = PyramidPooling(
            in_channels[-1],
            channels,
            pool_scales=pool_scales,
            align_corners=align_corners,
            rngs=rngs,
        )
        self.laterals = nnx.List([ConvNormAct(c, channels, rngs=rngs) for c in in_channels[:-1]])
        self.outputs = nnx.List(
            [ConvNormAct(channels, channels, 3, rngs=rngs) for _ in in_channels[:-1]]
        )
        self.bottleneck = ConvNormAct(channels * len(in_channels), channels, 3, rngs=rngs)

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map at the size of `features[0]`."""
        with jax.named_scope("upernet"):
            merged = [self.pyramid(features[-1])]
            for lateral, feature in zip(self.laterals[::-1], features[-2::-1], strict=True):
                above = ops.resize_bilinear(
                    merged[0], ops.image_size(feature), align_corners=self.align_corners
                )
                merged.insert(0, lateral(feature) + above)
            parts = [mix(p) for mix, p in zip(self.outputs, merged[:-1], strict=True)]
            y = ops.joined_conv2d(
                [*parts, merged[-1]],
                self.bottleneck.conv.kernel[...],
                ops.image_size(parts[0]),
                align_corners=self.align_corners,
            )
            return jax.nn.relu(self.bottleneck.norm(y))
