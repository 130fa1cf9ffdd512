"""Both forms of the joint histogram, against counting one pixel after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.metrics.histogram import joint_histogram

RANDOM = np.random.default_rng(0)
ROW = RANDOM.integers(-2, 9, (3, 1001))  # 0 to 6 count
COLUMN = RANDOM.integers(0, 5, (3, 1001))


def counted():
    counts = np.zeros((3, 7, 5), np.uint32)
    for n, i, j in zip(np.repeat(range(3), 1001), ROW.ravel(), COLUMN.ravel(), strict=True):
        if 0 <= i < 7:
            counts[n, i, j] += 1
    return counts


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_counts(platform):
    with ops.target(1, platform):
        counts = jax.jit(lambda row, column: joint_histogram(row, column, rows=7, columns=5))(
            jnp.asarray(ROW), jnp.asarray(COLUMN)
        )
    assert counts.dtype == jnp.uint32
    np.testing.assert_array_equal(counts, counted())


def test_a_tpu_multiplies_integers():
    """Nothing is rounded: int8 in, int32 out."""
    rows = jax.ShapeDtypeStruct((1, 64), jnp.int32)
    with ops.target(1, "tpu"):
        program = jax.jit(lambda r, c: joint_histogram(r, c, rows=4, columns=3)).trace(rows, rows)
    text = program.lower(lowering_platforms=("tpu",)).as_text()
    assert "scatter" not in text and "xi8>" in text and "tensor<1x4x3xi32>" in text
