"""What is made of queries: transformers' results, and the published rule written down naively."""

import drawn_networks  # noqa: F401  # finds recordings
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.models import queries

import record_mask2former_loss as recording  # isort: skip  # found by drawn_networks

SHAPE = (384, 384)  # which transformers brings all masks to
WHOLE = jnp.array(SHAPE)


@pytest.fixture(scope="module")
def recorded(golden):
    return dict(golden("j_mask2former_loss"))


@pytest.fixture(scope="module")
def outputs():
    return tuple(map(jnp.asarray, recording.results()))


def test_recorded_scores_of_pixels(outputs, recorded):
    found = jax.jit(lambda *x: queries.class_scores(*x, SHAPE))(*outputs)
    ours = np.moveaxis(np.asarray(found)[:, ::12, ::12], -1, 1)
    np.testing.assert_allclose(ours, recorded["semantic"], atol=2e-6)


def test_recorded_objects(outputs, recorded):
    find = jax.jit(
        jax.vmap(lambda *x: queries.found_objects(*x, WHOLE, shape=SHAPE, max_detections=8))
    )
    scores, classes, masks = map(np.asarray, find(*outputs))
    for image in range(2):
        theirs = recorded[f"instance_scores{image}"]
        order = np.argsort(-theirs)
        np.testing.assert_allclose(scores[image], theirs[order], atol=1e-6)  # theirs are rounded
        np.testing.assert_array_equal(classes[image], recorded[f"instance_classes{image}"][order])
        pixels = np.unpackbits(masks[image], axis=-1)[:, ::6, ::6]
        np.testing.assert_array_equal(pixels, recorded[f"instance_pixels{image}"][order])


def test_recorded_segments(outputs, recorded):
    find = jax.jit(
        jax.vmap(
            lambda *x: queries.found_segments(
                *x, WHOLE, shape=SHAPE, stuff=(), threshold=0.5, overlap=0.8, everywhere=True
            )
        )
    )
    segments, classes, scores = map(np.asarray, find(*outputs))
    for image in range(2):
        there = np.flatnonzero(classes[image])
        theirs = recorded[f"panoptic_pixels{image}"]
        np.testing.assert_array_equal(np.isin(segments[image], there + 1), segments[image] > 0)
        numbers = np.concatenate([[0], np.searchsorted(there + 1, np.arange(1, 9)) + 1])
        np.testing.assert_array_equal(numbers[segments[image][::6, ::6]], theirs)
        np.testing.assert_array_equal(classes[image][there], recorded[f"panoptic_classes{image}"])
        np.testing.assert_allclose(
            scores[image][there], recorded[f"panoptic_scores{image}"], atol=1e-6
        )


def naive_segments(of_classes, masks, size, stuff, threshold, overlap):
    """The published rule, query by query."""
    p = np.asarray(jax.nn.softmax(of_classes))
    score, label = p.max(-1), p.argmax(-1)
    m = np.asarray(jax.nn.sigmoid(masks))[:, : size[0], : size[1]]
    kept = [q for q in range(len(p)) if label[q] < p.shape[1] - 1 and score[q] > threshold]
    ids, classes, first = np.zeros(size, int), {}, {}
    owner = np.array(kept)[(score[kept, None, None] * m[kept]).argmax(0)]
    for q in kept:
        mask, whole = (owner == q) & (m[q] >= 0.5), (m[q] >= 0.5).sum()
        if not mask.any() or mask.sum() <= overlap * whole:
            continue
        number = q + 1
        if label[q] + 1 in stuff:
            number = first.setdefault(label[q], q + 1)
        ids[mask], classes[number] = number, label[q] + 1
    return ids, classes


def test_segments_by_the_published_rule(outputs):
    shape, size, stuff = (48, 48), (40, 44), (1,)
    find = jax.jit(
        jax.vmap(
            lambda *x: queries.found_segments(
                *x, jnp.array(size), shape=shape, stuff=stuff, threshold=0.4, overlap=0.7
            )
        )
    )
    segments, classes, _ = map(np.asarray, find(*outputs))
    dropped = 0
    for image in range(2):
        of_classes, masks = (x[image] for x in outputs)
        large = jnp.moveaxis(ops.resize_bilinear(jnp.moveaxis(masks, 0, -1), shape), -1, 0)
        ids, named = naive_segments(of_classes, large, size, stuff, 0.4, 0.7)
        np.testing.assert_array_equal(segments[image, : size[0], : size[1]], ids)
        assert not segments[image, size[0] :].any() and not segments[image, :, size[1] :].any()
        assert {k + 1: c for k, c in enumerate(classes[image]) if c} == named
        dropped += len(named) < 8
    assert dropped


def test_objects_lie_inside_of_the_image(outputs):
    find = lambda size: queries.found_objects(  # noqa: E731
        outputs[0][0], outputs[1][0], size, shape=(48, 48), max_detections=100
    )
    scores, classes, masks = map(np.asarray, jax.jit(find)(jnp.array([20, 30])))
    assert len(scores) == 24 and (np.diff(scores) <= 0).all()  # of 8 queries with 3 classes
    pixels = np.unpackbits(masks, axis=-1)
    assert not pixels[:, 20:].any() and not pixels[:, :, 30:].any()
    np.testing.assert_array_equal(classes > 0, pixels.any((1, 2)))
