"""Blocks against sums of their parts; recordings and torch hold the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
from flax import nnx
from golden.recipe_instances import recipe_array, recipe_input

from segalias_jax import ops
from segalias_jax.models import fold_branches
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


SMOOTH = {
    "scb0": ((2, 48, 10, 13), {"planes": 12}),
    "scb1": ((1, 32, 12, 14), {"planes": 8, "stride": 2}),
    "scb2": ((1, 24, 11, 12), {"planes": 8, "stride": 2, "stride_first": True}),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_published_bottleneck_with_a_smooth_branch(golden, assert_recorded, name):
    """Strided by its 3x3 convolution and by its first one; in evaluation, folded too."""
    z = golden("i_lis_modules")
    (batch, channels, *size), options = SMOOTH[name]
    block = Bottleneck(channels, branched=True, **options, rngs=nnx.Rngs(0))
    published.load_published(block, lambda key, shape: recipe_array(f"{name}.{key}", shape))
    x = recipe_input((batch, channels, *size), 8040 + int(name[-1]))
    x = jnp.asarray(np.moveaxis(x, 1, -1))
    names = published.published_names(block)
    for mode in ("eval", "train"):
        getattr(block, mode)()
        graph, parameters, rest = nnx.split(block, nnx.Param, ...)
        recorded = z[f"{name}_{mode}_y"]

        @jax.jit
        def run(parameters, x, graph=graph, rest=rest):
            def forward(parameters, x):
                return nnx.merge(graph, parameters, rest, copy=True)(x)

            y, pull = jax.vjp(forward, parameters, x)
            shape = (len(y), y.shape[-1], *y.shape[1:3])
            slope = recipe_input(shape, 8060 + int(name[-1]))
            return y, pull(jnp.asarray(np.moveaxis(slope, 1, -1)))

        y, (of_parameters, of_x) = run(parameters, x)
        # Their own float32 is up to 3e-6 from float64.
        assert_recorded(np.moveaxis(y, -1, 1), recorded, 5e-6)
        assert_recorded(np.moveaxis(of_x, -1, 1), z[f"{name}_{mode}_gx"], 5e-6)
        compared = 0
        for path, gradient in nnx.to_flat_state(of_parameters):
            key = f"{name}_{mode}_g_{names[path]}"
            if key in z:
                ours = published.to_torch(names[path], np.asarray(gradient[...]))
                assert_recorded(ours, z[key], 5e-6, key)
                compared += 1
        assert compared == 5
    block.eval()
    plain = fold_branches(block)
    assert plain.branch is None and block.branch is not None
    assert_recorded(np.moveaxis(np.asarray(plain(x)), -1, 1), z[f"{name}_eval_y"], 5e-6)
