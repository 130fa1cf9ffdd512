"""Regions and error kinds on pictures small enough to reason about."""

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import ERROR_KINDS, ScoreRules, error_kinds, region_map


def _halves(column, width=40):
    label = np.zeros((10, width), np.uint8)
    label[:, column:] = 1
    return label


def test_bands_reach_seven_pixels_from_the_edge_pixels():
    """An edge between columns 19 and 20 marks both; a 15x15 square adds 7 on each side."""
    region = np.asarray(region_map(_halves(20), _halves(20), ScoreRules()))
    np.testing.assert_array_equal(np.flatnonzero(region[5] == 3), np.arange(12, 28))
    assert set(np.unique(region)) == {0, 3}


def test_far_boundaries_give_one_sided_regions():
    """A predicted edge at 10 and a true one at 30, far apart."""
    region = np.asarray(region_map(_halves(10), _halves(30), ScoreRules(width=3)))[0]
    np.testing.assert_array_equal(np.flatnonzero(region == 1), np.arange(8, 12))
    np.testing.assert_array_equal(np.flatnonzero(region == 2), np.arange(28, 32))


def test_kinds_of_a_hallucinated_and_a_missed_object():
    """An object nobody sees is a merging mistake, one that is not there a false response."""
    empty, object_ = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    object_[5:35, 5:35] = 1
    missed = np.asarray(error_kinds(empty, object_, ScoreRules(width=5)))
    invented = np.asarray(error_kinds(object_, empty, ScoreRules(width=5)))
    assert [ERROR_KINDS[k] for k in (missed[6, 20], invented[6, 20])] == [
        "merging mistake",
        "false response",
    ]
    assert missed[20, 20] == invented[20, 20] == ERROR_KINDS.index("interior error")
    np.testing.assert_array_equal(missed == 0, object_ == 0)
    np.testing.assert_array_equal(invented == 0, object_ == 0)


def test_shifted_edge_is_a_displacement():
    """All wrong pixels of an edge shifted by 3 lie in both bands."""
    kinds = np.asarray(error_kinds(_halves(20), _halves(23), ScoreRules()))
    assert set(np.unique(kinds)) == {0, ERROR_KINDS.index("displacement")}
    assert (kinds > 0).sum() == 3 * 10


def test_unequal_shapes_are_told():
    """Both shapes stand in the message."""
    with pytest.raises(InputError, match=r"\(10, 40\).*\(10, 41\)"):
        region_map(_halves(20), _halves(20, 41), ScoreRules())
