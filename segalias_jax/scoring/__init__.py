"""Maps of class ids of any origin, scored on the host: folders, reports, comparisons.

NumPy and OpenCV only. Nothing in here imports JAX, directly or not: predictions of any framework
are scored on machines that have none, and a command answers before JAX would be loaded.
"""

from typing import TYPE_CHECKING

from segalias_jax import lazy

if TYPE_CHECKING:
    from segalias_jax.scoring.cause_counts import CAUSES, CauseCounts, ObjectRecord
    from segalias_jax.scoring.cause_rules import CauseSettings
    from segalias_jax.scoring.causes import count_causes, error_types
    from segalias_jax.scoring.counting import CountSettings, PairCounts, count_pair
    from segalias_jax.scoring.distances import DistanceCounts, DistanceSettings, count_distances
    from segalias_jax.scoring.folders import score_folders
    from segalias_jax.scoring.host_bands import error_kinds
    from segalias_jax.scoring.instances.instance_scorer import InstanceScorer
    from segalias_jax.scoring.merging import merge_reports, read_report
    from segalias_jax.scoring.reports.comparison import Comparison
    from segalias_jax.scoring.reports.folder import FolderReport
    from segalias_jax.scoring.reports.overlays import (
        CAUSE_COLORS,
        HIT_COLORS,
        KIND_COLORS,
        Sample,
        cause_overlay,
        error_overlay,
        hit_overlay,
        overlay_sheet,
    )
    from segalias_jax.scoring.reports.tables import score_table, scoring_rules, write_report
    from segalias_jax.scoring.scorer import Scorer

__all__ = [
    "CAUSES",
    "CAUSE_COLORS",
    "HIT_COLORS",
    "KIND_COLORS",
    "CauseCounts",
    "CauseSettings",
    "Comparison",
    "CountSettings",
    "DistanceCounts",
    "DistanceSettings",
    "FolderReport",
    "InstanceScorer",
    "ObjectRecord",
    "PairCounts",
    "Sample",
    "Scorer",
    "cause_overlay",
    "count_causes",
    "count_distances",
    "count_pair",
    "error_kinds",
    "error_overlay",
    "error_types",
    "hit_overlay",
    "merge_reports",
    "overlay_sheet",
    "read_report",
    "score_folders",
    "score_table",
    "scoring_rules",
    "write_report",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "segalias_jax.scoring.cause_counts": ("CAUSES", "CauseCounts", "ObjectRecord"),
        "segalias_jax.scoring.cause_rules": ("CauseSettings",),
        "segalias_jax.scoring.causes": ("count_causes", "error_types"),
        "segalias_jax.scoring.counting": ("CountSettings", "PairCounts", "count_pair"),
        "segalias_jax.scoring.distances": (
            "DistanceCounts",
            "DistanceSettings",
            "count_distances",
        ),
        "segalias_jax.scoring.folders": ("score_folders",),
        "segalias_jax.scoring.host_bands": ("error_kinds",),
        "segalias_jax.scoring.instances.instance_scorer": ("InstanceScorer",),
        "segalias_jax.scoring.merging": ("merge_reports", "read_report"),
        "segalias_jax.scoring.reports.comparison": ("Comparison",),
        "segalias_jax.scoring.reports.folder": ("FolderReport",),
        "segalias_jax.scoring.reports.overlays": (
            "CAUSE_COLORS",
            "HIT_COLORS",
            "KIND_COLORS",
            "Sample",
            "cause_overlay",
            "error_overlay",
            "hit_overlay",
            "overlay_sheet",
        ),
        "segalias_jax.scoring.reports.tables": ("score_table", "scoring_rules", "write_report"),
        "segalias_jax.scoring.scorer": ("Scorer",),
    },
)
