"""The median layer is its operation."""

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax import ops
from segalias_jax.layers import MedianFilter


def test_is_the_operation_and_removes_salt_and_pepper():
    clean = jnp.broadcast_to(jnp.linspace(0, 1, 24)[None, :, None, None], (2, 24, 20, 3))
    hit = jax.random.bernoulli(jax.random.key(0), 0.05, clean.shape)
    noisy = jnp.where(hit, 1.0 - jnp.round(clean), clean)
    y = MedianFilter(3, border="edge")(noisy)
    np.testing.assert_array_equal(y, ops.median_filter(noisy, 3, border="edge"))
    assert jnp.mean(jnp.abs(y - clean)) < 0.2 * jnp.mean(jnp.abs(noisy - clean))
