"""The points at which losses read masks: random ones, and more where a mask is unsure."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from segalias_jax import ops
from segalias_jax.typing import Array, Float, Int


def draw_points(
    key: Array,
    logits: Float[Array, "b n h w"],
    *,
    count: int,
    oversampling: int = 3,
    importance: float = 0.75,
) -> Float[Array, "b n p 2"]:
    """Draws points of masks, most of them where the masks are unsure.

    Args:
      key: random key.
      logits: of the masks; no gradient goes to them.
      count: points of each mask.
      oversampling: candidates for each point.
      importance: fraction of the points that is chosen among the candidates; the rest is random.

    Returns:
      (x, y) of [0, 1], from the upper left to the lower right corner of a mask.

    Example:
      >>> draw_points(jax.random.key(0), jnp.zeros((1, 2, 4, 8)), count=6).shape
      (1, 2, 6, 2)

    Reference:
      Kirillov et al., "PointRend: Image Segmentation as Rendering", CVPR 2020.
    """
    of_candidates, of_rest = jax.random.split(key)
    shape, chosen = logits.shape[:2], int(importance * count)
    candidates = jax.random.uniform(of_candidates, (*shape, oversampling * count, 2))
    rest = jax.random.uniform(of_rest, (*shape, count - chosen, 2))
    return training_points(logits, candidates, rest, chosen=chosen)


def training_points(
    logits: Float[Array, "b n h w"],
    candidates: Float[Array, "b n p 2"],
    rest: Float[Array, "b n r 2"],
    *,
    chosen: int,
) -> Float[Array, "b n q 2"]:
    """Returns the candidates at which masks are the least sure, and the rest of the points.

    Args:
      logits: of the masks.
      candidates: points of each mask, see `draw_points`.
      rest: points that are taken anyway.
      chosen: number of candidates taken.

    Returns:
      The least sure one first.
    """
    found = mask_logits_at(logits, candidates)
    best = least_sure(found, chosen)
    return jnp.concatenate([jnp.take_along_axis(candidates, best[..., None], 2), rest], 2)


def mask_logits_at(
    logits: Float[Array, "b n h w"], points: Float[Array, "b n p 2"]
) -> Float[Array, "b n p"]:
    """Returns the logits of masks at points of each.

    Args:
      logits: of the masks.
      points: (x, y) of [0, 1], see `draw_points`.
    """
    sides = jnp.array(logits.shape[:-3:-1], points.dtype)  # width, height
    return ops.sample_points(logits[..., None], points * sides)[..., 0]


def least_sure(logits: Float[Array, "b n p"], count: int) -> Int[Array, "b n k"]:
    """Returns the indices of the logits nearest to 0, of equal ones the first.

    Args:
      logits: of points.
      count: how many.

    Returns:
      Indices, the least sure one first.

    Example:
      >>> least_sure(jnp.array([[[3.0, -1.0, 0.5, 1.0]]]), 3).tolist()
      [[[2, 1, 3]]]
    """
    return jax.lax.top_k(-jnp.abs(jax.lax.stop_gradient(logits)), count)[1]
