"""The low pass by a ratio against a masked transform of NumPy, on one device and on meshes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from segalias_jax import ops
from segalias_jax.errors import InputError

SIZES = [(16, 9), (17, 24)]
RATIOS = [0.0, 0.01, 0.25, 0.5, 0.6, 0.75, 0.999, 1.0]
BANDS = ("square", "round")


def mask_of(size, ratio, band):
    """Bins counted from zero, in exact arithmetic: no bin of these ratios is a near miss."""
    rows, columns = (np.round(np.fft.fftfreq(n, 1 / n)) for n in size)
    down, right = abs(rows)[:, None], abs(columns)[None]
    if ratio == 1:
        return np.ones(size)
    if band == "square":
        return (1000 * down * 2 <= round(1000 * ratio) * size[0]) & (
            1000 * right * 2 <= round(1000 * ratio) * size[1]
        )
    return (2 * down / size[0]) ** 2 + (2 * right / size[1]) ** 2 <= ratio**2 + 1e-9


def expected_of(x, ratio, band):
    mask = mask_of(x.shape[-3:-1], ratio, band)
    return np.fft.ifft2(np.fft.fft2(x, axes=(-3, -2)) * mask[..., None], axes=(-3, -2)).real


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_a_masked_transform_in_one_program(size, band):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)) + 1
    program = jax.jit(lambda x, ratio: ops.ratio_low_pass(x, ratio, band=band))
    for ratio in RATIOS:
        expected = expected_of(x, ratio, band)
        traced = program(jnp.asarray(x, jnp.float32), jnp.float32(ratio))
        np.testing.assert_allclose(traced, expected, rtol=0, atol=3e-6)  # sums in float32
        with jax.enable_x64(True):  # the given number, not one that was rounded to float32
            fixed = ops.ratio_low_pass(jnp.asarray(x), ratio, band=band)
            np.testing.assert_allclose(fixed, expected, rtol=0, atol=1e-12)
        kept = ops.ratio_mask(size, jnp.float32(ratio), band=band)
        np.testing.assert_array_equal(kept, mask_of(size, ratio, band)[:, : size[1] // 2 + 1])
    assert program._cache_size() == 1


@pytest.mark.parametrize("band", BANDS)
def test_gradient_is_the_filter_itself_and_bfloat16_stays(band):
    x, cotangent = np.random.default_rng(0).normal(size=(2, 1, 12, 9, 2)).astype(np.float32)

    @jax.jit
    def both(x, cotangent, ratio):
        low, pullback = jax.vjp(lambda x: ops.ratio_low_pass(x, ratio, band=band), x)
        return low, pullback(cotangent)[0]

    low, gradient = both(x, cotangent, np.float32(0.6))
    np.testing.assert_allclose(gradient, expected_of(cotangent, 0.6, band), atol=1e-6)
    short = both(x.astype(jnp.bfloat16), cotangent.astype(jnp.bfloat16), np.float32(0.6))
    assert {y.dtype for y in short} == {jnp.dtype(jnp.bfloat16)}
    # Four products at most, each rounded to 8 bits.
    np.testing.assert_allclose(short[0].astype(np.float32), low, atol=0.05)


def test_ratio_one_is_no_operation_and_halves_are_the_low_pass():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(17, 24, 3)))
    assert ops.ratio_low_pass(x, 1.0) is x
    np.testing.assert_array_equal(ops.ratio_low_pass(x, 0.7), ops.low_pass(x, 0.35))


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
@pytest.mark.parametrize("band, sums", [("square", 1), ("round", 2)])
def test_rows_of_a_mesh_stay_where_they_are(band, sums):
    mesh = jax.make_mesh((4, 2), ("rows", "height"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, P("rows", "height"))
    whole = NamedSharding(mesh, P())
    x = np.random.default_rng(0).normal(size=(8, 16, 12, 3)).astype(np.float32)
    program = jax.jit(
        lambda x, ratio: ops.ratio_low_pass(x, ratio, band=band), in_shardings=(sharding, whole)
    )
    lowered = program.lower(x, jnp.float32(0.6)).compile()
    y = lowered(jax.device_put(x, sharding), jax.device_put(jnp.float32(0.6), whole))
    np.testing.assert_allclose(y, expected_of(x, 0.6, band), atol=3e-6)
    found = re.findall(
        r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(",
        lowered.as_text(),
    )
    assert len(found) == sums and set(found) <= {"all-reduce", "reduce-scatter"}, found
    assert y.sharding.is_equivalent_to(sharding, y.ndim)


@pytest.mark.parametrize(
    "ratio, band, message",
    [
        (-0.1, "square", "ratio is -0.1, but must lie in"),
        (1.1, "round", "ratio is 1.1"),
        (float("nan"), "square", "ratio is nan"),
        (0.5, "disc", "band is 'disc'; choose one of square, round"),
    ],
)
def test_wrong_arguments(ratio, band, message):
    with pytest.raises(InputError, match=message):
        ops.ratio_low_pass(jnp.ones((4, 4, 1)), ratio, band=band)
