"""Anchors: the boxes that a detector starts from, a few at every pixel of every feature map."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from segalias_jax.typing import Array, Float


def base_anchors(
    size: int | float, ratios: tuple[int | float, ...], *, rounded: bool = True
) -> Float[np.ndarray, "a 4"]:
    """Boxes around the origin, one for each ratio, all of the same area.

    h = s sqrt(r);  w = s / sqrt(r);  (-w, -h, w, h) / 2

    Args:
      size: s, side of the square one, in pixels.
      ratios: r, height over width.
      rounded: whether corners are rounded to integers, half to even, as torchvision does;
        mmdetection does not.

    Returns:
      Boxes, in the order of the ratios.

    Example:
      >>> base_anchors(32, (0.5, 1.0)).tolist()
      [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0]]
    """
    root = np.sqrt(np.asarray(ratios, np.float64))
    half = np.stack([size / root, size * root], -1) / 2
    boxes = np.concatenate([-half, half], -1)
    # Adding 0 makes 0 of -0.
    return (np.round(boxes) + 0.0 if rounded else boxes).astype(np.float32)


def grid_anchors(
    base: Float[np.ndarray, "a 4"], grid: tuple[int, int], stride: tuple[int, int]
) -> Float[Array, "n 4"]:
    """The base anchors at every pixel of a feature map.

    Anchor (i, j, k) is base k moved by (j stride_x, i stride_y); rows come first, then columns,
    then the base anchors.

    Args:
      base: boxes around the origin.
      grid: height and width of the feature map.
      stride: pixels of the image from one row, and from one column, to the next.

    Returns:
      `grid[0] grid[1] a` boxes, which may reach beyond the image.

    Example:
      >>> grid_anchors(base_anchors(2, (1.0,)), (1, 2), (4, 8)).tolist()
      [[-1.0, -1.0, 1.0, 1.0], [7.0, -1.0, 9.0, 1.0]]

    Reference:
      Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks",
      NeurIPS 2015.
    """
    rows = jnp.arange(grid[0], dtype=base.dtype) * stride[0]
    columns = jnp.arange(grid[1], dtype=base.dtype) * stride[1]
    y, x = jnp.meshgrid(rows, columns, indexing="ij")
    corners = jnp.stack([x, y, x, y], -1)[:, :, None, :] + jnp.asarray(base)
    return corners.reshape(-1, 4)
