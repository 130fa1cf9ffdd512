"""Queries: which pixels they read, and attention by its definition."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax.models.mask2former_queries import Attention, readable


def test_an_empty_mask_reads_everything():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 3, 4, 6)).astype(np.float32)
    logits[0, 1] = -1 - abs(logits[0, 1])
    logits[1, 2] = 0  # a probability of one half is inside
    found = readable(jnp.asarray(logits), (2, 3))
    means = logits.reshape(2, 3, 2, 2, 3, 2).mean((3, 5)).reshape(2, 3, 6)
    expected = means >= 0
    assert not expected[0, 1].any() and 0 < expected.sum() < expected.size
    expected[0, 1] = True
    np.testing.assert_array_equal(found, expected)
    gradient = jax.grad(lambda x: readable(x, (2, 3)).astype(jnp.float32).sum() + 0 * x.sum())
    assert not gradient(jnp.asarray(logits)).any()


def test_attention_by_definition():
    attention = Attention(6, heads=3, rngs=nnx.Rngs(0))
    random = np.random.default_rng(1)
    for part in (attention.query, attention.key, attention.value, attention.project):
        part.bias.set_value(jnp.asarray(random.normal(size=6), jnp.float32))
    x, of_x = random.normal(size=(2, 2, 4, 6)).astype(np.float32)
    z, of_z = random.normal(size=(2, 2, 5, 6)).astype(np.float32)
    allowed = random.uniform(size=(2, 4, 5)) < 0.5
    allowed[..., 0] = True

    def by(part, values):
        return values @ np.asarray(part.kernel[...], np.float64) + np.asarray(part.bias[...])

    query, key = by(attention.query, x + of_x), by(attention.key, z + of_z)
    value = by(attention.value, z)
    y = np.zeros((2, 4, 6))
    for b, n, head in np.ndindex(2, 4, 3):
        of_head = slice(2 * head, 2 * head + 2)
        seen = allowed[b, n]
        logits = key[b][seen][:, of_head] @ query[b, n, of_head] / 2**0.5
        weights = np.exp(logits) / np.exp(logits).sum()
        y[b, n, of_head] = weights @ value[b][seen][:, of_head]
    arrays = (jnp.asarray(a) for a in (x, z, of_x, of_z, allowed))
    np.testing.assert_allclose(attention(*arrays), by(attention.project, y), rtol=0, atol=1e-5)
