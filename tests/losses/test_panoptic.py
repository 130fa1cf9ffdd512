"""Targets of dense heads against a loop over objects, and their losses against definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.data.masks import pack_masks
from segalias_jax.losses.panoptic import (
    bootstrapped_cross_entropy,
    panoptic_targets,
    weighted_mean,
)

SIZE, INSIDE = (21, 24), (19, 22)
STUFF = (1,)


def draw(random):
    """Masks of overlapping rectangles within a padded image, their classes, and crowds."""
    masks = np.zeros((6, *SIZE), np.bool_)
    for mask in masks[:5]:
        top, left = random.integers(0, 15, 2)
        mask[top : top + random.integers(1, 9), left : left + random.integers(1, 9)] = True
    masks[:, INSIDE[0] :] = masks[..., INSIDE[1] :] = False
    classes = np.array([1, 2, 3, 2, 3, 0], np.int32)
    return masks, classes, np.array([0, 0, 1, 0, 0, 0], np.bool_)


def naive_targets(masks, classes, crowd, stuff, sigma, small_area, small_weight):
    height, width = SIZE
    label, center = np.zeros(SIZE, int), np.zeros(SIZE)
    offset, offset_weight = np.zeros((*SIZE, 2)), np.zeros(SIZE)
    weight = np.zeros(SIZE)
    weight[: INSIDE[0], : INSIDE[1]] = not stuff
    center_weight = weight.copy()
    y, x = np.mgrid[:height, :width]
    for k in sorted(range(len(masks)), key=lambda k: -masks[k].sum()):
        mask = masks[k]
        if not mask.any():
            continue
        single = classes[k] not in stuff and not crowd[k]
        label[mask], center_weight[mask] = classes[k], not crowd[k]
        weight[mask] = small_weight if single and mask.sum() < small_area else 1
        offset_weight[mask], offset[mask] = single, 0
        if single:
            row, column = (np.flatnonzero(mask) // width).mean(), np.nonzero(mask)[1].mean()
            squares = (y - np.round(row)) ** 2 + (x - np.round(column)) ** 2
            center = np.maximum(center, np.exp(-squares / (2 * sigma**2)))
            offset[mask] = np.stack([row - y, column - x], -1)[mask]
    return label, weight, center, center_weight, offset, offset_weight


@pytest.mark.parametrize("stuff", [(), STUFF])
def test_targets_are_those_of_a_loop(stuff):
    options = {"sigma": 3.0, "small_area": 30, "small_weight": 3.0}
    targets = jax.jit(
        lambda masks, classes, crowd: panoptic_targets(
            masks, classes, crowd, jnp.array(INSIDE), width=SIZE[1], stuff=stuff, **options
        )
    )
    random = np.random.default_rng(0)
    for _ in range(10):
        masks, classes, crowd = draw(random)
        found = targets(pack_masks(masks), classes, crowd)
        expected = naive_targets(masks, classes, crowd, stuff, *options.values())
        for name, ours, theirs in zip(found._fields, found, expected, strict=True):
            # A mean of at most 21 rows in float32.
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5, err_msg=name)


def test_cross_entropy_of_the_hardest_pixels():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 5, 7, 4))
    label, weights = random.integers(0, 4, (2, 5, 7)), random.integers(0, 4, (2, 5, 7)) * 1.0
    own = np.take_along_axis(logits, label[..., None], -1)[..., 0]
    every = np.sort((np.log(np.exp(logits).sum(-1)) - own) * weights, axis=None)
    with jax.enable_x64(True):
        loss = jax.jit(
            lambda logits: bootstrapped_cross_entropy(
                logits, jnp.asarray(label), jnp.asarray(weights), fraction=0.15
            )
        )
        value, gradient = jax.value_and_grad(loss)(jnp.asarray(logits))
    np.testing.assert_allclose(value, every[-10:].mean(), rtol=1e-12)  # 10 of 70
    assert (np.abs(gradient).sum(-1) > 0).sum() == 10


def test_means_without_any_pixel_are_zero():
    assert weighted_mean(jnp.ones(3), jnp.zeros(3)) == 0
