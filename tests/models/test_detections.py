"""Truths of a batch: crowds, filling and rows without an image are none."""

import jax.numpy as jnp

from segalias_jax.models.detections import Truths


def test_what_is_no_truth():
    batch = {
        "boxes": jnp.ones((3, 3, 4)),
        "classes": jnp.array([[2, 1, 0], [4, 0, 0], [5, 6, 7]], jnp.int32),
        "crowd": jnp.array([[False, True, False], [False] * 3, [False] * 3]),
        "masks": jnp.zeros((3, 3, 8, 1), jnp.uint8),
        "size": jnp.full((3, 2), 8),
        "valid": jnp.array([True, True, False]),
    }
    truths = Truths.of_batch(batch)
    assert truths.classes.tolist() == [[2, 0, 0], [4, 0, 0], [0, 0, 0]]
    assert truths.exist.sum(1).tolist() == [1, 1, 0]
