"""Boundary F and trimap mIoU over many widths: whether a few pixels decide a score.

Boundaries are those of the boundary F-score (`counting`), found in bands of rows; what is within a
width is within all larger ones, so that one pass counts all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring import bit_planes, host_bands
from segalias_jax.scoring.counting import listed_places, pixels_by_plane
from segalias_jax.scoring.host_bands import MapPair
from segalias_jax.scoring.nearest import nearest_distances
from segalias_jax.typing import Int, Integer, UInt64


class CurveCounts(NamedTuple):
    """Counts of one image at every width.

    Attributes:
      contour: true and predicted boundary pixels.
      met: those of them that have a boundary pixel of the same class in the other map within each
        width (Euclidean distance).
      trimap: right, true and predicted pixels among the first pixels on both sides of a true
        boundary, as many as each width (in squares).
    """

    contour: Int[np.ndarray, "2 classes"]
    met: Int[np.ndarray, "widths 2 classes"]
    trimap: Int[np.ndarray, "widths 3 classes"]


def count_curves(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, "h w"],
    widths: tuple[int, ...],
    *,
    num_classes: int,
    rules: ScoreRules,
) -> CurveCounts:
    """Counts boundary pixels that are met, and pixels near true boundaries, at every width.

    Args:
      prediction: predicted class ids, all of them classes where the label is not ignored.
      label: true labels of the same shape.
      widths: in pixels, from 1 on, ascending.
      num_classes: C.
      rules: which labels are ignored, whether they bound objects, and how class 0 is written.

    Returns:
      The counts.

    Example:
      >>> label = np.asarray([[0, 0, 0, 1, 1, 1]], np.uint8)
      >>> counts = count_curves(label, label, (1, 2), num_classes=2, rules=ScoreRules())
      >>> counts.contour.tolist(), counts.trimap[:, 0].tolist()
      ([[1, 1], [1, 1]], [[1, 1], [2, 2]])
    """
    trimap = np.zeros((len(widths), 3, num_classes), np.int64)
    found: tuple[list, list] = ([], [])
    height, width = label.shape
    for band in host_bands.row_bands(height, width, max(widths, default=0) + 1):
        pair = MapPair.of(prediction[band.crop], label[band.crop], rules)
        planes = _nested(pair.edges[1], widths)
        cells = pixels_by_plane(pair, planes, num_classes, rules, band.core)
        # Groups are numbered by the widths that hold a pixel, of which the last is in most.
        inside = cells[::-1].cumsum(0)[::-1][1 : 1 + len(widths)][::-1]
        trimap[:, 0] += np.diagonal(inside, axis1=1, axis2=2)
        trimap[:, 1] += inside.sum(2)
        trimap[:, 2] += inside.sum(1)
        contours = pair.masked(pair.edges) & ~pair.ignored
        first = 0, int(rules.reduce_zero_label)
        for side, own in ((0, 1), (1, 0)):
            flat, pitch = pair.maps[own].reshape(-1), pair.maps[own].shape[1]
            for place in listed_places(contours[own], band.core):
                points = np.stack([place // pitch + band.crop.start, place % pitch], 1)
                found[side].append((flat[place].astype(np.int64) - first[own], points))
    true, predicted = (points_by_class(one, num_classes) for one in found)
    contour, met = _met(true, predicted, widths)
    return CurveCounts(contour, met, trimap)


def points_by_class(
    found: list[tuple[Int[np.ndarray, " _"], Int[np.ndarray, "_ 2"]]], num_classes: int
) -> list[Int[np.ndarray, "_ 2"]]:
    """Sorts points by their classes.

    Args:
      found: classes and points, piece by piece.
      num_classes: C.

    Returns:
      The points of each class, in the order in which they were found.

    Example:
      >>> found = [(np.asarray([1, 0]), np.asarray([[0, 0], [0, 1]]))]
      >>> [points.tolist() for points in points_by_class(found, 2)]
      [[[0, 1]], [[0, 0]]]
    """
    ids = np.concatenate([np.zeros(0, np.int64), *(ids for ids, _ in found)])
    points = np.concatenate([np.zeros((0, 2), np.int64), *(points for _, points in found)])
    ends = np.bincount(ids, minlength=num_classes).cumsum()
    return np.split(points[np.argsort(ids, kind="stable")], ends[:-1])


def _met(
    true: list[np.ndarray], predicted: list[np.ndarray], widths: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    contour = np.asarray([[len(points) for points in one] for one in (true, predicted)])
    met = np.zeros((len(widths), *contour.shape), np.int64)
    for c, pair in enumerate(zip(true, predicted, strict=True)):
        if min(map(len, pair)):
            for side, (own, other) in enumerate((pair, pair[::-1])):
                apart = np.sort(nearest_distances(own, other))
                met[:, side, c] = np.searchsorted(apart, widths, side="right")
    return contour, met


def _nested(
    edges: UInt64[np.ndarray, "h words"], widths: tuple[int, ...]
) -> UInt64[np.ndarray, "bits h words"]:
    """Planes of the bits of numbers: how many widths hold a pixel."""
    planes = np.zeros((max(1, len(widths).bit_length()), *edges.shape), np.uint64)
    near, reach = edges[None], 1
    for number, width in enumerate(widths):
        near = bit_planes.window_or(near, width - reach, width - reach)
        reach = width
        # Where the last k bands hold a pixel, its number is k; the larger band comes with less.
        after, before = len(widths) - number, len(widths) - number - 1
        for bit, plane in enumerate(planes):
            if (after ^ before) >> bit & 1:
                plane ^= near[0]
    return planes
