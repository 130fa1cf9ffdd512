"""Scores of objects over any set of images: counts of all objects first, then one quotient."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from segalias_jax.scoring.instances.object_causes import (
    CAUSES,
    DISPLACED,
    FOUND,
    IOU,
    NO_CAUSE,
)
from segalias_jax.scoring.instances.objects import size_class
from segalias_jax.scoring.instances.records import InstanceRecord, Side
from segalias_jax.typing import Float64, Int64

SIZES = ("small", "medium", "large")
"""COCO's sizes, below 32² and below 96² pixels and above."""

THRESHOLDS = tuple(k / 100 for k in range(50, 100, 5))
"""Of IoU, for the mean of TP/(TP+FP+FN)."""

REACH = 10
"""Pixels of displacement at both ends of its histogram."""


@dataclasses.dataclass(frozen=True)
class Totals:
    """All objects of some images in columns, and what is counted of them.

    Attributes:
      true: true objects of all images.
      predicted: predictions that count.
      num_classes: number of classes.
      jaccard: of each image the pixels of `aggregated_jaccard`.
    """

    true: Side
    predicted: Side
    num_classes: int
    jaccard: Int64[np.ndarray, "images 2"]

    @classmethod
    def of(cls, images: Sequence[InstanceRecord], num_classes: int) -> Totals:
        """Puts the objects of images together.

        Args:
          images: what is kept of each.
          num_classes: number of classes.

        Returns:
          All objects.
        """
        jaccard = np.asarray([one.jaccard for one in images], np.int64).reshape(-1, 2)
        true, predicted = ([getattr(one, k) for one in images] for k in ("true", "predicted"))
        return cls(_joined(true), _joined(predicted), num_classes, jaccard)

    def counts(self, side: str) -> Int64[np.ndarray, "causes classes sizes"]:
        """Number of objects by cause, class and size.

        Args:
          side: "true" or "predicted".

        Returns:
          Numbers, in the order of `CAUSES` and `SIZES`; ignored predictions are in none.
        """
        objects = self.true if side == "true" else self.predicted
        found = np.zeros((len(CAUSES), self.num_classes, len(SIZES)), np.int64)
        kept = objects.causes != NO_CAUSE
        places = (objects.causes[kept], objects.classes[kept] - 1, size_class(objects.areas[kept]))
        np.add.at(found, places, 1)
        return found

    def hits(self, threshold: float) -> Int64[np.ndarray, "3 classes"]:
        """TP, FP and FN of each class where matches have an IoU above a threshold of at least .5.

        Args:
          threshold: of IoU.

        Returns:
          Numbers.
        """
        # Pairs are made from the largest IoU down, so that those of a higher threshold are the
        # first ones of those of a lower one.
        tp = self._of_class(self.true, self.true.matched > threshold)
        missed = self._of_class(self.true, self.true.matched <= threshold)
        extra = self.predicted.causes != NO_CAUSE
        return np.stack(
            [
                tp,
                self._of_class(self.predicted, extra & (self.predicted.matched <= threshold)),
                missed,
            ]
        )

    def _of_class(self, side: Side, which: np.ndarray) -> Int64[np.ndarray, " classes"]:
        return np.bincount(side.classes[which] - 1, minlength=self.num_classes).astype(np.int64)

    @functools.cached_property
    def present(self) -> np.ndarray:
        """Which classes have a true object or a prediction."""
        return self.hits(IOU).sum(0) > 0

    def panoptic(self) -> tuple[Float64[np.ndarray, " classes"], ...]:
        """PQ, SQ and RQ of each class, nan of those without an object.

        PQ = sum of IoU over TP / (TP + FP/2 + FN/2) = SQ * RQ.

        Reference:
          Kirillov et al., "Panoptic Segmentation", CVPR 2019.
        """
        tp, fp, fn = self.hits(IOU)
        # fsum is exact: the order of images changes no digit.
        iou = np.asarray(
            [math.fsum(self.true.matched[self.true.classes == c + 1]) for c in range(len(tp))]
        )
        whole = np.where(tp + fp + fn > 0, tp + fp / 2 + fn / 2, np.nan)
        quality = np.where(tp > 0, iou / np.maximum(tp, 1), np.where(np.isnan(whole), np.nan, 0.0))
        return iou / whole, quality, tp / whole

    def accuracy(self, threshold: float) -> float:
        """TP / (TP + FP + FN) of all classes together; nan without objects.

        Reference:
          Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science
          Bowl", Nature Methods 2019.
        """
        tp, fp, fn = self.hits(threshold).sum(1).tolist()
        return tp / (tp + fp + fn) if tp + fp + fn else math.nan

    def gains(self) -> dict[str, float]:
        """What repairing each cause by itself would add to TP / (TP + FP + FN) at IoU .5.

        Its true objects become TP, and its unmatched predictions vanish.
        """
        tp, fp, fn = self.hits(IOU).sum(1).tolist()
        whole = tp + fp + fn
        gains = {}
        for k, name in enumerate(CAUSES):
            lost = int(((self.true.causes == k) & (self.true.matched == 0)).sum())
            extra = int(((self.predicted.causes == k) & (self.predicted.matched == 0)).sum())
            left = whole - extra
            gains[name] = ((tp + lost) / left if left else 1.0) - tp / whole if whole else 0.0
        return gains

    def offsets(self, cause: int) -> Float64[np.ndarray, " n"]:
        """Signed distances of found or of displaced objects that have one, in pixels.

        Args:
          cause: `FOUND` or `DISPLACED`.

        Returns:
          Pixels, positive where predictions reach too far.
        """
        values = self.true.offsets[self.true.causes == cause]
        return values[~np.isnan(values)]

    def offset_histogram(self, cause: int) -> Int64[np.ndarray, " bins"]:
        """Objects by signed distance, rounded: -`REACH` and less, ..., `REACH` and more.

        Args:
          cause: `FOUND` or `DISPLACED`.

        Returns:
          Numbers.
        """
        steps = np.clip(np.round(self.offsets(cause)), -REACH, REACH).astype(np.int64) + REACH
        return np.bincount(steps, minlength=2 * REACH + 1).astype(np.int64)


