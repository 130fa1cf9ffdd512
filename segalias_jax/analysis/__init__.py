"""What a trained network says: the ratio of the spectrum to train with, how alike filters are."""

from segalias_jax.analysis.filters import Orthogonality, orthogonality
from segalias_jax.analysis.frequency_ratio import (
    FrequencyRatio,
    distinct_ratios,
    optimal_frequency_ratio,
)
from segalias_jax.analysis.objective import best_ratio, objective, saliency, total_variation

__all__ = [
    "FrequencyRatio",
    "Orthogonality",
    "best_ratio",
    "distinct_ratios",
    "objective",
    "optimal_frequency_ratio",
    "orthogonality",
    "saliency",
    "total_variation",
]
