"""The LR-ASPP decoder: coarse features gated by their mean, beside finer ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.layers import Conv, ConvNormAct
from segalias_jax.typing import Array, Float

_LOW_STRIDE = 8


class LRASPP(nnx.Module):
    """A 1x1 convolution of the coarsest features, weighed by the image's mean, and stride 8.

    z = relu(norm(conv1x1(f_n))) sigmoid(conv1x1(mean(f_n)));  y = [up(z), f_i],  i of stride 8

    Published with a classifier for each of the two and the sum of both, which is one classifier of
    both together: the segmenter's. An encoder of output stride 16, or a dilated one, gives the
    finer coarse features that the paper has.

    Args:
      in_channels: channels of the encoder's features, fine to coarse.
      strides: pixels of the image per pixel of each feature map, fine to coarse; one must be 8.
      channels: of z.
      align_corners: of resizing z, see `ops.resize_bilinear`.
      rngs: random streams.

    Raises:
      InputError: no features of stride 8, or none that are coarser.

    Example:
      >>> decoder = LRASPP((8, 16), strides=(8, 16), channels=4, rngs=nnx.Rngs(0))
      >>> decoder((jnp.ones((1, 8, 8, 8)), jnp.ones((1, 4, 4, 16)))).shape
      (1, 8, 8, 12)

    Reference:
      Howard et al., "Searching for MobileNetV3", ICCV 2019.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        strides: tuple[int, ...] = (4, 8, 16, 32),
        channels: int = 128,
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        if _LOW_STRIDE not in strides[:-1]:
            raise InputError(
                f"LR-ASPP reads features of stride {_LOW_STRIDE} and coarser ones, but the "
                f"encoder's strides are {strides}; choose another encoder or decoder"
            )
        self.low, self.align_corners = strides.index(_LOW_STRIDE), align_corners
        self.channels = channels + in_channels[self.low]
        self.mix = ConvNormAct(in_channels[-1], channels, rngs=rngs)
        self.gate = Conv(in_channels[-1], channels, rngs=rngs)

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map at the size of that of stride 8, as a rule `features[1]`."""
        with jax.named_scope("lr_aspp"):
            low, high = features[self.low], features[-1]
            gate = jax.nn.sigmoid(self.gate(high.mean((1, 2), keepdims=True)))
            y = ops.resize_bilinear(
                self.mix(high) * gate, ops.image_size(low), align_corners=self.align_corners
            )
            return jnp.concatenate([y, low], -1)
