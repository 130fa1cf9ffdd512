"""The low pass on meshes: equal results, and the collectives read from the compiled program."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from segalias_jax import layers, ops

COLLECTIVE = re.compile(
    r"= (\S+) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
SHAPE = (8, 16, 24, 16)
LOCAL = {
    "batch": P("a"),
    "channels": P(None, None, None, "a"),
    "batch and channels": P("a", None, None, "b"),
}
SPATIAL = {
    "height": P(None, "a"),
    "width": P(None, None, "a"),
    "batch and height": P("a", "b"),
    "batch and width": P("a", None, "b"),
    "height and width": P(None, "a", "b"),
}


def compiled(function, spec):
    shape = (4, 2) if "b" in jax.tree.leaves(tuple(spec)) else (8,)
    mesh = jax.make_mesh(shape, ("a", "b")[: len(shape)], axis_types=(AxisType.Auto,) * len(shape))
    sharding = NamedSharding(mesh, spec)
    program = jax.jit(function, in_shardings=sharding)
    x = jax.random.normal(jax.random.key(0), SHAPE)
    lowered = program.lower(jax.ShapeDtypeStruct(x.shape, x.dtype)).compile()
    return lowered.as_text(), lowered(jax.device_put(x, sharding)), function(x), sharding


def collectives(text):
    """Operation and number of elements of every collective."""
    return [
        (
            kind,
            max(
                np.prod([int(n) for n in dims.split(",") if n] or [1])
                for dims in re.findall(r"\[([\d,]*)\]", shape)
            ),
        )
        for shape, kind in COLLECTIVE.findall(text)
    ]


@pytest.mark.parametrize("band", ["symmetric", "reference"])
@pytest.mark.parametrize("spec", LOCAL, ids=str)
def test_batch_and_channels_need_no_collective(spec, band):
    text, y, expected, sharding = compiled(lambda x: ops.low_pass(x, 0.35, band=band), LOCAL[spec])
    np.testing.assert_allclose(y, expected, atol=2e-6)
    assert collectives(text) == []
    assert " pad(" not in text, "the row is still there"
    assert y.sharding.is_equivalent_to(sharding, y.ndim)


@pytest.mark.parametrize("spec", SPATIAL, ids=str)
def test_a_spatial_axis_is_reduced_and_never_gathered(spec):
    """Batch and channels stay where they are, and so does the result."""
    text, y, expected, sharding = compiled(lambda x: ops.low_pass(x, 0.35), SPATIAL[spec])
    np.testing.assert_allclose(y, expected, atol=2e-6)
    found = collectives(text)
    assert found, "a filter along a sharded axis has to communicate"
    assert {kind for kind, _ in found} <= {"all-reduce", "reduce-scatter"}, found
    assert len(found) == (2 if spec == "height and width" else 1), found
    assert y.sharding.is_equivalent_to(sharding, y.ndim), "the result left its sharding"


def test_gradient_and_mixer_on_a_mesh():
    graph, state = nnx.split(layers.FreqMix(16, reduction=4, rngs=nnx.Rngs(0)))

    def loss(x):
        return jax.grad(lambda x: jnp.sum(jnp.sin(nnx.merge(graph, state)(x))))(x)

    for spec in (P("a"), P("a", "b"), P(None, "a")):
        text, y, expected, _ = compiled(loss, spec)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        if spec == P("a"):
            assert collectives(text) == []


def test_auto_takes_no_transform_where_arrays_can_be_sharded():
    assert jax.device_count() > 1
    assert ops.choose_method(jnp.zeros((4096, 8, 1)), (0, 1), "auto") == "matmul"
