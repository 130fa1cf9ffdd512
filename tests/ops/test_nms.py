"""Suppression against the greedy rule, box after box, and against recorded draws."""

import os

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax import ops

DRAWS = int(os.environ.get("SEGALIAS_NMS_DRAWS", "50"))
LONGEST = 260


def greedy(boxes, scores, threshold, classes):
    """Indices left, by the definition."""
    left = []
    for k in np.argsort(-scores, kind="stable"):
        others = [j for j in left if classes[j] == classes[k]]
        low, high = (
            np.maximum(boxes[k, :2], boxes[others, :2]),
            np.minimum(boxes[k, 2:], boxes[others, 2:]),
        )
        both = np.maximum(high - low, 0).prod(-1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        if not (both > threshold * (areas[k] + areas[others] - both)).any():
            left.append(k)
    return left


@jax.jit
@jax.vmap
def suppress(boxes, scores, threshold, classes, count):
    valid = jnp.arange(LONGEST) < count
    return ops.nms(boxes, scores, threshold, max_outputs=LONGEST, classes=classes, valid=valid)


def padded(arrays, lengths):
    """Draws one after the other as rows; what fills them up would win if it were read."""
    rows, start = np.full((len(lengths), LONGEST, *arrays.shape[1:]), 9, arrays.dtype), 0
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = arrays[start : start + length]
        start += length
    return jnp.asarray(rows)


def found(boxes, scores, thresholds, classes, counts):
    rows = (padded(part, counts) for part in (boxes, scores, classes))
    boxes, scores, classes = rows
    indices, valid = suppress(boxes, scores, jnp.asarray(thresholds), classes, jnp.asarray(counts))
    assert not np.asarray(indices)[~np.asarray(valid)].any()
    return [np.asarray(i)[np.asarray(v)].tolist() for i, v in zip(indices, valid, strict=True)]


def test_recorded_draws(golden):
    recorded = golden("i_boxes")
    counts, kept = recorded["nms_count"], recorded["nms_kept"]
    ours = found(
        recorded["nms_boxes"],
        recorded["nms_scores"],
        recorded["nms_threshold"].astype(np.float32),
        recorded["nms_classes"].astype(np.int32),
        counts,
    )
    expected = np.split(recorded["nms_keep"], np.cumsum(kept)[:-1])
    assert ours == [e.tolist() for e in expected]


def test_random_draws_with_ties():
    """Integer boxes and scores in eighths: many equal scores, and IoU exactly at thresholds."""
    random = np.random.default_rng(0)
    counts = random.integers(0, 61, DRAWS)
    total = counts.sum()
    corner, side = random.integers(0, 12, (total, 2)), random.integers(0, 9, (total, 2))
    boxes = np.concatenate([corner, corner + side], -1).astype(np.float32)
    scores = (random.integers(0, 9, total) / 8).astype(np.float32)
    classes = random.integers(0, 3, total).astype(np.int32)
    thresholds = random.choice([0.25, 0.5, 0.75], DRAWS).astype(np.float32)
    # One program for any number of draws.
    ours = []
    for start in range(0, DRAWS, 50):
        part = slice(start, start + 50)
        skip = counts[:start].sum()
        ours += found(boxes[skip:], scores[skip:], thresholds[part], classes[skip:], counts[part])
    start = 0
    for kept, threshold, count in zip(ours, thresholds, counts, strict=True):
        of = slice(start, start + count)
        assert kept == greedy(boxes[of], scores[of], threshold, classes[of])
        start += count


def test_classes_far_apart_keep_their_last_digits():
    """Boxes moved apart by class, in float32, would become equal or lose their overlap."""
    boxes = jnp.array([[1e4, 0, 1e4 + 0.01, 1], [1e4, 0, 1e4 + 0.02, 1]], jnp.float32)
    scores, classes = jnp.array([0.9, 0.8]), jnp.array([80, 80])
    iou = float(ops.box_iou(boxes, boxes)[0, 1])
    for threshold, expected in ((iou - 0.01, [True, False]), (iou + 0.01, [True, True])):
        left = ops.nms_mask(boxes, scores, threshold, classes=classes)
        assert left.tolist() == expected
    assert ops.nms_mask(boxes, scores, 0.1, classes=jnp.array([1, 2])).tolist() == [True, True]


def test_a_chain_needs_as_many_rounds_as_it_is_long():
    start = jnp.arange(12.0)[:, None] * 2
    boxes = jnp.concatenate([start, 0 * start, start + 5, 0 * start + 1], -1)  # IoU 3/7, then 1/9
    left = ops.nms_mask(boxes, jnp.linspace(1, 0, 12), 0.4)
    assert left.tolist() == [True, False] * 6


def test_best_of_more_than_there_are():
    scores, valid = jnp.array([1.0, 3.0, 3.0]), jnp.array([True, True, False])
    order, held = ops.best_of(scores, valid, 5)
    assert order[:2].tolist() == [1, 0] and held.tolist() == [True, True, False, False, False]
