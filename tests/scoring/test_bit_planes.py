"""Bit planes against the same thing said with arrays of bools."""

import numpy as np
import pytest

from segalias_jax.scoring import bit_planes


def _mask(height=7, words=3, share=0.1, seed=0):
    return np.random.default_rng(seed).random((height, 64 * words)) < share


def test_planes_are_masks():
    mask = _mask()
    plane = bit_planes.pack(mask)
    np.testing.assert_array_equal(bit_planes.unpack(plane), mask)
    np.testing.assert_array_equal(bit_planes.places(plane), np.flatnonzero(mask))
    both = np.stack([plane, ~plane])
    np.testing.assert_array_equal(bit_planes.unpack(both), [mask, ~mask])


@pytest.mark.parametrize("shape", [(0, 64), (3, 0)])
def test_empty_pictures(shape):
    plane = bit_planes.pack(np.zeros(shape, bool))
    assert bit_planes.unpack(plane).shape == shape and not len(bit_planes.places(plane))


@pytest.mark.parametrize("width", [0, 1, 63, 64, 65, 128])
def test_first_pixels_of_a_row(width):
    row = bit_planes.unpack(bit_planes.within(width, 2)[None])[0]
    np.testing.assert_array_equal(row, np.arange(128) < width)


@pytest.mark.parametrize("pixels", [0, 1, 63, 64, 65, 130, 192, 500])
def test_moves(pixels):
    mask = _mask()
    moved = bit_planes.unpack(bit_planes.right_of(bit_planes.pack(mask), pixels))
    expected = np.pad(mask, ((0, 0), (pixels, 0)))[:, : mask.shape[1]]
    np.testing.assert_array_equal(moved, expected)
    down = bit_planes.unpack(bit_planes.below(bit_planes.pack(mask)))
    np.testing.assert_array_equal(down, np.pad(mask, ((1, 0), (0, 0)))[:-1])


@pytest.mark.parametrize(
    "before, after", [(0, 0), (1, 0), (0, 1), (7, 7), (3, 40), (64, 63), (9, 200)]
)
def test_windows(before, after):
    mask = _mask(share=0.003)
    padded = np.pad(mask, ((before, after), (before, after)))
    size = (before + after + 1,) * 2
    expected = np.lib.stride_tricks.sliding_window_view(padded, size).any((2, 3))
    planes = np.stack([bit_planes.pack(mask)] * 2)
    ours = bit_planes.unpack(bit_planes.window_or(planes, before, after))
    np.testing.assert_array_equal(ours, [expected, expected])
