"""How far predicted boundaries are from true ones: distances, thin structures, curves over widths.

Everything is counted image by image and class by class; nothing is dropped. The rows of
`metrics.distance_scores` say what follows, and what a class costs that one of the maps lacks.
"""

from __future__ import annotations

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.distance_counts import (
    OFFSET_BINS,
    OFFSET_REACH,
    DistanceCounts,
    DistanceSettings,
)
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring import host_bands
from segalias_jax.scoring.counting import stray_value
from segalias_jax.scoring.curves import count_curves, points_by_class
from segalias_jax.scoring.nearest import nearest_distances
from segalias_jax.scoring.thinning import skeleton
from segalias_jax.typing import Bool, Int, Integer

_QUANTILE = 0.95


def count_distances(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    rules: ScoreRules,
    num_classes: int,
    settings: DistanceSettings | None = None,
) -> DistanceCounts:
    """Counts one image: distances between the boundaries of each class in both maps.

    Args:
      prediction: predicted class ids.
      label: true labels of the same shape; ignored pixels are of no class in both maps.
      rules: which labels are ignored and how class 0 is written; for the curves also whether
        ignored pixels bound objects.
      num_classes: C; predictions hold 0..C-1.
      settings: what is counted; None: `DistanceSettings()`.

    Returns:
      The counts.

    Raises:
      InputError: shapes differ, or a value is no class; the message says which.

    Example:
      >>> label = np.zeros((20, 30), np.uint8)
      >>> label[5:15, 5:15] = 1
      >>> counts = count_distances(np.roll(label, 3, 1), label, ScoreRules(), 2)
      >>> counts.quantile[:, 1].tolist(), counts.offsets[1].nonzero()[0].tolist()
      ([3.0, 3.0], [26, 28, 30, 32, 34, 36, 38])
    """
    settings = settings or DistanceSettings()
    if prediction.shape != label.shape:
        raise InputError(f"prediction of shape {prediction.shape}, label of shape {label.shape}")
    counts = DistanceCounts.zeros(num_classes, settings)
    counts.diagonal[...] = np.hypot(*np.multiply(label.shape, settings.spacing))
    maps = _MaskedMaps(prediction, label, rules, num_classes)
    surfaces = maps.surfaces()
    for c in range(num_classes):
        true, predicted = (points[c] for points in surfaces)
        counts.surface[:, c] = len(true), len(predicted)
        if len(true) and len(predicted):
            apart = (
                nearest_distances(true, predicted, settings.spacing),
                nearest_distances(predicted, true, settings.spacing),
            )
            _add_distances(counts, c, apart, settings)
            inside = maps.of_class(c, 0, predicted)
            _add_offsets(counts, c, np.where(inside, -apart[1], apart[1]), settings)
        if settings.skeletons:
            for side, points in enumerate((true, predicted)):
                lines = maps.skeleton(c, side, points)
                counts.skeleton[side, c] = len(lines)
                counts.covered[side, c] = np.count_nonzero(maps.of_class(c, 1 - side, lines))
    if settings.widths:
        curves = count_curves(
            prediction, label, settings.widths, num_classes=num_classes, rules=rules
        )
        counts.contour[...], counts.met[...], counts.trimap[...] = curves
    return counts


def _add_distances(
    counts: DistanceCounts, c: int, apart: tuple[np.ndarray, np.ndarray], settings: DistanceSettings
) -> None:
    for side, distances in enumerate(apart):
        counts.total[side, c] = distances.sum()
        counts.quantile[side, c] = np.quantile(distances, _QUANTILE)
        counts.largest[side, c] = distances.max()
        for i, tolerance in enumerate(settings.tolerances):
            counts.within[i, side, c] = np.count_nonzero(distances <= tolerance)


def _add_offsets(
    counts: DistanceCounts, c: int, signed: np.ndarray, settings: DistanceSettings
) -> None:
    unit = min(settings.spacing)
    near = signed[np.abs(signed) <= OFFSET_REACH * unit]
    counts.offset[c] = near.sum()
    bins = np.rint(2 * near / unit).astype(np.int64) + OFFSET_BINS // 2
    counts.offsets[c] = np.bincount(bins, minlength=OFFSET_BINS)


class _MaskedMaps:
    """Both maps, truth first, of which ignored pixels are of no class.

    Masked copies of a large image are never held: strips of it are made when they are needed.
    """

    def __init__(
        self, prediction: np.ndarray, label: np.ndarray, rules: ScoreRules, num_classes: int
    ):
        self.maps, self.rules, self.num_classes = (label, prediction), rules, num_classes
        # How each map writes class 0.
        self.first = int(rules.reduce_zero_label), 0

    def strip(self, rows: slice) -> list[Int[np.ndarray, "h w"]]:
        """Class ids of some rows of both maps, -1 where there is none."""
        true, predicted = (ids[rows] for ids in self.maps)
        ignored = host_bands.ignored_pixels(true, self.rules)
        ids = [true.astype(np.int32) - self.first[0], predicted.astype(np.int32)]
        for one in ids:
            one[ignored] = -1
            if ((one < 0) & ~ignored).any() or one.max(initial=-1) >= self.num_classes:
                raise stray_value(predicted, true, self.num_classes, self.rules)
        return ids

    def surfaces(self) -> list[list[Int[np.ndarray, "_ 2"]]]:
        """For each map and class, its surface pixels in the order of rows, then columns."""
        (height, width), found = self.maps[0].shape, ([], [])
        for rows in host_bands.strips(height, width):
            top = max(0, rows.start - 1)
            for kept, ids in zip(found, self.strip(slice(top, rows.stop + 1)), strict=True):
                # Beyond the image there is no class.
                framed = np.pad(
                    ids, ((rows.start == 0, rows.stop == height), (1, 1)), constant_values=-1
                )
                inside = framed[1:-1, 1:-1]
                edge = inside != framed[:-2, 1:-1]
                for beside in (framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:]):
                    edge |= inside != beside
                points = np.argwhere(edge & (inside >= 0))
                kept.append((inside[tuple(points.T)], points + np.asarray([rows.start, 0])))
        return [points_by_class(kept, self.num_classes) for kept in found]

    def of_class(
        self, c: int, side: int, points: Int[np.ndarray, "points 2"]
    ) -> Bool[np.ndarray, " points"]:
        """Which points, none of them ignored, are of a class in a map."""
        return self.maps[side][tuple(points.T)] == c + self.first[side]

    def skeleton(
        self, c: int, side: int, surface: Int[np.ndarray, "_ 2"]
    ) -> Int[np.ndarray, "_ 2"]:
        """Pixels of the skeleton of a class in a map, of which the surface is given."""
        if not len(surface):
            return surface
        (top, left), (bottom, right) = surface.min(0), surface.max(0) + 1
        mask = np.empty((bottom - top, right - left), bool)
        for rows in host_bands.strips(*mask.shape):
            crop = slice(top + rows.start, top + rows.stop), slice(left, right)
            mask[rows] = self.maps[side][crop] == c + self.first[side]
            mask[rows] &= ~host_bands.ignored_pixels(self.maps[0][crop], self.rules)
        return np.argwhere(skeleton(mask)) + np.asarray([top, left])
