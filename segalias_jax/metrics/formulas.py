"""The one formula of every score, on numbers of pixels in NumPy; `scores` has their table.

Formulas take counts of one set of pictures or, with leading axes, of many at once, and return
float64. Names of the rows say which formula a score has.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from segalias_jax.metrics.counts import Band, ClassCounts, ForegroundCounts
from segalias_jax.typing import Float, Integer, Num


def fraction(part: Any, whole: Any) -> Float[np.ndarray, " *shape"]:
    """Divides part by whole in float64, nan where the whole is 0.

    Example:
      >>> fraction(np.asarray([1, 0]), np.asarray([2, 0])).tolist()
      [0.5, nan]
    """
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.divide(part, whole, out=np.full(shape, np.nan), where=whole != 0)


def mean_over_classes(values: Float[np.ndarray, " classes"]) -> float:
    """Returns the mean over the classes that have a value; nan where none has.

    Example:
      >>> mean_over_classes(np.asarray([0.5, np.nan, 1.0]))
      0.75
    """
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def each_mean_over_classes(
    values: Float[np.ndarray, "*batch classes"],
) -> Float[np.ndarray, "*batch"]:
    """Returns `mean_over_classes` of every row.

    Example:
      >>> each_mean_over_classes(np.asarray([[0.5, np.nan, 1.0], [np.nan] * 3])).tolist()
      [0.75, nan]
    """
    present = ~np.isnan(values)
    return fraction(np.where(present, values, 0).sum(-1), present.sum(-1))


def intersection_over_union(band: Band) -> Float[np.ndarray, "*batch classes"]:
    """Returns right / (true + predicted - right) of each class."""
    return fraction(band.right, band.true + band.predicted - band.right)


def class_accuracy(band: Band) -> Float[np.ndarray, "*batch classes"]:
    """Returns right / true of each class, its recall."""
    return fraction(band.right, band.true)


def dice(band: Band) -> Float[np.ndarray, "*batch classes"]:
    """Returns 2 right / (true + predicted) of each class."""
    return fraction(2 * band.right, band.true + band.predicted)


def precision(band: Band) -> Float[np.ndarray, "*batch classes"]:
    """Returns right / predicted of each class."""
    return fraction(band.right, band.predicted)


def pixel_accuracy(band: Band) -> Float[np.ndarray, "*batch"]:
    """Returns the fraction of pixels that are right."""
    return fraction(band.right.sum(-1), band.true.sum(-1))


def frequency_weighted_iou(band: Band) -> Float[np.ndarray, "*batch"]:
    """Returns the mean of IoU over classes, each weighted by its fraction of the true pixels.

    A class that is nowhere true has no weight.

    Example:
      >>> band = Band(np.asarray([6, 1, 0]), np.asarray([8, 2, 0]), np.asarray([7, 2, 1]))
      >>> round(float(frequency_weighted_iou(band)), 6)  # 8/10 of 6/9, 2/10 of 1/3
      0.6
    """
    weighted = np.where(band.true > 0, band.true * intersection_over_union(band), 0)
    return fraction(weighted.sum(-1), band.true.sum(-1))


def boundary_f(counts: ClassCounts, *, tolerance: int) -> Float[np.ndarray, "*batch classes"]:
    """Returns F = 2 p r / (p + r) of the boundary pixels of each class.

    Precision p is the fraction of predicted boundary pixels that are met within the tolerance, and
    recall r that of the true ones. F is 0 where a class has boundaries in one of the two maps only.

    Args:
      counts: with contours.
      tolerance: one of `counts.tolerances`.

    Returns:
      Fractions; nan where a class has no boundary.
    """
    assert counts.hits is not None and counts.contour is not None, "contours were not counted"
    # A class without boundaries in one of the maps has a precision or a recall of 0 / 0: F is 0.
    met = counts.hits[..., counts.tolerances.index(tolerance), :, :]
    recall, precise = np.moveaxis(np.nan_to_num(fraction(met, counts.contour)), -2, 0)
    score = np.nan_to_num(fraction(2 * precise * recall, precise + recall))
    return np.where(counts.contour.sum(-2) > 0, score, np.nan)


def errors(band: Band) -> Any:
    """Returns the number of wrong pixels, one for each set of pictures."""
    return (band.true - band.right).sum(-1)


def fraction_of_pixels(
    part: Num[np.ndarray | np.generic, "*batch"], counts: ClassCounts
) -> Float[np.ndarray, "*batch"]:
    """Returns a number of pixels as a fraction of all."""
    return fraction(part, counts.all.true.sum(-1))


def average_precision(bins: Integer[np.ndarray, "2 bins"]) -> np.float64:
    """Returns the area under precision over recall of all pixels, in steps; nan without foreground.

    Args:
      bins: pixels by true class and bin of the foreground's probability.

    Returns:
      The area.

    Example:
      >>> float(average_precision(np.asarray([[2, 1], [0, 1]])))
      0.5
    """
    false_alarms, hits = np.cumsum(bins[:, ::-1].astype(np.float64), -1)
    # Recall rises from bin to bin as the threshold falls.
    steps = np.diff(fraction(hits, hits[-1]), prepend=0)
    # A step without any pixel is 0 high.
    return np.sum(steps * np.nan_to_num(fraction(hits, hits + false_alarms)))


def roc_area(bins: Integer[np.ndarray, "2 bins"]) -> np.float64:
    """Returns the area under recall over the rate of false alarms; nan where a class is absent.

    Args:
      bins: pixels by true class and bin of the foreground's probability.

    Returns:
      The area.

    Example:
      >>> float(roc_area(np.asarray([[2, 1], [0, 1]])))
      0.8333333333333334
    """
    false_alarms, hits = np.cumsum(bins[:, ::-1].astype(np.float64), -1)
    # A background pixel is ranked below the foreground in higher bins, and half of its own.
    below = bins[0, ::-1] * (hits - bins[1, ::-1] / 2)
    return np.float64(fraction(below.sum(), hits[-1] * false_alarms[-1]))


def foreground_accuracy(counts: ForegroundCounts) -> tuple[Any, Any]:
    """Returns right pixels, and all."""
    right = counts.rejections + counts.hits
    return right, right + counts.false_alarms + counts.misses


def foreground_precision(counts: ForegroundCounts) -> tuple[Any, Any]:
    """Returns hits, and pixels predicted as foreground."""
    return counts.hits, counts.hits + counts.false_alarms


def foreground_recall(counts: ForegroundCounts) -> tuple[Any, Any]:
    """Returns hits, and pixels of the foreground."""
    return counts.hits, counts.hits + counts.misses


def foreground_dice(counts: ForegroundCounts) -> tuple[Any, Any]:
    """Returns twice the hits, and true plus predicted pixels; F1 by another name."""
    twice = 2 * counts.hits
    return twice, twice + counts.false_alarms + counts.misses


def foreground_iou(counts: ForegroundCounts) -> tuple[Any, Any]:
    """Returns hits, and pixels that are foreground in any map; CSI in weather forecasting."""
    return counts.hits, counts.hits + counts.false_alarms + counts.misses


def foreground_fractions(counts: ForegroundCounts, formula: Any) -> Float[np.ndarray, " *shape"]:
    """Divides part by whole in float64 by the rules for what is 0 / 0.

    Where neither map has foreground, there was nothing to find, and everything is 1; any other
    0 / 0 is 0. So every image that has a labeled pixel has a value, whatever was predicted.

    Args:
      counts: pixels, in NumPy.
      formula: one of those above.

    Returns:
      Fractions, of the shape of the counts.

    Example:
      >>> one, none = np.asarray([1]), np.asarray([0])
      >>> foreground_fractions(ForegroundCounts(none, none, none, one), foreground_dice).tolist()
      [1.0]
      >>> foreground_fractions(ForegroundCounts(none, one, none, one), foreground_recall).tolist()
      [0.0]
    """
    part, whole = formula(counts)
    # A part is 0 where its whole is.
    nothing = counts.hits + counts.false_alarms + counts.misses == 0
    return np.where(nothing, 1.0, np.divide(part, np.maximum(whole, 1)))
