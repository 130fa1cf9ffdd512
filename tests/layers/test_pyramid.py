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


def test_reach_of_the_atrous_pooling():
    """The 1x1 part reads a pixel, dilated ones its neighbours at their distance, one all."""
    pool = layers.AtrousPyramidPooling(3, 4, dilations=(1, 2, 4), rngs=nnx.Rngs(0))
    pool.eval()
    x = jax.random.normal(jax.random.key(0), (1, 11, 11, 3))
    at = (0, 5, 5, slice(None))
    for part, distance in zip(pool.scales, (0, 2, 4), strict=True):
        changed = jnp.any(part(x.at[at].add(1.0)) != part(x), (0, 3))
        reached = {int(i) for i in jnp.nonzero(changed)[0]}
        assert reached == {5 - distance, 5, 5 + distance}
    kernel = pool.image.conv.kernel
    before, kernel[...] = pool(x), -kernel[...]
    assert float(abs(pool(x) - before).max()) > 1e-4


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
