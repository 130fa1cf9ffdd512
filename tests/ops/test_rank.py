"""Rank filters against sorted windows in numpy, for every border, type and size."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from segalias_jax.errors import InputError
from segalias_jax.ops import adaptive_avg_pool, majority_filter, median_filter

MODES = {"reflect": "symmetric", "edge": "edge", "zero": "constant"}


def windows(x, size, border, **constant):
    """All windows of the first two axes, `[h, w, ..., size^2]`."""
    half = size // 2
    pads = [(half, half)] * 2 + [(0, 0)] * (x.ndim - 2)
    padded = np.pad(x, pads, mode=MODES[border], **constant)
    return sliding_window_view(padded, (size, size), (0, 1)).reshape(*x.shape, size * size)


def noise(shape, dtype, seed=0):
    # Few distinct values, so that many tie.
    return np.random.default_rng(seed).integers(0, 40, shape).astype(dtype)


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("size", [1, 3, 5, 11])
def test_equals_sorted_windows(size, border):
    x = noise((13, 18, 2), np.float32)
    expected = np.median(windows(x, size, border), -1)
    np.testing.assert_array_equal(median_filter(jnp.asarray(x), size, border=border), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "uint8", "int32"])
def test_keeps_the_type(dtype):
    x = noise((9, 8, 3), np.float32)
    y = median_filter(jnp.asarray(x, dtype), 5)
    assert y.dtype == jnp.dtype(dtype)
    np.testing.assert_array_equal(y.astype(jnp.float32), np.median(windows(x, 5, "reflect"), -1))


def test_other_axes_and_batches():
    x = noise((2, 9, 8, 3), np.float32)
    by_image = jnp.stack([median_filter(image, 3) for image in jnp.asarray(x)])
    np.testing.assert_array_equal(median_filter(jnp.asarray(x), 3), by_image)
    first = median_filter(jnp.asarray(x.transpose(0, 3, 1, 2)), 3, axes=(2, 3))
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), by_image)
    inside = jax.jit(jax.vmap(lambda image: median_filter(image, 3)))(jnp.asarray(x))
    np.testing.assert_array_equal(inside, by_image)


@pytest.mark.parametrize("size", [3, 5, 11])
def test_gradient_equals_finite_differences(size):
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        # All values differ by more than the step.
        x = jnp.asarray(rng.permutation(12 * 11 * 2).reshape(12, 11, 2) / 7.0)
        weight = jnp.asarray(rng.normal(size=x.shape))

        def loss(x):
            return jnp.sum(weight * median_filter(x, size) ** 2)

        gradient, along = jax.grad(loss)(x), jnp.asarray(rng.normal(size=x.shape))
        slope = (loss(x + 1e-5 * along) - loss(x - 1e-5 * along)) / 2e-5
        np.testing.assert_allclose(jnp.sum(gradient * along), slope, rtol=1e-8)
        forward = jax.jvp(loss, (x,), (along,))[1]
        np.testing.assert_allclose(forward, slope, rtol=1e-8)


def test_pixels_that_tie_share_the_gradient():
    gradient = jax.grad(lambda x: median_filter(x, 3, border="edge")[1, 1, 0])(jnp.ones((3, 3, 1)))
    np.testing.assert_allclose(gradient, np.full((3, 3, 1), 1 / 9), rtol=1e-6)


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_flipped_pixels_survive_as_often_as_theory_says(p):
    """On a flat picture, a 3x3 median errs with probability sum C(9, k) p^k (1 - p)^(9 - k)."""
    flipped = jax.random.bernoulli(jax.random.key(0), p, (600, 600, 1)).astype(jnp.float32)
    # Every third pixel: windows that share no pixel are independent.
    wrong = median_filter(flipped, 3)[1:-1:3, 1:-1:3].mean()
    expected = sum(math.comb(9, k) * p**k * (1 - p) ** (9 - k) for k in range(5, 10))
    error = math.sqrt(expected * (1 - expected) / 200**2)
    assert abs(float(wrong) - expected) < 3 * error


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_flipped_pixels_move_a_box_filter_as_far_as_theory_says(p):
    """A pixel that is flipped moves the mean of its 3x3 window by p / 9 on average, all nine by p;
    the variance is p (1 - p) / 9. The median errs less where p is small."""
    flipped = jax.random.bernoulli(jax.random.key(1), p, (600, 600, 1)).astype(jnp.float32)
    middle = (jnp.arange(600) % 3 == 1)[:, None] & (jnp.arange(600) % 3 == 1)
    boxes, others = (
        np.asarray(adaptive_avg_pool(x, (200, 200)), np.float64).ravel()
        for x in (flipped, jnp.where(middle[..., None], 0, flipped))
    )
    for values, expected in (
        (boxes - others, p / 9),
        (boxes, p),
        ((boxes - p) ** 2, p * (1 - p) / 9),
    ):
        error = values.std() / math.sqrt(values.size)
        assert abs(values.mean() - expected) < 3 * error
    wrong = sum(math.comb(9, k) * p**k * (1 - p) ** (9 - k) for k in range(5, 10))
    assert wrong < boxes.mean()


def majority_reference(label, size, border, classes):
    votes = windows(label, size, border, **({"constant_values": 255} if border == "zero" else {}))
    result = label.copy()
    for at in np.ndindex(*label.shape):
        count = np.bincount(votes[at], minlength=256)[:classes]
        best = np.flatnonzero(count == count.max())
        if label[at] != 255:
            result[at] = label[at] if label[at] in best else best[0]
    return result


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("size", [3, 5])
def test_majority_equals_counted_windows(size, border):
    label = noise((14, 11), np.int32, seed=2) % 4
    label[noise(label.shape, np.int32, seed=3) < 6] = 255
    expected = majority_reference(label, size, border, 4)
    result = majority_filter(jnp.asarray(label), size, num_classes=4, border=border)
    np.testing.assert_array_equal(result, expected)
    batch = majority_filter(jnp.asarray(label, jnp.uint8)[None], size, num_classes=4, border=border)
    assert batch.dtype == jnp.uint8
    np.testing.assert_array_equal(batch[0], expected)


def test_mistakes_are_named():
    x = jnp.zeros((4, 4, 1))
    with pytest.raises(InputError, match="size is 4, but must be odd"):
        median_filter(x, 4)
    with pytest.raises(InputError, match="border is 'wrap'; choose one of reflect, edge, zero"):
        median_filter(x, 1, border="wrap")
    with pytest.raises(InputError, match="window of 11 pixels reaches over a picture of 4 x 4"):
        median_filter(x, 11)
