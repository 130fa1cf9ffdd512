"""Networks on data: predictions of images of any size, scores and a few pictures.

Names of `segalias_jax.scoring` that once stood here are still found.
"""

from typing import TYPE_CHECKING

from segalias_jax import lazy

if TYPE_CHECKING:
    from segalias_jax.evaluation.aliasing.shift import mean_shift_consistency
    from segalias_jax.evaluation.evaluator import Evaluation, evaluate
    from segalias_jax.evaluation.sliding import Prediction, SlidingPredictor
    from segalias_jax.evaluation.views import ViewSettings, read_view_settings
    from segalias_jax.scoring.folders import evaluate_folders
    from segalias_jax.scoring.reports.comparison import Comparison
    from segalias_jax.scoring.reports.folder import FolderReport
    from segalias_jax.scoring.reports.overlays import (
        KIND_COLORS,
        Sample,
        error_overlay,
        overlay_sheet,
    )
    from segalias_jax.scoring.reports.tables import score_table, scoring_rules, write_report

__all__ = [
    "KIND_COLORS",
    "Comparison",
    "Evaluation",
    "FolderReport",
    "Prediction",
    "Sample",
    "SlidingPredictor",
    "ViewSettings",
    "error_overlay",
    "evaluate",
    "evaluate_folders",
    "mean_shift_consistency",
    "overlay_sheet",
    "read_view_settings",
    "score_table",
    "scoring_rules",
    "write_report",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "segalias_jax.evaluation.aliasing.shift": ("mean_shift_consistency",),
        "segalias_jax.evaluation.evaluator": ("Evaluation", "evaluate"),
        "segalias_jax.evaluation.sliding": ("Prediction", "SlidingPredictor"),
        "segalias_jax.evaluation.views": ("ViewSettings", "read_view_settings"),
        "segalias_jax.scoring.folders": ("evaluate_folders",),
        "segalias_jax.scoring.reports.comparison": ("Comparison",),
        "segalias_jax.scoring.reports.folder": ("FolderReport",),
        "segalias_jax.scoring.reports.overlays": (
            "KIND_COLORS",
            "Sample",
            "error_overlay",
            "overlay_sheet",
        ),
        "segalias_jax.scoring.reports.tables": ("score_table", "scoring_rules", "write_report"),
    },
)
