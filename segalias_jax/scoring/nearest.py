"""Exact distances from points to the nearest of others, for pictures of any size.

A distance transform of a whole image takes 5 bytes a pixel for each class and map, though only
distances on boundaries are asked for. Points are few, so they are searched instead: along the rows
around each point first, which settles almost all, and the far ones by cells, of which only those
that can hold the nearest point are looked into. Squares of pixels are integers and exact in
float64, so that distances are exact to the last bit whatever the size of the image.
"""

from __future__ import annotations

import numpy as np

from segalias_jax.typing import Bool, Float, Int

# Most boundaries that belong together are nearer than that many rows; beyond, cells are faster.
_ROWS = 24
# Pixels along a side of a cell: some hundred points of a boundary.
_CELL = 64
# Distances between points, or between cells, that are held at a time.
_HELD = 1 << 20


def nearest_distances(
    points: Int[np.ndarray, "points 2"],
    others: Int[np.ndarray, "others 2"],
    spacing: tuple[int | float, int | float] = (1, 1),
) -> Float[np.ndarray, " points"]:
    """Finds the Euclidean distance from each point to the nearest of the others.

    d(p) = min over q of sqrt((sy (py - qy))^2 + (sx (px - qx))^2)

    Args:
      points: rows and columns from 0 on.
      others: the same, in the order of rows, then columns; at least one.
      spacing: (sy, sx), distance between rows and between columns.

    Returns:
      Distances in the unit of the spacing.

    Example:
      >>> points, others = np.asarray([[0, 0], [4, 3]]), np.asarray([[0, 0], [0, 3]])
      >>> nearest_distances(points, others).tolist()
      [0.0, 4.0]
    """
    scale = np.asarray(spacing, np.float64)
    squares, settled = _along_rows(points, others, scale)
    far = np.flatnonzero(~settled)
    if len(far):
        squares[far] = _by_cells(points[far], others, scale)
    return np.sqrt(squares)


def _along_rows(
    points: np.ndarray, others: np.ndarray, scale: np.ndarray
) -> tuple[Float[np.ndarray, " points"], Bool[np.ndarray, " points"]]:
    """Least squares within some rows, and whether no other row can hold a smaller one."""
    down, right = scale
    # Rows lie so far apart in one long line that the next point of another row is known by it.
    width = 1 + max(int(points[:, 1].max(initial=0)), int(others[:, 1].max()))
    pitch, beyond = 2 * width, np.int64(1) << 60
    line = np.concatenate([[-beyond], others[:, 0] * pitch + others[:, 1], [beyond]])
    squares = np.full(len(points), np.inf)
    active = np.arange(len(points))
    for step in range(_ROWS + 1):
        active = active[squares[active] > (down * step) ** 2]
        if not len(active):
            break
        place, least = points[active, 0] * pitch + points[active, 1], squares[active]
        for rows in {step, -step}:
            at = place + rows * pitch
            after = np.searchsorted(line, at)
            columns = np.minimum(line[after] - at, at - line[after - 1])
            found = (right * columns) ** 2 + (down * step) ** 2
            least = np.minimum(least, np.where(columns < width, found, np.inf))
        squares[active] = least
    return squares, squares <= (down * (_ROWS + 1)) ** 2


def _by_cells(
    points: np.ndarray, others: np.ndarray, scale: np.ndarray
) -> Float[np.ndarray, " points"]:
    """Least squares by looking only into the cells that can hold the nearest point."""
    squares = np.empty(len(points))
    cells, near = _Cells.of(points), _Cells.of(others)
    many = max(1, _HELD // len(near.starts))
    for first in range(0, len(cells.starts), many):
        chosen = slice(first, first + many)
        ahead = near.low[None] - cells.high[chosen, None]
        behind = cells.low[chosen, None] - near.high[None]
        least = ((np.maximum(np.maximum(ahead, behind), 0) * scale) ** 2).sum(-1)
        # No point of the first cell is farther from a point of the second than this.
        most = ((np.maximum(-ahead, -behind) * scale) ** 2).sum(-1)
        for i, candidates in enumerate(least <= most.min(1, keepdims=True), start=first):
            rows = cells.points[cells.starts[i] : cells.ends[i]]
            squares[cells.order[cells.starts[i] : cells.ends[i]]] = _least_squares(
                rows, near.inside(np.flatnonzero(candidates)), scale
            )
    return squares


def _least_squares(points: np.ndarray, others: np.ndarray, scale: np.ndarray) -> np.ndarray:
    least, many = np.full(len(points), np.inf), max(1, _HELD // len(points))
    for first in range(0, len(others), many):
        apart = (points[:, None] - others[None, first : first + many]) * scale
        least = np.minimum(least, np.einsum("ijk,ijk->ij", apart, apart).min(1))
    return least


class _Cells:
    """Points by the square cells that they lie in, and the tight box of each cell."""

    def __init__(self, points: np.ndarray, cell: np.ndarray):
        self.order = np.argsort(cell, kind="stable")
        self.points = points[self.order]
        self.starts = np.flatnonzero(np.diff(cell[self.order], prepend=-1))
        self.ends = np.append(self.starts[1:], len(points))
        self.low = np.minimum.reduceat(self.points, self.starts)
        self.high = np.maximum.reduceat(self.points, self.starts)

    @classmethod
    def of(cls, points: np.ndarray) -> _Cells:
        places = points // _CELL
        return cls(points, places[:, 0] * (places[:, 1].max() + 1) + places[:, 1])

    def inside(self, cells: np.ndarray) -> np.ndarray:
        """Points of some cells."""
        return np.concatenate([self.points[self.starts[i] : self.ends[i]] for i in cells])
