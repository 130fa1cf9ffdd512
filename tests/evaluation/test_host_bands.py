"""The host's bands are those of the device, for every rule and size."""

import cv2
import numpy as np
import pytest

from segalias_jax.evaluation import host_bands
from segalias_jax.evaluation.host_bands import Steps
from segalias_jax.metrics import ScoreRules, region_map


def _maps(size, seed=0, classes=5):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (-(-size[0] // 4), -(-size[1] // 4)))
    label = coarse.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]].astype(np.uint8)
    prediction = np.roll(label, (1, 1), (0, 1)).copy()
    label[rng.random(size) < 0.05] = 255
    return prediction, label


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (17, 23), (40, 12)])
@pytest.mark.parametrize("boundary", ["laplacian", "exact"])
@pytest.mark.parametrize("ignore", ["reference", "exclude"])
@pytest.mark.parametrize("width, zero", [(1, False), (4, True), (15, False)])
def test_regions_are_those_of_the_device(size, boundary, ignore, width, zero):
    prediction, label = _maps(size)
    rules = ScoreRules(boundary, ignore, zero, width=width)
    classes = host_bands.class_label(label, rules) if ignore == "exclude" else label
    steps = Steps.between(prediction), Steps.between(classes, 255 if ignore == "exclude" else None)
    ours = host_bands.regions(prediction, classes, steps, rules)
    np.testing.assert_array_equal(ours, region_map(prediction, label, rules))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_class_ids_of_any_type(dtype):
    prediction, label = _maps((21, 20))
    if dtype != np.uint8:
        prediction, label = prediction.astype(dtype) * 300, label.astype(dtype) * 300
    steps = Steps.between(prediction), Steps.between(label)
    ours = host_bands.regions(prediction, label, steps, ScoreRules())
    np.testing.assert_array_equal(ours, region_map(prediction, label, ScoreRules()))


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_inner_band_is_what_an_erosion_of_each_class_removes(radius):
    """Class by class, as the score's authors do it; their frame is the caller's here."""
    maps = _maps((30, 41))
    band = host_bands.inner_regions(tuple(Steps.between(ids) for ids in maps), radius)
    square = np.ones((3, 3), np.uint8)
    for bit, ids in enumerate(maps):
        for c in np.unique(ids):
            mask = (ids == c).astype(np.uint8)
            kept = cv2.erode(mask, square, iterations=radius, borderValue=1)
            np.testing.assert_array_equal((band >> bit & 1)[mask == 1], (mask - kept)[mask == 1])
