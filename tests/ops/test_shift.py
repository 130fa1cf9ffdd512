"""Consistency under shifts: exact on predictors whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.ops import binomial_blur, resize_bilinear, shift_consistency

IMAGES = np.random.default_rng(0).integers(0, 5, (2, 9, 12, 3)).astype(np.uint8)


def pixelwise(x):
    return x[..., 0]


def fixed(x):
    """Depends on the place alone: a class for every column."""
    return jnp.broadcast_to(jnp.arange(x.shape[2]), x.shape[:3])


@pytest.mark.parametrize("shifts", [((0, 1), (1, 1)), ((-2, 3), (4, -5))])
def test_what_moves_along_is_consistent(shifts):
    np.testing.assert_array_equal(shift_consistency(pixelwise, IMAGES, shifts=shifts), [1, 1])


def test_what_stays_in_place_is_not():
    """Columns stay the same class under shifts down only: one of the three default ones."""
    np.testing.assert_allclose(shift_consistency(fixed, IMAGES), [1 / 3] * 2, rtol=1e-7)
    assert float(shift_consistency(fixed, IMAGES, shifts=((0, 1), (0, -1))).max()) == 0


def test_counts_the_pixels_that_both_images_show():
    """One image in two changes one class, in one place, when it moves."""

    def predict(x):
        moved = (x[:, 0, 0] == x[:, 0, 1]).all(-1)  # the repeated edge
        classes = x[..., 0]
        return classes.at[:, 4, 5].add(jnp.where(moved, 1, 0).astype(classes.dtype))

    images = IMAGES.copy()
    images[0, 0, 0], images[0, 0, 1] = 1, 2
    images[1, 0, :2] = 3  # changed in both, but elsewhere: two places differ
    found = shift_consistency(predict, images, shifts=((0, 1),))
    np.testing.assert_allclose(found, [1 - 1 / 99, 1 - 2 / 99], rtol=1e-6)


def test_jit_and_predictors_on_the_host():
    expected = shift_consistency(fixed, IMAGES)
    compiled = jax.jit(lambda x: shift_consistency(fixed, x))(IMAGES)
    on_host = shift_consistency(lambda x: np.asarray(fixed(x), np.uint8), IMAGES)
    np.testing.assert_array_equal(compiled, expected)
    np.testing.assert_array_equal(on_host, expected)


def test_strides_without_a_filter_are_less_consistent():
    """A blur ahead of a stride makes a sampled prediction more stable."""
    x = np.random.default_rng(1).normal(size=(1, 64, 64, 4)).astype(np.float32)

    def classes(taps):
        def predict(x):
            small = binomial_blur(x, taps)[:, ::2, ::2]
            return jnp.argmax(resize_bilinear(small, (64, 64)), -1)

        return predict

    plain, blurred = jax.jit(lambda x: [shift_consistency(classes(k), x)[0] for k in (1, 5)])(x)
    assert plain < blurred - 0.1


@pytest.mark.parametrize("shifts, message", [((), "shifts is empty"), (((0, 12),), "9x12")])
def test_shifts_that_cannot_be(shifts, message):
    with pytest.raises(InputError, match=message):
        shift_consistency(pixelwise, IMAGES, shifts=shifts)
