"""Normalisation of bytes."""

import jax.numpy as jnp
import numpy as np

from segalias_jax import ops


def test_published_mean_and_deviation():
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3)).astype(np.uint8)
    expected = (image - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    np.testing.assert_allclose(ops.normalize_image(jnp.asarray(image)), expected, atol=1e-6)
