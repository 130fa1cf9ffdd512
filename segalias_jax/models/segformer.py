"""The SegFormer decoder: a linear layer on each of the encoder's features, joined."""

from __future__ import annotations

import functools

import jax
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import Conv, ConvNormAct
from segalias_jax.typing import Array, Float

_linear = jax.nn.initializers.normal(0.02)


class SegFormer(nnx.Module):
    """Linear layers (1x1 convolutions) only, on all features of an encoder such as MiT.

    y = ReLU(norm(conv1x1([z_1, up(z_2), ..., up(z_n)]))),  z_i = linear_i(f_i)

    There are two of it. The published one, which transformers has too, is `lateral_norm=False`;
    mmsegmentation puts norm and ReLU behind each linear layer, which then has no bias. The order
    in which features are joined differs likewise, but is a matter of files: here they go from fine
    to coarse.

    Args:
      in_channels: channels of the encoder's features, fine to coarse.
      channels: of every linear layer and of the result; published with 256 for "mit_b0" and
        "mit_b1", 768 for wider ones.
      lateral_norm: whether norm and ReLU follow each linear layer.
      align_corners: of the resizing, see `ops.resize_bilinear`.
      rngs: random streams.

    Example:
      >>> decoder = SegFormer((8, 16), channels=4, rngs=nnx.Rngs(0))
      >>> decoder((jnp.ones((1, 9, 8, 8)), jnp.ones((1, 5, 4, 16)))).shape
      (1, 9, 8, 4)

    Reference:
      Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
      Transformers", NeurIPS 2021.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        channels: int = 256,
        lateral_norm: bool = False,
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        self.channels, self.align_corners = channels, align_corners
        self.lateral_norm = lateral_norm
        lateral = (
            functools.partial(ConvNormAct, rngs=rngs)
            if lateral_norm
            else functools.partial(Conv, use_bias=True, kernel_init=_linear, rngs=rngs)
        )
        self.laterals = nnx.List([lateral(c, channels) for c in in_channels])
        self.join = ConvNormAct(channels * len(in_channels), channels, rngs=rngs)

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map at the size of `features[0]`."""
        with jax.named_scope("segformer"):
            y = ops.joined_conv2d(
                [lateral(f) for lateral, f in zip(self.laterals, features, strict=True)],
                self.join.conv.kernel[...],
                ops.image_size(features[0]),
                align_corners=self.align_corners,
            )
            return jax.nn.relu(self.join.norm(y))
