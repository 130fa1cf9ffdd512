"""Matrices computed by a program beside the constants of the same lengths."""

import jax
import numpy as np
import pytest

from segalias_jax.ops import bands, joined_conv, resample, symbolic

LENGTHS = ((1, 3), (2, 2), (9, 5), (30, 70))


def computed(make):
    """One program for everything: compiling takes most of the time."""
    return jax.tree.map(np.asarray, jax.jit(make)())


def assert_equal(found, expected):
    # Weights are at most 1, and float32 rounds three times on the way to each.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize("cutoff, band", [(0.35, "symmetric"), (0.35, "reference")])
def test_bands(cutoff, band):
    """The published rule rounds halves to even, of products rounded in float64: 70 and 30."""
    lengths = (1, 2, 7, 30, 70)
    matrices, odd = computed(lambda: symbolic.band_operators(lengths, cutoff, band))
    lopsided = 0
    for n, matrix, (left, right) in zip(lengths, matrices, odd, strict=True):
        bounds = bands.band_bounds(n, cutoff, band=band)
        assert_equal(matrix, bands.band_matrix(n, *bounds))
        expected = np.matmul(*bands.odd_factors(n, *bounds))
        assert_equal(left @ right + np.zeros((n, n)), expected)
        lopsided += np.abs(expected).max() > 1e-3
    assert (lopsided > 0) == (band == "reference")


def test_phases_of_the_longest_axis_are_exact():
    """They reach thousands of turns, of which float32 alone would know the fourth digit."""
    t, period = np.arange(symbolic.LONGEST, dtype=np.int32), 2 * symbolic.LONGEST
    found = computed(lambda: symbolic._angle(5793, jax.numpy.asarray(t), period))
    expected = 2 * np.pi * (5793 * t.astype(np.int64) % period) / period
    np.testing.assert_allclose(found, expected, rtol=2e-7)


@pytest.mark.parametrize("align_corners", [False, True])
def test_resizing(align_corners):
    def make():
        return [
            (
                symbolic.bilinear_matrix(n, m, align_corners),
                joined_conv._symbolic_matrices(n, m, 3, align_corners),
            )
            for n, m in (*LENGTHS, (70, 30))
        ]

    for (n, m), (matrix, shifted) in zip((*LENGTHS, (70, 30)), computed(make), strict=True):
        assert_equal(matrix, resample.bilinear_matrix(n, m, align_corners))
        assert_equal(shifted, joined_conv._shifted_matrices(n, m, 3, align_corners))


def test_nearest_and_pooling():
    def make():
        return [(symbolic.nearest_matrix(n, m), symbolic.pooling_matrix(n, m)) for n, m in LENGTHS]

    for (n, m), (nearest, pooling) in zip(LENGTHS, computed(make), strict=True):
        np.testing.assert_array_equal(nearest, resample._nearest_matrix(n, m))
        assert_equal(pooling, resample._pooling_matrix(n, m))
