"""Levels of values: what NumPy does by sorting and by wavefronts, beside plain loops."""

from bisect import bisect_right

import numpy as np
import pytest

from segalias_jax.data.tools.dithering import dither, quantize
from segalias_jax.errors import InputError

LEVELS = (0, 20, 40, 60, 80)


def looped(image, levels):
    """The rule as it is usually written: pixel by pixel, errors handed on to what comes later."""
    height, width = image.shape
    values = image.astype(float).tolist()
    middles = [(a + b) / 2 for a, b in zip(levels, levels[1:], strict=False)]
    out = np.zeros(image.shape, np.asarray(levels).dtype)
    for i in range(height):
        for j in range(width):
            out[i, j] = levels[bisect_right(middles, values[i][j])]
            error = values[i][j] - out[i, j]
            for rows, columns, part in ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1)):
                if i + rows < height and 0 <= j + columns < width:
                    values[i + rows][j + columns] += error * (part / 16)
    return out


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 14), (31, 8), (40, 41)])
def test_wavefronts_are_the_loop_to_the_last_bit(size):
    images = np.random.default_rng(0).uniform(-10, 95, (2, *size))
    for levels in (LEVELS, (-1.5, 3.25, 60.0)):
        expected = np.stack([looped(image, levels) for image in images])
        found = dither(images, levels)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(dither(images[1], levels), expected[1])


def test_integers_and_empty_images():
    image = np.random.default_rng(1).integers(0, 81, (20, 30), np.uint8)
    np.testing.assert_array_equal(dither(image, LEVELS), looped(image, LEVELS))
    assert dither(image[:0], LEVELS).shape == (0, 30)
    assert dither(image[None][:0], LEVELS).shape == (0, 20, 30)


def test_dithering_keeps_means_of_neighborhoods_and_quantizing_does_not():
    """An error that is handed on is not lost: only what leaves through the border is."""
    image = np.full((64, 64), 7.0)
    assert quantize(image, LEVELS).max() == 0
    dithered = dither(image, LEVELS)
    assert set(np.unique(dithered)) == {0, 20}
    assert dithered.mean() == pytest.approx(7, abs=0.1)
    blocks = dithered.reshape(8, 8, 8, 8).mean((1, 3))
    assert np.abs(blocks - 7).max() < 1.5


def test_quantizing_takes_the_nearest_level_and_the_upper_one_of_two():
    values = np.random.default_rng(2).uniform(-30, 120, 500)
    distance = np.abs(values[:, None] - np.asarray(LEVELS))
    np.testing.assert_array_equal(quantize(values, LEVELS), 20 * distance.argmin(1))
    assert quantize(np.array([9.99, 10, 30, 50, 70]), LEVELS).tolist() == [0, 20, 40, 60, 80]


@pytest.mark.parametrize("levels", [(1,), (0, 0), (0, 2, 1)])
def test_levels_that_do_not_ascend(levels):
    for function in (quantize, dither):
        with pytest.raises(InputError, match="levels: .* are not two or more numbers that ascend"):
            function(np.zeros((2, 2)), levels)


def test_values_that_are_no_numbers():
    with pytest.raises(InputError, match="values: one is not a finite number"):
        dither(np.array([[0.0, np.nan]]), LEVELS)
