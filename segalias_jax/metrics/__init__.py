"""Scores as mergeable states: `update` on the device, `merge`, `compute` on the host."""

from segalias_jax.metrics.binary import BinaryScores
from segalias_jax.metrics.boundary import SegmentationScores
from segalias_jax.metrics.regions import (
    ERROR_KINDS,
    IGNORE_RULES,
    ScoreRules,
    error_kinds,
    region_map,
)

__all__ = [
    "ERROR_KINDS",
    "IGNORE_RULES",
    "BinaryScores",
    "ScoreRules",
    "SegmentationScores",
    "error_kinds",
    "region_map",
]
