"""The linear layer: its equation, in the type of what it reads."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax.layers import Linear


def test_equation_type_and_start():
    layer = Linear(24, 40, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 3, 24))
    assert not layer.bias[...].any()
    kernel = np.asarray(layer.kernel[...], np.float64)
    limit = (6 / (24 + 40)) ** 0.5  # Glorot's
    assert 0.95 * limit < abs(kernel).max() <= limit
    layer.bias.set_value(jnp.arange(40.0))
    expected = np.asarray(x, np.float64) @ kernel + np.arange(40)
    np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-5)
    half = layer(x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), expected, rtol=0.02, atol=0.05)
