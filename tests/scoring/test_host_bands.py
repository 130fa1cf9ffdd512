"""The host's bands are those of the device, for every rule and size."""

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import ScoreRules, error_kinds, region_map
from segalias_jax.scoring import bit_planes, host_bands
from segalias_jax.scoring.host_bands import MapPair


def _maps(size, seed=0, classes=5):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (-(-size[0] // 4), -(-size[1] // 4)))
    label = coarse.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]].astype(np.uint8)
    prediction = np.roll(label, (1, 1), (0, 1)).copy()
    label[rng.random(size) < 0.05] = 255
    return prediction, label


def _regions(prediction, label, rules):
    bits = host_bands.region_bits(MapPair.of(prediction, label, rules), rules)
    predicted, true = bit_planes.unpack(bits)[..., : label.shape[1]]
    return predicted + 2 * true


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (17, 23), (9, 130)])
@pytest.mark.parametrize("boundary", ["laplacian", "exact"])
@pytest.mark.parametrize("ignore", ["reference", "exclude"])
@pytest.mark.parametrize("width, zero", [(1, False), (4, True), (15, False)])
def test_regions_are_those_of_the_device(size, boundary, ignore, width, zero):
    prediction, label = _maps(size)
    rules = ScoreRules(boundary, ignore, zero, width=width)
    np.testing.assert_array_equal(
        _regions(prediction, label, rules), region_map(prediction, label, rules)
    )
    for ids in (label, label.astype(np.int32)):  # pictures of errors are painted from either
        np.testing.assert_array_equal(
            host_bands.error_kinds(prediction, ids, rules), error_kinds(prediction, ids, rules)
        )


@pytest.mark.parametrize("boundary", ["laplacian", "exact"])
@pytest.mark.parametrize("ignore_label", [255, -1])
def test_zero_labels_make_boundaries_as_the_ignored_label(boundary, ignore_label):
    """Ids of the published pass, 1..C and the ignored one, neighbor by neighbor; and the device."""
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 4, (13, 17)).astype(np.int32)
    stored[3] = np.arange(17) % 5  # ramps, whose differences cancel
    stored[rng.random(stored.shape) < 0.1] = ignore_label
    rules = ScoreRules(boundary, reduce_zero_label=True, ignore_label=ignore_label, width=1)
    ids = np.where(stored == 0, ignore_label, stored).astype(int)
    around = np.pad(ids, 1, mode="reflect")
    steps = [around[1:-1, :-2], around[1:-1, 2:], around[:-2, 1:-1], around[2:, 1:-1]] - ids
    edges = (steps.sum(0) != 0) if boundary == "laplacian" else (steps != 0).any(0)
    prediction = np.zeros_like(stored)
    for maps in ((prediction, stored), (prediction.astype(np.uint8), stored.astype(np.uint8))):
        if ignore_label < 0 and maps[1].dtype == np.uint8:
            continue  # such labels cannot be stored so
        found = _regions(*maps, rules)
        np.testing.assert_array_equal(found, 2 * edges)
        np.testing.assert_array_equal(found, region_map(*maps, rules))


def test_unequal_shapes_are_told():
    with pytest.raises(InputError, match=r"\(2, 3\) does not fit the label of shape \(3, 2\)"):
        host_bands.error_kinds(np.zeros((2, 3), int), np.zeros((3, 2), int), ScoreRules())


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("ignore", ["reference", "exclude"])
def test_class_ids_of_any_type(dtype, ignore):
    prediction, label = _maps((21, 20))
    if dtype != np.uint8:
        prediction, label = prediction.astype(dtype) * 300, label.astype(dtype) * 300
    rules = ScoreRules(ignore=ignore, ignore_label=int(label.max()))
    np.testing.assert_array_equal(
        _regions(prediction, label, rules), region_map(prediction, label, rules)
    )


@pytest.mark.parametrize("pixels", [1, 64, 300])
def test_strips_do_not_matter(monkeypatch, pixels):
    """Differences that cancel and ignored pixels across the seams of strips."""
    maps, rules = _maps((40, 70)), ScoreRules(ignore="exclude", width=3)
    whole = _regions(*maps, rules)
    monkeypatch.setattr(host_bands, "STRIP_PIXELS", pixels)
    monkeypatch.setattr(host_bands, "_MASK_PIXELS", pixels)
    np.testing.assert_array_equal(_regions(*maps, rules), whole)


@pytest.mark.parametrize("radius", [1, 2, 5, 70])
def test_inner_band_is_what_an_erosion_of_each_class_removes(radius):
    """Class by class, as the score's authors do it; beyond the picture there is no class."""
    prediction, label = _maps((30, 41))
    planes = host_bands.inner_bits(MapPair.of(prediction, label, ScoreRules()), radius)
    maps = np.where(label == 255, 255, prediction), label
    square = np.ones((3, 3), np.uint8)
    for band, ids in zip(bit_planes.unpack(planes)[..., :41], maps, strict=True):
        for c in np.unique(ids):
            mask = (ids == c).astype(np.uint8)
            kept = cv2.erode(
                mask, square, iterations=radius, borderType=cv2.BORDER_CONSTANT, borderValue=0
            )
            np.testing.assert_array_equal(band[mask == 1], (mask - kept)[mask == 1])
