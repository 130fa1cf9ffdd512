"""Losses of dense prediction, all with an ignore label, and their sum over a model's heads.

Logits are channels-last; labels are class numbers, `IGNORE_LABEL` where a pixel must not count.
Everything is computed in float32, or in float64 where the logits are. A label that is no class is
an `InputError`, or in a compiled program a loss that is NaN; so is that of logits that are NaN
where there is a label. Neither vanishes in any loss.
"""

from segalias_jax.losses.disturbance import disturbance_suppression
from segalias_jax.losses.mixture import LOSSES, SUMS_OVER_PIXELS, check_loss, segmentation_loss
from segalias_jax.losses.pixel import (
    AVERAGES,
    BALANCED,
    balanced_class_weights,
    boundary_cross_entropy,
    cross_entropy,
    focal_loss,
    ohem_cross_entropy,
)
from segalias_jax.losses.region import (
    dice_loss,
    generalized_dice_loss,
    lovasz_hinge,
    lovasz_softmax,
    tversky_loss,
)

__all__ = [
    "AVERAGES",
    "BALANCED",
    "LOSSES",
    "SUMS_OVER_PIXELS",
    "balanced_class_weights",
    "boundary_cross_entropy",
    "check_loss",
    "cross_entropy",
    "dice_loss",
    "disturbance_suppression",
    "focal_loss",
    "generalized_dice_loss",
    "lovasz_hinge",
    "lovasz_softmax",
    "ohem_cross_entropy",
    "segmentation_loss",
    "tversky_loss",
]
