"""Batch normalisation against its definition, also over a sharded batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from segalias_jax import layers, ops


def test_batch_statistics_and_running_ones():
    x = np.random.default_rng(0).normal(2, 3, (4, 5, 6, 7)).astype(np.float32)
    norm = layers.BatchNorm(7)
    y = norm(jnp.asarray(x))
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    np.testing.assert_allclose(norm.mean[...], 0.1 * mean, rtol=1e-5)
    unbiased = x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * unbiased, rtol=1e-5)


def test_evaluation_uses_the_running_statistics():
    norm = layers.BatchNorm(2)
    norm.eval()
    x = jnp.full((1, 1, 1, 2), 3.0)
    np.testing.assert_allclose(norm(x), 3 / np.sqrt(1 + 1e-5), rtol=1e-6)
    assert float(norm.mean[0]) == 0
    norm.train()
    assert float(abs(norm(x)).max()) == 0


def test_statistics_of_a_sharded_batch_are_global():
    x = jax.random.normal(jax.random.key(0), (8, 3, 3, 2)) * jnp.arange(8)[:, None, None, None]
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    norm = layers.BatchNorm(2)
    expected = norm(x)
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    y = nnx.jit(lambda norm, x: norm(x))(layers.BatchNorm(2), sharded)
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_types_go_through_with_float32_statistics(dtype):
    x = jnp.full((2, 4, 4, 3), 100.0, dtype) + jnp.arange(3, dtype=dtype)
    block = layers.ConvNormAct(3, 4, 3, rngs=nnx.Rngs(0))
    assert block(x).dtype == dtype
    assert block.norm.mean[...].dtype == jnp.float32
    assert bool(jnp.isfinite(block.norm.mean[...]).all())


def test_initial_scale_of_kernels():
    conv = layers.Conv(64, 128, 3, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(conv.kernel[...].std(), np.sqrt(2 / (128 * 9)), rtol=0.02)
    assert conv.bias is None


def test_a_frozen_norm_keeps_everything_in_training():
    norm = layers.BatchNorm(2)
    norm.mean.set_value(jnp.asarray([1.0, -1.0]))
    norm.frozen = True
    norm.train()
    graph, parameters, statistics = nnx.split(norm, nnx.Param, ...)
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 2))

    def run(parameters, x):
        norm = nnx.merge(graph, parameters, statistics, copy=True)
        y = norm(x)
        return jnp.sum(y * y), (y, norm.mean[...])

    gradients, (y, mean) = jax.grad(run, argnums=(0, 1), has_aux=True)(parameters, x)
    np.testing.assert_allclose(y, (x - jnp.asarray([1.0, -1.0])) / np.sqrt(1 + 1e-5), rtol=1e-6)
    np.testing.assert_array_equal(mean, [1.0, -1.0])
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradients[0]))
    assert gradients[1].any()


def test_grouped_kernels():
    conv = layers.Conv(6, 12, 3, groups=3, rngs=nnx.Rngs(0))
    assert conv.kernel.shape == (3, 3, 2, 12)
    x = jnp.ones((1, 4, 4, 6))
    change = conv(x.at[..., 0].set(2.0)) - conv(x)  # of the first group's input
    assert change[..., :4].any() and not change[..., 4:].any()


def test_epsilon_and_momentum_of_a_norm():
    norm = layers.BatchNorm(1, epsilon=3.0, momentum=0.25)
    y = norm(jnp.asarray([1.0, 3.0]).reshape(2, 1, 1, 1))
    # Mean 2, biased variance 1, unbiased 2; statistics began at 0 and 1.
    np.testing.assert_allclose(y.ravel(), [-0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose([norm.mean[0], norm.var[0]], [0.5, 1.25], rtol=1e-6)


def test_batch_statistics_of_several_devices_are_those_of_one():
    """Values, statistics and gradient, three standard deviations off the running mean."""
    x = 3 + jax.random.normal(jax.random.key(0), (8, 5, 6, 4))
    towards = jax.random.normal(jax.random.key(1), x.shape)
    graph, state = nnx.split(layers.BatchNorm(4))

    def run(devices):
        def loss(x):
            norm = nnx.merge(graph, state, copy=True)
            y = norm(x)
            return (y * towards).sum(), (y, norm.mean[...], norm.var[...])

        with ops.target(devices, "cpu"):
            return jax.value_and_grad(loss, has_aux=True)(x)

    for ours, theirs in zip(*map(jax.tree.leaves, (run(8), run(1))), strict=True):
        # A difference of squares loses ten times (1 + 3^2) what its result is rounded to.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    constant = jax.grad(lambda x: nnx.merge(graph, state, copy=True)(x)[0].sum())(x * 0 + 7)
    assert jnp.isfinite(constant).all()


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_a_norm_sends_one_message_in_each_direction():
    rows = NamedSharding(jax.make_mesh((8,), ("a",), (AxisType.Auto,)), PartitionSpec("a"))
    whole = NamedSharding(rows.mesh, PartitionSpec())
    graph, state = nnx.split(layers.BatchNorm(4))

    def messages(devices):
        def gradient(state, x):
            def loss(x):
                norm = nnx.merge(graph, state, copy=True)
                y = norm(x)
                return y * y[::-1], norm.mean[...]

            y, pull, mean = jax.vjp(loss, x, has_aux=True)
            return pull(jnp.cos(y))[0], mean

        with ops.target(devices, "cpu"):
            places = {"in_shardings": (whole, rows), "out_shardings": (rows, whole)}
            x = jax.ShapeDtypeStruct((8, 2, 3, 4), jnp.float32)
            text = jax.jit(gradient, **places).lower(state, x).compile().as_text()
        return text.count(" all-reduce(") + text.count(" all-reduce-start(")

    assert messages(8) == 2 < messages(1)
