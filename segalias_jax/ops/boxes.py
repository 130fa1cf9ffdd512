"""Boxes (x1, y1, x2, y2) in pixels: areas, overlaps, and their coding relative to anchors.

A box covers x1 <= x < x2, so its width is x2 - x1, without a pixel added. All functions keep the
type of the boxes, and work on any leading axes.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from segalias_jax.typing import Array, Bool, Float, Int

LARGEST_GROWTH = math.log(1000 / 16)
"""Of the logarithm of a decoded side: a box grows by 62.5 at most, or exp would overflow."""


def box_area(boxes: Float[Array, "*batch 4"]) -> Float[Array, "*batch"]:
    """Returns the areas of boxes, (x2 - x1)(y2 - y1), in square pixels.

    Example:
      >>> box_area(jnp.array([[0.0, 0.0, 2.0, 3.0]])).tolist()
      [6.0]
    """
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_iou(
    first: Float[Array, "*batch n 4"], second: Float[Array, "*batch m 4"]
) -> Float[Array, "*batch n m"]:
    """Intersection over union of all pairs of boxes.

    IoU = |A and B| / (|A| + |B| - |A and B|),  0 where both are empty

    Args:
      first: boxes.
      second: boxes.

    Returns:
      One number of [0, 1] for each pair.

    Example:
      >>> box_iou(jnp.array([[0.0, 0.0, 2.0, 2.0]]), jnp.array([[0.0, 0.0, 2.0, 4.0]])).tolist()
      [[0.5]]
    """
    a, b = first[..., :, None, :], second[..., None, :, :]
    low = jnp.maximum(a[..., :2], b[..., :2])
    high = jnp.minimum(a[..., 2:], b[..., 2:])
    sides = jnp.maximum(high - low, 0)
    both = sides[..., 0] * sides[..., 1]
    union = box_area(first)[..., :, None] + box_area(second)[..., None, :] - both
    return jnp.where(union > 0, both / jnp.where(union > 0, union, 1), 0)


def clip_boxes(
    boxes: Float[Array, "*batch n 4"], size: Int[Array, "*#batch 2"]
) -> Float[Array, "*batch n 4"]:
    """Clips boxes to their images.

    Args:
      boxes: boxes of each image.
      size: height and width of each image, without padding.

    Returns:
      Boxes inside of 0 <= x <= width and 0 <= y <= height; empty where they were outside.

    Example:
      >>> clip_boxes(jnp.array([[-1.0, 2.0, 5.0, 9.0]]), jnp.array([6, 4])).tolist()
      [[0.0, 2.0, 4.0, 6.0]]
    """
    limit = jnp.concatenate([size[..., ::-1], size[..., ::-1]], -1)[..., None, :]
    return jnp.clip(boxes, 0, limit.astype(boxes.dtype))


def wide_enough(boxes: Float[Array, "*batch 4"], least: int | float) -> Bool[Array, "*batch"]:
    """Whether both sides of a box have a length of at least `least` pixels.

    Args:
      boxes: boxes.
      least: pixels.

    Returns:
      One truth value for each box.

    Example:
      >>> wide_enough(jnp.array([[0.0, 0.0, 2.0, 0.0]]), 0.01).tolist()
      [False]
    """
    return jnp.all(boxes[..., 2:] - boxes[..., :2] >= least, -1)


def encode_boxes(
    boxes: Float[Array, "*batch 4"],
    anchors: Float[Array, "*batch 4"],
    *,
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
) -> Float[Array, "*batch 4"]:
    """Codes boxes relative to anchors: what a regression has to predict.

    dx = a (x - x_a) / w_a;  dy = b (y - y_a) / h_a;  dw = c log(w / w_a);  dh = d log(h / h_a)

    x, y are centers; a, b, c, d the weights.

    Args:
      boxes: what is coded, with positive sides.
      anchors: one for each box, with positive sides.
      weights: (1, 1, 1, 1) for proposals, (10, 10, 5, 5) for the boxes of detections: inverse
        standard deviations, "target_stds" of mmdetection inverted.

    Returns:
      (dx, dy, dw, dh) of each box.

    Example:
      >>> box, anchor = jnp.array([[1.0, 0.0, 3.0, 2.0]]), jnp.array([[0.0, 0.0, 2.0, 2.0]])
      >>> encode_boxes(box, anchor).tolist()
      [[0.5, 0.0, 0.0, 0.0]]

    Reference:
      Girshick et al., "Rich Feature Hierarchies for Accurate Object Detection and Semantic
      Segmentation", CVPR 2014.
    """
    center, side = _center_and_side(boxes)
    anchor_center, anchor_side = _center_and_side(anchors)
    scale = jnp.asarray(weights, boxes.dtype)
    shift = scale[:2] * ((center - anchor_center) / anchor_side)
    growth = scale[2:] * jnp.log(side / anchor_side)
    return jnp.concatenate([shift, growth], -1)


def decode_boxes(
    deltas: Float[Array, "*batch 4"],
    anchors: Float[Array, "*#batch 4"],
    *,
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    least_growth: float = -math.inf,
) -> Float[Array, "*batch 4"]:
    """The inverse of `encode_boxes`; dw and dh are limited to log(1000 / 16).

    Args:
      deltas: (dx, dy, dw, dh) of each box.
      anchors: one for each box, or broadcast.
      weights: as for `encode_boxes`.
      least_growth: limit of dw and dh from below; mmdetection's is -log(1000 / 16).

    Returns:
      Boxes, not clipped to any image.

    Example:
      >>> anchor = jnp.array([[0.0, 0.0, 2.0, 2.0]])
      >>> decode_boxes(jnp.array([[0.5, 0.0, 0.0, 0.0]]), anchor).tolist()
      [[1.0, 0.0, 3.0, 2.0]]
    """
    center, side = _center_and_side(anchors)
    deltas = deltas / jnp.asarray(weights, deltas.dtype)
    growth = jnp.clip(deltas[..., 2:], least_growth, LARGEST_GROWTH)
    center = deltas[..., :2] * side + center
    half = jnp.exp(growth) * side / 2
    return jnp.concatenate([center - half, center + half], -1)


def _center_and_side(boxes: Array) -> tuple[Array, Array]:
    side = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + side / 2, side
