"""Maps and packed masks at points between their pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator

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
        (1/2, 1/2). No gradient goes to them.

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
    for row, column, weight in _neighbors(flat, height, width):
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
    for row, column, weight in _neighbors(points, masks.shape[1], 8 * masks.shape[2]):
        byte = masks[index[:, None], row, column // 8]
        total += weight * (byte >> (7 - column % 8).astype(jnp.uint8) & 1)
    return total


def _neighbors(points: Array, height: int, width: int) -> Iterator[tuple[Array, Array, Array]]:
    """Row, column and weight of the four pixels around points, inside of the map."""
    position = points - 0.5
    first = jnp.floor(position)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column, row = first[..., 0] + j, first[..., 1] + i
        share = (1 - jnp.abs(position[..., 0] - column)) * (1 - jnp.abs(position[..., 1] - row))
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        yield (
            jnp.clip(row, 0, height - 1).astype(jnp.int32),
            jnp.clip(column, 0, width - 1).astype(jnp.int32),
            jnp.where(inside, share, 0),
        )
