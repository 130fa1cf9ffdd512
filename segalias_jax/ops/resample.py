"""Resizing and pooling of feature maps, equal to PyTorch's to rounding."""

from __future__ import annotations

import functools

import jax
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.ops.axis import apply_along_axis
from segalias_jax.typing import Array, Float, Int


def resize_bilinear(
    x: Float[Array, "*batch h w c"], size: tuple[int, int], *, align_corners: bool = False
) -> Float[Array, "*batch h2 w2 c"]:
    """Bilinear interpolation to `size`, without anti-aliasing.

    Output pixel i reads position (i + 1/2) n / m - 1/2, clamped to the image; with
    `align_corners`, position i (n - 1) / (m - 1), so that corner pixels keep their values.

    Args:
      x: feature map, channels last.
      size: height and width wanted, in pixels.
      align_corners: which of the two sampling grids.

    Returns:
      The resized map, in the type of `x`.

    Raises:
      InputError: `size` is not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> resize_bilinear(jnp.arange(2.0).reshape(1, 2, 1), (1, 4))[0, :, 0].tolist()
      [0.0, 0.25, 0.75, 1.0]
    """
    if min(size) < 1:
        raise InputError(f"size is {size}, but must be positive")
    for axis, length in ((-3, size[0]), (-2, size[1])):
        if length != x.shape[axis]:
            matrix = _bilinear_matrix(x.shape[axis], length, align_corners)
            x = apply_along_axis(x, matrix, axis)
    return x


def bilinear_taps(
    n: int, m: int, *, align_corners: bool = False
) -> tuple[Int[np.ndarray, "2 m"], Float[np.ndarray, "2 m"]]:
    """The two samples that each output of a bilinear interpolation reads, see `resize_bilinear`.

    Args:
      n: number of samples.
      m: number of outputs.
      align_corners: which of the two sampling grids.

    Returns:
      Positions of the two samples, and their weights, which sum to 1.

    Example:
      >>> samples, weights = bilinear_taps(2, 4)
      >>> samples.tolist(), weights[1].tolist()
      ([[0, 0, 0, 1], [1, 1, 1, 1]], [0.0, 0.25, 0.75, 0.25])
    """
    i = np.arange(m)
    if align_corners:
        position = i * ((n - 1) / (m - 1) if m > 1 else 0.0)
    else:
        position = np.maximum((i + 0.5) * n / m - 0.5, 0)
    low = np.minimum(position.astype(np.int64), n - 1)
    share = position - low
    return np.stack([low, np.minimum(low + 1, n - 1)]), np.stack([1 - share, share])


@functools.lru_cache(maxsize=256)
def _bilinear_matrix(n: int, m: int, align_corners: bool) -> np.ndarray:
    """Interpolation weights, float64 `[m, n]`, at most two per row."""
    samples, weights = bilinear_taps(n, m, align_corners=align_corners)
    matrix = np.zeros((m, n))
    for sample, weight in zip(samples, weights, strict=True):
        matrix[np.arange(m), sample] += weight
    return matrix


def adaptive_avg_pool(
    x: Float[Array, "*batch h w c"], size: tuple[int, int]
) -> Float[Array, "*batch h2 w2 c"]:
    """Averages an image over a grid of `size` cells, whatever its own size.

    Cell i of m averages pixels floor(i n / m) to ceil((i + 1) n / m) - 1; cells overlap where m
    does not divide n.

    Args:
      x: feature map, channels last.
      size: number of cells along height and width.

    Returns:
      The cell means, in the type of `x`.

    Raises:
      InputError: `size` is not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> adaptive_avg_pool(jnp.arange(4.0).reshape(1, 4, 1), (1, 2))[0, :, 0].tolist()
      [0.5, 2.5]
    """
    if min(size) < 1:
        raise InputError(f"size is {size}, but must be positive")
    for axis, cells in ((-3, size[0]), (-2, size[1])):
        x = apply_along_axis(x, _pooling_matrix(x.shape[axis], cells), axis)
    return x


@functools.lru_cache(maxsize=256)
def _pooling_matrix(n: int, m: int) -> np.ndarray:
    i = np.arange(m)
    start, stop = i * n // m, -((i + 1) * n // -m)
    pixel = np.arange(n)
    inside = (pixel >= start[:, None]) & (pixel < stop[:, None])
    return inside / inside.sum(1, keepdims=True)


def max_pool(
    x: Float[Array, "b h w c"], window: int, *, stride: int, padding: int = 0
) -> Float[Array, "b h2 w2 c"]:
    """Maximum over square windows; padding never wins.

    Args:
      x: feature map, channels last.
      window: side length, in pixels.
      stride: step between windows, in pixels.
      padding: pixels added on every side.

    Returns:
      The maxima, `floor((n + 2 padding - window) / stride) + 1` along each image axis.

    Example:
      >>> import jax.numpy as jnp
      >>> max_pool(jnp.arange(4.0).reshape(1, 1, 4, 1), 1, stride=2)[0, 0, :, 0].tolist()
      [0.0, 2.0]
    """
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    lowest = np.array(-np.inf, x.dtype)  # concrete, or the maximum has no gradient
    shape, strides = (1, window, window, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, lowest, jax.lax.max, shape, strides, pads)
