"""States on the host: the same numbers as those of the device, bit for bit."""

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import (
    BinaryScores,
    BinaryTotals,
    ScoreRules,
    SegmentationScores,
    SegmentationTotals,
)


def _bins(count, bins=16, seed=0):
    """Images by themselves; the first has no label, the second no foreground, the third nothing."""
    counts = np.random.default_rng(seed).integers(0, 2**20, (count, 2, bins))
    counts[0], counts[1, 1], counts[2, 1], counts[2, 0, 1:] = 0, 0, 0, 0
    counts[3, :, ::2] = 1
    return counts


def _same(ours, theirs):
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_binary_segmentation_is_scored_alike_bit_for_bit():
    counts = _bins(300)
    host, device = BinaryTotals.empty(16).add(counts), BinaryScores.empty(16).add(counts)
    for ours, theirs in zip(
        (host.counts, host.sums, host.images),
        (device.host().counts, device.host().sums, device.host().images),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    _same(host.compute(), device.compute())
    _same(host.curves(), device.curves())
    assert host.swept and device.swept


def test_parts_merge_to_the_whole():
    counts = _bins(9)
    empty = BinaryTotals.empty(16)
    merged = empty.add(counts[:4]).merge(empty.add(counts[4:]))
    _same(merged.compute(), empty.add(counts).compute())
    with pytest.raises(InputError, match="16 bins do not merge with those of 8"):
        empty.merge(BinaryTotals.empty(8))


def test_classes_are_scored_alike_bit_for_bit():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 11, (6, 8)).repeat(8, 0).repeat(8, 1).astype(np.int32)
    label[label == 7] = 255
    device = SegmentationScores.empty(11).update(np.roll(label, 3, 1) % 12, label)
    host = SegmentationTotals(device.host().counts, device.rules)
    _same(host.compute(), device.compute())
    _same(host.merge(host).compute(), device.merge(device).compute())


def test_other_rules_do_not_merge():
    states = [
        SegmentationTotals.from_counts(np.zeros((4, 2, 2), int), ScoreRules(rule))
        for rule in ("exact", "laplacian")
    ]
    with pytest.raises(InputError, match="do not merge"):
        states[0].merge(states[1])


def test_wrong_labels_are_counted_in_the_message():
    """The number of pixels and of classes is named."""
    counts = np.zeros((4, 3, 3), np.int64)
    counts[1, 2, 1] = 7
    with pytest.raises(InputError, match=r"7 pixels are neither one of the 2 classes 0\.\.1"):
        SegmentationTotals(counts, ScoreRules()).compute()
