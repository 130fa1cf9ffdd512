"""The matrices of bands against transforms, in float64."""

import math

import numpy as np
import pytest

from segalias_jax.errors import InputError
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


def test_reference_bounds_at_every_length():
    """round(n/2 -+ n f) of double precision for bands; int(n/4) : int(3n/4) for the crop."""
    for n in range(1, 2050):
        for cutoff in (0.25, 0.35, 0.5, 2**0.5 / 4):
            start, stop = bands.band_bounds(n, cutoff, band="reference")
            expected = round(n / 2 - n * cutoff), round(n / 2 + n * cutoff)
            assert (start + n // 2, stop + n // 2) == expected, (n, cutoff)
        if n > 1:
            start, stop = bands.low_cut_bounds(n, 2, band="reference")
            assert (start + n // 2, stop + n // 2) == (int(n / 4), int(3 * n / 4)), n
        start, stop = bands.low_cut_bounds(n, 2)
        kept = [k for k in range(-2, n) if abs(k) < math.ceil(n / 2) / 2]
        assert (1 - stop, stop - 1) == (start, kept[-1]), n
    # Halves go to the even number, and float32 would move these.
    for n in (350, 670, 710):
        middle, reach = np.float32(n) / 2, np.float32(n) * np.float32(0.35)
        single = round(float(middle - reach)) - n // 2, round(float(middle + reach)) - n // 2
        assert bands.band_bounds(n, 0.35, band="reference") != single


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_reference_crop_at_any_stride_has_the_pixels_of_the_stride(stride):
    for n in range(2 * stride, 200):
        start, stop = bands.low_cut_bounds(n, stride, band="reference")
        assert -(n // 2) <= start <= 0 < stop <= n - n // 2
        assert abs(stop - start - n / stride) < 1


def test_a_crop_of_nothing_is_refused():
    with pytest.raises(InputError, match="the band 'reference' keeps nothing of 1 pixels at str"):
        bands.low_cut_bounds(1, 2, band="reference")
