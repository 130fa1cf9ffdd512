"""The Semantic FPN decoder: a feature pyramid, and the sum of its levels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import ConvNormAct
from segalias_jax.models.feature_pyramid import FeaturePyramid
from segalias_jax.typing import Array, Float, Side


class SemanticFPN(FeaturePyramid):
    """Passes semantics down a feature pyramid and adds its levels at the finest stride.

    y = sum_i head_i(p_i),  p of `FeaturePyramid`

    Each head alternates 3x3 convolutions and bilinear doublings until it is at the finest stride;
    that of a level which is there from the start is one convolution.

    Args:
      in_channels: channels of the encoder's features, fine to coarse.
      strides: pixels of the image per pixel of each feature map, powers of 2, fine to coarse.
      channels: channels of the heads and of the result.
      pyramid_channels: channels of every level of the pyramid.
      align_corners: of every bilinear resizing, see `ops.resize_bilinear`.
      rngs: random streams.

    Example:
      >>> import jax.numpy as jnp
      >>> decoder = SemanticFPN((8, 16), strides=(4, 8), channels=4, rngs=nnx.Rngs(0))
      >>> decoder((jnp.ones((1, 8, 8, 8)), jnp.ones((1, 4, 4, 16)))).shape
      (1, 8, 8, 4)

    Reference:
      Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        strides: tuple[int, ...] = (4, 8, 16, 32),
        channels: int = 128,
        pyramid_channels: int = 256,
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_channels, pyramid_channels=pyramid_channels, rngs=rngs)
        self.channels, self.align_corners = channels, align_corners
        self.doublings = tuple((s // strides[0]).bit_length() - 1 for s in strides)
        heads = []
        for doublings in self.doublings:
            widths = [pyramid_channels] + [channels] * (max(doublings, 1) - 1)
            heads.append(nnx.List([ConvNormAct(c, channels, 3, rngs=rngs) for c in widths]))
        self.heads = nnx.List(heads)

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map at the size of `features[0]`."""
        with jax.named_scope("semantic_fpn"):
            finest = [
                self._to_finest(level, head, doublings, ops.image_size(features[0]))
                for level, head, doublings in zip(
                    self.levels(features), self.heads, self.doublings, strict=True
                )
            ]
            return sum(finest, jnp.zeros((), finest[0].dtype))

    def _to_finest(
        self, x: Array, head: nnx.List, doublings: int, size: tuple[Side, Side]
    ) -> Array:
        for conv in head:
            x = conv(x)
            if doublings:
                x = self._resize(x, (2 * x.shape[1], 2 * x.shape[2]))
        return self._resize(x, size)

    def _resize(self, x: Array, size: tuple[Side, Side]) -> Array:
        return ops.resize_bilinear(x, size, align_corners=self.align_corners)
