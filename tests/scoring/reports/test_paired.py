"""Models on the same images: values, intervals and tests against plain statistics of counts."""

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring.cause_counts import CAUSES
from segalias_jax.scoring.counting import CountSettings
from segalias_jax.scoring.image_counts import CountPlan, count_image
from segalias_jax.scoring.reports import bootstrap, significance
from segalias_jax.scoring.reports.paired import ImageArrays, PairedModels


def _label(rng, num_classes):
    return rng.integers(0, num_classes, (5, 6)).repeat(9, 0).repeat(9, 1).astype(np.uint8)


def _models(shifts, *, count=12, num_classes=3, **plan):
    """Models that shift the truth by so many rows."""
    plan = CountPlan(CountSettings(num_classes), **plan)
    models = {}
    for name, shift in shifts.items():
        rng = np.random.default_rng(0)
        labels = [_label(rng, num_classes) for _ in range(count)]
        models[name] = ImageArrays.of(
            count_image(np.roll(label, shift, 0), label, plan, name=f"{i:02}")
            for i, label in enumerate(labels)
        )
    return PairedModels.of(models, plan, tuple("abc"[:num_classes]))


@pytest.fixture(scope="module")
def models():
    return _models({"far": 3, "near": 1})


def _row(models, score, model):
    return next(r for r in models.rows() if (r["score"], r["model"]) == (score, model))


def _mean_iou(sums):
    right, true, predicted = np.moveaxis(sums[..., :3, :].astype(float), -2, 0)
    return (right / (true + predicted - right)).mean(-1)


def test_intervals_and_tests_are_those_of_pooled_counts(models):
    """Against the same statistics of counts of all pixels alone."""
    far, near = (one.sums for one in models.images)
    row = _row(models, "mIoU", "near")
    own = bootstrap.bca(_mean_iou, near)
    assert row["value"] == _mean_iou(near.sum(0)[None])[0]
    np.testing.assert_allclose([row["low"], row["high"]], [own.low, own.high], rtol=1e-12)
    both = bootstrap.bca(lambda a, b: _mean_iou(b) - _mean_iou(a), far, near)
    ends = row["difference_low"], row["difference_high"]
    np.testing.assert_allclose(ends, [both.low, both.high], rtol=1e-12)
    assert row["p"] == significance.permutation_test(_mean_iou, [far], [near])
    # Of 12 images, all better with it, two of 4096 exchanges do as much.
    assert row["clear"] and row["p"] == row["p_corrected"] == 2**-11


def test_a_model_does_not_differ_from_itself():
    same = _models({"a": 2, "b": 2})
    for row in same.rows():
        if row["model"] == "b":
            assert row["difference"] == row["difference_low"] == row["difference_high"] == 0
            assert row["p"] == 1 and not row["clear"]
    assert [row["rank"] for row in same.ranking()] == [1, 1]


def test_two_classes_have_both_averages_with_intervals():
    models = _models({"far": 3, "near": 1}, num_classes=2)
    right, true, predicted = np.moveaxis(models.images[1].sums[:, :3, 1], 1, 0)
    dice = 2 * right / (true + predicted)
    expected = {
        "mean_over_images": bootstrap.bca(lambda total: total / len(dice), dice),
        "pixels_of_all_images": bootstrap.bca(
            lambda *sums: 2 * sums[0] / (sums[1] + sums[2]), right, true, predicted
        ),
    }
    for average, found in expected.items():
        row = _row(models, f"Dice_{average}", "near")
        ends = [row[key] for key in ("value", "low", "high")]
        np.testing.assert_allclose(ends, found.arrays, rtol=1e-12)
    assert models.differing_images(1)[0]["score"] == "foreground_Dice"


def test_three_models_are_ranked_and_corrected_together():
    models = _models({"two": 2, "none": 0, "four": 4})
    first, second, third = models.ranking()
    assert [row["model"] for row in (first, second, third)] == ["none", "two", "four"]
    assert [row["rank"] for row in (first, second, third)] == [1, 2, 3]
    assert "difference" not in first and first["value"] == 1
    assert third["difference"] == pytest.approx(third["value"] - 1)
    assert third["p_corrected"] == 2 * third["p"] == 2**-10
    assert [row["model"] for row in models.ranking("DErr")] == ["none", "two", "four"]
    with pytest.raises(InputError, match="score is 'IoUs'"):
        models.ranking("IoUs")


