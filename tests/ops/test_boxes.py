"""Overlaps and coding of boxes against recorded numbers and closed forms."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops


@pytest.mark.parametrize("name, weights", [("w10", (10.0, 10.0, 5.0, 5.0)), ("w1", (1.0,) * 4)])
def test_coding_is_the_recorded_one(golden, name, weights):
    recorded = golden("i_boxes")
    proposals, targets, codes, encoded, decoded = (
        recorded[f"coder_{name}_{part}"]
        for part in ("proposals", "targets", "codes", "encoded", "decoded")
    )
    ours = ops.encode_boxes(jnp.asarray(targets), jnp.asarray(proposals), weights=weights)
    # Relative to the largest: each is a difference, whose digits cancel.
    np.testing.assert_allclose(ours, encoded, rtol=1e-5, atol=3e-6 * np.abs(encoded).max())
    codes = jnp.asarray(codes).reshape(48, 3, 4)
    ours = ops.decode_boxes(codes, jnp.asarray(proposals)[:, None], weights=weights)
    np.testing.assert_allclose(ours, decoded, rtol=1e-5, atol=1e-5 * np.abs(decoded).max())


def test_decoding_inverts_encoding():
    random = np.random.default_rng(0)
    corners, sides = random.uniform(0, 50, (2, 2, 40, 2)) + 1
    boxes, anchors = jnp.asarray(np.concatenate([corners, corners + sides], -1), jnp.float32)
    weights = (10.0, 10.0, 5.0, 5.0)
    codes = ops.encode_boxes(boxes, anchors, weights=weights)
    back = ops.decode_boxes(codes, anchors, weights=weights)
    np.testing.assert_allclose(back, boxes, atol=1e-4)  # 1e-6 of sides up to 100 pixels


def test_growth_is_limited():
    anchor, deltas = jnp.array([0.0, 0.0, 16.0, 16.0]), jnp.array([0.0, 0.0, 9.0, -9.0])
    x1, y1, x2, y2 = ops.decode_boxes(deltas, anchor).tolist()
    assert x2 - x1 == pytest.approx(1000, rel=1e-5)
    assert y2 - y1 == pytest.approx(16 * math.exp(-9), rel=1e-2)
    least = -math.log(1000 / 16)
    _, y1, _, y2 = ops.decode_boxes(deltas, anchor, least_growth=least).tolist()
    assert y2 - y1 == pytest.approx(16 * 16 / 1000, rel=1e-4)


@pytest.mark.parametrize("case", ["0", "1"])
def test_overlaps_are_the_recorded_ones(golden, case):
    recorded = golden("i_boxes")
    truths, boxes = recorded[f"match_{case}_gt"], recorded[f"match_{case}_proposals"]
    ours = ops.box_iou(jnp.asarray(truths), jnp.asarray(boxes))
    np.testing.assert_allclose(ours, recorded[f"match_{case}_iou"], atol=2e-7)


def test_empty_boxes_overlap_nothing():
    boxes = jnp.array([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    assert ops.box_iou(boxes, boxes).tolist() == [[0.0, 0.0], [0.0, 1.0]]
    assert ops.box_area(boxes).tolist() == [0.0, 4.0]
    assert ops.wide_enough(boxes, 2.0).tolist() == [False, True]


def test_each_image_clips_its_own_boxes():
    boxes = jnp.broadcast_to(jnp.array([-5.0, 3.0, 90.0, 90.0]), (2, 3, 4))
    clipped = ops.clip_boxes(boxes, jnp.array([[10, 20], [50, 60]]))
    assert clipped[:, 0].tolist() == [[0.0, 3.0, 20.0, 10.0], [0.0, 3.0, 60.0, 50.0]]
