"""Scores of binary segmentation against loops over images, thresholds and pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import SCORES as TABLE
from segalias_jax.metrics import BinaryScores, BinaryTotals, SegmentationScores
from segalias_jax.metrics.binary import probability_counts
from segalias_jax.metrics.totals import image_scores

SCORES = ("accuracy", "precision", "recall", "Dice", "IoU")


def images(count=8, size=(9, 11), seed=0):
    """Probabilities and labels; of the last four, some have nothing to find, or no label."""
    rng = np.random.default_rng(seed)
    label = (rng.random((count, *size)) < 0.3).astype(np.int32)
    probability = np.clip(rng.normal(0.35 + 0.2 * label, 0.25), 0, 1).astype(np.float32)
    label[rng.random(label.shape) < 0.1] = 255
    label[-4] = 255  # is in no mean
    label[-3] = 0  # with false alarms
    label[-2], probability[-2] = 0, 0  # nothing to find, nothing found
    probability[-1] = 0  # everything missed
    return probability, label


def loop_scores(predicted, true):
    """`SCORES` of a list of pixels, by definition."""
    hits, alarms = (predicted & true).sum(), (predicted & ~true).sum()
    misses = (~predicted & true).sum()
    accuracy = (predicted == true).mean()
    if hits + alarms + misses == 0:
        return [accuracy, 1, 1, 1, 1]
    pairs = (hits, hits + alarms), (hits, hits + misses)
    pairs += (2 * hits, 2 * hits + alarms + misses), (hits, hits + alarms + misses)
    return [accuracy, *(part / whole if whole else 0 for part, whole in pairs)]


def test_equals_loops_at_every_threshold():
    probability, label = images()
    state = BinaryScores.empty(16).update(probability, label)
    curves, pairs = state.curves(), list(zip(probability, label, strict=True))
    for k, threshold in enumerate(state.thresholds):
        pixels = [(p[t < 2] > threshold, t[t < 2] == 1) for p, t in pairs]
        single = [loop_scores(*pair) for pair in pixels if len(pair[0])]
        whole = loop_scores(*map(np.concatenate, zip(*pixels, strict=True)))
        for i, name in enumerate(SCORES):
            means = curves[f"{name}_mean_over_images"][k], np.mean(single, 0)[i]
            np.testing.assert_allclose(*means, rtol=0, atol=2**-25)  # of rounding an image
            np.testing.assert_allclose(
                curves[f"{name}_pixels_of_all_images"][k], whole[i], rtol=1e-14
            )
    counts = np.asarray(probability_counts(probability, label, 16))
    rows = [TABLE[f"{name}_mean_over_images"] for name in SCORES]
    found = np.stack([image_scores(counts, row) for row in rows], 1)
    for n in (0, 1, 2, 3, 5, 6, 7):
        expected = loop_scores(probability[n][label[n] < 2] > 0.5, label[n][label[n] < 2] == 1)
        np.testing.assert_allclose(found[n, :, 7], expected, rtol=1e-14)
    scores = state.compute()
    assert (scores["images"], scores["images_without_foreground"]) == (7, 2)
    values = curves["Dice_mean_over_images"]
    assert scores["Dice_mean_over_images"] == values[7]
    assert scores["Dice_mean_over_images_best"] == values.max()
    assert values[round(16 * scores["Dice_mean_over_images_best_threshold"]) - 1] == values.max()
    assert scores["Dice_mean_over_images_mean_of_thresholds"] == values.mean()


def both_classes(predicted, true):
    """Precision, recall, Dice and IoU as means over both classes, by definition."""
    foreground, background = loop_scores(predicted, true), loop_scores(~predicted, ~true)
    return np.mean([foreground, background], 0)[1:]


def test_scores_of_both_classes_are_means_of_two_binary_scores():
    probability, label = images()
    state = BinaryScores.empty(4).update(probability, label)
    totals = BinaryTotals.empty(4).add(np.asarray(probability_counts(probability, label, 4)))
    pairs = list(zip(probability, label, strict=True))
    for k, threshold in enumerate(state.thresholds):
        pixels = [(p[t < 2] > threshold, t[t < 2] == 1) for p, t in pairs]
        means = np.mean([both_classes(*pair) for pair in pixels if len(pair[0])], 0)
        whole = both_classes(*map(np.concatenate, zip(*pixels, strict=True)))
        for curves in (state.curves(), totals.curves()):
            for i, name in enumerate(SCORES[1:]):
                found = curves[f"{name}_of_both_classes_mean_over_images"][k]
                np.testing.assert_allclose(found, means[i], rtol=0, atol=2**-24)  # of rounding
                found = curves[f"{name}_of_both_classes_pixels_of_all_images"][k]
                np.testing.assert_allclose(found, whole[i], rtol=1e-14)


@pytest.mark.parametrize("constant", [0, 1])
def test_where_one_class_is_predicted_iou_of_both_is_half_the_accuracy(constant):
    """In published tables of polyps, too, where a network collapsed: their IoU is of both."""
    label = (np.random.default_rng(2).random((5, 8, 9)) < 0.3).astype(np.int32)
    scores = BinaryScores.empty(2).update(np.full(label.shape, constant), label).compute()
    for average in ("mean_over_images", "pixels_of_all_images"):
        found = scores[f"IoU_of_both_classes_{average}"]
        assert found == pytest.approx(scores[f"accuracy_{average}"] / 2, abs=2**-23)
    whole = SegmentationScores.empty(2).update(np.full_like(label, constant), label).compute()
    assert scores["IoU_of_both_classes_pixels_of_all_images"] == pytest.approx(whole["mIoU"])


def test_images_without_foreground_in_scores_of_both_classes():
    """Nothing found: everything is 1. A false alarm: 0 of the foreground beside the background."""
    label, alarm = np.zeros((1, 2, 4), np.int32), np.zeros((1, 2, 4))
    alarm[0, 0, 0] = 1
    none = BinaryScores.empty(2).update(label.astype(float), label).compute()
    one = BinaryScores.empty(2).update(alarm, label).compute()
    for average in ("mean_over_images", "pixels_of_all_images"):
        assert all(none[f"{name}_of_both_classes_{average}"] == 1 for name in SCORES[1:])
        for name, background in (("precision", 1), ("recall", 7 / 8), ("IoU", 7 / 8)):
            found = one[f"{name}_of_both_classes_{average}"]
            assert found == pytest.approx(background / 2, abs=2**-24)


def test_areas_below_curves_are_those_of_sorted_pixels():
    """Probabilities on the grid of the bins, so that nothing is lost to them; many tie."""
    rng = np.random.default_rng(1)
    label = (rng.random((1, 15, 20)) < 0.4).astype(int)
    probability = np.clip(rng.integers(0, 20, label.shape) + 8 * label, 1, 24) / 32
    scores = BinaryScores.empty(32).update(probability, label).compute()
    p, y = probability.ravel(), label.ravel() == 1
    difference = p[y][:, None] - p[~y]
    expected = np.mean((difference > 0) + 0.5 * (difference == 0))
    np.testing.assert_allclose(scores["ROC_AUC"], expected, rtol=1e-12)
    steps, before = 0.0, 0.0
    for threshold in np.unique(p)[::-1]:
        recall, precision = (p[y] >= threshold).mean(), y[p >= threshold].mean()
        steps, before = steps + (recall - before) * precision, recall
    np.testing.assert_allclose(scores["average_precision"], steps, rtol=1e-12)


def test_any_way_to_add_up_gives_the_same_state():
    probability, label = images()
    counts = probability_counts(probability, label, 16)
    whole, empty = BinaryScores.empty(16).update(probability, label), BinaryScores.empty(16)

    def same(state):
        jax.tree.map(np.testing.assert_array_equal, state, whole)

    single = [empty.add(counts[i : i + 1]) for i in range(len(counts))]
    same(functools.reduce(BinaryScores.merge, reversed(single)))
    one_by_one = empty
    for i in range(len(counts)):
        one_by_one = one_by_one.add(counts[i : i + 1])
    same(one_by_one)

    def on_device(counts):
        return empty.add(counts).psum("i")

    every = jax.vmap(on_device, axis_name="i")(counts.reshape(4, 2, 2, 16))
    same(jax.tree.map(lambda x: x[3], every))


def test_sums_do_not_overflow():
    """4096 images that all score 1: more than 2^32 in fixed point."""
    counts = np.zeros((8, 2, 16), int)
    counts[:, 0, 0], counts[:, 1, -1] = 3, 2
    state = BinaryScores.empty(16).add(counts)
    for _ in range(9):
        state = state.merge(state)
    scores = state.compute()
    assert scores["images"] == 4096
    assert all(scores[f"{name}_mean_over_images"] == 1 for name in SCORES)


def test_classes_are_scored_like_in_the_confusion_matrix():
    probability, label = images()
    predicted = (probability > 0.5).astype(np.float32)
    state = BinaryScores.empty(16).update(predicted, label)
    scores = state.compute()
    expected = SegmentationScores.empty(2).update(predicted.astype(np.int32), label)
    expected = expected.compute()
    assert not state.swept and "ROC_AUC" not in scores
    for ours, theirs in (
        ("IoU",) * 2,
        ("Dice",) * 2,
        ("recall", "Acc"),
        ("precision", "Precision"),
    ):
        np.testing.assert_allclose(
            scores[f"{ours}_pixels_of_all_images"], expected[theirs][1], rtol=1e-14
        )
    assert scores["accuracy_pixels_of_all_images"] == expected["aAcc"]


def test_edges_of_bins():
    """At a threshold is not above it; what is no number is no foreground."""
    probability = np.asarray([[0, 1e-9, 0.25, np.nextafter(np.float32(0.25), 1), 1, np.nan]])
    counts = probability_counts(jnp.asarray(probability, jnp.float32), np.ones((1, 6), int), 4)
    assert counts[0, 1].tolist() == [4, 1, 0, 1]


def test_nothing_counted_is_no_score():
    scores = BinaryScores.empty(2).add(np.zeros((1, 2, 2), int)).compute()
    assert scores["images"] == 0
    assert all(np.isnan(scores[f"{name}_mean_over_images"]) for name in SCORES)
    assert all(np.isnan(scores[f"{name}_pixels_of_all_images"]) for name in SCORES)


def test_mistakes_are_named():
    with pytest.raises(InputError, match="bins: 3 must be even"):
        BinaryScores.empty(3)
    with pytest.raises(InputError, match="64 bins do not merge with those of 256"):
        BinaryScores.empty(64).merge(BinaryScores.empty())
    with pytest.raises(InputError, match=r"shape \(2, 3\) do not fit the label of shape \(3, 2\)"):
        BinaryScores.empty().update(np.zeros((2, 3)), np.zeros((3, 2), int))
