"""The cheapest assignment costs what scipy's does: with ties, too, and rows that only fill up."""

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from segalias_jax.losses.assignment import cheapest_assignment

assign = jax.jit(jax.vmap(cheapest_assignment))


@pytest.mark.parametrize("rows, columns", [(5, 7), (7, 5), (1, 4)])
def test_costs_are_the_least(rows, columns):
    random = np.random.default_rng(rows)
    costs = random.normal(size=(300, rows, columns)).astype(np.float32)
    costs[100:200] = costs[100:200].round()  # many ties
    costs[200:210] = 0
    valid = np.arange(rows) < random.integers(0, rows + 1, (300, 1))
    valid[::5] = random.random((60, rows)) < 0.5
    found = np.asarray(assign(costs, valid))
    for cost, there, column in zip(costs, valid, found, strict=True):
        taken = column >= 0
        assert not (taken & ~there).any() and len(set(column[taken])) == taken.sum()
        assert taken.sum() == min(there.sum(), columns)
        theirs = cost[there][linear_sum_assignment(cost[there].astype(float))]
        ours = cost[taken, column[taken]]
        # Sums of a handful of numbers of size one, in float32.
        np.testing.assert_allclose(ours.sum(), theirs.sum(), atol=2e-6)


def test_costs_that_are_not_finite_end():
    costs = np.array([[np.nan, np.inf, 1], [-np.inf, np.nan, np.nan]], np.float32)
    costs = np.stack([costs, np.full((2, 3), np.nan, np.float32)])
    found = np.asarray(assign(costs, np.ones((2, 2), bool)))
    assert (found >= 0).all() and found[0, 0] == 2 and (found[:, 0] != found[:, 1]).all()
