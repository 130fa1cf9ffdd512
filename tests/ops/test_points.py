"""Points between pixels, against the sum over all pixels that the definition is."""

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax import ops


def by_definition(x, points):
    rows, columns = (np.arange(n) + 0.5 for n in x.shape[:2])
    across = np.maximum(1 - abs(points[:, :1] - columns), 0)
    down = np.maximum(1 - abs(points[:, 1:] - rows), 0)
    return np.einsum("ni,nj,ijc->nc", down, across, x)


def test_points_inside_at_the_rim_and_beyond():
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 5, 7, 3)).astype(np.float32)
    points = random.uniform(-2, 9, (2, 40, 2)).astype(np.float32)
    points[:, :4] = [[0, 0], [0.5, 0.5], [7, 5], [6.5, 4.5]]

    def sampled(x):
        return ops.sample_points(x, jnp.asarray(points))

    y, pull = jax.vjp(jax.jit(sampled), jnp.asarray(x))
    expected = np.stack([by_definition(*pair) for pair in zip(x, points, strict=True)])
    np.testing.assert_allclose(y, expected, atol=2e-6)
    slope = random.normal(size=y.shape).astype(np.float32)
    # It is linear: <slope, f(u)> = <pull(slope), u>.
    u = random.normal(size=x.shape).astype(np.float32)
    np.testing.assert_allclose(
        (slope * sampled(jnp.asarray(u))).sum(), (pull(slope)[0] * u).sum(), rtol=1e-4
    )


def test_packed_masks_are_read_as_if_unpacked():
    random = np.random.default_rng(1)
    masks = random.integers(0, 2, (3, 9, 13)).astype(np.uint8)
    points = random.uniform(-1, 14, (4, 30, 2)).astype(np.float32)
    index = np.array([2, 0, 2, 1])
    packed = jnp.asarray(np.packbits(masks, axis=-1))
    ours = ops.sample_mask_points(packed, jnp.asarray(points), jnp.asarray(index))
    expected = [
        by_definition(masks[i][..., None], p)[:, 0] for i, p in zip(index, points, strict=True)
    ]
    np.testing.assert_allclose(ours, expected, atol=2e-6)
