"""Models side by side: paired images, intervals, files."""

import json

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring import Comparison, score_folders
from segalias_jax.scoring.reports.comparison import model_names


def _scored(root, shift, *, count=12, num_classes=3, **options):
    folder = root / f"shift{shift}"
    for name in (folder, root / "gt"):
        name.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        label = rng.integers(0, num_classes, (5, 6)).repeat(9, 0).repeat(9, 1).astype(np.uint8)
        cv2.imwrite(str(root / "gt" / f"{index}.png"), label)
        cv2.imwrite(str(folder / f"{index}.png"), np.roll(label, shift, 0))
    return score_folders(folder, root / "gt", num_classes=num_classes, **options)


@pytest.fixture
def comparison(tmp_path):
    reports = tuple(_scored(tmp_path, shift) for shift in (3, 1))
    return Comparison(reports, ("far", "near"))


def _row(comparison, score, model):
    return next(r for r in comparison.rows() if (r["score"], r["model"]) == (score, model))


def test_values_are_those_of_the_reports(comparison):
    for name, one in zip(("far", "near"), comparison.reports, strict=True):
        for score in ("mIoU", "BIoU", "DErr", "mBoundaryIoU_Cheng", "mBoundaryF_3px"):
            row = _row(comparison, score, name)
            assert row["value"] == pytest.approx(one.scores[score], abs=1e-14)
            assert row["low"] <= row["value"] <= row["high"]


def test_a_better_model_is_clearly_better_and_itself_is_not(comparison):
    row = _row(comparison, "mIoU", "near")
    assert row["difference_low"] > 0 and row["clear"]
    # Of 12 images, all better with it, two of 4096 exchanges do as much.
    assert row["p"] == row["p_corrected"] == 2**-11
    same = Comparison((comparison.reports[0],) * 2, ("a", "b"))
    row = _row(same, "mIoU", "b")
    assert row["difference"] == row["difference_low"] == row["difference_high"] == 0
    assert not row["clear"] and row["p"] == 1


def test_two_classes_have_both_averages_with_intervals(tmp_path):
    reports = tuple(_scored(tmp_path, shift, num_classes=2) for shift in (3, 1))
    comparison = Comparison(reports, ("far", "near"))
    for name, one in zip(("far", "near"), reports, strict=True):
        for score, value in one.binary.compute().items():
            if not score.startswith("images"):
                # Means over images are kept to 2^-25 there.
                assert _row(comparison, score, name)["value"] == pytest.approx(value, abs=1e-7)
    assert "| F1 = Dice, mean over images " in comparison.table()


def test_scores_without_a_value_are_dashes(tmp_path):
    """Maps of one class each have no boundary."""
    (tmp_path / "gt").mkdir()
    np.save(tmp_path / "gt" / "a.npy", np.zeros((4, 5), np.uint8))
    one = score_folders(tmp_path / "gt", tmp_path / "gt", num_classes=3)
    table = Comparison((one, one), ("a", "b")).table()
    (line,) = (line for line in table.splitlines() if line.startswith("| DErr"))
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["-", "-", "-"]


def test_only_shared_images_are_compared(tmp_path):
    first, second = (_scored(tmp_path, shift) for shift in (0, 2))
    (tmp_path / "shift2" / "3.png").unlink()
    second = score_folders(tmp_path / "shift2", tmp_path / "gt", num_classes=3, keep_going=True)
    comparison = Comparison((first, second), ("a", "b"))
    assert len(comparison.images) == 11 and "3" not in comparison.images
    assert ("images", "the 11 that all models were scored on") in comparison.rules()


def test_files(comparison, tmp_path):
    comparison.save(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "far", "near", "report.html", "report.json", "report.md"]  # fmt: skip
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row["model"] for row in content["ranking"]] == ["near", "far"]
    assert len(content["classes"]) == 6 and len(content["causes"]) == 14
    assert content["images"] == sorted(map(str, range(12)))
    assert content["differing_images"][0]["difference"] > 0
    rows = content["rows"]
    assert rows[0]["score"] == "mIoU" and rows[1]["clear"]
    assert "| mIoU" in (tmp_path / "out" / "report.md").read_text()
    html = (tmp_path / "out" / "report.html").read_text()
    assert 'href="far/report.html"' in html and "near is best: mIoU" in html
    for word in ("Causes", "IoU of each class", "missed object", "mean boundary F 3 px"):
        assert word in html
    with pytest.raises(InputError, match="is there already"):
        comparison.save(tmp_path / "out")


def test_models_must_have_rules_and_names_of_their_own(comparison, tmp_path):
    other = _scored(tmp_path, 1, boundary="exact")
    with pytest.raises(InputError, match="different rules"):
        Comparison((comparison.reports[0], other), ("a", "b"))
    with pytest.raises(InputError, match="9 models; 2 to 8 can be compared"):
        Comparison(comparison.reports[:1] * 9, tuple("abcdefghi"))
    with pytest.raises(InputError, match="one name"):
        Comparison(comparison.reports, ("a", "a"))
    with pytest.raises(InputError, match="given twice"):
        model_names([tmp_path, tmp_path])