@pytest.mark.parametrize("score", ["IoU", "boundary_IoU", "BoundaryF_3px", "BoundaryIoU_Cheng"])
def test_classes_are_tested_together(models, score):
    """Values are those of all counts; the correction is for all classes and other models."""
    rows = models.class_rows(score)
    assert [row["class"] for row in rows] == ["a", "a", "b", "b", "c", "c"]
    name = {"IoU": "mIoU", "boundary_IoU": "BIoU"}.get(score, f"m{score}")
    for i, model in enumerate(("far", "near")):
        mean = np.mean([row["value"] for row in rows[i::2]])
        assert _row(models, name, model)["value"] == pytest.approx(mean, abs=1e-14)
    tested = rows[1::2]
    p = np.asarray([row["p"] for row in tested])
    assert [row["p_corrected"] for row in tested] == significance.holm(p).tolist()
    for near, far in zip(tested, rows[::2], strict=True):
        assert near["difference"] == pytest.approx(near["value"] - far["value"], abs=1e-14)
        assert near["difference_low"] <= near["difference"] <= near["difference_high"]


def test_scores_that_classes_lack(models):
    assert models.class_rows("mIoU") == models.class_rows("IoU")
    with pytest.raises(InputError, match=r"score is 'aAcc'; .*choose one of IoU, mIoU"):
        models.class_rows("aAcc")


def test_causes_are_what_repairing_them_gains(models):
    """Against sums over images, and mIoU of confusions with a cause's pixels put right."""
    assert [row["cause"] for row in models.cause_rows("pixels")] == list(np.repeat(CAUSES, 2))
    pixels = {"pixels": models.cause_rows("pixels"), "delta_mIoU": models.cause_rows()}
    for i, one in enumerate(models.images):
        right, true, predicted = one.sums[:, :3].sum(0)
        causes = one.causes.sum(0)
        wrong = [row["value"] for row in pixels["pixels"][i::2]]
        np.testing.assert_allclose(wrong, causes[:, 0].sum(1) / true.sum(), rtol=1e-12)
        assert sum(wrong) == pytest.approx(1 - right.sum() / true.sum())
        before = (right / (true + predicted - right)).mean()
        for k, row in enumerate(pixels["delta_mIoU"][i::2]):
            better, less = right + causes[k, 0], predicted - causes[k, 1] + causes[k, 0]
            after = (better / (true + less - better)).mean()
            assert row["value"] == pytest.approx(after - before, abs=1e-12)
    tested = np.asarray([row["p"] for row in pixels["delta_mIoU"][1::2]])
    corrected = [row["p_corrected"] for row in pixels["delta_mIoU"][1::2]]
    np.testing.assert_array_equal(corrected, significance.holm(tested))
    with pytest.raises(InputError, match="measure is 'pixel'"):
        models.cause_rows("pixel")
    with pytest.raises(InputError, match="causes: they were not counted"):
        _models({"a": 1, "b": 2}, count=1, causes=None).cause_rows()


def test_images_where_models_differ_most(models):
    found = models.differing_images(5)
    far, near = (_mean_iou(one.sums) for one in models.images)
    differences = np.abs(far - near)
    order = np.argsort(-differences)[:5]
    assert [row["name"] for row in found] == [models.images[0].names[i] for i in order]
    assert found[0]["difference"] == differences.max() and found[0]["score"] == "mIoU"
    assert found[0]["values"] == [far[order[0]], near[order[0]]]
    assert len(models.differing_images(99)) == 12


def test_common_images_are_compared():
    plan, rng = CountPlan(CountSettings(3)), np.random.default_rng(1)
    counts = [count_image(_label(rng, 3), _label(rng, 3), plan, name=name) for name in "dcba"]
    one, two = ImageArrays.of(counts[:3]), ImageArrays.of(reversed(counts[1:]))
    models = PairedModels.of({"one": one, "two": two}, plan, "abc")
    assert [images.names for images in models.images] == [("b", "c")] * 2
    for images in models.images:
        np.testing.assert_array_equal(images.sums, [counts[2].sums, counts[1].sums])
        np.testing.assert_array_equal(images.causes[0], counts[2].causes.pixels)
    with pytest.raises(InputError, match="no image was scored for all models"):
        PairedModels.of({"one": one, "two": ImageArrays.of(counts[3:])}, plan, "abc")
    for many in (1, 9):
        with pytest.raises(InputError, match=f"{many} models; 2 to 8 can be compared"):
            PairedModels.of({str(i): one for i in range(many)}, plan, "abc")


def test_one_image_tells_no_difference():
    models = _models({"far": 3, "near": 1}, count=1)
    row = _row(models, "mIoU", "near")
    assert row["difference"] > 0 and row["p"] == 1 and not row["clear"]
    assert row["low"] == row["value"] == row["high"]
