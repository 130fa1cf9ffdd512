"""The power spectrum by products and by a transform, and which bins stand for two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops


@pytest.mark.parametrize("size", [(8, 8), (9, 11), (7, 12), (1, 1)], ids=str)
@pytest.mark.parametrize("method", ["matmul", "fft"])
def test_power_is_that_of_the_transform(size, method):
    x = np.random.default_rng(0).normal(size=(2, *size, 3))
    power = ops.spectral_power(jnp.asarray(x, jnp.float32), method=method)
    expected = abs(np.fft.rfft2(x, axes=(1, 2))) ** 2
    np.testing.assert_allclose(power, expected, atol=2e-6 * expected.max())
    # By Parseval's theorem all bins together are the image's own power.
    total = (np.asarray(power).sum((1, 3)) * ops.half_plane_weights(size[1])).sum(1)
    np.testing.assert_allclose(total / np.prod(size), (x**2).sum((1, 2, 3)), rtol=1e-5)


def test_a_program_of_products_has_no_transform():
    with ops.products_only():
        program = jax.make_jaxpr(ops.spectral_power)(jnp.ones((64, 512, 1)))
    assert "fft" not in str(program)
