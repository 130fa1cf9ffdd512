"""The low pass against recordings, closed forms, a direct transform, and itself."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.errors import InputError

SIZES = [(16, 16), (17, 23), (32, 48), (33, 33), (97, 193)]
CUTOFFS = [0.25, 0.35, 0.5]


def nhwc(x):
    return np.moveaxis(x, 1, -1)


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_published_filter(golden, assert_recorded, size, cutoff, method):
    z, tag = golden("a_flc_pooling"), f"{size[0]}x{size[1]}"
    x, cotangent = nhwc(z[f"x_{tag}"]), nhwc(z[f"ct_{tag}"])

    def low_pass(x):
        return ops.low_pass(x, cutoff, band="reference", method=method)

    y, pullback = jax.vjp(low_pass, jnp.asarray(x))
    (gradient,) = pullback(jnp.asarray(cotangent))
    # Recorded in float32 with errors up to 3e-7 of the largest value.
    assert_recorded(np.moveaxis(y, -1, 1), z[f"y_{tag}_t{cutoff:.2f}"], 1e-6)
    assert_recorded(np.moveaxis(gradient, -1, 1), z[f"gx_{tag}_t{cutoff:.2f}"], 1e-6)


def test_published_bounds(golden_json):
    bounds = json.loads(golden_json("a_flc_mask_bounds").read_text())["bounds"]
    checked = 0
    for cutoff, of_length in bounds.items():
        for length, recorded in of_length.items():
            n = int(length)
            start, stop = ops.band_bounds(n, float(cutoff), band="reference")
            assert [start + n // 2, stop + n // 2] == recorded, (cutoff, n)
            checked += 1
    assert checked > 2000


@pytest.mark.parametrize("band", ["symmetric", "reference"])
@pytest.mark.parametrize("size", [(1, 1), (1, 8), (2, 3), (7, 13), (16, 20), (31, 64)], ids=str)
@pytest.mark.parametrize("cutoff", [0.1, 0.25, 0.35, 2**0.5 / 4, 0.49, 0.5])
def test_both_methods_equal_the_definition(size, cutoff, band):
    """Against a masked complex transform, in float64."""
    x = np.random.default_rng(0).normal(size=(2, *size, 3))
    mask = np.zeros(size)
    rows, columns = (np.arange(*ops.band_bounds(n, cutoff, band=band)) % n for n in size)
    mask[np.ix_(rows, columns)] = 1
    spectrum = np.fft.fft2(x, axes=(1, 2)) * mask[..., None]
    expected = np.fft.ifft2(spectrum, axes=(1, 2)).real
    with jax.enable_x64(True):
        for method in ("matmul", "fft"):
            y = ops.low_pass(jnp.asarray(x), cutoff, band=band, method=method)
            assert y.dtype == jnp.float64
            np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)


def test_symmetric_band_keeps_exactly_the_cutoff():
    # 0.35 * 20 = 7 bins, although the product may round below 7.
    assert ops.band_bounds(20, 0.35) == (-7, 8)
    assert ops.band_bounds(8, 0.5) == (-4, 4)
    assert ops.band_bounds(1, 0.1) == (0, 1)


def test_symmetric_low_pass_is_a_projection():
    x = jax.random.normal(jax.random.key(0), (2, 24, 31, 5))
    low, high = ops.split_bands(x, 0.3)
    np.testing.assert_allclose(ops.low_pass(low, 0.3), low, atol=2e-6)
    np.testing.assert_allclose(jnp.sum(low * high), 0, atol=2e-3)
    np.testing.assert_allclose(low + high, x, atol=1e-6)


def test_gradient_is_the_filter_itself():
    x, cotangent = jax.random.normal(jax.random.key(0), (2, 1, 12, 9, 2))
    _, pullback = jax.vjp(lambda x: ops.low_pass(x, 0.35), x)
    np.testing.assert_allclose(pullback(cotangent)[0], ops.low_pass(cotangent, 0.35), atol=1e-6)


@pytest.mark.parametrize(
    "shape,axes", [((9, 8), (0, 1)), ((2, 3, 9, 8), (2, 3)), ((9, 2, 8), (0, 2))]
)
def test_any_axes_and_vmap(shape, axes):
    x = jax.random.normal(jax.random.key(0), shape)
    moved = jnp.moveaxis(x, axes, (-2, -1))[..., None]
    expected = jnp.moveaxis(ops.low_pass(moved, 0.3)[..., 0], (-2, -1), axes)
    for method in ("matmul", "fft"):
        y = ops.low_pass(x, 0.3, axes=axes, method=method)
        np.testing.assert_allclose(y, expected, atol=1e-6)
        np.testing.assert_allclose(
            ops.low_pass(x, 0.3, axes=axes[::-1], method=method), expected, atol=1e-6
        )
    batched = jax.vmap(lambda x: ops.low_pass(x, 0.3, axes=axes))(jnp.stack([x, 2 * x]))
    np.testing.assert_allclose(batched[1], 2 * expected, atol=1e-6)


def test_one_axis():
    x = jax.random.normal(jax.random.key(0), (5, 12))
    expected = np.fft.irfft(np.fft.rfft(x, axis=1) * (np.arange(7) <= 3), n=12, axis=1)
    for method in ("matmul", "fft"):
        y = ops.low_pass(x, 0.25, axes=(1,), method=method)
        np.testing.assert_allclose(y, expected, atol=1e-6)


def test_bfloat16_stays_bfloat16_and_accurate():
    x = jax.random.normal(jax.random.key(0), (2, 64, 96, 8), jnp.bfloat16)
    y = ops.low_pass(x, 0.35)
    assert y.dtype == jnp.bfloat16
    with jax.enable_x64(True):
        exact = np.asarray(ops.low_pass(jnp.asarray(np.asarray(x), jnp.float64), 0.35))
    error = np.linalg.norm(np.asarray(y, np.float64) - exact) / np.linalg.norm(exact)
    assert error < 1e-2
    text = jax.jit(lambda x: ops.low_pass(x, 0.35)).lower(x).as_text()
    assert "64x96x8xf32" not in text, "the activation was cast up"
    assert ops.low_pass(x, 0.35, method="fft").dtype == jnp.bfloat16


@pytest.mark.parametrize("frequency,score", [(1 / 8, 0), (3 / 8, 100)])
def test_score_of_a_sinusoid(frequency, score):
    wave = jnp.cos(2 * jnp.pi * frequency * jnp.arange(64))
    x = jnp.broadcast_to(wave[:, None, None], (64, 64, 2))
    np.testing.assert_allclose(ops.aliasing_score(x, 0.25), score, atol=1e-3)


def test_score_of_white_noise_is_the_share_outside():
    x = jax.random.normal(jax.random.key(0), (1, 256, 256, 4))
    start, stop = ops.band_bounds(256, 0.25)
    share = 100 * (1 - ((stop - start) / 256) ** 2)
    for reduce in ("pooled", "channel_mean"):
        np.testing.assert_allclose(ops.aliasing_score(x, 0.25, reduce=reduce)[0], share, atol=1)


def test_score_of_nothing_is_zero_and_channels_weigh_by_power():
    assert float(ops.aliasing_score(jnp.zeros((8, 8, 1)), 0.25)) == 0
    checkerboard = jnp.indices((8, 8)).sum(0) % 2 * 2.0 - 1
    x = jnp.stack([3 * checkerboard, jnp.ones((8, 8))], -1)
    np.testing.assert_allclose(ops.aliasing_score(x, 0.25), 90, atol=1e-4)
    np.testing.assert_allclose(ops.aliasing_score(x, 0.25, reduce="channel_mean"), 50, atol=1e-4)


def test_sampling_rates_of_the_paper():
    assert ops.equivalent_sampling_rate(2, 2, 64, 256) == 1
    np.testing.assert_allclose(ops.equivalent_sampling_rate(3, 2, 64, 128), 2**0.5 / 2)
    assert ops.equivalent_sampling_rate(1, 2, 64, 256) == 0.5
    np.testing.assert_allclose(ops.nyquist_frequency(2**0.5 / 2), 0.35355339)
    assert ops.nyquist_frequency(1.5) == 0.5


@pytest.mark.parametrize("cutoff", [0.0, -0.1, 0.51, float("nan")])
def test_cutoff_outside_its_range(cutoff):
    with pytest.raises(InputError, match="cutoff is .* must lie in"):
        ops.low_pass(jnp.ones((4, 4, 1)), cutoff)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda x: ops.low_pass(x, 0.3, band="round"), "band is 'round'; choose one of"),
        (lambda x: ops.low_pass(x, 0.3, method="dct"), "method is 'dct'; choose one of"),
        (lambda x: ops.low_pass(x, 0.5, method="dct"), "method is 'dct'; choose one of"),
        (lambda x: ops.low_pass(x, 0.3, axes=(0, 1, 2)), "one or two axes"),
        (lambda x: ops.aliasing_score(x, 0.3, reduce="max"), "reduce is 'max'; choose one of"),
        (lambda x: ops.equivalent_sampling_rate(3, 0, 1, 1), "stride is 0"),
        (lambda x: ops.nyquist_frequency(0.0), "esr is 0"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call(jnp.ones((4, 4, 1)))


def test_auto_goes_by_type_and_size(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    small, large = jnp.zeros((96, 96, 1)), jnp.zeros((512, 512, 1))
    assert ops.choose_method(small, (0, 1), "auto") == "matmul"
    assert ops.choose_method(large, (0, 1), "auto") == "fft"
    assert ops.choose_method(large.astype(jnp.bfloat16), (0, 1), "auto") == "matmul"
    assert ops.choose_method(small, (0, 1), "fft") == "fft"


def test_a_traced_cutoff_points_to_the_filter_that_takes_one():
    x = jnp.ones((8, 8, 1))
    for function in (ops.low_pass, ops.aliasing_score, ops.split_bands):
        with pytest.raises(InputError, match="^cutoff is traced.* soft_low_pass"):
            jax.jit(function)(x, 0.25)
    assert jax.jit(lambda f: ops.soft_low_pass(x, f, width=1.0))(0.25).shape == x.shape
