"""The loss between features of noisy and of clean images, against recorded numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.recipe_instances import recipe_input

from segalias_jax.losses import disturbance_suppression

SHAPES = ((2, 4, 16, 24), (2, 6, 8, 12), (2, 8, 4, 6), (2, 10, 2, 3))


def test_published_values_and_gradients(golden, assert_recorded):
    z = golden("i_lis_modules")
    clean = [jnp.asarray(recipe_input(shape, 8080 + i)) for i, shape in enumerate(SHAPES)]
    noisy = [x + np.float32(0.35) * recipe_input(x.shape, 8090 + i) for i, x in enumerate(clean)]
    # Means over up to 3072 squares, added up one after the other in float32.
    loss, (of_noisy, of_clean) = jax.value_and_grad(disturbance_suppression, (0, 1))(noisy, clean)
    np.testing.assert_allclose(loss, z["dsl"], rtol=1e-5)
    for i in range(len(SHAPES)):
        one = disturbance_suppression(noisy[i : i + 1], clean[i : i + 1])
        np.testing.assert_allclose(one, z[f"dsl_term_{i}"], rtol=1e-5)
        assert_recorded(np.asarray(of_noisy[i]), z[f"dsl_g_noisy_{i}"], 1e-6)
        assert_recorded(np.asarray(of_clean[i]), z[f"dsl_g_clean_{i}"], 1e-6)


def test_differences_that_are_large_enough_have_no_gradient():
    gradient = jax.grad(lambda x: disturbance_suppression([x], [jnp.zeros(2).reshape(1, 1, 1, 2)]))
    assert gradient(jnp.array([0.1, 0.5]).reshape(1, 1, 1, 2)).reshape(-1).tolist() == [
        pytest.approx(0.01 * 2 * 0.1 / 2),
        0.0,
    ]
