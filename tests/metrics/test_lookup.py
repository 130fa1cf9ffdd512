"""Rows by name and by place."""

import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import find_score, rows_shown, score_title
from segalias_jax.metrics.lookup import smaller_is_better


def test_tables_show_what_they_always_did():
    assert [row.name for row in rows_shown("table", source="classes")] == [
        "mIoU", "mAcc", "aAcc", "BIoU", "BAcc", "FErr", "MErr", "DErr",
    ]  # fmt: skip
    assert [row.name for row in rows_shown("corruption", source="classes")] == [
        "mIoU", "BIoU", "BAcc", "FErr", "MErr", "DErr",
    ]  # fmt: skip
    assert [row.per_image for row in rows_shown("image", source="foreground")] == [
        "foreground_Dice", "foreground_IoU", "foreground_precision", "foreground_recall",
        "foreground_accuracy",
    ]  # fmt: skip
    lines = [row.name for s in ("classes", "foreground") for row in rows_shown("line", source=s)]
    assert lines[-2:] == ["Dice_mean_over_images", "Dice_pixels_of_all_images"]


def test_names_lead_to_rows_and_titles():
    assert find_score("mBoundaryF_12px").per_class == "BoundaryF_12px"
    assert find_score("BoundaryF_3px").name == "mBoundaryF_3px"
    assert score_title("boundary_IoU") == "BIoU" and score_title("mIoU") == "mIoU"
    assert score_title("mBoundaryIoU_Cheng") == "mean Boundary IoU (Cheng)"
    with pytest.raises(InputError, match="score is 'mDices'; did you mean 'mDice'"):
        find_score("mDices")


def test_sentence_on_errors():
    assert smaller_is_better() == "FErr, MErr and DErr"
