"""Pyramid pooling: sizes, and that every scale contributes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import layers


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (6, 6)], ids=str)
def test_any_size(size):
    pool = layers.PyramidPooling(8, 4, rngs=nnx.Rngs(0))
    assert pool(jnp.ones((2, *size, 8))).shape == (2, *size, 4)


def test_every_scale_reaches_the_result():
    pool = layers.PyramidPooling(8, 4, pool_scales=(1, 2, 3), rngs=nnx.Rngs(0))
    pool.eval()
    x = jax.random.normal(jax.random.key(0), (1, 9, 9, 8))
    before = pool(x)
    for scale in pool.scales:
        kernel = scale.conv.kernel[...]
        scale.conv.kernel[...] = -kernel
        assert float(abs(pool(x) - before).max()) > 1e-4
        scale.conv.kernel[...] = kernel
    np.testing.assert_array_equal(pool(x), before)
