"""How scores of a mask fall when it is moved: what an offset alone costs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.counts import ForegroundCounts
from segalias_jax.metrics.formulas import (
    foreground_accuracy,
    foreground_fractions,
    foreground_iou,
)
from segalias_jax.typing import Bool


class OffsetScores(NamedTuple):
    """Scores of a mask that was moved up by `rows`, against where it was."""

    rows: int
    iou: float
    accuracy: float


def move_up(mask: Bool[np.ndarray, "h w"], rows: int) -> Bool[np.ndarray, "h w"]:
    """Moves a mask up; the rows that nothing moves into stay as they are.

    y(i, j) = x(i + k, j) where i < h - k, else x(i, j)

    Args:
      mask: any mask.
      rows: k, from 0 to the height.

    Returns:
      The moved mask.

    Raises:
      InputError: `rows` is out of range.

    Example:
      >>> move_up(np.array([[False], [True], [False], [True]]), 1).ravel().tolist()
      [True, False, True, True]
    """
    if not 0 <= rows <= len(mask):
        raise InputError(f"rows is {rows}, but must be from 0 to the mask's height {len(mask)}")
    return np.concatenate([mask[rows:], mask[len(mask) - rows :]])


def offset_scores(mask: Bool[np.ndarray, "h w"], most: int) -> list[OffsetScores]:
    """Scores a mask moved up by 1, 2, ... rows against itself.

    IoU, which weather forecasting calls the critical success index, falls fast; pixel accuracy
    hardly does where the mask is small.

    Args:
      mask: where something is.
      most: rows of the last score.

    Returns:
      Scores, of the kept last rows too, see `move_up`.

    Raises:
      InputError: `most` is more than the height.

    Example:
      >>> mask = np.zeros((9, 8), np.bool_)
      >>> mask[3:6, 2:6] = True
      >>> [tuple(round(x, 3) for x in scores) for scores in offset_scores(mask, 2)]
      [(1, 0.5, 0.889), (2, 0.2, 0.778)]
    """
    found = []
    for rows in range(1, most + 1):
        moved = move_up(mask, rows)
        counts = ForegroundCounts(
            np.sum(moved & mask),
            np.sum(moved & ~mask),
            np.sum(mask & ~moved),
            np.sum(~moved & ~mask),
        )
        iou = foreground_fractions(counts, foreground_iou)
        accuracy = foreground_fractions(counts, foreground_accuracy)
        found.append(OffsetScores(rows, float(iou), float(accuracy)))
    return found
