"""Models side by side: paired images, intervals, files."""

import json

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring import Comparison, score_folders
from segalias_jax.scoring.reports import bootstrap, significance
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


def _mean_iou(sums):
    right, true, predicted = np.moveaxis(sums[..., :3, :].astype(float), -2, 0)
    return (right / (true + predicted - right)).mean(-1)


def test_intervals_and_tests_are_those_of_pooled_counts(comparison):
    """Against the same statistics of counts of all pixels alone."""
    far, near = (one.sums for one in comparison.reports)
    row = _row(comparison, "mIoU", "near")
    own = bootstrap.bca(_mean_iou, near)
    np.testing.assert_allclose([row["low"], row["high"]], [own.low, own.high], rtol=1e-12)
    both = bootstrap.bca(lambda a, b: _mean_iou(b) - _mean_iou(a), far, near)
    ends = row["difference_low"], row["difference_high"]
    np.testing.assert_allclose(ends, [both.low, both.high], rtol=1e-12)
    assert row["p"] == significance.permutation_test(_mean_iou, [far], [near])


def test_two_classes_have_both_averages_with_intervals(tmp_path):
    """Against the report, and against a plain loop over the same draws."""
    reports = tuple(_scored(tmp_path, shift, num_classes=2) for shift in (3, 1))
    comparison = Comparison(reports, ("far", "near"))
    for name, one in zip(("far", "near"), reports, strict=True):
        for score, value in one.binary.compute().items():
            if not score.startswith("images"):
                # Means over images are kept to 2^-25 there.
                assert _row(comparison, score, name)["value"] == pytest.approx(value, abs=1e-7)
    own, (right, true, predicted) = (
        reports[1].per_image,
        np.moveaxis(reports[1].sums[:, :3, 1], 1, 0),
    )
    dice = own["foreground_Dice"]
    expected = {
        "mean_over_images": bootstrap.bca(lambda total: total / len(dice), dice),
        "pixels_of_all_images": bootstrap.bca(
            lambda *sums: 2 * sums[0] / (sums[1] + sums[2]), right, true, predicted
        ),
    }
    for average, found in expected.items():
        row = _row(comparison, f"Dice_{average}", "near")
        np.testing.assert_allclose([row["low"], row["high"]], [found.low, found.high], rtol=1e-12)
    assert "| F1 = Dice, mean over images " in comparison.table()


def test_three_models_are_ranked_and_corrected_together(tmp_path):
    reports = tuple(_scored(tmp_path, shift) for shift in (2, 0, 4))
    comparison = Comparison(reports, ("two", "none", "four"))
    first, second, third = comparison.ranking()
    assert [row["model"] for row in (first, second, third)] == ["none", "two", "four"]
    assert [row["rank"] for row in (first, second, third)] == [1, 2, 3]
    assert "difference" not in first and first["value"] == 1
    assert third["difference"] == pytest.approx(third["value"] - 1)
    assert third["p_corrected"] == 2 * third["p"] == 2**-10
    errors = comparison.ranking("DErr")
    assert [row["model"] for row in errors] == ["none", "two", "four"]
    with pytest.raises(InputError, match="score is 'IoUs'"):
        comparison.ranking("IoUs")
    same = Comparison(reports[:1] * 2, ("a", "b")).ranking()
    assert [row["rank"] for row in same] == [1, 1]


@pytest.mark.parametrize("score", ["IoU", "boundary_IoU", "BoundaryF_3px", "BoundaryIoU_Cheng"])
def test_classes_are_tested_together(comparison, score):
    """Values are those of the reports; the correction is for all classes and other models."""
    rows = comparison.class_rows(score)
    assert [row["class"] for row in rows] == ["0", "0", "1", "1", "2", "2"]
    far, near = (one.scores[score] for one in comparison.reports)
    np.testing.assert_allclose([row["value"] for row in rows], np.stack([far, near], 1).ravel())
    tested = rows[1::2]
    np.testing.assert_allclose([row["difference"] for row in tested], near - far, atol=1e-14)
    p = np.asarray([row["p"] for row in tested])
    assert [row["p_corrected"] for row in tested] == significance.holm(p).tolist()
    assert all(r["difference_low"] <= r["difference"] <= r["difference_high"] for r in tested)


def test_scores_that_classes_lack(comparison):
    assert comparison.class_rows("mIoU") == comparison.class_rows("IoU")
    with pytest.raises(InputError, match="score is 'aAcc'; .*choose one of IoU, mIoU"):
        comparison.class_rows("aAcc")


def test_images_where_models_differ_most(comparison):
    found = comparison.differing_images(5)
    far, near = (one.per_image["mIoU"] for one in comparison.reports)
    differences = np.abs(far - near)
    names = [comparison.images[i] for i in np.argsort(-differences)[:5]]
    assert [row["name"] for row in found] == names and found[0]["score"] == "mIoU"
    assert found[0]["difference"] == differences.max()
    assert len(comparison.differing_images(99)) == 12


def test_nine_models_are_too_many(comparison):
    with pytest.raises(InputError, match="9 models; a comparison has at most 8"):
        Comparison((comparison.reports[0],) * 9, tuple("abcdefghi"))


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
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["rows"]
    assert rows[0]["score"] == "mIoU" and rows[1]["clear"]
    assert "| mIoU" in (tmp_path / "out" / "report.md").read_text()
    html = (tmp_path / "out" / "report.html").read_text()
    assert 'href="far/report.html"' in html and "BIoU of each class" in html
    with pytest.raises(InputError, match="is there already"):
        comparison.save(tmp_path / "out")


def test_models_must_have_rules_and_names_of_their_own(comparison, tmp_path):
    other = _scored(tmp_path, 1, boundary="exact")
    with pytest.raises(InputError, match="different rules"):
        Comparison((comparison.reports[0], other), ("a", "b"))
    with pytest.raises(InputError, match="one name"):
        Comparison(comparison.reports, ("a", "a"))
    with pytest.raises(InputError, match="given twice"):
        model_names([tmp_path, tmp_path])
