"""The FCN decoder: convolutions on the coarsest features."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.layers import ConvNormAct
from segalias_jax.typing import Array, Float


class FCN(nnx.Module):
    """3x3 convolutions in a row, joined with what they started from.

    z = conv3x3(... conv3x3(f_n));  y = conv3x3([f_n, z])

    Args:
      in_channels: channels of the encoder's features, fine to coarse; the last one is read.
      channels: channels of every map inside and of the result.
      num_convs: convolutions in a row.
      concat_input: whether the input is joined again; without, y = z.
      rngs: random streams.

    Raises:
      InputError: `num_convs` is less than 1.

    Example:
      >>> decoder = FCN((8, 16), channels=4, rngs=nnx.Rngs(0))
      >>> decoder((jnp.ones((1, 8, 8, 8)), jnp.ones((1, 4, 4, 16)))).shape
      (1, 4, 4, 4)

    Reference:
      Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        channels: int = 512,
        num_convs: int = 2,
        concat_input: bool = True,
        rngs: nnx.Rngs,
    ):
        if num_convs < 1:
            raise InputError(f"num_convs is {num_convs}, but must be at least 1")
        self.channels = channels
        widths = [in_channels[-1]] + [channels] * (num_convs - 1)
        self.convs = nnx.List([ConvNormAct(c, channels, 3, rngs=rngs) for c in widths])
        self.join = (
            ConvNormAct(in_channels[-1] + channels, channels, 3, rngs=rngs)
            if concat_input
            else None
        )

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map at the size of `features[-1]`."""
        with jax.named_scope("fcn"):
            y = features[-1]
            for conv in self.convs:
                y = conv(y)
            return y if self.join is None else self.join(jnp.concatenate([features[-1], y], -1))
