"""What a trained network says about the data: the ratio of the spectrum to train with."""

from segalias_jax.analysis.frequency_ratio import (
    FrequencyRatio,
    distinct_ratios,
    optimal_frequency_ratio,
)
from segalias_jax.analysis.objective import best_ratio, objective, saliency, total_variation

__all__ = [
    "FrequencyRatio",
    "best_ratio",
    "distinct_ratios",
    "objective",
    "optimal_frequency_ratio",
    "saliency",
    "total_variation",
]
