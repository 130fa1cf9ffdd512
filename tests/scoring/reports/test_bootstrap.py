"""Draws of images, intervals, and a rank correlation that follows them."""

import numpy as np
import pytest

from segalias_jax.scoring.reports import bootstrap


def test_draws_are_the_same_every_time_and_keep_the_number_of_images():
    first, again = bootstrap.image_weights(7), bootstrap.image_weights(7)
    np.testing.assert_array_equal(first, again)
    assert (first.sum(1) == 7).all() and (first[0] == 1).all()
    # Each image is expected once per draw; its variance is (1 - 1 / 7), over 1000 draws.
    np.testing.assert_allclose(first[1:].mean(0), 1, atol=5 * (6 / 7 / 1000) ** 0.5)


def test_interval_of_a_mean_is_as_wide_as_theory_says():
    """Twice 1.96 standard errors of the mean."""
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap.interval(bootstrap.image_weights(400) @ values / 400)
    expected = 2 * 1.96 * values.std() / 20
    assert low < values.mean() < high
    # Its ends are 2.5 % quantiles of 1000 draws, known to 6 % or so.
    assert high - low == pytest.approx(expected, rel=0.1)


def test_draws_without_a_value_are_left_out():
    values = np.full((1001, 2), np.nan)
    values[1::2, 0] = 3
    low, high = bootstrap.interval(values)
    np.testing.assert_array_equal(low, [3, np.nan])
    np.testing.assert_array_equal(high, [3, np.nan])


def test_rank_correlation_by_its_definition():
    """Pearson's correlation of mean ranks, with ties, for whole images drawn twice or never."""
    rng = np.random.default_rng(2)
    image = np.repeat(np.arange(5), 8)
    x = rng.integers(0, 12, 40).astype(float)
    y = x + rng.integers(0, 12, 40)

    def mean_ranks(v):
        return np.asarray([(v < a).sum() + ((v == a).sum() - 1) / 2 for a in v])

    weights = bootstrap.image_weights(5)
    found = bootstrap.rank_correlation(x, y, image, weights)
    a, b = mean_ranks(x), mean_ranks(y)
    for draw in (0, 1, 77):
        repeats = np.repeat(np.arange(40), weights[draw].astype(int)[image])
        expected = np.corrcoef(a[repeats], b[repeats])[0, 1]
        assert found[draw] == pytest.approx(expected, abs=1e-12)
    flipped = bootstrap.rank_correlation(x, -y, image, weights)
    np.testing.assert_allclose(flipped, -found, atol=1e-12)


def test_rank_correlation_of_what_does_not_vary():
    image = np.arange(4)
    constant = bootstrap.rank_correlation(
        np.ones(4), np.arange(4.0), image, bootstrap.image_weights(4)
    )
    assert np.isnan(constant).all()
