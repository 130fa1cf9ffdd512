"""The filters as layers."""

import jax
import numpy as np
import pytest
from flax import nnx

from segalias_jax import layers, ops
from segalias_jax.errors import InputError


def test_filter_is_the_low_pass():
    x = jax.random.normal(jax.random.key(0), (2, 12, 17, 3))
    for options in ({}, {"band": "reference"}, {"method": "fft"}):
        expected = ops.low_pass(x, 0.35, **options)
        np.testing.assert_array_equal(layers.DeAliasingFilter(0.35, **options)(x), expected)


def test_filters_have_no_parameters():
    for layer in (layers.DeAliasingFilter(0.3), layers.BlurPool(3)):
        assert not jax.tree.leaves(nnx.state(layer))


def test_nothing_is_left_to_fold():
    """Behind the filter a stride changes no frequency: the aliasing score is 0."""
    x = jax.random.normal(jax.random.key(0), (1, 32, 32, 4))
    assert float(ops.aliasing_score(x, 0.25)[0]) > 50
    assert float(ops.aliasing_score(layers.DeAliasingFilter(0.25)(x), 0.25)[0]) < 1e-9


def test_cutoff_is_checked_at_once():
    with pytest.raises(InputError, match="cutoff is 0.6"):
        layers.DeAliasingFilter(0.6)


def test_linen_users_can_wrap_it():
    import flax.linen as nn
    from flax.nnx import bridge

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return bridge.to_linen(layers.DeAliasingFilter, 0.25, skip_rng=True)(x)

    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 2))
    y, _ = Model().init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y, ops.low_pass(x, 0.25), atol=1e-6)
