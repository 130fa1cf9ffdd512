"""Scores as mergeable states: `update` on the device, `merge`, `compute` on the host.

`SCORES` is the table of all scores. The states `SegmentationScores` and `BinaryScores`, and the
maps of regions and errors, are on a device and need JAX, which is loaded when they are first used;
everything else needs NumPy alone.
"""

from typing import TYPE_CHECKING

from segalias_jax import lazy

if TYPE_CHECKING:
    from segalias_jax.metrics.binary import BinaryScores
    from segalias_jax.metrics.boundary import SegmentationScores
    from segalias_jax.metrics.counts import Band, ClassCounts, ForegroundCounts
    from segalias_jax.metrics.lookup import find_score, rows_shown, score_title
    from segalias_jax.metrics.regions import error_kinds, region_map
    from segalias_jax.metrics.rows import Score
    from segalias_jax.metrics.rules import ERROR_KINDS, IGNORE_RULES, ScoreRules
    from segalias_jax.metrics.scores import SCORES, register_score, unregister_score
    from segalias_jax.metrics.totals import BinaryTotals, SegmentationTotals
    from segalias_jax.typing import BOUNDARY_RULES

__all__ = [
    "BOUNDARY_RULES",
    "ERROR_KINDS",
    "IGNORE_RULES",
    "SCORES",
    "Band",
    "BinaryScores",
    "BinaryTotals",
    "ClassCounts",
    "ForegroundCounts",
    "Score",
    "ScoreRules",
    "SegmentationScores",
    "SegmentationTotals",
    "error_kinds",
    "find_score",
    "region_map",
    "register_score",
    "rows_shown",
    "score_title",
    "unregister_score",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "segalias_jax.metrics.binary": ("BinaryScores",),
        "segalias_jax.metrics.boundary": ("SegmentationScores",),
        "segalias_jax.metrics.counts": ("Band", "ClassCounts", "ForegroundCounts"),
        "segalias_jax.metrics.regions": ("error_kinds", "region_map"),
        "segalias_jax.metrics.rows": ("Score",),
        "segalias_jax.metrics.rules": ("ERROR_KINDS", "IGNORE_RULES", "ScoreRules"),
        "segalias_jax.metrics.lookup": ("find_score", "rows_shown", "score_title"),
        "segalias_jax.metrics.scores": ("SCORES", "register_score", "unregister_score"),
        "segalias_jax.metrics.totals": ("BinaryTotals", "SegmentationTotals"),
        "segalias_jax.typing": ("BOUNDARY_RULES",),
    },
)
