"""An idea of this project: the filter at the stem's pooling, too, which the method leaves as it is.

Most is folded there: a fifth of the power lies above the limit, more than at any stage. A maximum
makes new high frequencies, so it is taken at every pixel, filtered, and only then sampled, as
`models.DoubleConvEncoder` does it. No parameter is added.
"""

from __future__ import annotations

import jax

from segalias_jax import ops
from segalias_jax.models import ENCODERS
from segalias_jax.models.resnet import RESNETS, ResNet
from segalias_jax.models.stages import apply_filter, run_block, stop_at
from segalias_jax.typing import Array, Float

NAME = "resnet18_stem_filter"
"""Encoder of that kind, for a recipe's `model.encoder` beside `model.imports`."""

CUTOFF = ops.nyquist_frequency(ops.equivalent_sampling_rate(3, 2, 1, 1))
"""Of a pooling, which leaves the number of channels as it is, in cycles per pixel."""


class StemFilteredResNet(ResNet):
    """`models.ResNet` with a filtered stem pooling; the arguments are the same."""

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the four stages' feature maps, fine to coarse."""
        for layer in self.stem:
            x = layer(x)
        x = ops.low_pass(ops.max_pool(x, 3, stride=1, padding=1), CUTOFF)[:, ::2, ::2]
        x = stop_at(x, 0, self.frozen_stages)
        features = []
        for i, stage in enumerate(self.stages):
            with jax.named_scope(f"stage{i + 1}"):
                if i > 0:
                    x = apply_filter(self.filters[i - 1], x)
                for block in stage:
                    x = run_block(block, x, remat=i + 1 in self.remat)
            x = stop_at(x, i + 1, self.frozen_stages)
            features.append(x)
        return tuple(features)


RESNETS[NAME] = RESNETS["resnet18"]
ENCODERS[NAME] = StemFilteredResNet
