"""Which truth a box stands for, and which boxes a loss is taken of, with static shapes.

Truths are padded to a fixed number, and `valid` says which exist. Samples have a fixed length, too:
their number is known beforehand, which of them exist is not.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from segalias_jax.ops.nms import best_of
from segalias_jax.typing import Array, Bool, Float, Integer

BACKGROUND = -1
BETWEEN = -2
"""Matches of boxes that overlap every truth too little, and of those neither here nor there."""


def match_boxes(
    iou: Float[Array, "g n"],
    valid: Bool[Array, " g"],
    *,
    low: float,
    high: float,
    low_quality: bool = False,
) -> Integer[Array, " n"]:
    """The truth that each box overlaps most, if it does so enough.

    Args:
      iou: of every truth with every box.
      valid: truths that exist.
      low: boxes whose best IoU is below are background.
      high: boxes whose best IoU is at least this have their truth; others are between.
      low_quality: whether each truth also takes all boxes that overlap it most, however little.
        Such a box has the truth that the box overlaps most, which need not be that one.

    Returns:
      Index of a truth, of equal ones the lowest; -1 for background, -2 for between.

    Example:
      >>> iou = jnp.array([[0.8, 0.4, 0.1, 0.5], [0.0, 0.2, 0.2, 0.0]])
      >>> valid = jnp.array([True, True])
      >>> match_boxes(iou, valid, low=0.3, high=0.7).tolist()
      [0, -2, -1, -2]
      >>> match_boxes(iou, valid, low=0.3, high=0.7, low_quality=True).tolist()
      [0, 0, 1, -2]

    Reference:
      Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks",
      NeurIPS 2015.
    """
    # Computed once: computed again for the comparison below, the compiler could round it otherwise.
    iou = jax.lax.optimization_barrier(jnp.where(valid[:, None], iou, -1))
    best = iou.max(0)
    # Two reductions of one value each: XLA's CPU reduction of pairs takes three times as long.
    truth = jnp.where(iou == best, jnp.arange(len(iou))[:, None], len(iou)).min(0)
    match = jnp.where(best >= high, truth, jnp.where(best < low, BACKGROUND, BETWEEN))
    if low_quality:
        highest = iou.max(1, keepdims=True)
        taken = jnp.any((iou == highest) & valid[:, None], 0)
        match = jnp.where(taken, truth, match)
    return match


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Samples:
    """Boxes that a loss is taken of: positive ones first, then negative ones, then none.

    Attributes:
      index: [*b, k], of the boxes.
      positive: [*b, k], entries that hold a positive one.
      valid: [*b, k], entries that hold a positive or negative one.

    Example:
      >>> samples = Samples(jnp.array([3, 0]), jnp.array([True, False]), jnp.array([True, True]))
      >>> samples.index.tolist()
      [3, 0]
    """

    index: Any  # arrays; also what jax's transformations put in their place
    positive: Any
    valid: Any


def sample_boxes(
    key: Array,
    positive: Bool[Array, " n"],
    negative: Bool[Array, " n"],
    *,
    count: int,
    positive_fraction: float,
) -> Samples:
    """Draws boxes at random, without replacement: positive ones up to a fraction, then negatives.

    p = min(#positive, floor(positive_fraction count)) positives and min(#negative, count - p)
    negatives, all choices of them equally likely.

    Args:
      key: random key.
      positive: boxes with a truth.
      negative: background.
      count: length of the result.
      positive_fraction: largest fraction of positives among `count`.

    Returns:
      The samples.

    Example:
      >>> positive = jnp.array([False, True, False, False])
      >>> samples = sample_boxes(
      ...     jax.random.key(0), positive, ~positive, count=2, positive_fraction=0.5
      ... )
      >>> int(samples.index[0]), samples.positive.tolist(), samples.valid.tolist()
      (1, [True, False], [True, True])
    """
    draws = jax.random.uniform(key, positive.shape)
    most = int(count * positive_fraction)
    first, is_first = best_of(draws, positive, most)
    second, is_second = best_of(draws, negative, count)
    positives = is_first.sum()
    slot = jnp.arange(count)
    is_positive = slot < positives
    after = jnp.maximum(slot - positives, 0)
    padded = jnp.pad(first, (0, count - most))
    return Samples(
        index=jnp.where(is_positive, padded, second[after]),
        positive=is_positive,
        valid=is_positive | is_second[after],
    )
