"""Shifted predictions against pixels counted one by one."""

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import BinaryScores, ScoreRules, SegmentationScores
from segalias_jax.scoring import offsets


def by_hand(prediction, label, offset, classes):
    """Right, true and predicted pixels of the four shifts."""
    counts = np.zeros((3, classes), int)
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        for i, j in np.ndindex(*label.shape):
            y, x = i - down * offset, j - right * offset
            inside = 0 <= y < label.shape[0] and 0 <= x < label.shape[1]
            if inside and label[i, j] != 255:
                counts[1, label[i, j]] += 1
                counts[2, prediction[y, x]] += 1
                counts[0, label[i, j]] += label[i, j] == prediction[y, x]
    return counts


@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_equals_pixels_counted_by_hand(reduce_zero_label):
    rng = np.random.default_rng(0)
    prediction = rng.integers(0, 4, (7, 9)).astype(np.uint8)
    label = rng.integers(0, 4, (7, 9)).astype(np.uint8)
    label[rng.random(label.shape) < 0.2] = 255
    rules = ScoreRules(reduce_zero_label=reduce_zero_label)
    stored = np.where(label == 255, 0, label + 1) if reduce_zero_label else label
    distances = (1, 3, 8, 20)  # farther than the picture is high, and than it is wide
    found = offsets.count_offsets(
        prediction, stored.astype(np.uint8), distances, num_classes=4, rules=rules
    )
    for row, offset in enumerate(distances, start=1):
        np.testing.assert_array_equal(found[row], by_hand(prediction, label, offset, 4))
    whole = SegmentationScores.empty(4).update(prediction, label).compute()
    scores = offsets.offset_scores(found[None])
    np.testing.assert_allclose(scores["IoU"][0], whole["IoU"], rtol=1e-14)
    np.testing.assert_allclose(scores["mIoU"][0], whole["mIoU"], rtol=1e-14)
    assert np.isnan(scores["mIoU"][4])


@pytest.mark.parametrize("share", [0, 0.4])
def test_two_classes_at_offset_0_are_those_of_the_binary_scores(share):
    """Also where no image has any foreground."""
    rng = np.random.default_rng(1)
    prediction, label = (rng.random((2, 4, 6, 8)) < share).astype(np.uint8)
    prediction[2] = label[2] = 0  # nothing to find
    label[3] = 255  # in no mean
    sums = [
        offsets.count_offsets(p, y, (2,), num_classes=2, rules=ScoreRules())
        for p, y in zip(prediction, label, strict=True)
    ]
    scores = offsets.offset_scores(np.stack(sums))
    expected = BinaryScores.empty(2).update(prediction, label).compute()
    for name in ("IoU", "Dice"):
        for average in ("mean_over_images", "pixels_of_all_images"):
            key = f"{name}_{average}"
            np.testing.assert_allclose(scores[key][0], expected[key], atol=2**-25)


def test_a_disc_falls_as_its_overlap_does():
    """Two discs of radius r, d apart, share 2 r^2 acos(d / 2r) - d / 2 sqrt(4 r^2 - d^2)."""
    i, j = np.indices((201, 201)) - 100
    radius, distances = 60.0, (1, 2, 5, 10, 20)
    ids = (i * i + j * j <= radius**2).astype(np.uint8)
    sums = offsets.count_offsets(ids, ids, distances, num_classes=2, rules=ScoreRules())
    found = offsets.offset_scores(sums[None])["IoU_pixels_of_all_images"]
    d = np.asarray((0, *distances), float)
    overlap = 2 * radius**2 * np.arccos(d / 2 / radius) - d / 2 * np.sqrt(4 * radius**2 - d * d)
    expected = overlap / (2 * np.pi * radius**2 - overlap)
    np.testing.assert_allclose(found, expected, atol=2e-3)  # of pixels instead of a disc


@pytest.mark.parametrize("wrong", [(0,), (2, 1), (1, 1)])
def test_offsets_out_of_order_are_refused(wrong):
    with pytest.raises(InputError, match="offsets: .* must be pixels from 1 on in ascending order"):
        offsets.check_offsets(wrong)
