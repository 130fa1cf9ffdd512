"""A matrix along an axis against numpy."""

import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_any_axis(axis):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    matrix = rng.normal(size=(7, x.shape[axis]))
    expected = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    y = ops.apply_along_axis(jnp.asarray(x), matrix, axis)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_type_is_kept():
    y = ops.apply_along_axis(jnp.ones((2, 2), jnp.bfloat16), np.eye(2), 0)
    assert y.dtype == jnp.bfloat16
