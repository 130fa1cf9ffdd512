"""Few levels for many values: the nearest one, or errors handed on to the neighbors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.typing import Float64, Real, Shaped

_PARTS = np.array([7, 3, 5, 1]).reshape(4, 1, 1) / 16
"""Of an error: to the right, and below to the left, straight and to the right."""


def quantize(
    values: Real[np.ndarray, "*shape"], levels: Sequence[float | int]
) -> Shaped[np.ndarray, "*shape"]:
    """Replaces every value by the nearest level.

    y = argmin_l |x - l|,  the upper one of two levels that are equally near

    Args:
      values: any real numbers.
      levels: at least two, ascending.

    Returns:
      The levels, in the type that NumPy gives an array of them.

    Raises:
      InputError: levels that do not ascend, or a value that is no number.

    Example:
      >>> quantize(np.array([-3, 9, 10, 31, 90]), (0, 20, 40, 60, 80)).tolist()
      [0, 0, 20, 40, 80]
    """
    table, middles = _checked(values, levels)
    return table[np.searchsorted(middles, values, side="right")]


def dither(
    values: Real[np.ndarray, "*batch h w"], levels: Sequence[float | int]
) -> Shaped[np.ndarray, "*batch h w"]:
    """Replaces values by levels and hands every error on, by the rule of Floyd and Steinberg.

    y(i, j) = level nearest to z(i, j),  e = z - y,
    z(i, j) = x(i, j) + (e(i-1, j-1) + 5 e(i-1, j) + 3 e(i-1, j+1) + 7 e(i, j-1)) / 16

    So means over neighborhoods stay those of the values, as far as these lie within the levels.
    What an error would hand on beyond the border is lost.

    A pixel waits for its left neighbor and for the one above to the right, so all pixels of one
    t = 2 i + j are computed at a time: 2 h + w - 2 steps. A pixel adds what it is handed in the
    order in which a loop over rows and columns hands it on, so results are those of that loop, to
    the last bit, in float64.

    Args:
      values: images, which know nothing of each other; faster together than one by one.
      levels: at least two, ascending.

    Returns:
      The levels, in the type that NumPy gives an array of them.

    Raises:
      InputError: levels that do not ascend, or a value that is no number.

    Example:
      >>> dither(np.full((2, 4), 10), (0, 20)).tolist()
      [[20, 0, 20, 0], [0, 20, 0, 20]]

    Reference:
      Floyd and Steinberg, "An adaptive algorithm for spatial grey scale", Proceedings of the
      Society for Information Display 17(2), 1976.
    """
    table, middles = _checked(values, levels)
    if values.size == 0:
        return np.zeros(values.shape, table.dtype)
    *batch, height, width = values.shape
    images = values.reshape(-1, height, width)
    i = np.arange(height)[:, None]
    times = 2 * i + np.arange(width)
    steps, count = 2 * height + width - 2, len(images)
    # z[t, i] is pixel (i, t - 2 i), so that what is computed together lies together. The last row
    # and the last three times take what is handed on beyond the border.
    z = np.zeros((steps + 3, height + 1, count))
    z[times, i] = np.moveaxis(images, 0, -1)
    chosen = np.zeros((steps, height, count), np.intp)
    for t in range(steps):
        first, after = max(0, (t - width + 2) // 2), min(height, t // 2 + 1)
        here, below = slice(first, after), slice(first + 1, after + 1)
        now = z[t, here]
        index = np.searchsorted(middles, now, side="right")
        chosen[t, here] = index
        right, below_left, straight, below_right = (now - table[index]) * _PARTS
        z[t + 1, below] += below_left
        z[t + 1, here] += right
        z[t + 2, below] += straight
        z[t + 3, below] += below_right
    return np.moveaxis(table[chosen[times, i]], -1, 0).reshape(*batch, height, width)


def _checked(
    values: np.ndarray, levels: Sequence[float | int]
) -> tuple[np.ndarray, Float64[np.ndarray, " middles"]]:
    """The levels as an array, and the values from which on the next level is nearer."""
    table = np.asarray(levels)
    if table.ndim != 1 or len(table) < 2 or not (np.diff(table) > 0).all():
        raise InputError(f"levels: {levels} are not two or more numbers that ascend")
    if not np.isfinite(values).all():
        raise InputError("values: one is not a finite number, to which no level is near")
    return table, (table[1:] + table[:-1]) / 2
