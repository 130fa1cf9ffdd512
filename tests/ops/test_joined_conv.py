"""The sum over parts against resizing, joining and convolving."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops


def direct(parts, kernel, size, align_corners):
    resized = [ops.resize_bilinear(x, size, align_corners=align_corners) for x in parts]
    return jax.lax.conv_general_dilated(
        jnp.concatenate(resized, -1),
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@pytest.mark.parametrize("align_corners, devices", [(False, 1), (True, 8)])
def test_forward_and_gradient(align_corners, devices, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    size = (9, 6)
    with jax.enable_x64(True):
        shapes = [(2, 9, 6, 3), (2, 5, 3, 2), (2, 1, 6, 1)]
        keys = jax.random.split(jax.random.key(0), 4)
        parts = [jax.random.normal(k, s, jnp.float64) for k, s in zip(keys, shapes, strict=False)]
        kernel = jax.random.normal(keys[-1], (3, 3, 6, 4), jnp.float64)
        both = []
        for function in (
            lambda p, k: ops.joined_conv2d(p, k, size, align_corners=align_corners),
            lambda p, k: direct(p, k, size, align_corners),
        ):
            value = jax.value_and_grad(
                lambda p, k, f=function: jnp.sum(jnp.sin(f(p, k))), argnums=(0, 1)
            )
            both.append(jax.jit(value)(parts, kernel))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), *both)


def test_computes_in_the_type_of_its_input():
    parts = jnp.ones((1, 8, 8, 2), jnp.bfloat16), jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    y = ops.joined_conv2d(parts, jnp.ones((3, 3, 4, 2)), (8, 8))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y[0, 1:-1, 1:-1], 36)
