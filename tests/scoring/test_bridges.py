"""Which pixels join two discs."""

import numpy as np
import pytest

from segalias_jax.metrics import ScoreRules
from segalias_jax.scoring.bridges import Side, find_bridges
from segalias_jax.scoring.components import find_regions

Y, X = np.indices((60, 120))


def disc(y, x, radius):
    return ((Y - y) ** 2 + (X - x) ** 2 <= radius**2).astype(np.uint8)


def bridges(prediction, label, *, splits=False):
    """Mask of the pixels of bridges, and how many components they join."""
    regions = find_regions(prediction, label, 2, ScoreRules())
    true, predicted = Side.of(regions, regions.true), Side.of(regions, regions.predicted)
    sides = (predicted, true) if splits else (true, predicted)
    among = ~regions.right & (sides[1].values == 1)
    found = find_bridges(regions, *sides, among)
    mask = np.zeros(label.shape, bool)
    mask.reshape(-1)[found.places] = True
    return mask, len(found.joined)


@pytest.mark.parametrize("width", [1, 4, 9])
@pytest.mark.parametrize("gap", [3, 12, 40])
def test_a_straight_bridge_is_one_throughout(width, gap):
    discs = disc(30, 20, 14) | disc(30, 48 + gap, 14)
    joined = discs.copy()
    joined[30 - width // 2 : 30 - width // 2 + width, 20 : 48 + gap] = 1
    mask, count = bridges(joined, discs)
    np.testing.assert_array_equal(mask, joined != discs)
    assert count == 2
    # The other way around it is a split.
    mask, count = bridges(discs, joined, splits=True)
    np.testing.assert_array_equal(mask, joined != discs)


def test_of_a_rim_that_touches_only_the_middle_is_a_bridge():
    """Discs 4 pixels apart, predicted 3 pixels too large."""
    discs = disc(30, 30, 14) | disc(30, 63, 14)
    grown = disc(30, 30, 17) | disc(30, 63, 17)
    mask, count = bridges(grown, discs)
    rim = (grown != discs) & ~mask
    assert count == 2 and mask.any() and rim.sum() > 4 * mask.sum()
    assert np.abs(X[mask] - 46.5).max() < 6


def test_crumbs_and_what_is_hardly_found_are_not_joined():
    crumbs = disc(30, 30, 14) | disc(30, 52, 1)
    grown = disc(30, 30, 24)
    assert bridges(grown, crumbs)[1] == 0  # 5 of 1,000 extra pixels
    apart = disc(30, 30, 14) | disc(30, 70, 14)
    half = np.where(X < 70, apart, 0).astype(np.uint8)
    half[29:32, 40:60] = 1
    assert bridges(half, apart)[1] == 0  # half of the right disc is found
