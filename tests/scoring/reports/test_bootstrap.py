"""BCa intervals against their definition, the normal law, and what must hold of any interval."""

import math

import numpy as np
import pytest

from segalias_jax.scoring.reports import bootstrap

# Efron's law schools: LSAT and GPA of 15.
LSAT = (576, 635, 558, 578, 666, 580, 555, 661, 651, 605, 653, 575, 545, 572, 594)
GPA = (3.39, 3.3, 2.81, 3.03, 3.44, 3.07, 3.0, 3.43, 3.36, 3.13, 3.12, 2.74, 2.76, 2.88, 2.96)


def _ratio(part, whole):
    with np.errstate(invalid="ignore"):
        return part / whole


def _correlation(moments):
    n, a, b, aa, bb, ab = np.moveaxis(moments, -1, 0)
    # Draws of one school over and over have none.
    spread = np.maximum((n * aa - a * a) * (n * bb - b * b), 0)
    return np.where(spread > 1e-6, (n * ab - a * b) / np.sqrt(np.maximum(spread, 1e-6)), np.nan)


def _moments(x, y):
    x, y = np.asarray(x) - np.mean(x), np.asarray(y) - np.mean(y)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], 1)


def _normal_quantile(p):
    """By bisection of the error function."""
    low, high = -9.0, 9.0
    for _ in range(80):
        middle = (low + high) / 2
        below = (1 + math.erf(middle / math.sqrt(2))) / 2 < p
        low, high = (middle, high) if below else (low, middle)
    return low


def _naive_bca(data, function):
    """Efron's formulas, image by image, for one number; draws as the module makes them."""
    n, value = len(data), function(data)
    rng = np.random.default_rng(0)
    draws = sorted(function(data[rng.integers(0, n, n)]) for _ in range(2000))
    left = [function(np.delete(data, i, 0)) for i in range(n)]
    d = [sum(left) / n - one for one in left]
    a = sum(x**3 for x in d) / (6 * sum(x**2 for x in d) ** 1.5)
    below = sum(x < value - 1e-13 for x in draws) + sum(abs(x - value) <= 1e-13 for x in draws) / 2
    z0 = _normal_quantile(below / 2000)
    ends = []
    for z in (_normal_quantile(0.025), _normal_quantile(0.975)):
        t = z0 + (z0 + z) / (1 - a * (z0 + z))
        ends.append(np.quantile(draws, (1 + math.erf(t / math.sqrt(2))) / 2))
    return ends


@pytest.mark.parametrize("count", [5, 23])
def test_ends_are_those_of_the_definition(count):
    """A skewed ratio of sums, and the difference of two of them, in one call and one by one."""
    rng = np.random.default_rng(count)
    whole = rng.integers(50, 400, (count, 1))
    part = (whole * rng.beta(5, 1, (count, 2))).astype(int)

    def statistic(part, whole):
        values = part / whole
        return np.stack([values[:, 0], values[:, 1] - values[:, 0]], 1)

    found = bootstrap.bca(statistic, part, whole)
    data = np.concatenate([part, whole], 1)
    one = _naive_bca(data, lambda d: d[:, 0].sum() / d[:, 2].sum())
    difference = _naive_bca(data, lambda d: (d[:, 1] - d[:, 0]).sum() / d[:, 2].sum())
    np.testing.assert_allclose([found.low[0], found.high[0]], one, rtol=1e-7)
    np.testing.assert_allclose([found.low[1], found.high[1]], difference, rtol=1e-7)


def test_law_schools():
    """The correlation that Efron published, and an interval as another library computes it."""
    stats = pytest.importorskip("scipy.stats")
    found = bootstrap.bca(_correlation, _moments(LSAT, GPA))
    assert float(found.value) == pytest.approx(0.776, abs=5e-4)

    def correlation(x, y, axis):
        x, y = (v - v.mean(axis, keepdims=True) for v in (x, y))
        return (x * y).sum(axis) / np.sqrt((x * x).sum(axis) * (y * y).sum(axis))

    other = stats.bootstrap(
        (LSAT, GPA), correlation, paired=True, n_resamples=20000, method="BCa", rng=0
    ).confidence_interval
    # The lower tail is thin: of 2000 draws its quantile is known to 0.03.
    assert float(found.low) == pytest.approx(other.low, abs=0.06)
    assert float(found.high) == pytest.approx(other.high, abs=0.01)


def test_of_a_mean_of_many_it_is_the_normal_interval():
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap.bca(lambda total: total / 400, values)
    expected = 2 * 1.96 * values.std() / 20
    # Its ends are 2.5 % quantiles of 2000 draws, known to 4 % or so.
    assert found.high - found.low == pytest.approx(expected, rel=0.08)
    assert float(found.high + found.low) / 2 == pytest.approx(values.mean(), abs=0.05 * expected)


