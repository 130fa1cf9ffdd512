"""The binomial blur against recordings and its closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import layers, ops
from segalias_jax.errors import InputError


@pytest.mark.parametrize("size", ["16x16", "17x23"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("taps", range(1, 8))
def test_published_blur(golden, assert_recorded, size, stride, taps):
    z = golden("c_downsample_blur")
    x = jnp.asarray(np.moveaxis(z[f"x_{size}"], 1, -1))
    y = layers.BlurPool(taps, stride=stride)(x)
    assert_recorded(np.moveaxis(y, -1, 1), z[f"y_{size}_k{taps}_s{stride}"], 1e-6)


def test_constant_stays_constant():
    for taps in range(1, 8):
        np.testing.assert_allclose(ops.binomial_blur(jnp.ones((9, 8, 2)), taps), 1, rtol=1e-6)


def test_removes_the_highest_frequency():
    checkerboard = jnp.indices((8, 8)).sum(0)[..., None] % 2 * 2.0 - 1
    for taps in range(2, 8):
        np.testing.assert_allclose(ops.binomial_blur(checkerboard, taps)[2:-2, 2:-2], 0, atol=1e-6)


def test_wrong_arguments():
    with pytest.raises(InputError, match="kernel_size is 8"):
        ops.binomial_blur(jnp.ones((9, 9, 1)), 8)
    with pytest.raises(InputError, match="a blur of 7 taps needs more than 3 pixels"):
        ops.binomial_blur(jnp.ones((3, 9, 1)), 7)
