"""A matrix along an axis against numpy."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.errors import InputError


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_any_axis(axis):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    matrix = rng.normal(size=(7, x.shape[axis]))
    expected = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    y = ops.apply_along_axis(jnp.asarray(x), matrix, axis)
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 7, 6, 3), (1, 8, 5, 4)])
def test_form_for_a_gpu_is_the_same_filter(shape):
    """Forward and gradient; sums of eight float32 products in another order."""
    x, g = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)

    def both(platform):
        with ops.target(1, platform):
            low, back = jax.vjp(lambda x: ops.low_pass(x, 0.25, method="matmul"), x)
            _, split = jax.vjp(lambda x: ops.split_bands(x, 0.25, method="matmul")[1], x)
            small, shrink = jax.vjp(lambda x: ops.frequency_low_cut(x), x)
            return low, *back(g), *split(g), small, *shrink(small)

    for ours, expected in zip(both("cuda"), both("cpu"), strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("axis", [1, 2])
def test_form_for_a_gpu_has_no_transpose(axis):
    def traced(devices, platform):
        with ops.target(devices, platform):
            function = lambda x: ops.apply_along_axis(x, np.eye(6), axis)  # noqa: E731
            return str(jax.make_jaxpr(function)(jnp.ones((2, 6, 6, 3))))

    assert "transpose[" not in traced(1, "cuda")
    assert "transpose[" in traced(1, "cpu")
    # Elsewhere the program is the one that it was.
    assert traced(1, "tpu") == traced(1, "cpu") == traced(4, "cuda")


@pytest.mark.parametrize(
    "function, arguments",
    [
        (ops.low_pass, {"cutoff": 0.25, "method": "matmul"}),
        (ops.low_pass, {"cutoff": 0.25, "method": "fft"}),
        (ops.soft_low_pass, {"cutoff": 0.25, "width": 2.0}),
        (ops.frequency_low_cut, {}),
        (ops.resize_bilinear, {"size": (4, 4)}),
        (ops.adaptive_avg_pool, {"size": (4, 4)}),
    ],
)
def test_images_of_bytes_are_refused(function, arguments):
    """Weights would be rounded to 0 and 1; types are checked before only where tests run."""
    with pytest.raises(InputError, match="x holds uint8; convert it to floating-point"):
        inspect.unwrap(function)(jnp.ones((1, 8, 8, 3), jnp.uint8), **arguments)


def test_type_is_kept():
    y = ops.apply_along_axis(jnp.ones((2, 2), jnp.bfloat16), np.eye(2), 0)
    assert y.dtype == jnp.bfloat16
