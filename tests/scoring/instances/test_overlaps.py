"""Matches, crowds, and the signed distance of boundaries."""

import itertools

import numpy as np
import pytest
from instance_cases import rectangles, rows

from segalias_jax.scoring.instances.objects import Mask
from segalias_jax.scoring.instances.overlaps import Overlaps, boundary_offset, matches


def test_matches_are_one_to_one_and_the_largest_first():
    rng = np.random.default_rng(0)
    for _ in range(30):
        ious = rng.random((5, 4))
        found = matches(ious, 0.5)
        assert all(ious[t, p] > 0.5 for t, p in found)
        assert [ious[p] for p in found] == sorted((ious[p] for p in found), reverse=True)
        for k in (0, 1):
            assert len({pair[k] for pair in found}) == len(found)
        # No pair is left over.
        for t, p in itertools.product(range(5), range(4)):
            free = all(t != a and p != b for a, b in found)
            assert not free or ious[t, p] <= 0.5


def test_predictions_on_a_crowd_of_their_class_are_ignored():
    true = rectangles([(0, 0, 4, 8)], (4, 16), crowd=[True])
    predicted = rectangles([(0, 0, 2, 2), (0, 6, 2, 12), (0, 0, 2, 2)], (4, 16), [1, 1, 2])
    overlaps = Overlaps.of(predicted, true)
    assert overlaps.ignored.tolist() == [True, False, False]
    assert not overlaps.ious.any()


def test_void_is_in_no_union():
    true, predicted = rows("aa..", "...."), rows("aa..", "aa..")
    void = np.asarray([[False] * 4, [True] * 4])
    assert Overlaps.of(predicted, true).ious.tolist() == [[0.5]]
    assert Overlaps.of(predicted, true, void).ious.tolist() == [[1.0]]
    assert Overlaps.of(rows("...a", "..aa"), true, void).ignored.tolist() == [True]


def disc(radius: float, size: int = 61, y: float = 30, x: float = 30) -> np.ndarray:
    i, j = np.ogrid[:size, :size]
    return (i - y) ** 2 + (j - x) ** 2 <= radius**2


def naive_offset(predicted: np.ndarray, true: np.ndarray) -> float:
    """Every boundary pixel against every pixel; the image's border is no boundary."""
    inside, outside = np.argwhere(true), np.argwhere(~true)
    values = []
    height, width = true.shape
    for y, x in np.argwhere(predicted):
        near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        near = [(a, b) for a, b in near if 0 <= a < height and 0 <= b < width]
        if all(predicted[place] for place in near):
            continue
        other = outside if true[y, x] else inside
        distance = np.sqrt(((other - (y, x)) ** 2).sum(1)).min()
        values.append(1 - distance if true[y, x] else distance)
    return float(np.mean(values))


@pytest.mark.parametrize("center", [(30, 30), (3, 30), (58, 2)])
@pytest.mark.parametrize("steps", [-4, -1, 0, 1, 3])
def test_offsets_are_those_of_all_pairs_of_pixels(center, steps):
    true, predicted = disc(12, 61, *center), disc(12 + steps, 61, *center)
    found = boundary_offset(Mask.of_pixels(predicted), Mask.of_pixels(true), true.shape)
    # Distances are exact; their mean is rounded, in any order.
    assert found == pytest.approx(naive_offset(predicted, true), rel=1e-14, abs=1e-14)
    assert found == pytest.approx(steps, abs=0.35)


def test_a_shift_alone_has_no_sign_and_a_whole_image_no_boundary():
    true, moved = disc(12), disc(12, x=33)
    found = boundary_offset(Mask.of_pixels(moved), Mask.of_pixels(true), true.shape)
    assert abs(found) < 0.6
    full = Mask.of_pixels(np.ones((5, 5), bool))
    assert np.isnan(boundary_offset(full, Mask(1, 1, np.ones((1, 1), bool)), (5, 5)))
    assert np.isnan(boundary_offset(Mask(1, 1, np.ones((1, 1), bool)), full, (5, 5)))