def _joined(sides: Sequence[Side]) -> Side:
    names = Side.__dataclass_fields__
    if not sides:
        empty: dict[str, list] = {name: [] for name in names}
        return Side.from_json(empty)
    return Side(*(np.concatenate([getattr(one, name) for one in sides]) for name in names))


@dataclasses.dataclass(frozen=True)
class InstanceScore:
    """A row of the table of scores.

    Attributes:
      name: key in reports.
      title: for people.
      unit: "%" of fractions, "px" of pixels.
      direction: which is better, "larger" or "smaller"; "": neither.
      formula: of the objects.
      per_class: the same of each class; None: there is none.
    """

    name: str
    title: str
    unit: str
    direction: str
    formula: Callable[[Totals], float]
    per_class: Callable[[Totals], np.ndarray] | None = None


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _class_accuracy(totals: Totals) -> np.ndarray:
    tp, fp, fn = totals.hits(IOU)
    return tp / np.where(totals.present, tp + fp + fn, np.nan)


def _jaccard(totals: Totals) -> float:
    inner, union = totals.jaccard.T
    return float((inner[union > 0] / union[union > 0]).mean()) if union.any() else math.nan


def _offset(cause: int) -> Callable[[Totals], float]:
    return lambda totals: (
        math.fsum(values) / len(values) if len(values := totals.offsets(cause)) else math.nan
    )


SCORES = (
    InstanceScore(
        "PQ",
        "PQ",
        "%",
        "larger",
        lambda totals: _mean(totals.panoptic()[0]),
        lambda totals: totals.panoptic()[0],
    ),
    InstanceScore(
        "SQ",
        "SQ",
        "%",
        "larger",
        lambda totals: _mean(totals.panoptic()[1]),
        lambda totals: totals.panoptic()[1],
    ),
    InstanceScore(
        "RQ",
        "RQ",
        "%",
        "larger",
        lambda totals: _mean(totals.panoptic()[2]),
        lambda totals: totals.panoptic()[2],
    ),
    InstanceScore(
        "accuracy_50",
        "TP/(TP+FP+FN) at IoU .5",
        "%",
        "larger",
        lambda totals: totals.accuracy(IOU),
        _class_accuracy,
    ),
    InstanceScore(
        "mean_accuracy",
        "TP/(TP+FP+FN), mean over IoU .5:.95",
        "%",
        "larger",
        lambda totals: _mean(np.asarray([totals.accuracy(one) for one in THRESHOLDS])),
    ),
    InstanceScore("AJI", "aggregated Jaccard index", "%", "larger", _jaccard),
    InstanceScore("offset_found", "boundary offset, found", "px", "", _offset(FOUND)),
    InstanceScore("offset_displaced", "boundary offset, displaced", "px", "", _offset(DISPLACED)),
)
"""Every score of counted objects; those of average precision are in `coco_scores.coco_names`."""
