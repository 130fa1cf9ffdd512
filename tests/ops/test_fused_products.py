"""The kernel for TPUs, run step by step on this machine, against two products of XLA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.ops import fused_products
from segalias_jax.ops.band_power import split_bands_and_power
from segalias_jax.ops.fourier import fuses_products


@pytest.fixture
def interpreted(monkeypatch):
    """Kernels are run step by step: this machine has no TPU."""
    run = functools.partial(fused_products.fused_products, interpret=True)
    monkeypatch.setattr(fused_products, "fused_products", run)


def draw(*shape):
    return jax.random.normal(jax.random.key(0), shape).astype(jnp.bfloat16)


@pytest.mark.parametrize("band", ["symmetric", "reference"])
def test_it_is_the_low_pass(interpreted, band):
    """Forward, gradient, jvp and vmap: to what bfloat16 rounds twice, 2^-8 of the largest."""
    x, tangent = draw(2, 24, 32, 256), draw(2, 24, 32, 256)[::-1]

    def low_pass(x, method):
        return ops.low_pass(x, 0.3, band=band, method=method)

    def everything(x, method):
        f = functools.partial(low_pass, method=method)
        y, pull = jax.vjp(f, x)
        return y, *pull(tangent), jax.jvp(f, (x,), (tangent,))[1], jax.vmap(f)(x[:, None])[:, 0]

    expected = everything(x, "matmul")
    with ops.target(1, "tpu"):
        found = everything(x, "auto")
        assert "pallas_call" in str(jax.make_jaxpr(lambda x: low_pass(x, "auto"))(x))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == jnp.bfloat16
        ours, theirs = np.asarray(ours, np.float32), np.asarray(theirs, np.float32)
        np.testing.assert_allclose(ours, theirs, atol=abs(theirs).max() / 128)
        assert abs(ours - theirs).mean() < abs(theirs).mean() / 256


def test_height_and_width_have_their_own_matrices():
    x = draw(1, 8, 16, 128)
    down, across = (np.random.default_rng(n).integers(-2, 3, (n, n)) for n in (8, 16))
    x = jnp.round(x)  # so that every sum is a small integer, and exact
    y, p = fused_products.fused_products(x, down, across, power=True, interpret=True)
    expected = np.einsum("ij,bjwc,vw->bivc", down, np.asarray(x, np.float64), across)
    np.testing.assert_array_equal(y, expected.astype(jnp.bfloat16))
    bands = np.asarray(y, np.float64), np.asarray(x, np.float64) - np.asarray(y, np.float64)
    for found, band in zip(np.moveaxis(p, 1, 0), bands, strict=True):
        np.testing.assert_allclose(found, np.square(band).sum((1, 2)), rtol=1e-6)


def test_where_it_is_taken():
    def taken(shape, *, devices=1, platform="tpu", dtype=jnp.bfloat16, axes=(1, 2)):
        told = []
        with ops.target(devices, platform):
            x = jax.ShapeDtypeStruct(shape, dtype)
            jax.eval_shape(lambda x: told.append(fused_products.fuses(x, axes)), x)
        return told[0]

    assert taken((8, 192, 192, 256)) and taken((1, 256, 512, 256))
    assert not taken((8, 192, 192, 256), devices=4) and not taken((8, 192, 192, 256), axes=(2, 1))
    assert not taken((8, 192, 192, 256), platform="cuda")
    assert not taken((8, 192, 192, 256), dtype=jnp.float32)
    # Not in whole tiles, and more than vector memory holds.
    for shape in ((8, 192, 192, 64), (8, 192, 184, 256), (8, 190, 192, 256), (1, 512, 512, 256)):
        assert not taken(shape)
    x = jnp.zeros((1, 32, 32, 128), jnp.bfloat16)
    with ops.target(1, "tpu"):
        assert fuses_products(x, (1, 2))
        with ops.products_only():  # exported programs
            assert not fuses_products(x, (1, 2))
        wanted = str(jax.make_jaxpr(lambda x: ops.low_pass(x, 0.3, method="matmul"))(x))
        assert "pallas_call" not in wanted


def test_it_lowers_for_a_tpu():
    def loss(x):
        low, high, power = split_bands_and_power(ops.low_pass(x, 0.35), 0.25)
        return (low * high).astype(jnp.float32).sum() + sum(p.sum() for p in power)

    with ops.target(1, "tpu"):
        x = jax.ShapeDtypeStruct((1, 16, 32, 128), jnp.bfloat16)
        text = jax.jit(jax.grad(loss)).trace(x).lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("tpu_custom_call") == 4  # of two filters, forward and backward
