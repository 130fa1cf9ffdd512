"""Attention to few points of several maps, wherever a network puts them."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from segalias_jax.errors import InputError
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.ops.points import neighbors
from segalias_jax.typing import Array, Float


@on_any_mesh
def deformable_attention(
    levels: Sequence[Float[Array, "b _ _ m d"]],
    points: Float[Array, "b n m l p 2"],
    weights: Float[Array, "b n m l p"],
) -> Float[Array, "b n m d"]:
    """Weighted sum of what several maps hold at points between their pixels; zeros beyond a map.

    y[n, m] = sum_lp a[n, m, l, p] v_l,m(u[n, m, l, p])

    for query n and head m: v_l,m(u) is the bilinear interpolation of the head's channels of map l,
    as `sample_points` has it. Points and weights are those of a query; no query sees another one.

    Args:
      levels: v_l, maps of values in any sizes, channels by head.
      points: u, (across, down) in pixels of their map, whose first pixel has its center at
        (1/2, 1/2); in float32 also where values are bfloat16, which could not tell pixels apart.
        At a center the derivative by them is that to the right and down, as in PyTorch.
      weights: a, usually a softmax over levels and points.

    Returns:
      What each query reads, by head, in the type of the values.

    Raises:
      InputError: points for another number of levels.

    Example:
      >>> fine, coarse = jnp.arange(4.0).reshape(1, 2, 2, 1, 1), jnp.full((1, 1, 1, 1, 1), 8.0)
      >>> points = jnp.asarray([[1.0, 0.5], [0.5, 0.5]]).reshape(1, 1, 1, 2, 1, 2)
      >>> weights = jnp.asarray([0.5, 0.25]).reshape(1, 1, 1, 2, 1)
      >>> deformable_attention((fine, coarse), points, weights).item()
      2.25

    Reference:
      Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR
      2021. `grid_sample` of PyTorch with `align_corners=False`, in other units.
    """
    if points.shape[3] != len(levels):
        raise InputError(
            f"points are those of {points.shape[3]} levels, but there are {len(levels)}; give as "
            "many of both"
        )
    batch, queries, heads = points.shape[:3]
    channels = levels[0].shape[-1]
    total = jnp.zeros((), levels[0].dtype)
    for level, values in enumerate(levels):
        height, width = values.shape[1:3]
        # One map for each head, so that a point reads the channels of its own head only.
        maps = values.transpose(0, 3, 1, 2, 4).reshape(batch * heads, height * width, channels)
        apart = points[:, :, :, level].transpose(0, 2, 1, 3, 4)
        share = weights[:, :, :, level].transpose(0, 2, 1, 3)
        count = share.shape[-1]
        apart = apart.reshape(batch * heads, queries * count, 2)
        share = share.reshape(batch * heads, queries, count)
        for row, column, weight in neighbors(apart, height, width):
            read = jnp.take_along_axis(maps, (row * width + column)[..., None], 1)
            read = read.reshape(*share.shape, channels)
            factor = (weight.reshape(share.shape) * share).astype(values.dtype)
            total += (factor[..., None] * read).sum(-2)
    return total.reshape(batch, heads, queries, channels).transpose(0, 2, 1, 3)
