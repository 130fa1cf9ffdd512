"""Distances in reports: tables, numbers, columns of images, and what they follow, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segalias_jax.metrics.counts import Band, ClassCounts
from segalias_jax.metrics.distance_counts import DistanceCounts, DistanceSettings
from segalias_jax.metrics.distance_scores import (
    Distances,
    class_values,
    distance_rows,
    image_values,
    set_value,
)
from segalias_jax.metrics.lookup import find_score
from segalias_jax.scoring.reports.tables import markdown_table, percent, shown_value

CURVES = ("mBoundaryF_{}px", "trimap_mIoU_{}px")
"""Names of the scores that are told at every width."""


def distance_numbers(counts: DistanceCounts, settings: DistanceSettings) -> dict[str, Any]:
    """Scores over all images, for `report.json`.

    Args:
      counts: of images, as `DistanceCounts.stack` gives them.
      settings: what they were made with.

    Returns:
      Means by name such as "mHD95", and values of each class such as "HD95" [C]; nan where there
      is none.

    Example:
      >>> from segalias_jax.metrics import ScoreRules
      >>> from segalias_jax.scoring.distances import count_distances
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> one = count_distances(ids, ids, ScoreRules(), 2)
      >>> numbers = distance_numbers(DistanceCounts.stack([one]), DistanceSettings())
      >>> numbers["mHD95"], numbers["NSD_2"].tolist(), numbers["mBoundaryF_1px"]
      (0.0, [1.0, 1.0], 1.0)
    """
    of, result = Distances(counts, settings), {}
    for row in distance_rows(settings):
        result[row.name] = set_value(row, of)
        result[row.per_class] = class_values(row, of)
    total = _boundary_counts(counts, settings)
    for width in settings.widths:
        row = find_score(CURVES[0].format(width))
        result[row.name] = row.of_set(total)
        result[row.per_class] = row.of_classes(total)
    return result


def distance_columns(counts: DistanceCounts, settings: DistanceSettings) -> dict[str, np.ndarray]:
    """Scores of each image by itself, for `per_image.csv`.

    Args:
      counts: of images.
      settings: what they were made with.

    Returns:
      By name, one number an image; nan where it has none.

    Example:
      >>> settings = DistanceSettings(tolerances=(), skeletons=False)
      >>> counts = DistanceCounts.stack([DistanceCounts.zeros(3, settings)])
      >>> list(distance_columns(counts, settings))[:2]
      ['mHD95', 'mHD95_found']
    """
    of, rows = Distances(counts, settings), distance_rows(settings, place="image")
    return {row.per_image: image_values(row, of) for row in rows}


def distance_table(
    counts: DistanceCounts, settings: DistanceSettings, classes: Sequence[str]
) -> str:
    """Writes distances as a Markdown table with a row for each class.

    Args:
      counts: of images.
      settings: what they were made with.
      classes: names of the classes.

    Returns:
      The table: distances in pixels or the unit of the spacing, fractions in per cent, "-" where
      there is no value.

    Example:
      >>> settings = DistanceSettings(tolerances=(), skeletons=False)
      >>> counts = DistanceCounts.stack([DistanceCounts.zeros(1, settings)])
      >>> distance_table(counts, settings, ["sky"]).splitlines()[0][:30]
      '| class       | HD95 | HD95 wh'
    """
    of, rows = Distances(counts, settings), distance_rows(settings, place="table")
    each = [class_values(row, of) for row in rows]
    cells = [
        ["class", *(row.class_title for row in rows)],
        ["mean or sum", *(shown_value(row, set_value(row, of)) for row in rows)],
    ]
    for i, name in enumerate(classes):
        values = (shown_value(row, v[i]) for row, v in zip(rows, each, strict=True))
        cells.append([name, *values])
    return markdown_table(cells, names=True)


def curve_table(counts: DistanceCounts, settings: DistanceSettings) -> str:
    """Writes boundary F and trimap mIoU at every width as a Markdown table, in per cent.

    Args:
      counts: of images.
      settings: what they were made with; at least one width.

    Returns:
      The table.

    Example:
      >>> settings = DistanceSettings(widths=(1, 2))
      >>> counts = DistanceCounts.stack([DistanceCounts.zeros(1, settings)])
      >>> curve_table(counts, settings).splitlines()[-1]
      '| 2 px  |               - |           - |'
    """
    numbers = distance_numbers(counts, settings)
    cells = [["width", "mean boundary F", "trimap mIoU"]]
    for width in settings.widths:
        values = (percent(numbers[name.format(width)]) for name in CURVES)
        cells.append([f"{width} px", *values])
    return markdown_table(cells, names=True)


def distance_rules(settings: DistanceSettings) -> dict[str, str]:
    """Says what these scores follow, in words, by topic.

    Args:
      settings: what is counted.

    Returns:
      Sentences by topic.

    Example:
      >>> distance_rules(DistanceSettings(widths=(), skeletons=False))["distances are in"]
      'pixels'
    """
    spacing, unit = settings.spacing, "pixels"
    if tuple(spacing) != (1, 1):
        unit = (
            f"the unit of the spacing, {spacing[0]:g} between rows, {spacing[1]:g} between columns"
        )
    result = {
        "distances are in": unit,
        "surface": "pixels of a class of which one of the 4 neighbors is not of the class; beyond "
        "the image and under ignored pixels no class is, in both maps",
        "mean over images": "distances of a class are averaged over the images in which a map has "
        "it, then over classes",
    }
    for row in distance_rows(settings):
        result[row.class_title] = row.rule
    return result


def _boundary_counts(counts: DistanceCounts, settings: DistanceSettings) -> ClassCounts:
    """Boundary pixels of all images, as the formula of boundary F takes them."""
    total = counts.pooled()
    none = Band(*np.zeros((3, counts.contour.shape[-1]), np.int64))
    return ClassCounts(
        *(none,) * 5, contour=total.contour, hits=total.met, tolerances=settings.widths
    )
