"""Causes of every pixel: exact sums, any size and type, flipped maps, void, objects, distances."""

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import ScoreRules
from segalias_jax.scoring.causes import (
    CAUSES,
    OBJECT_ROWS,
    CauseCounts,
    CauseSettings,
    count_causes,
    error_types,
)
from segalias_jax.scoring.components import bands

FLIPS = (np.flipud, np.fliplr, np.transpose)


def noisy(seed, size=None, classes=None):
    """Blocky maps that agree here and there, some of them with void."""
    rng = np.random.default_rng(seed)
    classes = classes or int(rng.integers(1, 5))
    height, width = size or rng.integers(1, 40, 2)
    scale = int(rng.integers(1, 6))
    shape = -(-height // scale), -(-width // scale)
    blocks = rng.integers(0, classes, (2, *shape)).repeat(scale, 1).repeat(scale, 2)
    label, prediction = blocks[:, :height, :width]
    if seed % 3:
        prediction = np.where(
            rng.random(label.shape) < 0.9, np.roll(label, seed % 4, 0), prediction
        )
    return prediction, np.where(rng.random(label.shape) < 0.1 * (seed % 2), 255, label), classes


def assert_exact(prediction, label, classes, **settings):
    """Sums are those of the confusion matrix, and of the map."""
    causes, pixels = error_types(prediction, label, num_classes=classes, **settings)
    counts = count_causes(prediction, label, ScoreRules(), classes, CauseSettings(**settings))
    counted = label != 255
    np.testing.assert_array_equal(causes == 255, ~counted)
    np.testing.assert_array_equal(causes == 0, counted & (prediction == label))
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (label[counted], prediction[counted]), 1)
    np.fill_diagonal(confusion, 0)
    np.testing.assert_array_equal(counts.pixels[:, 0].sum(0), confusion.sum(1))
    np.testing.assert_array_equal(counts.pixels[:, 1].sum(0), confusion.sum(0))
    for k, name in enumerate(CAUSES):
        here = causes == k + 1
        assert pixels[name] == here.sum() == counts.totals[name]
        for side, ids in enumerate((label, prediction)):
            by_class = np.bincount(ids[here], minlength=classes)
            np.testing.assert_array_equal(counts.pixels[k, side], by_class)
    # Every displaced pixel is too much of one class and too little of another.
    assert counts.displacement[:, :16].sum() == pixels["displacement"]
    assert counts.displacement[:, 17:].sum() == pixels["displacement"]
    return causes, counts


@pytest.mark.parametrize("seed", range(60))
def test_every_wrong_pixel_has_one_cause_however_maps_are_flipped(seed):
    prediction, label, classes = noisy(seed)
    causes, _ = assert_exact(prediction, label, classes, reach=seed % 6)
    for flip in FLIPS:
        again, _ = error_types(flip(prediction), flip(label), num_classes=classes, reach=seed % 6)
        np.testing.assert_array_equal(again, flip(causes))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("size", [(1, 1), (1, 37), (37, 1), (33, 65)])
def test_any_size_and_type(size, dtype):
    for seed in range(4):
        prediction, label, classes = noisy(seed, size, 3)
        assert_exact(prediction.astype(dtype), label.astype(dtype), classes)
    label[:] = 255
    causes, counts = assert_exact(prediction.astype(dtype), label.astype(dtype), 3)
    assert (causes == 255).all() and counts.pixels.sum() == 0 and not counts.records
    zero = np.zeros(size, dtype)
    assert assert_exact(zero, zero, 1)[1].pixels.sum() == 0  # a single class
    assert assert_exact(zero + dtype(1), zero, 2)[1].pixels[:, 0].sum() == zero.size  # all wrong


def test_labels_that_begin_with_one():
    prediction, label, classes = noisy(1, (30, 40), 3)
    stored = np.where(label == 255, 0, label + 1)
    causes, pixels = error_types(prediction, label, num_classes=classes)
    again, same = error_types(prediction, stored, num_classes=classes, reduce_zero_label=True)
    np.testing.assert_array_equal(again, causes)
    assert same == pixels
    other, _ = error_types(prediction, np.where(label == 255, 9, label), num_classes=3, ignore=9)
    np.testing.assert_array_equal(other, causes)


