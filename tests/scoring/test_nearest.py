"""Distances to the nearest point are those of all pairs, to the last bit."""

import numpy as np
import pytest

from segalias_jax.scoring import nearest
from segalias_jax.scoring.nearest import nearest_distances


def _points(rng, number, size):
    return np.unique(rng.integers(0, size, (number, 2)), axis=0)


@pytest.mark.parametrize(
    "numbers, size", [((1, 1), 5), ((60, 40), 12), ((70, 3), 3000), ((500, 300), 700)]
)
@pytest.mark.parametrize("spacing", [(1, 1), (0.5, 2.5), (3, 0.1)])
@pytest.mark.parametrize("rows", [-1, 0, 4, 24])
def test_distances_are_the_least_of_all(monkeypatch, numbers, size, spacing, rows):
    """Along rows only, by cells only, and by both."""
    rng = np.random.default_rng(size)
    points, others = (_points(rng, number, size) for number in numbers)
    monkeypatch.setattr(nearest, "_ROWS", rows)
    apart = ((points[:, None] - others[None]) * np.asarray(spacing, np.float64)) ** 2
    expected = np.sqrt(apart.sum(-1).min(1))
    np.testing.assert_array_equal(nearest_distances(points, others, spacing), expected)


def test_work_in_pieces_is_the_same(monkeypatch):
    rng = np.random.default_rng(1)
    points, others = _points(rng, 300, 2000), _points(rng, 200, 2000)
    whole = nearest_distances(points, others)
    monkeypatch.setattr(nearest, "_HELD", 7)
    np.testing.assert_array_equal(nearest_distances(points, others), whole)


def test_no_points_have_no_distances():
    assert nearest_distances(np.zeros((0, 2), int), np.zeros((1, 2), int)).shape == (0,)
