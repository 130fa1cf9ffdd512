"""Operators on meshes of explicit axes, and inside of `shard_map`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from segalias_jax import ops
from segalias_jax.ops import placement

X = jax.random.normal(jax.random.key(0), (8, 16, 24, 8))


def on_mesh(spec, *sizes):
    mesh = jax.make_mesh(sizes, ("a", "b")[: len(sizes)])
    return mesh, jax.device_put(X, NamedSharding(mesh, spec))


@pytest.mark.parametrize(
    "spec,expected",
    [
        (P("a"), P("a", None, None, None)),
        (P(None, "a"), P(None, "a", None, None)),
        (P(None, None, "a"), P(None, None, None, None)),  # 12 columns over 8 devices
        (P(None, None, None, "a"), P(None, None, None, "a")),
    ],
    ids=str,
)
def test_the_result_is_distributed_as_the_input_where_that_can_be(spec, expected):
    mesh, x = on_mesh(spec, 8)
    with jax.set_mesh(mesh):
        y = jax.jit(lambda x: ops.binomial_blur(x, 3, stride=2))(x)
    assert jax.typeof(y).sharding.spec == expected
    np.testing.assert_allclose(y, ops.binomial_blur(X, 3, stride=2), atol=1e-6)


def test_two_axes_outside_of_jit_and_of_a_mesh_context():
    _, x = on_mesh(P("a", ("b",)), 4, 2)
    y = ops.low_pass(x, 0.35)
    assert jax.typeof(y).sharding.spec == P("a", "b", None, None)
    np.testing.assert_allclose(y, ops.low_pass(X, 0.35), atol=2e-6)


def test_gradient_outside_of_jit():
    mesh, x = on_mesh(P(None, "a"), 8)
    with jax.set_mesh(mesh):
        slope = jax.grad(lambda x: jnp.sum(ops.median_filter(x, 3) ** 2))(x)
    expected = jax.grad(lambda x: jnp.sum(ops.median_filter(x, 3) ** 2))(X)
    np.testing.assert_allclose(slope, expected, atol=1e-6)


def test_inside_of_shard_map():
    mesh = jax.make_mesh((8,), ("a",))
    seen = []

    def look(x):
        seen.append((placement.any_manual(), placement.all_manual()))
        return x

    jax.shard_map(look, mesh=mesh, in_specs=P("a"), out_specs=P("a"))(on_mesh(P("a"), 8)[1])
    assert seen == [(True, True)]
    assert not placement.any_manual() and not placement.all_manual()


def test_an_array_on_no_mesh_is_left_alone():
    assert placement.explicit_sharding(X) is None
    assert placement.explicit_sharding(np.ones(3)) is None
    assert placement.explicit_sharding(on_mesh(P("a"), 8)[1]).spec[0] == "a"
