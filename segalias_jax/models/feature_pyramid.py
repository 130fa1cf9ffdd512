"""A feature pyramid: one width at every level, with what coarser levels know.

Its convolutions have biases and no norms, and Xavier uniform initial weights, as in mmsegmentation
and mmdetection. Semantic FPN and Mask R-CNN stand on it.
"""

from __future__ import annotations

import jax
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import Conv
from segalias_jax.typing import Array, Float


class FeaturePyramid(nnx.Module):
    """Passes an encoder's coarse features down to its fine ones.

    q_n = conv1x1(f_n);  q_i = conv1x1(f_i) + nearest(q_{i+1});  p_i = conv3x3(q_i)

    Args:
      in_channels: channels of the encoder's features, fine to coarse.
      pyramid_channels: channels of every level.
      rngs: random streams.

    Example:
      >>> import jax.numpy as jnp
      >>> pyramid = FeaturePyramid((8, 16), pyramid_channels=4, rngs=nnx.Rngs(0))
      >>> [p.shape for p in pyramid.levels((jnp.ones((1, 7, 8, 8)), jnp.ones((1, 4, 4, 16))))]
      [(1, 7, 8, 4), (1, 4, 4, 4)]

    Reference:
      Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
    """

    def __init__(
        self, in_channels: tuple[int, ...], *, pyramid_channels: int = 256, rngs: nnx.Rngs
    ):
        xavier, width = jax.nn.initializers.xavier_uniform(), pyramid_channels
        self.laterals = nnx.List(
            [Conv(c, width, use_bias=True, kernel_init=xavier, rngs=rngs) for c in in_channels]
        )
        self.outputs = nnx.List(
            [
                Conv(width, width, 3, use_bias=True, kernel_init=xavier, rngs=rngs)
                for _ in in_channels
            ]
        )

    def levels(
        self, features: tuple[Float[Array, "b _ _ _"], ...]
    ) -> tuple[Float[Array, "b _ _ c"], ...]:
        """Returns one map for each of the features, at its size."""
        levels = [self.laterals[-1](features[-1])]
        for lateral, feature in zip(self.laterals[-2::-1], features[-2::-1], strict=True):
            above = ops.resize_nearest(levels[0], ops.image_size(feature))
            levels.insert(0, lateral(feature) + above)
        return tuple(mix(level) for mix, level in zip(self.outputs, levels, strict=True))
