"""Layer, group and response norm against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import layers
from segalias_jax.errors import InputError


def definition(x, scale, bias):
    centred = x - x.mean(-1, keepdims=True)
    return scale * centred / np.sqrt(x.var(-1, keepdims=True) + 1e-6) + bias


def test_definition_and_gradient():
    random = np.random.default_rng(0)
    x, scale, bias = random.normal(3, 2, (2, 3, 5, 7)), random.normal(size=7), random.normal(size=7)
    with jax.enable_x64(True):
        norm = layers.LayerNorm(7)
        norm.scale.set_value(jnp.asarray(scale))
        norm.bias.set_value(jnp.asarray(bias))
        np.testing.assert_allclose(norm(jnp.asarray(x)), definition(x, scale, bias), atol=1e-12)
        gradient = jax.grad(lambda x: jnp.sum(jnp.sin(norm(x))))(jnp.asarray(x))
        step = np.zeros_like(x)
        step[1, 2, 3, 4] = 1e-6
        both = [np.sin(definition(x + s, scale, bias)).sum() for s in (step, -step)]
        # A central difference: eps^2 beside rounding over eps.
        np.testing.assert_allclose(gradient[1, 2, 3, 4], (both[0] - both[1]) / 2e-6, rtol=1e-6)


def test_short_types_are_normalised_in_float32():
    x = jnp.asarray(1000 + 8 * np.arange(16.0), jnp.bfloat16)  # all of them exact in bfloat16
    y = layers.LayerNorm(16)(x)
    assert y.dtype == jnp.bfloat16
    expected = definition(np.asarray(x, np.float64), 1, 0)
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2**-8)  # one rounding


def test_groups_of_channels_by_definition():
    """Of each image by itself, over all pixels and the neighboring channels of a group."""
    random = np.random.default_rng(1)
    x = random.normal(3, 2, (2, 3, 5, 6)) * random.uniform(0.1, 3, (2, 1, 1, 6))
    scale, bias = random.normal(size=6), random.normal(size=6)
    expected = np.empty_like(x)
    for image, group in np.ndindex(2, 3):
        part = x[image, ..., 2 * group : 2 * group + 2]
        normal = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
        expected[image, ..., 2 * group : 2 * group + 2] = normal
    norm = layers.GroupNorm(6, groups=3)
    norm.scale.set_value(jnp.asarray(scale, jnp.float32))
    norm.bias.set_value(jnp.asarray(bias, jnp.float32))
    y = norm(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(y, scale * expected + bias, rtol=0, atol=1e-5)
    assert norm(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16
    with pytest.raises(InputError, match="groups is 32, which 6 channels cannot be shared by"):
        layers.GroupNorm(6)


def response(x, scale, bias):
    energy = np.sqrt((x**2).sum((1, 2), keepdims=True))
    return x + scale * x * energy / (energy.mean(-1, keepdims=True) + 1e-6) + bias


def test_response_norm_is_its_definition_and_silent_channels_have_a_gradient():
    random = np.random.default_rng(0)
    x, scale, bias = random.normal(size=(2, 3, 5, 7)), random.normal(size=7), random.normal(size=7)
    x[1, :, :, 2] = 0
    with jax.enable_x64(True):
        norm = layers.ResponseNorm(7)
        norm.scale.set_value(jnp.asarray(scale))
        norm.bias.set_value(jnp.asarray(bias))
        np.testing.assert_allclose(norm(jnp.asarray(x)), response(x, scale, bias), atol=1e-12)
        gradient = jax.grad(lambda x: jnp.sum(jnp.sin(norm(x))))(jnp.asarray(x))
        assert np.isfinite(gradient).all()
        step = np.zeros_like(x)
        step[1, 2, 3, 4] = 1e-6
        both = [np.sin(response(x + s, scale, bias)).sum() for s in (step, -step)]
        np.testing.assert_allclose(gradient[1, 2, 3, 4], (both[0] - both[1]) / 2e-6, rtol=1e-6)