def test_perfect_predictions_have_no_errors(real_data):
    paths = sorted((real_data("camvid") / "labels" / "test").glob("*.png"))[:2]
    for path in paths:
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        label[label == 11] = 255
        counts = count_causes(np.where(label == 255, 3, label), label, ScoreRules(), 11)
        assert counts.pixels.sum() == counts.displacement.sum() == 0 and not counts.records
        rows = dict(zip(OBJECT_ROWS, counts.objects.sum((1, 2)), strict=True))
        assert rows["found"] == rows["true"] > 10
        assert sum(rows[name] for name in ("missed", "confused", "merged", "split", "false")) == 0


def test_real_labels_resampled_are_displaced(real_data):
    paths = sorted((real_data("camvid") / "labels" / "test").glob("*.png"))[::80]
    total = CauseCounts.zeros(11)
    for path in paths:
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        small = cv2.resize(label, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_NEAREST)
        coarse = cv2.resize(small, label.shape[::-1], interpolation=cv2.INTER_NEAREST)
        coarse[coarse == 11] = 0
        label[label == 11] = 255
        total += assert_exact(coarse, label, 11)[1]
    assert total.totals["displacement"] > 0.85 * sum(total.totals.values())


def test_objects_and_their_records():
    label = np.zeros((120, 200), np.uint8)
    label[10:20, 10:30] = label[50:110, 20:80] = label[50:110, 120:180] = label[5:30, 150:190] = 1
    prediction = label.copy()
    prediction[10:20, 10:30] = 0  # missed
    prediction[70:80, 80:120] = 1  # merged
    prediction[5:30, 165:170] = 0  # split
    prediction[20:28, 80:90] = 1  # false
    counts = count_causes(prediction, label, ScoreRules(), 2)
    rows = dict(zip(OBJECT_ROWS, counts.objects[:, 1].tolist(), strict=True))
    assert rows == {
        "true": [2, 2, 0],
        "found": [1, 2, 0],
        "missed": [1, 0, 0],
        "confused": [0, 0, 0],
        "merged": [0, 2, 0],
        "split": [1, 0, 0],
        "predicted": [3, 1, 0],
        "false": [1, 0, 0],
    }
    assert counts.objects[:, 0].sum() == 0  # the background is no object
    boxes = {(r.cause, r.x, r.y, r.width, r.height, r.pixels) for r in counts.records}
    assert boxes == {
        ("missed object", 10, 10, 20, 10, 200),
        ("false object", 80, 20, 10, 8, 80),
        ("merge", 20, 50, 60, 60, 3600),
        ("merge", 120, 50, 60, 60, 3600),
        ("split", 150, 5, 40, 25, 1000),
    }
    missed = next(r for r in counts.records if r.cause == "missed object")
    assert (missed.true_class, missed.predicted_class) == (1, 0)
    false = next(r for r in counts.records if r.cause == "false object")
    assert (false.true_class, false.predicted_class) == (0, 1)


@pytest.mark.parametrize("shift", [-7, -3, 2, 6, 20])
def test_signed_distances_of_a_moved_edge(shift):
    """Each pixel of the strip lies one pixel farther from the true edge than the one before."""
    label = np.zeros((40, 100), np.uint8)
    label[:, 50:] = 1
    prediction = np.zeros_like(label)
    prediction[:, 50 + shift :] = 1
    found = count_causes(prediction, label, ScoreRules(), 2).displacement
    expected = np.zeros(33, int)
    np.add.at(expected, 16 - np.sign(shift) * np.minimum(np.arange(1, abs(shift) + 1), 16), 40)
    np.testing.assert_array_equal(found[1], expected)
    np.testing.assert_array_equal(found[0], expected[::-1])


@pytest.mark.parametrize("seed", range(12))
def test_bytes_and_numbers_give_the_same_distances(seed):
    prediction, label, classes = noisy(seed, (30, 41))
    found = [
        count_causes(prediction.astype(dtype), label.astype(dtype), ScoreRules(), classes)
        for dtype in (np.uint8, np.int32)
    ]
    np.testing.assert_array_equal(found[0].displacement, found[1].displacement)


def test_counts_of_images_add_up():
    one, two = noisy(4, (20, 30), 3), noisy(5, (31, 17), 3)
    each = [count_causes(*maps[:2], ScoreRules(), 3) for maps in (one, two)]
    total = each[0] + each[1]
    np.testing.assert_array_equal(total.objects, each[0].objects + each[1].objects)
    assert total.records == each[0].records + each[1].records
    assert total.totals == {k: each[0].totals[k] + each[1].totals[k] for k in CAUSES}


