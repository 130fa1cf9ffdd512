"""From predictions to scores, pictures and reports; `train.py` and `eval.py` share this path."""

from segalias_jax.evaluation.compare import Comparison
from segalias_jax.evaluation.evaluator import Evaluation, Sample, evaluate
from segalias_jax.evaluation.folder import evaluate_folders
from segalias_jax.evaluation.folder_report import FolderReport
from segalias_jax.evaluation.mean_shift import mean_shift_consistency
from segalias_jax.evaluation.overlays import KIND_COLORS, error_overlay, overlay_sheet
from segalias_jax.evaluation.report import score_table, scoring_rules, write_report
from segalias_jax.evaluation.sliding import Prediction, SlidingPredictor
from segalias_jax.evaluation.views import ViewSettings, read_view_settings

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
