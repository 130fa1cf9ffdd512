"""Scores of signals whose spectrum is known, and what is measured in every layout and type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.tracing import profile_aliasing
from segalias_jax.tracing.profiling import power_spectrum

HEIGHT, WIDTH = 24, 32


def down(x):
    return x[:, ::2, ::2]


def sinusoid(rows, columns):
    """So many waves along each axis."""
    i, j = np.mgrid[:HEIGHT, :WIDTH]
    wave = np.cos(2 * np.pi * (rows * i / HEIGHT + columns * j / WIDTH) + 0.3)
    return wave[None, ..., None].astype(np.float32)


@pytest.mark.parametrize(
    "signal, expected",
    [
        (sinusoid(5, 7), 0.0),
        (sinusoid(6, 8), 0.0),  # at the cutoff of a quarter itself, which is kept
        (sinusoid(7, 1), 100.0),
        (sinusoid(1, 9), 100.0),
        (sinusoid(12, 0), 100.0),
        (np.indices((1, HEIGHT, WIDTH)).sum(0)[..., None] % 2 * 2.0 - 1, 100.0),
        (np.ones((1, HEIGHT, WIDTH, 3)), 0.0),  # zero frequency is inside of every band
        (np.zeros((1, HEIGHT, WIDTH, 3)), 0.0),
    ],
    ids=["below", "at", "rows", "columns", "rows-nyquist", "checkerboard", "constant", "zero"],
)
def test_signals_of_one_frequency(signal, expected):
    (found,) = profile_aliasing(down, signal.astype(np.float32)).operators
    assert found.score == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("cutoff", [None, 0.4])
def test_white_noise_scores_the_share_of_the_spectrum(cutoff):
    """2x64 maps of 96x80 pixels: the share's standard deviation is 0.05 %."""
    noise = np.random.default_rng(0).standard_normal((2, 96, 80, 64)).astype(np.float32)
    (found,) = profile_aliasing(down, noise, cutoff=cutoff).operators
    bounds = [ops.band_bounds(n, cutoff or 0.25) for n in (96, 80)]
    inside = np.prod([stop - start for start, stop in bounds]) / (96 * 80)
    assert found.score == pytest.approx(100 * (1 - inside), abs=0.3)
    assert found.energy_above / found.energy == pytest.approx(1 - inside, abs=0.003)
    assert found.cutoff == (cutoff or 0.25)


def test_scores_are_those_of_the_operators_input():
    """Channels first, one score for each image, 16-bit maps in float32."""
    x = np.random.default_rng(0).standard_normal((3, 4, 17, 20)).astype(np.float32)
    kernel = np.ones((5, 4, 3, 3), np.float32)

    def function(x, kernel):
        y = jax.nn.relu(lax.conv(x, kernel, (1, 1), "SAME"))
        return lax.conv(y, jnp.ones((10, 5, 3, 3), y.dtype), (2, 2), "SAME")

    y = jax.nn.relu(lax.conv(x, kernel, (1, 1), "SAME")).transpose(0, 2, 3, 1)
    (found,) = profile_aliasing(function, x, kernel).operators
    np.testing.assert_allclose(found.scores, ops.aliasing_score(y, 2**0.5 / 4), rtol=1e-4)
    assert found.energy == pytest.approx(float(jnp.sum(y**2)), rel=1e-5)

    short = [jnp.asarray(a, jnp.bfloat16) for a in (x, kernel)]
    (rounded,) = profile_aliasing(function, *short).operators
    np.testing.assert_allclose(rounded.scores, found.scores, rtol=0.05)


def test_rounds_and_branches():
    def function(x):
        x, _ = lax.scan(lambda c, _: (c, down(c).sum()), x, None, length=2)
        return lax.cond(x.sum() > 1e9, lambda x: down(x), lambda x: x[:, 1::2, 1::2], x)

    rounds, taken, other = profile_aliasing(function, sinusoid(7, 1)).operators
    assert rounds.scores.shape == (2,) and rounds.score == pytest.approx(100, abs=1e-3)
    assert taken.score == pytest.approx(100, abs=1e-3) and np.isnan(other.score)


@pytest.mark.parametrize("shape", [(2, 8, 10, 3), (1, 9, 7, 1), (1, 9, 8, 2)])
def test_the_power_spectrum_is_that_of_a_whole_transform(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = np.abs(np.fft.fftshift(np.fft.fft2(x, axes=(1, 2)), axes=(1, 2))) ** 2
    expected = expected.sum(-1).mean(0) / (shape[1] * shape[2])
    np.testing.assert_allclose(
        power_spectrum(jnp.asarray(x), shape[1:3]), expected, rtol=1e-3, atol=1e-4
    )
    binned = power_spectrum(jnp.asarray(x), (4, 4))
    assert binned.shape == (4, 4)
    if shape[1] % 4 == shape[2] % 4 == 0:
        np.testing.assert_allclose(binned.mean(), expected.mean(), rtol=1e-4)


def test_a_cutoff_that_is_none():
    with pytest.raises(InputError, match="cutoff is 0"):
        profile_aliasing(down, np.ones((1, 8, 8, 1)), cutoff=0.0)