def test_acceleration_of_a_mean_is_its_skewness():
    """a = skewness / (6 sqrt(n)), for which the jackknife has a closed form."""
    values = np.random.default_rng(2).exponential(size=37)
    total = np.asarray([values.sum()])
    found = bootstrap._acceleration(lambda s: (s / 37)[:, None], [values], [total], total / 37)
    centered = values - values.mean()
    skewness = (centered**3).mean() / (centered**2).mean() ** 1.5
    assert float(found[0]) == pytest.approx(skewness / 6 / 37**0.5, rel=1e-9)


def test_intervals_contain_the_value():
    """Of extremes, too, which lie at an end of all draws."""
    rng = np.random.default_rng(3)
    for count in (1, 2, 3, 10):
        part = rng.integers(0, 3, (count, 200))
        whole = part + rng.integers(0, 2, (count, 200)) * (rng.random(200) < 0.7)
        found = bootstrap.bca(_ratio, part, whole)
        has = ~np.isnan(found.value)
        assert (found.low[has] <= found.value[has]).all()
        assert (found.high[has] >= found.value[has]).all()
        assert np.isnan(found.low[~has]).all() and np.isnan(found.high[~has]).all()
        assert 0 < has.sum() <= 200

    def largest(counts):
        return (counts > 0).astype(float) @ 2.0 ** np.arange(10)

    found = bootstrap.bca(largest, np.eye(10, dtype=int))
    assert found.low < found.value == found.high


def test_images_that_are_alike_or_alone_have_no_width():
    for count in (1, 12):
        part = np.full((count, 1), 3)
        found = bootstrap.bca(_ratio, part, 7 + 0 * part)
        assert found.value[0] == found.low[0] == found.high[0] == 3 / 7


def test_draws_without_a_value_are_left_out():
    """A class that one image of six has: draws without that image say nothing, the others all."""
    part, whole = np.asarray([0, 0, 0, 4, 0, 0]), np.asarray([0, 0, 0, 5, 0, 0])
    found = bootstrap.bca(_ratio, part, whole)
    assert float(found.low) == float(found.value) == float(found.high) == 0.8
    nothing = bootstrap.bca(_ratio, 0 * part, 0 * whole)
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_memory_sets_the_size_of_parts_and_nothing_else(monkeypatch):
    rng = np.random.default_rng(4)
    part = rng.integers(0, 2**30, (51, 2, 3))
    whole = part + rng.integers(0, 2**30, (51, 2, 3))
    expected = bootstrap.bca(_ratio, part, whole)
    monkeypatch.setattr(bootstrap, "_NUMBERS", 700)
    assert max(len(rows) for rows in bootstrap.image_draws(51)) == 13
    found = bootstrap.bca(_ratio, part, whole)
    for ours, other in zip(found.arrays, expected.arrays, strict=True):
        # Moments of the jackknife are added up in other parts.
        np.testing.assert_allclose(ours, other, rtol=1e-12)


def test_draws_are_the_same_every_time_and_keep_the_number_of_images():
    first, again = (np.concatenate(list(bootstrap.image_draws(7, w))) for w in (1, 10**6))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (2000, 7) and (first.sum(1) == 7).all()
    # Each image is expected once per draw; its variance is (1 - 1 / 7), over 2000 draws.
    np.testing.assert_allclose(first.mean(0), 1, atol=5 * (6 / 7 / 2000) ** 0.5)


def test_rank_correlation_by_its_definition():
    """Pearson's correlation of mean ranks, with ties, for whole images drawn twice or never."""
    rng = np.random.default_rng(2)
    image = np.repeat(np.arange(5), 8)
    x = rng.integers(0, 12, 40).astype(float)
    y = x + rng.integers(0, 12, 40)

    def mean_ranks(v):
        return np.asarray([(v < a).sum() + ((v == a).sum() - 1) / 2 for a in v])

    weights = np.concatenate([np.ones((1, 5)), *bootstrap.image_draws(5)])
    found = bootstrap.rank_correlation(weights @ bootstrap.rank_sums(x, y, image, 5))
    a, b = mean_ranks(x), mean_ranks(y)
    for draw in (0, 1, 77):
        repeats = np.repeat(np.arange(40), weights[draw].astype(int)[image])
        expected = np.corrcoef(a[repeats], b[repeats])[0, 1]
        assert found[draw] == pytest.approx(expected, abs=1e-12)
    flipped = bootstrap.rank_correlation(weights @ bootstrap.rank_sums(x, -y, image, 5))
    np.testing.assert_allclose(flipped, -found, atol=1e-12)


def test_rank_correlation_of_what_does_not_vary():
    sums = bootstrap.rank_sums(np.ones(4), np.arange(4.0), np.arange(4), 4)
    found = bootstrap.bca(bootstrap.rank_correlation, sums)
    assert np.isnan([found.value, found.low, found.high]).all()
