"""The matrices of bands against transforms, in float64."""

import numpy as np
import pytest

from segalias_jax.ops import bands


@pytest.mark.parametrize("length", [1, 2, 7, 8, 20])
@pytest.mark.parametrize("cutoff", [0.2, 0.35, 0.5])
@pytest.mark.parametrize("band", bands.BANDS)
def test_matrix_and_factors_are_the_operator(length, cutoff, band):
    start, stop = bands.band_bounds(length, cutoff, band=band)
    mask = np.zeros(length)
    mask[np.arange(start, stop) % length] = 1
    operator = np.fft.ifft(mask[:, None] * np.fft.fft(np.eye(length), axis=0), axis=0)
    np.testing.assert_allclose(bands.band_matrix(length, start, stop), operator.real, atol=1e-15)
    left, right = bands.odd_factors(length, start, stop)
    np.testing.assert_allclose(left @ right, operator.imag, atol=1e-15)
    assert left.shape[1] <= 2


@pytest.mark.parametrize("length,samples", [(8, 4), (9, 5), (16, 16)])
def test_resampling_reads_the_band_at_other_places(length, samples):
    reach = (samples - 1) // 2
    matrix = bands.resampling_matrix(length, samples, -reach, reach + 1)
    for k in range(reach + 1):
        wave = np.cos(2 * np.pi * k * np.arange(length) / length + 0.3)
        expected = np.cos(2 * np.pi * k * np.arange(samples) / samples + 0.3)
        np.testing.assert_allclose(matrix @ wave, expected, atol=1e-13)


def test_half_plane_mask_is_symmetric():
    mask = bands.half_plane_mask((8, 6), ((-3, 3), (-2, 2)))
    assert mask.shape == (8, 4)
    assert mask[0, 0] == 1 and set(np.unique(mask)) <= {0, 0.5, 1}
