"""Losses of queries: those of transformers' Mask2Former, means, and images without objects."""

import drawn_networks  # noqa: F401  # finds recordings
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.data.masks import pack_masks
from segalias_jax.losses.assignment import cheapest_assignment
from segalias_jax.losses.points import training_points
from segalias_jax.losses.queries import (
    QueryLoss,
    QueryTruths,
    match_costs,
    matched_masks,
    output_losses,
    query_losses,
)

import record_mask2former_loss as recording  # isort: skip  # found by drawn_networks

HOW = QueryLoss(points=recording.POINTS)
SIZE = recording.SIZE


def make_truths(images=range(3), *, room=7):
    classes = np.zeros((len(images), room), np.int32)
    masks = np.zeros((len(images), room, SIZE[0], SIZE[1] // 8), np.uint8)
    for row, image in enumerate(images):
        labels = recording.LABELS[image]
        classes[row, : len(labels)] = np.array(labels) + 1
        masks[row, : len(labels)] = pack_masks(recording.truth(image))
    there = jnp.ones(len(images), bool)
    return QueryTruths(jnp.asarray(classes), jnp.asarray(masks), SIZE, there)


@pytest.fixture(scope="module")
def recorded(golden):
    return dict(golden("j_mask2former_loss"))


@pytest.fixture(scope="module")
def found(recorded):
    """Losses of each layer, their gradients, and the assignments."""
    truths = make_truths()

    def losses(outputs, points, candidates, rest):
        of_classes, of_masks = outputs
        costs = jax.vmap(lambda *x: match_costs(*x, size=SIZE, how=HOW))(
            of_classes, of_masks, truths.classes, truths.masks, points
        )
        match = jax.vmap(cheapest_assignment)(costs, truths.classes > 0)
        own = matched_masks(of_masks, match)
        at = training_points(own, candidates, rest, chosen=24)
        each = output_losses(of_classes, own, match, truths, at, how=HOW, average="batch")
        return sum(each.values()), (each, match)

    run = jax.jit(jax.value_and_grad(losses, has_aux=True))
    drawn = ("points", "candidates", "rest")
    return [
        run(layer, *(jnp.asarray(recorded[f"{name}{k}"]) for name in drawn))
        for k, layer in enumerate(recording.layers())
    ]


def test_recorded_assignments(found, recorded):
    """Of an image with more objects than queries, too."""
    for k, ((_, (_, match)), _) in enumerate(found):
        np.testing.assert_array_equal(match, recorded[f"match{k}"])


def test_recorded_losses_and_gradients(found, recorded, assert_recorded):
    np.testing.assert_allclose(sum(x for (x, _), _ in found), recorded["total"], rtol=1e-5)
    _, (last, _) = found[0][0]
    for ours, theirs in (("class", "cross_entropy"), ("mask", "mask"), ("dice", "dice")):
        np.testing.assert_allclose(last[f"loss_{ours}"], recorded[f"loss_{theirs}"], rtol=1e-5)
    for k, (_, (of_classes, of_masks)) in enumerate(found):
        assert_recorded(of_classes, recorded[f"g_classes{k}"], 1e-5)
        assert_recorded(of_masks, recorded[f"g_masks{k}"], 1e-5)


@pytest.fixture(scope="module")
def run():
    return jax.jit(query_losses, static_argnames=("how", "average"))


def good_outputs(truths):
    """Of whatever classes, with masks near to the truths', so that points do not decide."""
    of_classes, _ = recording.layers()[0]
    masks = np.unpackbits(truths.masks, axis=-1)[:, : recording.QUERIES] - 0.5
    noise = 0.2 * np.random.default_rng(0).normal(size=masks.shape)
    return jnp.asarray(of_classes), jnp.asarray(3 * masks + noise, jnp.float32)


def test_means_over_a_batch_and_over_images(run):
    """The second are the means of the images' own; rows without an image count in neither."""
    truths = make_truths()
    output = good_outputs(truths)
    shown = truths.classes * jnp.array([[1], [0], [1]])

    def of(rows, there, average):
        order = np.array(rows)
        given = QueryTruths(shown[order], truths.masks[order], SIZE, jnp.array(there))
        some, key = [tuple(x[order] for x in output)], jax.random.key(0)
        losses = run(some, given, key, how=QueryLoss(points=64), average=average)
        assert all(np.isfinite(loss) for loss in losses.values())
        return losses

    one, none, other = (of([k, k, k], [True, False, False], "image") for k in range(3))
    assert none["loss_mask"] == none["loss_dice"] == 0 < none["loss_class"]
    each = of([0, 1, 2], [True] * 3, "image")
    mean = np.mean([x["loss_class"] for x in (one, none, other)])
    np.testing.assert_allclose(each["loss_class"], mean, rtol=1e-6)
    # Three truths and one; points are others in each row, of which there are few.
    both = of([0, 1, 2], [True] * 3, "batch")
    mean = (3 * one["loss_mask"] + other["loss_mask"]) / 4
    np.testing.assert_allclose(both["loss_mask"], mean, rtol=0.1)
    alone = of([0, 1, 2], [True, False, False], "batch")
    for name, loss in alone.items():
        np.testing.assert_allclose(loss, one[name], rtol=1e-6, err_msg=name)
