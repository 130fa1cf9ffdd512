"""Maps that several tests count, and what they count of them."""

import numpy as np

from segalias_jax.metrics.distance_counts import DistanceSettings
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring import CauseSettings, CountSettings
from segalias_jax.scoring.image_counts import CountPlan


def maps(seed=0, classes=4):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, (5, 7)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    prediction = np.roll(label, (1, 3), (0, 1)).copy()
    prediction[10:14, 20:30] = rng.integers(0, classes)
    label[:3, :5] = 255
    return prediction, label


PLANS = {
    "default": CountPlan(CountSettings(4)),
    "all": CountPlan(
        CountSettings(4, ScoreRules("exact", "exclude", width=5), 3, (1, 4)),
        CauseSettings(coverage=0.5),
        DistanceSettings(spacing=(1, 0.3), tolerances=(0.5, 2), widths=(1, 3)),
        (1, 2),
    ),
    "none": CountPlan(CountSettings(4, boundary_iou=0, tolerances=()), None),
    "binary": CountPlan(CountSettings(2)),
    "probabilities": CountPlan(CountSettings(2), probabilities=True),
}
