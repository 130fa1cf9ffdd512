"""Upsampling by whole factors against its definition, and the closed forms of its artefact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from segalias_jax import ops
from segalias_jax.errors import InputError

RNG = np.random.default_rng(0)


def random(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_zeros(factor):
    x = random(2, 3, 5, 4)
    y = ops.insert_zeros(x, factor)
    expected = np.zeros((2, 3 * factor, 5 * factor, 4), np.float32)
    expected[:, ::factor, ::factor] = x
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_transposed_convolution(side):
    x, kernel = random(2, 3, 5, 4), random(side, side, 4, 6)
    expected = np.zeros((2, 3 * side, 5 * side, 6))
    for a in range(side):
        for b in range(side):
            expected[:, a::side, b::side] = np.asarray(x, float) @ np.asarray(kernel[a, b], float)
    # Sums of four products of numbers of size 1.
    np.testing.assert_allclose(ops.conv2d_transpose(x, kernel), expected, atol=2e-6)


def test_gradient_is_the_strided_convolution():
    x, kernel, g = random(1, 3, 5, 4), random(2, 2, 4, 6), random(1, 6, 10, 6)
    _, pull = jax.vjp(lambda x: ops.conv2d_transpose(x, kernel), x)
    expected = ops.conv2d(g, kernel.transpose(0, 1, 3, 2), stride=2)
    np.testing.assert_allclose(pull(g)[0], expected, atol=5e-6)
    _, pull = jax.vjp(lambda x: ops.insert_zeros(x, 2), x)
    np.testing.assert_array_equal(pull(g[..., :4])[0], g[:, ::2, ::2, :4])


def test_types_are_kept():
    x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    assert ops.insert_zeros(x, 2).dtype == jnp.bfloat16
    assert ops.conv2d_transpose(x, jnp.ones((2, 2, 2, 3))).dtype == jnp.bfloat16
    assert ops.checkerboard_score(x).dtype == jnp.float32


def test_sharded_height():
    """Values and gradients are those of one device."""

    def loss(x):
        y = ops.insert_zeros(x, 2) + ops.conv2d_transpose(x, kernel)
        return jnp.sum(jnp.sin(ops.max_pool_2x2(y, stride=1)) + jnp.cos(y)) + jnp.sum(
            jnp.exp(ops.max_pool_2x2(y))
        )

    x, kernel = random(2, 8, 6, 3), random(2, 2, 3, 3)
    mesh = jax.make_mesh((4,), ("a",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(x, NamedSharding(mesh, P(None, "a")))
    run = jax.jit(jax.value_and_grad(loss))
    for ours, expected in zip(run(spread), run(x), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("size", [(12, 24), (13, 27)], ids=str)
def test_score_of_constant_maps(factor, size):
    """Zeros leave 1 of f^2 pixels; copies and interpolation leave nothing behind."""
    small = jnp.ones((1, -(-size[0] // factor), -(-size[1] // factor), 2))
    large = ops.crop_or_extend(ops.insert_zeros(small, factor), size)
    score = ops.checkerboard_score(large, factor)
    np.testing.assert_allclose(score, 100 * (1 - 1 / factor**2), rtol=1e-5)
    for resize in (ops.resize_nearest, ops.resize_bilinear):
        # Power of float32's rounding, relative: 1e-14.
        assert float(ops.checkerboard_score(resize(small, size), factor)[0]) < 1e-9


def test_score_of_a_transposed_convolution():
    """Of a constant: variance of the kernel over its mean square, channels pooled."""
    kernel = random(2, 2, 1, 5)
    y = ops.conv2d_transpose(jnp.ones((1, 8, 8, 1)), kernel)
    values = np.asarray(kernel[:, :, 0], float)
    expected = 100 * values.var((0, 1)).sum() / np.square(values).mean((0, 1)).sum()
    np.testing.assert_allclose(ops.checkerboard_score(y), expected, rtol=1e-5)


def test_score_of_uneven_overlap():
    """A 3x3 kernel of ones with stride 2 adds up 1, 2 or 4 terms: gains 1 and 2 along an axis."""
    y = ops.insert_zeros(jnp.ones((1, 8, 8, 1)), 2)
    y = ops.conv2d(
        jnp.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap"), jnp.ones((3, 3, 1, 1))
    )
    # Along an axis, (3/2)^2 of the mean and (1/2)^2 of the pattern.
    np.testing.assert_allclose(ops.checkerboard_score(y), 100 * (1 - 0.9**2), rtol=1e-5)


def test_score_sees_slow_patterns_only():
    n = 64
    i = np.arange(n)
    flip = (-1.0) ** i
    near, far, middle = (np.cos(2 * np.pi * k * i / n) for k in (4, 5, 21))
    for line, score in ((flip * near, 100), (flip * far, 0), (near, 0), (middle, 0)):
        x = jnp.asarray(np.outer(line, np.ones(n))[None, :, :, None], jnp.float32)
        np.testing.assert_allclose(ops.checkerboard_score(x), score, atol=1e-4)
        turned = jnp.moveaxis(x, 1, 2)
        np.testing.assert_allclose(ops.checkerboard_score(turned), score, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 4])
def test_score_of_noise_and_of_nothing(factor):
    x = random(1, 256, 256, 4)
    share = (factor**2 - 1) / (4 * factor) ** 2
    # The closed bands are one of 64 (32) bins wider; 5 % covers that, 1 % the noise.
    np.testing.assert_allclose(ops.checkerboard_score(x, factor), 100 * share, rtol=0.15)
    assert ops.checkerboard_score(jnp.zeros((2, 3, 8, 8, 1)), factor).tolist() == [[0] * 3] * 2


@pytest.mark.parametrize("factor, size", [(1, 8), (0, 8), (4, 3)])
def test_wrong_factor(factor, size):
    with pytest.raises(InputError, match=f"factor is {factor} for a map of {size}x9 pixels"):
        ops.checkerboard_score(jnp.ones((size, 9, 1)), factor)
