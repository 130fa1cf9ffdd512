"""Curves over widths are the boundary F-score's own counts, and pixels of naive bands."""

import cv2
import numpy as np
import pytest

from segalias_jax.metrics import ScoreRules
from segalias_jax.scoring.counting import CountSettings, count_pair
from segalias_jax.scoring.curves import count_curves
from segalias_jax.scoring.host_bands import ignored_pixels

WIDTHS = (1, 2, 4, 7, 9, 12)


def _maps(size=(50, 71), seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (-(-size[0] // 12), -(-size[1] // 12)))
    label = coarse.repeat(12, 0).repeat(12, 1)[: size[0], : size[1]].astype(np.uint8)
    prediction = np.roll(label, (3, 2), (0, 1)).copy()
    label[10:14, 20:60] = 255
    return prediction, label


@pytest.mark.parametrize("ignore", ["reference", "exclude"])
@pytest.mark.parametrize("zero", [False, True])
def test_boundary_pixels_are_met_as_the_boundary_f_score_has_it(ignore, zero):
    prediction, label = _maps()
    if zero:
        label = np.where(label == 255, 0, label + 1).astype(np.uint8)
    rules = ScoreRules(ignore=ignore, reduce_zero_label=zero)
    curves = count_curves(prediction, label, WIDTHS, num_classes=4, rules=rules)
    counts = count_pair(prediction, label, CountSettings(4, rules, tolerances=WIDTHS))
    np.testing.assert_array_equal(curves.contour, counts.contour)
    np.testing.assert_array_equal(curves.met, counts.hits)


@pytest.mark.parametrize("ignore", ["reference", "exclude"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_trimaps_are_dilated_boundaries(ignore, dtype):
    prediction, label = (ids.astype(dtype) for ids in _maps())
    rules = ScoreRules(ignore=ignore)
    counts = count_curves(prediction, label, WIDTHS, num_classes=4, rules=rules).trimap
    void = ignored_pixels(label, rules)
    edges = np.zeros(label.shape, bool)
    for axis in (0, 1):
        one, other = [slice(None)] * 2, [slice(None)] * 2
        one[axis], other[axis] = slice(1, None), slice(None, -1)
        step = label[tuple(one)] != label[tuple(other)]
        if ignore == "exclude":
            step &= ~void[tuple(one)] & ~void[tuple(other)]
        edges[tuple(one)] |= step
        edges[tuple(other)] |= step
    for i, width in enumerate(WIDTHS):
        square = np.ones((2 * width - 1, 2 * width - 1), np.uint8)
        band = cv2.dilate(edges.astype(np.uint8), square, borderValue=0).astype(bool) & ~void
        for c in range(4):
            true, predicted = band & (label == c), band & (prediction == c)
            expected = [(true & predicted).sum(), true.sum(), predicted.sum()]
            assert counts[i, :, c].tolist() == expected
