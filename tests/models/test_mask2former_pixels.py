"""The pixel decoder: positions, where attention begins, and what a pixel of another map is."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax.models import mask2former_pixels as pixels


def test_positions_by_the_equation():
    height, width, channels = 3, 5, 12
    expected = np.empty((height, width, channels))
    for i, j, k in np.ndindex(expected.shape):
        position, length = (i + 1, height) if k < 6 else (j + 1, width)
        period = 10_000 ** (2 * (k % 6 // 2) / 6)
        angle = 2 * math.pi * position / (length + 1e-6) / period
        expected[i, j, k] = math.cos(angle) if k % 2 else math.sin(angle)
    found = pixels.sine_positions(height, width, channels)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)  # angles in float32


def test_attention_begins_as_equal_weights_of_a_star():
    """Each head reads one direction, one to four pixels away, in every map."""
    attention = pixels.DeformableAttention(16, heads=8, points=4, rngs=nnx.Rngs(0))
    offsets = attention.offsets.bias[...].reshape(8, pixels.LEVELS, 4, 2)
    for level in range(pixels.LEVELS):
        for point in range(4):
            steps = offsets[:, level, point]
            np.testing.assert_allclose(jnp.abs(steps).max(-1), point + 1, rtol=1e-6)
            angles = np.arctan2(steps[:, 1], steps[:, 0]) % (2 * math.pi)
            np.testing.assert_allclose(angles, np.arange(8) * math.pi / 4, atol=1e-6)
    assert not attention.offsets.kernel[...].any() and not attention.weights.kernel[...].any()
    # So a map of ones gives, where no point lies beyond its rim, what values and projection make.
    sizes = ((9, 9), (9, 10), (10, 9))
    x = jnp.ones((1, sum(h * w for h, w in sizes), 16))
    y = jax.jit(lambda x: attention(x, jnp.zeros(x.shape[1:]), sizes))(x)
    inside = attention.project(attention.value(jnp.ones((1, 16))))[0]
    np.testing.assert_allclose(y[0, 4 * 9 + 4], inside, atol=1e-5)
    assert jnp.abs(y[0, 0] - inside).max() > 0.01


def test_a_pixel_moves_what_reads_it():
    """Maps are refined together, coarse to fine: the first pixel of the finest reaches all."""
    sizes = {"channels": 8, "layers": 1, "heads": 2, "points": 2, "feedforward": 8}

    @jax.jit
    def moved():
        decoder = pixels.PixelDecoder((4, 4, 6, 8), **sizes, rngs=nnx.Rngs(0))
        shapes = ((16, 12, 4), (8, 6, 4), (4, 3, 6), (2, 2, 8))
        x = [jax.random.normal(jax.random.key(i), (1, *s)) for i, s in enumerate(shapes)]
        plain = decoder(tuple(x))
        finest = decoder((x[0].at[0, 0, 0].add(1.0), *x[1:]))
        second = decoder((x[0], x[1].at[0, 0, 0].add(9.0), *x[2:]))
        return jax.tree.map(
            lambda a, b, c: (abs(a - b).max(), abs(a - c).max()), *(plain, finest, second)
        )

    (embeddings, levels) = moved()
    assert embeddings[0] > 1e-3 and embeddings[1] > 1e-3
    for of_finest, of_second in levels:
        assert of_finest == 0  # the pyramid comes after
        assert of_second > 1e-4
