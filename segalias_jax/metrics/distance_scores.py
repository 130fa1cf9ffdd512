"""Scores of distances: a formula and a row of `SCORES` for each, on counts of images.

Formulas give a number for each image and class, nan where a class has none. What one of both maps
lacks has no distance; it costs the diagonal of the image, the most that a distance can be, and is
counted by itself. Scores whose names end in "found" leave it out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from segalias_jax.metrics import formulas
from segalias_jax.metrics.counts import Band
from segalias_jax.metrics.distance_counts import (
    OFFSET_BINS,
    OFFSET_REACH,
    DistanceCounts,
    DistanceSettings,
)
from segalias_jax.metrics.rows import Score, at_tolerance
from segalias_jax.typing import Float, Num

_SHIT = (
    'Shit et al., "clDice - a Novel Topology-Preserving Loss Function for Tubular Structure '
    'Segmentation", CVPR 2021'
)
_NIKOLOV = (
    'Nikolov et al., "Clinically Applicable Segmentation of Head and Neck Anatomy for '
    'Radiotherapy", 2021'
)
_HUTTENLOCHER = 'Huttenlocher et al., "Comparing Images Using the Hausdorff Distance", 1993'
_KOHLI = 'Kohli et al., "Robust Higher Order Potentials for Enforcing Label Consistency", 2009'


class Distances(NamedTuple):
    """What formulas of distances take: counts of images, and what they were made with."""

    counts: DistanceCounts
    settings: DistanceSettings


def _with_missing(
    values: Float[np.ndarray, "*images classes"], counts: DistanceCounts
) -> Float[np.ndarray, "*images classes"]:
    """Distances, the diagonal where one map lacks a class, and nan where both do."""
    true, predicted = np.moveaxis(counts.surface > 0, -2, 0)
    penalty = np.where(true | predicted, counts.diagonal[..., None], np.nan)
    return np.where(true & predicted, values, penalty)


def _where_found(
    values: Float[np.ndarray, "*images classes"], counts: DistanceCounts
) -> Float[np.ndarray, "*images classes"]:
    return np.where((counts.surface > 0).all(-2), values, np.nan)


def _hausdorff_95(of: Distances) -> np.ndarray:
    return of.counts.quantile.max(-2)


def _surface_distance(of: Distances) -> np.ndarray:
    return formulas.fraction(of.counts.total.sum(-2), of.counts.surface.sum(-2))


def _near(of: Distances, tolerance: int | float) -> np.ndarray:
    return of.counts.within[..., of.settings.tolerances.index(tolerance), :, :]


def surface_dice(of: Distances, *, tolerance: int | float) -> Float[np.ndarray, "*images classes"]:
    """Returns the fraction of both surfaces that is within a tolerance of the other one."""
    return formulas.fraction(_near(of, tolerance).sum(-2), of.counts.surface.sum(-2))


def far_boundary(
    of: Distances, *, tolerance: int | float, side: int
) -> Float[np.ndarray, "*images classes"]:
    """Returns the fraction of one surface that is farther than a tolerance from the other one.

    Args:
      of: the counts.
      tolerance: one of the settings.
      side: 0: of the true surface; 1: of the predicted one.

    Returns:
      Fractions.
    """
    surface = of.counts.surface[..., side, :]
    return formulas.fraction(surface - _near(of, tolerance)[..., side, :], surface)


def centerline_dice(of: Distances) -> Float[np.ndarray, "*images classes"]:
    """Returns clDice = 2 p s / (p + s), 0 where a class is in one of both maps only.

    Precision p is the fraction of the predicted skeleton inside the true area, sensitivity s that
    of the true skeleton inside the predicted area.
    """
    skeleton = of.counts.skeleton
    parts = np.nan_to_num(formulas.fraction(of.counts.covered, skeleton))
    sensitivity, precise = np.moveaxis(parts, -2, 0)
    score = np.nan_to_num(formulas.fraction(2 * precise * sensitivity, precise + sensitivity))
    return np.where(skeleton.sum(-2) > 0, score, np.nan)


def mean_offset(of: Distances) -> Float[np.ndarray, "*images classes"]:
    """Returns the mean signed distance of predicted surfaces from true ones, outwards positive."""
    return formulas.fraction(of.counts.offset, of.counts.offsets.sum(-1))


def median_offset(of: Distances) -> Float[np.ndarray, "*images classes"]:
    """Returns the median signed distance, to half the smaller spacing; of two, the lower one."""
    number = of.counts.offsets.sum(-1)
    middle = (of.counts.offsets.cumsum(-1) < (number[..., None] + 1) // 2).sum(-1)
    offset = (middle - OFFSET_BINS // 2) / 2 * min(of.settings.spacing)
    return np.where(number > 0, offset, np.nan)


def lacking(of: Distances, *, side: int) -> Float[np.ndarray, "*images classes"]:
    """Returns 1 where only the other map has a class, 0 where this one has it, nan elsewhere.

    Args:
      of: the counts.
      side: 0: the truth; 1: the prediction.

    Returns:
      Numbers of images.
    """
    own, other = of.counts.surface[..., side, :] > 0, of.counts.surface[..., 1 - side, :] > 0
    return np.where(own | other, np.where(own, 0.0, 1.0), np.nan)


def trimap_iou(of: Distances, *, tolerance: int | float) -> Float[np.ndarray, "*images classes"]:
    """Returns IoU of the pixels within a width of true boundaries."""
    pixels = of.counts.trimap[..., of.settings.widths.index(int(tolerance)), :, :]
    return formulas.intersection_over_union(Band(*np.moveaxis(pixels, -2, 0)))


def distance_rows(settings: DistanceSettings, *, place: str = "") -> list[Score]:
    """Returns the rows of the scores that follow from counts, one for each tolerance or width.

    Args:
      settings: what was counted.
      place: of `PLACES`, where they are to be shown; "": all.

    Returns:
      Rows in their order.

    Example:
      >>> rows = distance_rows(DistanceSettings(tolerances=(2,), widths=(), skeletons=False))
      >>> [row.per_class for row in rows][4:8]
      ['NSD_2', 'FalseBoundary_2', 'MissedBoundary_2', 'BoundaryOffset']
    """
    counted = {
        "within": settings.tolerances,
        "trimap": settings.widths,
        "skeleton": (0,) * settings.skeletons,
    }
    rows = [row for row in DISTANCE_ROWS if not place or place in row.shown]
    result = []
    for row in rows:
        for tolerance in counted[row.needs[0]] if row.needs else (0,):
            result.append(at_tolerance(row, tolerance) if "{}" in row.name else row)
    return result


def class_values(row: Score, of: Distances) -> Num[np.ndarray, " classes"]:
    """Returns a score of each class over many images.

    Args:
      row: of the score.
      of: counts with one leading axis, of images.

    Returns:
      Means over the images that have a value, sums of them, or the score of all pixels together,
      as the row says; nan where none has.
    """
    if row.average == "pixels":
        return row.formula(Distances(of.counts.pooled(), of.settings))
    values = row.formula(of)
    if row.average == "sum":
        return np.nansum(values, 0)  # whole numbers
    return formulas.each_mean_over_classes(values.T)


def set_value(row: Score, of: Distances) -> float:
    """Returns a score over many images: the mean over classes, or their sum."""
    values = class_values(row, of)
    return float(values.sum()) if row.average == "sum" else formulas.mean_over_classes(values)


def image_values(row: Score, of: Distances) -> Num[np.ndarray, " images"]:
    """Returns a score of each image by itself: the mean over its classes, or their sum."""
    values = row.formula(of)
    if row.average == "sum":
        return np.nansum(values, -1)
    return formulas.each_mean_over_classes(values)


def _row(
    name: str,
    formula: Callable[..., Any],
    *,
    title: str,
    rule: str,
    unit: str = "px",
    direction: str = "smaller",
    needs: tuple[str, ...] = (),
    reference: str = "",
) -> Score:
    """A mean over the images, then over the classes that have a value."""
    return Score(
        f"m{name}",
        formula,
        source="distances",
        average="images",
        unit=unit,
        direction=direction,
        title=f"mean {title}",
        per_class=name,
        class_title=title,
        rule=rule,
        reference=reference,
        needs=needs,
        shown=("table", "image"),
    )


def _lacking(name: str, title: str, *, side: int, rule: str) -> Score:
    return Score(
        f"{name}_classes",
        functools.partial(lacking, side=side),
        source="distances",
        average="sum",
        unit="images",
        direction="smaller",
        title=f"{title} classes",
        per_class=f"{name}_in_images",
        class_title=f"{title} in images",
        rule=rule,
        shown=("table", "image"),
    )


_COST = "the diagonal of the image where one map lacks the class"

DISTANCE_ROWS = [
    _row(
        "HD95",
        lambda of: _with_missing(_hausdorff_95(of), of.counts),
        title="HD95",
        rule="the larger one of the 95 % quantiles of distances from each surface to the other; "
        + _COST,
        reference=_HUTTENLOCHER,
    ),
    _row(
        "HD95_found",
        lambda of: _where_found(_hausdorff_95(of), of.counts),
        title="HD95 where found",
        rule="HD95 of the images in which both maps have the class",
        reference=_HUTTENLOCHER,
    ),
    _row(
        "ASSD",
        lambda of: _with_missing(_surface_distance(of), of.counts),
        title="ASSD",
        rule="average symmetric surface distance: mean distance of all pixels of both surfaces to "
        "the other one; " + _COST,
    ),
    _row(
        "ASSD_found",
        lambda of: _where_found(_surface_distance(of), of.counts),
        title="ASSD where found",
        rule="ASSD of the images in which both maps have the class",
    ),
    _row(
        "NSD_{}",
        surface_dice,
        title="NSD within {}",
        rule="normalized surface distance: fraction of the pixels of both surfaces within so much "
        "of the other one; 0 where one map lacks the class",
        unit="%",
        direction="larger",
        needs=("within",),
        reference=_NIKOLOV,
    ),
    _row(
        "FalseBoundary_{}",
        functools.partial(far_boundary, side=1),
        title="false boundary beyond {}",
        rule="fraction of predicted surface pixels farther than that from a true one",
        unit="%",
        needs=("within",),
    ),
    _row(
        "MissedBoundary_{}",
        functools.partial(far_boundary, side=0),
        title="missed boundary beyond {}",
        rule="fraction of true surface pixels farther than that from a predicted one",
        unit="%",
        needs=("within",),
    ),
    _row(
        "clDice",
        centerline_dice,
        title="clDice",
        rule="Dice of skeletons: how much of each skeleton (Guo and Hall) lies in the other map's "
        "area; 0 where one map lacks the class",
        unit="%",
        direction="larger",
        needs=("skeleton",),
        reference=_SHIT,
    ),
    _row(
        "BoundaryOffset",
        mean_offset,
        title="boundary offset",
        rule="mean signed distance of predicted surfaces from true ones, outwards positive, of the "
        f"pixels within {OFFSET_REACH} pixels",
        direction="",
    ),
    _row(
        "BoundaryOffset_median",
        median_offset,
        title="median boundary offset",
        rule="the same as the median, to half a pixel",
        direction="",
    ),
    _lacking(
        "missed",
        "missed",
        side=1,
        rule="classes of images that the truth has and the prediction lacks",
    ),
    _lacking(
        "false",
        "false",
        side=0,
        rule="classes of images that the prediction has and the truth lacks",
    ),
    Score(
        "trimap_mIoU_{}px",
        trimap_iou,
        source="distances",
        average="pixels",
        title="trimap mIoU {} px",
        per_class="trimap_IoU_{}px",
        class_title="trimap IoU {} px",
        rule="mIoU of the first so many pixels on both sides of true boundaries",
        needs=("trimap",),
        reference=_KOHLI,
        shown=(),
    ),
]
"""Rows of `SCORES` whose source is "distances"."""
