"""Maps and packed masks at points between their pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array, Float, Integer, UInt8


@on_any_mesh
def sample_points(
    features: Float[Array, "*batch h w c"], points: Float[Array, "*batch n 2"]
) -> Float[Array, "*batch n c"]:
    """Bilinear interpolation of maps at points; beyond a map there are zeros.

    y[n] = sum_ij max(0, 1 - |v_n - i - 1/2|) max(0, 1 - |u_n - j - 1/2|) x[i, j]

    Args:
      features: x, feature maps, channels last.
      points: (u, v), across and down, in pixels of the map, whose first pixel has its center at
        (1/2, 1/2). At a center the derivative by them is that to the right and down.

    Returns:
      The features of each point, in the type of the maps.

    Example:
      >>> x = jnp.array([[[2.0], [4.0]]])
      >>> sample_points(x, jnp.array([[0.5, 0.5], [1.0, 0.5], [2.0, 0.5]]))[:, 0].tolist()
      [2.0, 3.0, 2.0]

    Reference:
      `grid_sample` of PyTorch with `align_corners=False`, in other units.
    """
    *batch, height, width, channels = features.shape
    maps = math.prod(batch)
    pixels = features.reshape(maps, height * width, channels)
    flat = points.reshape(maps, *points.shape[-2:])
    total = jnp.zeros((), features.dtype)
    for row, column, weight in neighbors(flat, height, width):
        read = jnp.take_along_axis(pixels, (row * width + column)[..., None], 1)
        total += weight[..., None].astype(features.dtype) * read
    return total.reshape(*points.shape[:-1], channels)


def sample_mask_points(
    masks: UInt8[Array, "g h w8"],
    points: Float[Array, "n p 2"],
    index: Integer[Array, " n"],
) -> Float[Array, "n p"]:
    """`sample_points` of packed masks of one image, of which only the bits needed are read.

    Args:
      masks: masks of the truths, eight pixels of a row in a byte, as `numpy.packbits` has them.
      points: as for `sample_points`, for each of n objects.
      index: of the mask of each.

    Returns:
      Fractions of [0, 1], in the type of the points.

    Example:
      >>> masks = jnp.full((1, 8, 1), 0b11110000, jnp.uint8)
      >>> sample_mask_points(masks, jnp.array([[[3.5, 1.5], [4.0, 1.5]]]), jnp.array([0])).tolist()
      [[1.0, 0.5]]
    """
    total = jnp.zeros((), points.dtype)
    for row, column, weight in neighbors(points, masks.shape[1], 8 * masks.shape[2]):
        byte = masks[index[:, None], row, column // 8]
        total += weight * (byte >> (7 - column % 8).astype(jnp.uint8) & 1)
    return total


def neighbors(
    points: Float[Array, "*batch 2"], height: Any, width: Any
) -> Iterator[tuple[Integer[Array, "*batch"], Integer[Array, "*batch"], Float[Array, "*batch"]]]:
    """Yields row, column and weight of each of the four pixels around points.

    Weights of pixels beyond the map are 0, their rows and columns those of the nearest inside.

    Args:
      points: (u, v), as for `sample_points`.
      height: of the map.
      width: of the map.

    Example:
      >>> [(int(r), int(c), float(w)) for r, c, w in neighbors(jnp.array([1.25, 0.5]), 2, 2)]
      [(0, 0, 0.25), (0, 1, 0.75), (1, 0, 0.0), (1, 1, 0.0)]
    """
    position = points - 0.5
    first = jnp.floor(position)
    # Not 1 - |distance|, whose derivative vanishes at centers, where attention begins.
    fraction = position - first
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column, row = first[..., 0] + j, first[..., 1] + i
        across = fraction[..., 0] if j else 1 - fraction[..., 0]
        down = fraction[..., 1] if i else 1 - fraction[..., 1]
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        yield (
            jnp.clip(row, 0, height - 1).astype(jnp.int32),
            jnp.clip(column, 0, width - 1).astype(jnp.int32),
            jnp.where(inside, across * down, 0),
        )
