"""Sizes, sums, and what a repair would gain against repaired confusion matrices."""

import json

import numpy as np
import pytest

from segalias_jax.scoring import cause_counts
from segalias_jax.scoring.cause_counts import (
    CAUSES,
    CauseCounts,
    ObjectRecord,
    ObjectRecords,
    repaired_miou,
    size_of,
)


def miou(confusion):
    """Over classes that have a pixel."""
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    return (confusion.diagonal()[union > 0] / union[union > 0]).mean()


@pytest.mark.parametrize("seed", range(5))
def test_gains_are_those_of_repaired_confusion_matrices(seed):
    rng = np.random.default_rng(seed)
    classes = 5
    by_cause = rng.integers(0, 50, (7, classes, classes)) * (rng.random((7, 5, 5)) < 0.5)
    by_cause[:, range(classes), range(classes)] = 0
    by_cause[:, 4] = 0  # a class that is nowhere true
    by_cause[1:, :, 4] = 0  # and that one cause alone predicts
    confusion = by_cause.sum(0) + np.diag([80, 0, 30, 5, 0])
    pixels = np.stack([by_cause.sum(2), by_cause.sum(1)], 1)
    found = repaired_miou(confusion.sum(1), confusion.sum(0), confusion.diagonal(), pixels)
    for cause in range(7):
        repaired = confusion - by_cause[cause] + np.diag(by_cause[cause].sum(1))
        np.testing.assert_allclose(found[cause], miou(repaired) - miou(confusion), atol=1e-14)
    many = repaired_miou(
        *(
            np.stack([x, x])
            for x in (confusion.sum(1), confusion.sum(0), confusion.diagonal(), pixels)
        )
    )
    np.testing.assert_array_equal(many, [found, found])


def test_no_pixel_no_gain():
    zero = np.zeros(3, np.int64)
    assert np.isnan(repaired_miou(zero, zero, zero, np.zeros((7, 2, 3), np.int64))).all()


def test_counts_add_up():
    one = CauseCounts.zeros(2)
    one.pixels[0, 0, 1] = 5
    total = one + one
    assert total.totals["missed object"] == 10 and total.pixels.sum() == 10
    assert total.objects.shape == (8, 2, 3) and total.displacement.shape == (2, 33)


def test_sizes_are_those_of_coco():
    assert size_of(np.asarray([1, 1023, 1024, 9215, 9216])).tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 50])
def test_objects_are_those_of_their_json_however_many_pieces_it_is_read_in(monkeypatch, count):
    numbers = np.random.default_rng(count).integers(0, 7, (count, 8))
    numbers[:, 7] += 1 << 33
    monkeypatch.setattr(cause_counts, "_AT_ONCE", 7)
    monkeypatch.setattr(cause_counts, "_PIECE", 90)
    records = ObjectRecords(numbers)
    expected = [ObjectRecord(CAUSES[cause], *rest) for cause, *rest in numbers.tolist()]
    assert list(records) == expected and [records[i] for i in range(count)] == expected
    text = records.to_json()
    assert text == json.dumps(numbers.tolist(), separators=(",", ":"))
    assert ObjectRecords.from_json(text.encode()) == records == ObjectRecords.of(numbers.tolist())
    assert list(records[1:5] + records[:1]) == expected[1:5] + expected[:1]


@pytest.mark.parametrize("text", ["[[0,1]]", "[[7,1,1,1,1,1,1,1]]", "[[0.5,1,1,1,1,1,1,1]]", "[1]"])
def test_what_is_no_list_of_objects_is_refused(text):
    with pytest.raises(ValueError):
        ObjectRecords.from_json(text.encode())
