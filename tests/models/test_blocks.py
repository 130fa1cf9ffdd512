"""Blocks against sums of their parts; recordings and torch hold the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import ops
from segalias_jax.models.blocks import BasicBlock, Bottleneck, Projection


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_fresh_block_is_its_shortcut(block):
    """The last norm of a block starts at 0."""
    make = block(4 * block.expansion, 4, dilation=2, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 6, 5, 4 * block.expansion))
    np.testing.assert_array_equal(make(x), jax.nn.relu(x))


def test_shortcuts_average_or_drop():
    x = jax.random.normal(jax.random.key(0), (1, 5, 6, 3))
    for pooled in (False, True):
        project = Projection(3, 4, stride=2, pooled=pooled, rngs=nnx.Rngs(0))
        project.eval()
        read = ops.average_pool_2x2(x) if pooled else x[:, ::2, ::2]
        expected = read @ project.conv.kernel[0, 0] / jnp.sqrt(1 + 1e-5)
        np.testing.assert_allclose(project(x), expected, rtol=1e-5, atol=1e-6)


def test_at_stride_1_there_is_nothing_to_pool():
    assert not Projection(3, 4, stride=1, pooled=True, rngs=nnx.Rngs(0)).pooled
