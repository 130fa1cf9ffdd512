"""Deformable attention against its definition in loops, and against what PyTorch computes."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import record_mask2former as recorded  # noqa: E402


def by_definition(levels, points, weights):
    """Loops over all points; each reads the four pixels around itself."""
    batch, queries, heads, _, count = weights.shape
    y = np.zeros((batch, queries, heads, levels[0].shape[-1]))
    for b, n, m, level, p in np.ndindex(batch, queries, heads, len(levels), count):
        values = levels[level][b, :, :, m]
        across, down = points[b, n, m, level, p] - 0.5
        for row in (np.floor(down), np.floor(down) + 1):
            for column in (np.floor(across), np.floor(across) + 1):
                if 0 <= row < len(values) and 0 <= column < len(values[0]):
                    share = (1 - abs(down - row)) * (1 - abs(across - column))
                    read = values[int(row), int(column)]
                    y[b, n, m] += weights[b, n, m, level, p] * share * read
    return y


@pytest.fixture(scope="module")
def computed():
    """Result and gradients in float64, and the result in float32 and bfloat16."""
    with jax.enable_x64(True):
        *levels, points, weights, slope = recorded.attention_arrays().values()
        inputs = tuple(map(jnp.asarray, (*levels, points, weights)))

        @jax.jit
        def run(inputs):
            def attend(*inputs):
                return ops.deformable_attention(inputs[:3], *inputs[3:])

            y, pull = jax.vjp(attend, *inputs)
            narrow = [x.astype(jnp.float32) for x in inputs]
            halves = [x.astype(jnp.bfloat16) for x in narrow[:3]]
            return y, pull(jnp.asarray(slope)), attend(*narrow), attend(*halves, *narrow[3:])

        return jax.tree.map(np.asarray, run(inputs))


def test_the_definition(computed):
    y, _, single, half = computed
    *levels, points, weights, _ = recorded.attention_arrays().values()
    np.testing.assert_allclose(y, by_definition(levels, points, weights), rtol=0, atol=1e-14)
    assert (single.dtype, half.dtype) == (np.dtype("float32"), jnp.dtype("bfloat16"))
    np.testing.assert_allclose(single, y, rtol=0, atol=2e-6)
    # Values and factors with eight bits; 36 of them are added.
    np.testing.assert_allclose(half.astype(float), y, rtol=0, atol=0.05)


def test_result_and_gradients_are_those_of_pytorch(computed):
    """At centers of pixels, too, where the derivative by a point is that to one side."""
    y, gradients, *_ = computed
    with np.load(recorded.FILE) as file:
        np.testing.assert_allclose(y, file["attention/result"], rtol=0, atol=1e-14)
        for name, gradient in zip(recorded.NAMES, gradients, strict=False):
            expected = file[f"attention/d_{name}"]
            assert np.abs(expected).max() > 0.5
            np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-13)
            if name == "points":
                assert np.abs(expected[:, 0]).max() > 0.5


def test_levels_and_points_must_agree():
    with pytest.raises(InputError, match="points are those of 2 levels, but there are 1"):
        ops.deformable_attention(
            (jnp.ones((1, 2, 2, 1, 1)),), jnp.ones((1, 1, 1, 2, 1, 2)), jnp.ones((1, 1, 1, 2, 1))
        )
