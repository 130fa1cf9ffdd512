"""Consistency over a data set: rows that fill up a batch, windows, known answers."""

import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.evaluation import SlidingPredictor, ViewSettings, mean_shift_consistency


def classes(image):
    return jnp.asarray(image)[..., 0] // 64


def columns(image):
    """Never moves; filling rows, which are black, are the same class everywhere."""
    place = jnp.broadcast_to(jnp.arange(image.shape[2]), image.shape[:3])
    return jnp.where(image.max((1, 2, 3))[:, None, None] > 0, place, 0)


def _batches(rows):
    image = np.random.default_rng(0).integers(1, 256, (3, 16, 24, 3)).astype(np.uint8)
    for start in range(0, 3, rows):
        part = image[start : start + rows]
        missing = rows - len(part)
        filled = np.pad(part, [(0, missing), (0, 0), (0, 0), (0, 0)])
        yield {"image": filled, "valid": np.arange(rows) < len(part)}


@pytest.mark.parametrize("rows", [1, 2])
def test_known_answers(rows):
    assert mean_shift_consistency(classes, _batches(rows)) == 1
    # Consistent under the shift down alone.
    found = mean_shift_consistency(columns, _batches(rows), total=3, progress="shift")
    assert found == pytest.approx(1 / 3, rel=1e-6)


def test_predictions_of_windows():
    settings = ViewSettings("slide", (16, 16), (8, 8))
    slider = SlidingPredictor(lambda x: jnp.eye(4)[classes(x)], settings)
    assert mean_shift_consistency(lambda x: slider.start(x[0]), _batches(1)) == 1
