"""States of scores on the host: what both engines end in, in NumPy alone.

Scores of images are summed in integers: each is rounded to 24 bits by an integer division, which
gives the same on any device, in any batch and in any order. Compilers round divisions of floats in
more than one way.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics import formulas
from segalias_jax.metrics.counts import ClassCounts, ForegroundCounts
from segalias_jax.metrics.lookup import rows_of
from segalias_jax.metrics.rows import Score
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.metrics.scores import SCORES
from segalias_jax.typing import Float, Int, Integer

BINS = 256
"""Bins of probabilities; one more than there are thresholds."""

BITS = 24
ONE = 1 << BITS
"""A score of 1 in the sums over images."""

_IMAGES_AT_ONCE = 256


@runtime_checkable
class ClassState(Protocol):
    """Counts of pixels by class on the host or on a device, as reports read them."""

    @property
    def rules(self) -> ScoreRules:
        """What was counted with."""
        ...

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        ...

    def totals(self) -> np.ndarray:
        """Pixels by region, true class and predicted class."""
        ...

    def compute(self) -> dict[str, Any]:
        """All scores by name."""
        ...


@runtime_checkable
class ForegroundState(Protocol):
    """Counts of binary segmentation on the host or on a device, as reports read them."""

    @property
    def thresholds(self) -> np.ndarray:
        """Ascending thresholds."""
        ...

    @property
    def swept(self) -> bool:
        """Whether thresholds make a difference."""
        ...

    def curves(self) -> dict[str, np.ndarray]:
        """Scores at every threshold by name."""
        ...

    def compute(self) -> dict[str, Any]:
        """All scores by name."""
        ...


@dataclasses.dataclass(frozen=True)
class SegmentationTotals:
    """Pixels of a whole set of pictures, and the scores that follow.

    Attributes:
      counts: int64 [4, C + 1, C + 1], pixels by region (see `metrics.region_map`), true class and
        predicted class; the last row and column are those of no class.
      rules: what they were counted with.

    Example:
      >>> counts = np.zeros((4, 2, 2), np.int64)
      >>> counts[0, 1, 1] = 2**40
      >>> SegmentationTotals.from_counts(counts, ScoreRules()).compute()["pixels"]
      np.int64(1099511627776)
    """

    counts: Int[np.ndarray, "4 rows columns"]
    rules: ScoreRules

    @classmethod
    def from_counts(
        cls, counts: Int[np.ndarray, "4 classes classes"], rules: ScoreRules
    ) -> SegmentationTotals:
        """Takes pixels that were counted elsewhere, all of which are of classes.

        Args:
          counts: pixels by region, true class and predicted class.
          rules: what they were counted with.

        Returns:
          The state.
        """
        return cls(np.pad(counts, ((0, 0), (0, 1), (0, 1))), rules)

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return self.counts.shape[-1] - 1

    def merge(self, other: SegmentationTotals) -> SegmentationTotals:
        """Returns the state of all pictures of both.

        Raises:
          InputError: the two were made with other rules or numbers of classes.
        """
        check_mergeable(self, other)
        return dataclasses.replace(self, counts=self.counts + other.counts)

    def totals(self) -> Int[np.ndarray, "4 rows columns"]:
        """Returns `counts`.

        Raises:
          InputError: labels were met that are neither a class nor ignored.
        """
        check_labels(self.counts, self.rules.ignore_label)
        return self.counts

    def compute(self) -> dict[str, Any]:
        """Returns all scores of `SCORES` that follow from these counts, by name.

        Fractions are in [0, 1]. Means over classes leave out those that have no value (absent
        ones, which are nan per class). Scores come first, then their forms per class.

        Raises:
          InputError: labels were met that are neither a class nor ignored.
        """
        # Labels that are no class would be in no score, and nobody would notice: they raise.
        counts = ClassCounts.from_regions(self.totals())
        rows = list(rows_of(counts))
        result = {row.name: row.of_set(counts) for row in rows}
        result |= {row.per_class: row.of_classes(counts) for row in rows if row.per_class}
        return {name: np.asarray(value)[()] for name, value in result.items()}


@dataclasses.dataclass(frozen=True)
class BinaryTotals:
    """Scores of binary segmentation at every threshold, over all pixels and as means over images.

    Class 0 is the background and 1 the foreground. A pixel is predicted as foreground at threshold
    t where its probability is above t, for t = 1 / B, ..., (B - 1) / B; at 1 / 2 that is the class
    of the larger probability.

    An image in which neither the truth nor the prediction has foreground scores 1 in everything:
    there was nothing to find. Any other 0 / 0 is 0. Scores of both classes take the background by
    the same rule. So all images that have a labeled pixel are in all means, whatever was predicted.

    Attributes:
      counts: int64 [2, B], pixels by true class and bin.
      sums: int64 [n, B - 1], sums over images of the n scores that are means over images, at each
        threshold, times 2^24.
      images: int64 [2], numbers of images, and of those without true foreground.
      rows: the n scores.

    Example:
      >>> scores = BinaryTotals.empty(2).add(np.asarray([[[1, 0], [0, 3]], [[2, 1], [1, 0]]]))
      >>> result = scores.compute()
      >>> float(result["Dice_mean_over_images"]), float(result["Dice_pixels_of_all_images"])
      (0.5, 0.75)
    """

    counts: Int[np.ndarray, "2 bins"]
    sums: Int[np.ndarray, "rows thresholds"]
    images: Int[np.ndarray, " 2"]
    rows: tuple[Score, ...]

    @classmethod
    def empty(cls, bins: int = BINS) -> BinaryTotals:
        """A state without any image.

        Args:
          bins: B, even; 2 where predictions are classes.

        Returns:
          The empty state.

        Raises:
          InputError: B is odd or below 2.
        """
        rows = image_rows(bins)
        shapes = (2, bins), (len(rows), bins - 1), (2,)
        counts, sums, images = (np.zeros(shape, np.int64) for shape in shapes)
        return cls(counts, sums, images, rows)

    @property
    def thresholds(self) -> Float[np.ndarray, " thresholds"]:
        """t, ascending."""
        bins = self.counts.shape[-1]
        return np.arange(1, bins) / bins

    @property
    def swept(self) -> bool:
        """Whether thresholds make a difference; False where predictions were classes."""
        return bool(np.any(self.counts[:, 1:-1]))

    def add(self, counts: Integer[np.ndarray, "images 2 bins"]) -> BinaryTotals:
        """Returns the state with more images.

        Args:
          counts: pixels of each image by true class and bin, fewer than 2^30 an image.

        Returns:
          The new state.
        """
        # Scores at all thresholds of many images at once would fill the memory.
        state = self
        for first in range(0, len(counts), _IMAGES_AT_ONCE):
            state = state._with(np.asarray(counts[first : first + _IMAGES_AT_ONCE], np.int64))
        return state

    def _with(self, counts: np.ndarray) -> BinaryTotals:
        counted = np.asarray(counts.any((-2, -1)))
        blank = counted & ~counts[:, 1].any(-1)
        pixels = ForegroundCounts.from_bins(counts)
        sums = self.sums.copy()
        for row, total in zip(self.rows, sums, strict=True):
            fixed = _fixed_scores(row, pixels)
            if row.both:
                fixed = (fixed + _fixed_scores(row, pixels.of_background()) + 1) >> 1
            total += (fixed * counted[:, None]).sum(0)
        images = self.images + np.asarray([np.count_nonzero(counted), np.count_nonzero(blank)])
        return BinaryTotals(self.counts + counts.sum(0), sums, images, self.rows)

    def merge(self, other: BinaryTotals) -> BinaryTotals:
        """Returns the state of all images of both.

        Raises:
          InputError: the two have other numbers of bins, or other scores.
        """
        check_same_bins(self.counts.shape[-1], other.counts.shape[-1])
        check_same_rows(self.rows, other.rows)
        return BinaryTotals(
            self.counts + other.counts,
            self.sums + other.sums,
            self.images + other.images,
            self.rows,
        )

    def curves(self) -> dict[str, Float[np.ndarray, " thresholds"]]:
        """Returns scores at every threshold, in float64.

        By name: "Dice_pixels_of_all_images", "Dice_mean_over_images" and so on; nan without any
        image. The means are exact to 2^-25, those over both classes to 2^-24.
        """
        pixels, means = ForegroundCounts.from_bins(self.counts), {}
        for row, total in zip(self.rows, self.sums, strict=True):
            means[row.name] = formulas.fraction(total, ONE * self.images[0])
        result = {}
        for row in SCORES.values():
            if row.name in means:
                result[row.name] = means[row.name]
            elif row.source == "foreground" and row.average == "pixels":
                values = row.of_pixels(pixels)
                result[row.name] = values if self.images[0] else np.full_like(values, np.nan)
        return result

    def compute(self) -> dict[str, Any]:
        """Returns scores at threshold 0.5, and what the sweep over thresholds gives, in float64.

        By name: those of `curves` at 0.5; "images", "images_without_foreground"; where `swept`, of
        Dice, IoU and accuracy also the largest (NAME_best), its threshold (NAME_best_threshold,
        the middle one where several are best) and the mean over all thresholds
        (NAME_mean_of_thresholds), and "average_precision" and "ROC_AUC", areas under the curves of
        precision over recall (in steps) and of recall over false alarms of all pixels, nan where a
        class has no pixel.
        """
        middle, result = len(self.thresholds) // 2, {}
        for name, values in self.curves().items():
            result[name] = values[middle]
            if self.swept and "best" in SCORES[name].shown:
                # Of a plateau the middle: either end is one step from a worse score.
                best = np.flatnonzero(values == values.max())
                result[f"{name}_best"] = values.max()
                result[f"{name}_best_threshold"] = self.thresholds[best[len(best) // 2]]
                result[f"{name}_mean_of_thresholds"] = values.mean()
        for row in SCORES.values():
            if row.source == "images":
                result[row.name] = row.formula(self.images)
            elif row.source == "bins" and self.swept:
                result[row.name] = row.formula(self.counts)
        return result


def _fixed_scores(row: Score, pixels: ForegroundCounts) -> np.ndarray:
    """The nearest integers to a score of each image times 2^24."""
    part, whole = row.formula(pixels)
    whole = np.maximum(whole, 1)
    nothing = pixels.hits + pixels.false_alarms + pixels.misses == 0
    return np.where(nothing, ONE, ((part << (BITS + 1)) + whole) // (2 * whole))


def image_rows(bins: int) -> tuple[Score, ...]:
    """Returns the scores that a state of binary segmentation sums over images.

    Args:
      bins: B, even; 2 where predictions are classes.

    Returns:
      Rows of `SCORES`.

    Raises:
      InputError: B is odd or below 2.
    """
    if bins < 2 or bins % 2:
        raise InputError(f"bins: {bins} must be even, so that one threshold is 0.5")
    rows = (row for row in SCORES.values() if row.source == "foreground")
    return tuple(row for row in rows if row.average == "images")


def image_scores(
    counts: Integer[np.ndarray, "*images 2 bins"], row: Score
) -> Float[np.ndarray, "*images thresholds"]:
    """Returns a score of binary segmentation of images by themselves, as in `BinaryTotals`.

    Args:
      counts: pixels by true class and bin, as `metrics.binary.probability_counts` counts them.
      row: of the score.

    Returns:
      The score at each threshold, in float64.

    Example:
      >>> image_scores(np.asarray([[2, 0], [0, 1]]), SCORES["Dice_mean_over_images"]).tolist()
      [1.0]
    """
    return row.of_pixels(ForegroundCounts.from_bins(np.asarray(counts, np.int64)))


def check_labels(counts: Integer[np.ndarray, "*groups rows columns"], ignore_label: int) -> None:
    """Raises where labels were met that are neither a class nor ignored.

    Args:
      counts: confusion counts of one or more groups.
      ignore_label: for the message.

    Raises:
      InputError: some were; the message says how many.
    """
    bad = int(counts[..., -1, :].sum())
    if bad:
        classes = counts.shape[-1] - 1
        raise InputError(
            f"labels: {bad} pixels are neither one of the {classes} classes 0..{classes - 1} nor "
            f"the ignored {ignore_label}; correct the labels, the number of classes or the "
            "ignored value"
        )


def check_mergeable(one: ClassState, other: ClassState) -> None:
    """Raises where two states were made with other rules or numbers of classes."""
    if (one.rules, one.num_classes) != (other.rules, other.num_classes):
        raise InputError(
            f"scores of {one.num_classes} classes under {one.rules} do not merge with "
            f"those of {other.num_classes} classes under {other.rules}"
        )


def check_same_bins(one: int, other: int) -> None:
    """Raises where two states have other numbers of bins."""
    if one != other:
        raise InputError(f"scores of {one} bins do not merge with those of {other}")


def check_same_rows(one: tuple[Score, ...], other: tuple[Score, ...]) -> None:
    """Raises where two states sum other scores: one was registered in between."""
    if one != other:
        names = {row.name for row in one} ^ {row.name for row in other}
        raise InputError(
            f"states with and without {', '.join(sorted(names)) or 'a changed score'} do not "
            "merge; register scores before anything is counted"
        )