def test_strips_change_nothing(monkeypatch):
    """Maps of many strips, as huge ones are, against the same in one."""
    maps = [noisy(seed, (60, 50), 3) for seed in range(6)]
    whole = [count_causes(p, y, ScoreRules(), 3) for p, y, _ in maps]
    painted = [error_types(p, y, num_classes=3)[0] for p, y, _ in maps]
    monkeypatch.setattr("segalias_jax.scoring.host_bands.STRIP_PIXELS", 170)
    for (p, y, _), counts, causes in zip(maps, whole, painted, strict=True):
        again = count_causes(p, y, ScoreRules(), 3)
        np.testing.assert_array_equal(again.pixels, counts.pixels)
        np.testing.assert_array_equal(again.displacement, counts.displacement)
        np.testing.assert_array_equal(error_types(p, y, num_classes=3)[0], causes)


@pytest.mark.parametrize("name, value", [("causes._TILE", (7, 9)), ("cause_rules._WORD", 2)])
def test_pieces_change_nothing(monkeypatch, name, value):
    """Distances of many tiles, and more classes than fit into a word of bits."""
    maps = [noisy(seed, (60, 70), 6) for seed in range(8)]
    whole = [count_causes(p, y, ScoreRules(), 6) for p, y, _ in maps]
    monkeypatch.setattr(f"segalias_jax.scoring.{name}", value)
    for (p, y, _), counts in zip(maps, whole, strict=True):
        again = count_causes(p, y, ScoreRules(), 6)
        for field in ("pixels", "objects", "displacement"):
            np.testing.assert_array_equal(getattr(again, field), getattr(counts, field))
        assert again.records == counts.records


@pytest.mark.parametrize("seed", range(8))
def test_displaced_pixels_are_counted_by_their_rounded_distance(seed):
    """Against distances over the whole map, of boundaries that are found pixel by pixel."""
    if seed % 2:
        prediction, label, _ = noisy(seed, (70, 90), 3)
    else:
        label = np.random.default_rng(seed).integers(0, 3, (5, 6)).repeat(44, 0).repeat(44, 1)
        prediction = np.roll(label, (3 * seed, 22), (0, 1))
        label[:9, 20:90] = 255
    inner = np.ones(label.shape, np.uint8)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        beside = np.pad(label, 1, constant_values=255)[1 + dy :, 1 + dx :][: len(label)]
        beside = beside[:, : label.shape[1]]
        inner &= (beside == label) | (beside == 255) | (label == 255)
    away = cv2.distanceTransform(inner, cv2.DIST_L2, cv2.DIST_MASK_5)
    causes, _ = error_types(prediction, label, num_classes=3)
    here = causes == 1 + CAUSES.index("displacement")
    steps = np.minimum(np.rint(away[here]), 15).astype(int) + 1
    expected = np.zeros((3, 33), int)
    np.add.at(expected, (prediction[here], 16 + steps), 1)
    np.add.at(expected, (label[here], 16 - steps), 1)
    for dtype in (np.uint8, np.int64):
        maps = prediction.astype(dtype), label.astype(dtype)
        np.testing.assert_array_equal(count_causes(*maps, ScoreRules(), 3).displacement, expected)
    assert len(set(steps)) >= (1 if seed % 2 else 10)


def test_noise_of_any_size_is_counted_in_bands(monkeypatch):
    """Bands are counted on their own, and records know where theirs begins."""
    monkeypatch.setattr("segalias_jax.scoring.host_bands.STRIP_PIXELS", 400)
    monkeypatch.setattr("segalias_jax.scoring.components.BAND_RUNS", 900)
    prediction, label = np.random.default_rng(0).integers(0, 3, (2, 90, 40))
    cuts = bands(prediction, label)
    assert len(cuts) > 3 and cuts[0].start == 0 and cuts[-1].stop == 90
    _, counts = assert_exact(prediction, label, 3)
    each = [count_causes(prediction[c], label[c], ScoreRules(), 3) for c in cuts]
    assert counts.totals == {k: sum(one.totals[k] for one in each) for k in CAUSES}
    expected = [r.y + c.start for c, one in zip(cuts, each, strict=True) for r in one.records]
    assert [record.y for record in counts.records] == expected and expected[-1] > cuts[1].start


def test_what_is_refused():
    ids = np.zeros((4, 4), np.uint8)
    with pytest.raises(InputError, match="prediction holds 3, which is no class"):
        error_types(ids + np.uint8(3), ids, num_classes=3)
    with pytest.raises(InputError, match="coverage: 1.5 is no fraction"):
        error_types(ids, ids, num_classes=3, coverage=1.5)
