"""Non-maximum suppression on the device, with shapes that are known beforehand.

The greedy rule goes through boxes by falling score and takes each that overlaps none taken before.
It is the one fixpoint of "a box is taken unless a taken one before it suppresses it": box k depends
on boxes before it alone, so repeating that rule from any start settles box after box. Repeating it
for all boxes at once is a product of a matrix of truth values with a vector, and takes as many
rounds as the longest chain in which each suppresses the next, which is a handful.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from segalias_jax.ops.boxes import box_iou
from segalias_jax.typing import Array, Bool, Float, Int


def nms_mask(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    threshold: float | Float[Array, ""],
    *,
    classes: Int[Array, " n"] | None = None,
    valid: Bool[Array, " n"] | None = None,
) -> Bool[Array, " n"]:
    """Which boxes are left by greedy non-maximum suppression.

    A box is suppressed by a box with a higher score that is left itself and overlaps it by
    IoU > threshold. Of equal scores the lower index is the higher one.

    Args:
      boxes: boxes (x1, y1, x2, y2).
      scores: of the boxes.
      threshold: largest IoU that two boxes left may have.
      classes: boxes suppress only those of their own class; None for one class.
      valid: boxes that exist; the others are not left and suppress nothing.

    Returns:
      One truth value for each box.

    Example:
      >>> boxes = jnp.array([[0.0, 0, 4, 4], [0, 0, 4, 3], [8, 8, 9, 9]])
      >>> nms_mask(boxes, jnp.array([0.5, 0.9, 0.1]), 0.5).tolist()
      [False, True, True]
    """
    index = jnp.arange(len(boxes))
    tied = (scores[:, None] == scores[None]) & (index[:, None] < index[None])
    suppresses = ((scores[:, None] > scores[None]) | tied) & (box_iou(boxes, boxes) > threshold)
    if classes is not None:
        suppresses &= classes[:, None] == classes[None]
    valid = jnp.ones(len(boxes), bool) if valid is None else valid

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        left, _ = state
        after = valid & ~jnp.any(suppresses & left[:, None], 0)
        return after, jnp.any(after != left)

    return jax.lax.while_loop(lambda state: state[1], step, (valid, jnp.any(valid)))[0]


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    threshold: float | Float[Array, ""],
    *,
    max_outputs: int,
    classes: Int[Array, " n"] | None = None,
    valid: Bool[Array, " n"] | None = None,
) -> tuple[Int[Array, " k"], Bool[Array, " k"]]:
    """Greedy non-maximum suppression, best boxes first, see `nms_mask`.

    Works under `jax.jit` and `jax.vmap`; no class is told apart by moving its boxes away, which
    would cost them their last digits.

    Args:
      boxes: boxes (x1, y1, x2, y2).
      scores: of the boxes.
      threshold: largest IoU that two boxes left may have.
      max_outputs: k, length of the result.
      classes: boxes suppress only those of their own class; None for one class.
      valid: boxes that exist.

    Returns:
      Indices of the best boxes left by falling score, of equal ones the lower first; and which of
      these entries hold a box. Entries that hold none have the index 0.

    Example:
      >>> boxes = jnp.array([[0.0, 0, 4, 4], [0, 0, 4, 3], [8, 8, 9, 9]])
      >>> indices, valid = nms(boxes, jnp.array([0.5, 0.9, 0.1]), 0.5, max_outputs=4)
      >>> indices.tolist(), valid.tolist()
      ([1, 2, 0, 0], [True, True, False, False])
    """
    left = nms_mask(boxes, scores, threshold, classes=classes, valid=valid)
    indices, held = best_of(scores, left, max_outputs)
    return jnp.where(held, indices, 0), held


def best_of(
    scores: Float[Array, " n"], valid: Bool[Array, " n"], count: int
) -> tuple[Int[Array, " k"], Bool[Array, " k"]]:
    """Indices of the highest scores among valid entries.

    Args:
      scores: finite numbers.
      valid: entries to choose from.
      count: k, length of the result, which may exceed that of `scores`.

    Returns:
      Indices by falling score, of equal ones the lower first, and which of them are of valid
      entries.

    Example:
      >>> best_of(jnp.array([0.1, 0.7, 0.3]), jnp.array([True, False, True]), 2)[0].tolist()
      [2, 0]
    """
    short = max(count - len(scores), 0)
    _, order = jax.lax.top_k(jnp.where(valid, scores, -jnp.inf), min(count, len(scores)))
    return jnp.pad(order, (0, short)), jnp.pad(valid[order], (0, short))
