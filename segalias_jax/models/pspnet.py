"""The PSPNet decoder: pyramid pooling on the coarsest features."""

from __future__ import annotations

import jax
from flax import nnx

from segalias_jax.layers import PyramidPooling
from segalias_jax.typing import Array, Float


class PSPNet(nnx.Module):
    """Averages the coarsest features over several grids at once.

    y = PyramidPooling(f_n)

    Args:
      in_channels: channels of the encoder's features, fine to coarse; the last one is read.
      channels: channels of every scale and of the result.
      pool_scales: number of cells per axis, for each scale.
      align_corners: of every resizing, see `ops.resize_bilinear`.
      rngs: random streams.

    Example:
      >>> import jax.numpy as jnp
      >>> decoder = PSPNet((8, 16), channels=4, rngs=nnx.Rngs(0))
      >>> decoder((jnp.ones((1, 8, 8, 8)), jnp.ones((1, 4, 4, 16)))).shape
      (1, 4, 4, 4)

    Reference:
      Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        channels: int = 512,
        pool_scales: tuple[int, ...] = (1, 2, 3, 6),
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        self.channels = channels
        self.pyramid = PyramidPooling(
            in_channels[-1],
            channels,
            pool_scales=pool_scales,
            align_corners=align_corners,
            rngs=rngs,
        )

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map at the size of `features[-1]`."""
        with jax.named_scope("pspnet"):
            return self.pyramid(features[-1])
