"""Counts of one pair: equal to the device's, to plain definitions, and in any strips."""

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import ScoreRules, SegmentationScores
from segalias_jax.scoring import host_bands
from segalias_jax.scoring.counting import CountSettings, PairCounts, count_pair
from segalias_jax.scoring.pair_scores import areas, class_scores

CASES = ("c19_64x96", "c19_129x257", "c19_129x257_sparse", "c19_multi", "c19_absent",
         "c19_noignore", "c19_512x1024", "ade150_rzl", "c151_rzl")  # fmt: skip


def _fields(counts):
    return [counts.regions, counts.inner, counts.contour, counts.hits]


def _pair(size=(60, 70), seed=0, classes=6):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (-(-size[0] // 10), -(-size[1] // 10)))
    label = coarse.repeat(10, 0).repeat(10, 1)[: size[0], : size[1]].astype(np.uint8)
    prediction = np.roll(label, (2, 1), (0, 1)).copy()
    noisy = rng.random(size) < 0.01
    prediction[noisy] = rng.integers(0, classes, noisy.sum())
    label[5:9, 10:30] = 255
    return prediction, label


@pytest.mark.parametrize("boundary", ["laplacian", "exact"])
@pytest.mark.parametrize("ignore", ["reference", "exclude"])
@pytest.mark.parametrize("width", [1, 6, 15])
def test_counts_are_those_of_the_device(boundary, ignore, width):
    prediction, label = _pair()
    rules = ScoreRules(boundary, ignore, width=width)
    ours = count_pair(prediction, label, CountSettings(6, rules)).regions
    state = SegmentationScores.empty(6, boundary=boundary, ignore=ignore, width=width)
    totals = state.update(prediction, label).totals()
    np.testing.assert_array_equal(np.pad(ours, ((0, 0), (0, 1), (0, 1))), totals)


@pytest.mark.parametrize("ignore", ["reference", "exclude"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("under", ["a class", "noise", "no class"])
def test_perfect_predictions_are_perfect_whatever_is_under_void(ignore, zero, dtype, under):
    """Void between classes, within one, at the border, and of both kinds of ADE20K."""
    label = _pair((61, 75))[1].astype(dtype)
    label[30:45, 3:20] = label[55:] = label[:, 70:] = 255
    label[20:40, 40] = 255
    if zero:
        label = np.where(label == 255, 0, label + 1).astype(dtype)
        label[33:37, 5:9] = label[57:, 20:30] = 255
    rules = ScoreRules(ignore=ignore, reduce_zero_label=zero)
    void = host_bands.ignored_pixels(label, rules)
    prediction = label - zero
    noise = np.random.default_rng(1).integers(0, 6, void.sum())
    prediction[void] = {"a class": 2, "noise": noise, "no class": 200 % np.iinfo(dtype).max}[under]
    counts = count_pair(prediction, label, CountSettings(6, rules, 3))
    assert counts.inner.all() and (counts.inner == counts.inner[0]).all()
    assert counts.contour.all() and (counts.hits == counts.contour).all()
    scores = class_scores(areas(counts), (1, 3, 5))
    for name in ("BoundaryIoU_Cheng", "BoundaryF_1px", "BoundaryF_3px", "IoU"):
        assert (scores[name] == 1).all(), name


@pytest.mark.parametrize("pixels", [1, 70, 500, 1400, 4200, 10**6])
@pytest.mark.parametrize("ignore", ["reference", "exclude"])
@pytest.mark.parametrize("boundary", ["laplacian", "exact"])
def test_bands_of_any_height_count_the_same(monkeypatch, pixels, ignore, boundary):
    rules = ScoreRules(boundary, ignore, width=7)
    settings = CountSettings(6, rules, boundary_iou=0.04, tolerances=(0, 2, 4))
    maps = _pair((150, 70))
    whole = count_pair(*maps, settings)
    monkeypatch.setattr(host_bands, "BAND_PIXELS", pixels)
    for ours, expected in zip(_fields(count_pair(*maps, settings)), _fields(whole), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("pixels", [1, 70, 500, 4200, 10**6])
@pytest.mark.parametrize("ignore", ["reference", "exclude"])
def test_strips_of_any_height_count_the_same(monkeypatch, pixels, ignore):
    settings = CountSettings(6, ScoreRules("exact", ignore), boundary_iou=4, tolerances=(0, 2, 4))
    whole = count_pair(*_pair(), settings)
    monkeypatch.setattr(host_bands, "STRIP_PIXELS", pixels)
    for ours, expected in zip(_fields(count_pair(*_pair(), settings)), _fields(whole), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_ids_beyond_a_byte_count_the_same():
    """The path for more than 255 classes, against the path for bytes."""
    prediction, label = _pair()
    small = count_pair(prediction, label, CountSettings(6, ScoreRules("exact")))
    wide = label.astype(np.int64) * 100
    wide[label == 255] = 999
    rules = ScoreRules("exact", ignore_label=999)
    large = count_pair(prediction.astype(np.int64) * 100, wide, CountSettings(501, rules))
    for ours, expected in zip(_fields(large), _fields(small), strict=True):
        picked = ours[..., ::100]
        if ours is large.regions:
            picked = picked[:, ::100]
        np.testing.assert_array_equal(picked, expected)


@pytest.mark.parametrize("radius", [1, 3])
@pytest.mark.parametrize("classes", [2, 6])
def test_boundary_iou_is_that_of_its_authors_class_by_class(radius, classes):
    """Erode each class's mask, padded with zeros; intersect what was removed."""
    prediction, label = _pair(classes=classes)
    label[label == 255] = 0
    counts = count_pair(prediction, label, CountSettings(classes, boundary_iou=radius))

    def inner(mask):
        padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        kept = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=radius)[1:-1, 1:-1]
        return mask & (kept == 0)

    for c in range(classes):
        true, predicted = inner(label == c), inner(prediction == c)
        expected = [(true & predicted).sum(), true.sum(), predicted.sum()]
        assert counts.inner[:, c].tolist() == expected


@pytest.mark.parametrize("seed", range(3))
def test_boundary_f_counts_are_those_of_all_distances(seed):
    """Every pair of boundary pixels of a class, by brute force."""
    prediction, label = _pair((24, 31), seed, classes=3)
    tolerances = (0, 1, 3)
    counts = count_pair(prediction, label, CountSettings(3, tolerances=tolerances))

    def contour(ids):
        padded = np.pad(ids.astype(int), 1, "edge")
        inside = padded[1:-1, 1:-1]
        near = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        return np.any([inside != other for other in near], axis=0)

    maps = label, np.where(label == 255, 255, prediction)
    for c in range(3):
        points = [np.argwhere(contour(ids) & (ids == c)) for ids in maps]
        apart = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(-1))
        assert counts.contour[:, c].tolist() == [len(one) for one in points]
        for i, tolerance in enumerate(tolerances):
            hits = [(apart.min(1 - k, initial=np.inf) <= tolerance).sum() for k in (0, 1)]
            assert counts.hits[i, :, c].tolist() == hits


@pytest.mark.parametrize("case", CASES)
def test_recorded_counts_hold(golden, case):
    """The published code's areas, by the host's path."""
    data = golden(f"e_metrics_{case}")
    pairs = [(data[k], data[k.replace("pred", "gt")]) for k in data if k.startswith("pred")]
    classes, zero = len(data["r.plain_all.IoU"]), "rzl" in case
    settings = CountSettings(classes, ScoreRules(reduce_zero_label=zero), 0, ())
    total = PairCounts.zeros(settings)
    for prediction, label in pairs:
        total = total + count_pair(prediction, label, settings)
    _, predicted, true, both = total.regions
    bands = {"FP": predicted + both, "FN": true + both, "displacement": both}
    for mode, band in bands.items():
        np.testing.assert_array_equal(band.diagonal(), data[f"r.{mode}.area_intersect"])
        np.testing.assert_array_equal(band.sum(1), data[f"r.{mode}.area_label"])


def test_stray_values_and_sizes_are_told():
    prediction, label = _pair()
    with pytest.raises(InputError, match="the label holds the value 5, which is no class 0..4 nor"):
        count_pair(np.minimum(prediction, 4), label, CountSettings(5))
    with pytest.raises(InputError, match="the prediction holds the value 5, which is no class 0"):
        count_pair(prediction, np.minimum(label, 4), CountSettings(5))
    with pytest.raises(InputError, match="shape"):
        count_pair(prediction[:4], label, CountSettings(6))
    for wrong in ({"boundary_iou": 1.5}, {"boundary_iou": -1}, {"tolerances": (3, 1)}):
        with pytest.raises(InputError, match="boundary_iou|tolerances"):
            CountSettings(6, **wrong)


def test_predictions_under_ignored_pixels_are_free():
    prediction, label = _pair()
    prediction[label == 255] = 77
    assert count_pair(prediction, label, CountSettings(6)).regions.sum() == (label != 255).sum()
