"""Losses of detection heads: closed forms, and no overflow."""

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax.losses.detection import binary_cross_entropy, smooth_l1


def test_smooth_l1_joins_smoothly():
    beta = 1 / 9
    for d in (beta - 1e-6, beta + 1e-6):
        value, slope = jax.value_and_grad(smooth_l1)(jnp.asarray(d))
        assert abs(value - beta / 2) < 2e-6 and abs(slope - 1) < 2e-5
    d = jnp.array([-3.0, -0.05, 0.0, 0.1])
    expected = [3 - beta / 2, 0.05**2 * 4.5, 0, 0.1**2 * 4.5]
    np.testing.assert_allclose(smooth_l1(d), expected, rtol=1e-6)


def test_binary_cross_entropy_of_any_logit():
    x, t = jnp.array([-2.0, 0.5, 3.0]), jnp.array([0.0, 0.25, 1.0])
    p = 1 / (1 + np.exp(-np.asarray(x, np.float64)))
    expected = -t * np.log(p) - (1 - t) * np.log(1 - p)
    np.testing.assert_allclose(binary_cross_entropy(x, t), expected, rtol=1e-6)
    far = jnp.array([-1000.0, 1000.0])
    assert binary_cross_entropy(far, 1.0 - (far > 0)).tolist() == [1000.0, 1000.0]
    slope = jax.grad(lambda x: binary_cross_entropy(x, jnp.ones(2)).sum())(far)
    np.testing.assert_allclose(slope, [-1, 0], atol=1e-6)
