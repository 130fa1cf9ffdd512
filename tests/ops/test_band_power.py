"""Bands with their power by a kernel for TPUs, run step by step, against sums over both bands."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.ops import fused_products
from segalias_jax.ops.band_power import split_bands_and_power


@pytest.mark.parametrize("band", ["symmetric", "reference"])
def test_the_kernel_gives_what_sums_give(monkeypatch, band):
    """Forward and gradient; `reference` is lopsided here, so that only its filter is a kernel."""
    run = functools.partial(fused_products.fused_products, interpret=True)
    monkeypatch.setattr(fused_products, "fused_products", run)
    x = jax.random.normal(jax.random.key(0), (2, 24, 32, 128)).astype(jnp.bfloat16)
    weights = jax.random.normal(jax.random.key(1), (2, 2, 128))

    def loss(x):
        low, high, power = split_bands_and_power(x, 0.3, band=band)
        total = (low * x[::-1]).astype(jnp.float32).mean() + (high[:, ::-1] * x).mean()
        return total + (jnp.stack(power, 1) * weights).sum(), (low, high, power)

    (_, expected), slope = jax.value_and_grad(loss, has_aux=True)(x)
    with ops.target(1, "tpu"):
        (_, found), own_slope = jax.value_and_grad(lambda x: loss(x), has_aux=True)(x)
        program = str(jax.make_jaxpr(lambda x: split_bands_and_power(x, 0.3, band=band))(x))
    assert ("f32[2,2,128]" in program) == (band == "symmetric") and "pallas_call" in program
    for ours, theirs in zip(
        jax.tree.leaves((found, own_slope)), jax.tree.leaves((expected, slope)), strict=True
    ):
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        # Two roundings to bfloat16, in another order.
        np.testing.assert_allclose(ours, theirs, atol=abs(theirs).max() / 100)
        assert abs(ours - theirs).mean() < abs(theirs).mean() / 200
