"""The step up in an encoder-decoder: half the channels, twice the pixels.

All upsamplings are one step, a 1x1 convolution on the small map and then zeros, copies or
interpolation, so that what differs between them is the upsampling; a transposed convolution has
both in its kernel. Maps of one size, in dilated encoders, are not doubled.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import check_choice
from segalias_jax.layers.conv import kaiming_normal
from segalias_jax.typing import Array, Float, Side

UPSAMPLE = ("zeros", "nearest", "bilinear", "transpose")


class UpConv(nnx.Module):
    """Maps channels and doubles the pixels, linearly.

    "zeros", "nearest" and "bilinear" are a 1x1 convolution, computed on the small map, and then
    zeros between pixels, copies of pixels, or interpolation. "transpose" is a transposed 2x2
    convolution of stride 2, whose four outputs per pixel have weights of their own. `ops.
    checkerboard_score` measures what pattern each leaves.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      method: "zeros", "nearest", "bilinear" or "transpose".
      align_corners: of "bilinear", see `ops.resize_bilinear`.
      rngs: random streams.

    Raises:
      InputError: an unknown method.

    Example:
      >>> UpConv(8, 4, method="transpose", rngs=nnx.Rngs(0))(jnp.ones((1, 3, 3, 8)), (6, 5)).shape
      (1, 6, 5, 4)

    Reference:
      Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation",
      MICCAI 2015.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        method: str = "bilinear",
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        check_choice("method", method, UPSAMPLE)
        self.method, self.align_corners = method, align_corners
        side = 2 if method == "transpose" else 1
        shape = (side, side, in_channels, out_channels)
        self.kernel = nnx.Param(kaiming_normal(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(out_channels, jnp.float32))

    def __call__(
        self, x: Float[Array, "b h w c"], size: tuple[Side, Side]
    ) -> Float[Array, "b h2 w2 o"]:
        """Returns the map at `size`, which is about twice that of `x`."""
        y = ops.conv2d_transpose(x, self.kernel[...]) + self.bias[...].astype(x.dtype)
        if self.method == "nearest":
            return ops.resize_nearest(y, size)
        if self.method == "bilinear":
            return ops.resize_bilinear(y, size, align_corners=self.align_corners)
        y = ops.insert_zeros(y, 2) if self.method == "zeros" else y
        return ops.crop_or_extend(y, size)
