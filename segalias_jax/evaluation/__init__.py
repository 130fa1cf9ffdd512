"""From predictions to scores, pictures and reports; `train.py` and `eval.py` share this path."""

from segalias_jax.evaluation.aliasing.shift import mean_shift_consistency
from segalias_jax.evaluation.evaluator import Evaluation, Sample, evaluate
from segalias_jax.evaluation.sliding import Prediction, SlidingPredictor
from segalias_jax.evaluation.views import ViewSettings, read_view_settings
from segalias_jax.scoring.folders import evaluate_folders
from segalias_jax.scoring.reports.comparison import Comparison
from segalias_jax.scoring.reports.folder import FolderReport
from segalias_jax.scoring.reports.overlays import KIND_COLORS, error_overlay, overlay_sheet
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
