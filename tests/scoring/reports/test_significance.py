"""Permutation tests against all permutations one by one, and what chance must give."""

import itertools

import numpy as np
import pytest

from segalias_jax.scoring.reports import significance
from segalias_jax.scoring.reports.significance import holm, permutation_test


def _ratio(part, whole):
    with np.errstate(invalid="ignore"):
        return part / whole


def _counts(rng, count, classes=3):
    whole = rng.integers(20, 90, (count, classes))
    return [rng.binomial(whole, 0.7), whole]


def test_all_permutations_one_by_one():
    rng = np.random.default_rng(0)
    first, second = _counts(rng, 7), _counts(rng, 7)
    p = permutation_test(_ratio, first, second)

    def difference(swaps):
        one, other = np.zeros((2, 3)), np.zeros((2, 3))
        for i, swap in enumerate(swaps):
            a, b = ((first, second), (second, first))[swap]
            one += [a[0][i], a[1][i]]
            other += [b[0][i], b[1][i]]
        return np.abs(other[0] / other[1] - one[0] / one[1])

    all_of_them = [difference(swaps) for swaps in itertools.product((0, 1), repeat=7)]
    expected = np.mean([d >= all_of_them[0] - 1e-12 for d in all_of_them], 0)
    np.testing.assert_allclose(p, expected, rtol=1e-12)
    # Either model may come first.
    np.testing.assert_array_equal(permutation_test(_ratio, second, first), p)


def test_drawn_permutations_estimate_the_same_p(monkeypatch):
    rng = np.random.default_rng(1)
    first, second = _counts(rng, 12), _counts(rng, 12)
    exact = permutation_test(_ratio, first, second)
    monkeypatch.setattr(significance, "PERMUTATIONS", 4095)
    drawn = permutation_test(_ratio, first, second)
    np.testing.assert_allclose(drawn, exact, atol=4 * 0.5 / 64)
    # One was added to both, so that p times that is an integer.
    np.testing.assert_allclose(drawn * 4096, np.round(drawn * 4096), atol=1e-9)


def test_a_sign_test_has_a_closed_form():
    """Differences that are all 1 are beaten by no exchange but the one of all: p = 2^(1 - n)."""
    for count in (1, 2, 6, 10):
        one, whole = np.arange(count) + 5, np.full(count, 100)
        p = permutation_test(_ratio, [one, whole], [one + 1, whole])
        assert float(p) == 2.0 ** (1 - count)
    one, whole = np.arange(40) + 5, np.full(40, 100)
    assert float(permutation_test(_ratio, [one, whole], [one + 1, whole])) == 1e-4
    # 133 tests of 19 classes and 7 models are still clear after correction.
    p = permutation_test(_ratio, [one, whole], [one + 1, whole], tests=1000)
    assert float(p) == 1 / 40001


def test_models_that_are_one_have_p_1_and_nan_stays_nan():
    same = _counts(np.random.default_rng(2), 9)
    same[0][:, 1] = same[1][:, 1] = 0
    p = permutation_test(_ratio, same, same)
    np.testing.assert_array_equal(p, [1, np.nan, 1])


def test_p_of_models_that_are_alike_is_uniform():
    """Of 400 pairs of models from one law; Kolmogorov's distance is below 1.6 / 20 in 99 %."""
    rng = np.random.default_rng(3)
    first, second = _counts(rng, 30, 400), _counts(rng, 30, 400)
    p = np.sort(permutation_test(_ratio, first, second))
    assert np.abs(p - np.arange(1, 401) / 400).max() < 1.63 / 20


def test_memory_sets_the_size_of_parts_and_nothing_else(monkeypatch):
    rng = np.random.default_rng(4)
    first, second = _counts(rng, 37), _counts(rng, 37)
    first = [array.astype(np.int32) for array in first]
    expected = permutation_test(_ratio, first, second)
    monkeypatch.setattr(significance, "_NUMBERS", 1000)
    np.testing.assert_array_equal(permutation_test(_ratio, first, second), expected)


def test_counts_of_32_bits_do_not_overflow():
    big = np.full(8, 2**31 - 1, np.int32)
    p = permutation_test(_ratio, [big, big], [-big, big])
    assert float(p) == 2**-7


def test_holm_by_its_definition():
    """The k-th smallest is rejected at a level if all smaller ones are, at level / (m - k + 1)."""
    p = np.random.default_rng(5).random((4, 5)) ** 3
    corrected = holm(p)
    for level in (0.001, 0.05, 0.3):
        rejected = set()
        for k, i in enumerate(np.argsort(p.ravel())):
            if p.ravel()[i] > level / (20 - k):
                break
            rejected.add(i)
        assert set(np.flatnonzero(corrected.ravel() <= level)) == rejected
    np.testing.assert_array_equal(holm(np.asarray([np.nan, 0.2, 0.9])), [np.nan, 0.4, 0.9])
    assert holm(np.asarray([])).shape == (0,)
    assert float(holm(np.asarray([0.8, 0.9])).max()) == 1


@pytest.mark.parametrize("base", [0, 2])
def test_differences_are_from_the_base_and_paired(base):
    rng = np.random.default_rng(6)
    models = [_counts(rng, 11) for _ in range(3)]
    found = significance.paired_differences(_ratio, models, base=base)
    values = np.stack([part.sum(0) / whole.sum(0) for part, whole in models])
    np.testing.assert_allclose(found.values.value, values, rtol=1e-14)
    others = [i for i in range(3) if i != base]
    np.testing.assert_allclose(found.differences.value, values[others] - values[base], rtol=1e-12)
    for row, other in enumerate(others):
        np.testing.assert_array_equal(
            found.p[row], permutation_test(_ratio, models[base], models[other])
        )
    same = significance.paired_differences(_ratio, [models[0], models[0]])
    assert (same.differences.low == 0).all() and (same.differences.high == 0).all()
