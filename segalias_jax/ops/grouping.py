"""Objects out of dense maps: centers of a heat map, the pixels of each, and classes by their vote.

Every function is of one image and has shapes that are known beforehand; `jax.vmap` makes it one of
a batch. A pixel is at (row, column), whole numbers at its center.

Reference:
  Cheng et al., "Panoptic-DeepLab: A Simple, Strong, and Fast Baseline for Bottom-Up Panoptic
  Segmentation", CVPR 2020.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from segalias_jax.ops.nms import best_of
from segalias_jax.ops.resample import max_pool
from segalias_jax.typing import Array, Bool, Float, Int


def find_centers(
    heat: Float[Array, "h w"], *, threshold: float, max_centers: int, window: int = 7
) -> tuple[Int[Array, "k 2"], Float[Array, " k"], Bool[Array, " k"]]:
    """The highest local maxima of a heat map.

    A pixel is one where no other within the window around it is higher; equal neighbors are both.

    Args:
      heat: how much a pixel looks like the center of an object.
      threshold: centers are hotter than that.
      max_centers: k, length of the result.
      window: side of the window, odd, in pixels.

    Returns:
      (row, column) of each center, the hottest first and of equal ones the upper left; its heat;
      and which entries hold a center. The others hold zeros.

    Example:
      >>> heat = jnp.zeros((9, 9)).at[1, 2].set(0.5).at[7, 7].set(0.9).at[7, 6].set(0.8)
      >>> positions, scores, valid = find_centers(heat, threshold=0.1, max_centers=3)
      >>> positions.tolist(), valid.tolist()
      ([[7, 7], [1, 2], [0, 0]], [True, True, False])
    """
    highest = max_pool(heat[None, ..., None], window, stride=1, padding=window // 2)[0, ..., 0]
    tops = (heat == highest) & (heat > threshold)
    order, valid = best_of(heat.ravel(), tops.ravel(), max_centers)
    order = jnp.where(valid, order, 0)
    positions = jnp.stack([order // heat.shape[1], order % heat.shape[1]], -1)
    return positions, jnp.where(valid, heat.ravel()[order], 0), valid


def group_pixels(
    offsets: Float[Array, "h w 2"], centers: Int[Array, "k 2"], valid: Bool[Array, " k"]
) -> Int[Array, "h w"]:
    """Gives each pixel to the center that it points next to.

    g[p] = 1 + argmin_k |p + o[p] - c_k|^2 over the valid centers

    Args:
      offsets: o, (rows, columns) from each pixel to the center of its object.
      centers: c, (row, column).
      valid: centers that exist.

    Returns:
      Numbers of centers from 1 on, the lower of two as near; 0 everywhere where there is none.

    Example:
      >>> centers, valid = jnp.array([[0, 0], [0, 3]]), jnp.ones(2, bool)
      >>> group_pixels(jnp.zeros((1, 4, 2)), centers, valid).tolist()
      [[1, 1, 2, 2]]
      >>> group_pixels(jnp.full((1, 4, 2), 2.0), centers, valid).tolist()
      [[2, 2, 2, 2]]
    """
    height, width = offsets.shape[:2]
    rows = jnp.arange(height)[:, None] + offsets[..., 0]
    columns = jnp.arange(width) + offsets[..., 1]

    # One center after the other: distances to all of them at once would take k maps of memory.
    def compare(k: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        distance = jnp.square(rows - centers[k, 0]) + jnp.square(columns - centers[k, 1])
        nearer = valid[k] & (distance < best[0])
        return jnp.where(nearer, distance, best[0]), jnp.where(nearer, k + 1, best[1])

    count = jnp.max(jnp.where(valid, jnp.arange(1, len(valid) + 1), 0), initial=0)
    nothing = jnp.full_like(rows, jnp.inf), jnp.zeros((height, width), jnp.int32)
    return jax.lax.fori_loop(0, count, compare, nothing)[1]


def merge_segments(
    semantic: Int[Array, "h w"],
    groups: Int[Array, "h w"],
    *,
    max_groups: int,
    num_classes: int,
    stuff: tuple[int, ...] = (),
    stuff_area: int = 0,
) -> tuple[Int[Array, "h w"], Int[Array, " n"]]:
    """Segments of an image: groups of things with one class each, and one region of each stuff.

    Pixels of things belong to the segment of their group, whose class is the one most of them
    have, of equal ones the lower. Pixels of stuff belong to the segment of their class, unless
    that has too few of them.

    Args:
      semantic: class of each pixel, 1 to `num_classes`; 0 for none.
      groups: group of each pixel, 1 to `max_groups`; 0 for none.
      max_groups: k, number of groups that there can be.
      num_classes: number of classes.
      stuff: classes without single objects; all others are things.
      stuff_area: pixels that a segment of stuff has at least.

    Returns:
      Segment of each pixel, 0 for none, 1 to k for groups, from k + 1 on for stuff in the order of
      its classes; and the class of each of the k + len(stuff) segments, 0 for one that is empty.

    Example:
      >>> semantic, groups = jnp.array([[1, 1, 2, 3, 0]]), jnp.array([[1, 1, 1, 1, 1]])
      >>> segments, classes = merge_segments(
      ...     semantic, groups, max_groups=2, num_classes=3, stuff=(3,)
      ... )
      >>> segments.tolist(), classes.tolist()
      ([[1, 1, 1, 3, 0]], [1, 0, 3])
    """
    regions = jnp.asarray(stuff, jnp.int32)
    is_thing = jnp.ones(num_classes + 1, bool).at[0].set(False).at[regions].set(False)
    things = is_thing[semantic]
    own = jnp.where(things, groups, 0)
    votes = jnp.zeros((max_groups + 1, num_classes + 1), jnp.int32).at[own, semantic].add(things)
    # Nobody votes for class 0, which wins only where there is no vote.
    classes = jnp.argmax(votes, 1)[1:].astype(jnp.int32)
    areas = jnp.zeros(num_classes + 1, jnp.int32).at[semantic].add(1)[regions]
    large = areas >= max(stuff_area, 1)
    numbers = jnp.arange(max_groups + 1, max_groups + 1 + len(stuff), dtype=jnp.int32)
    of_class = jnp.zeros(num_classes + 1, jnp.int32).at[regions].set(jnp.where(large, numbers, 0))
    segments = jnp.where(things, own, of_class[semantic]).astype(jnp.int32)
    return segments, jnp.concatenate([classes, jnp.where(large, regions, 0)])
