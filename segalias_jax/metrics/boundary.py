"""Segmentation scores of whole pictures and of the bands around class boundaries.

One pass splits the pixels into four disjoint regions (near no boundary, near a predicted one
only, near a true one only, near both) and counts a confusion matrix in each. Every score follows
from these counts, so states merge exactly over batches, devices and processes, and need the same
memory for any number of pictures.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Integer

from segalias_jax.errors import InputError
from segalias_jax.metrics import confusion
from segalias_jax.metrics.regions import ERROR_KINDS, KIND_OF_REGION, ScoreRules, region_map
from segalias_jax.typing import IGNORE_LABEL, Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SegmentationScores:
    """Mergeable state of all segmentation scores.

    Attributes:
      counts: uint32 [2, 4, C + 1, C + 1]: low and high half of the 64-bit numbers of pixels by
        region, true class and predicted class; see `metrics.confusion` for the extra row and
        column.
      rules: what the counts were made with.

    Example:
      >>> scores = SegmentationScores.empty(2)
      >>> label = np.asarray([[0, 0, 1, 1]])
      >>> scores = scores.update(np.asarray([[0, 0, 0, 1]]), label)
      >>> print(f"{scores.compute()['mIoU']:.3f}")
      0.583

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """

    counts: Any  # an array; also what jax's transformations put in its place
    rules: ScoreRules = dataclasses.field(metadata={"static": True})

    @classmethod
    def empty(
        cls,
        num_classes: int,
        *,
        boundary: str = "laplacian",
        ignore: str = "reference",
        reduce_zero_label: bool = False,
        ignore_label: int = IGNORE_LABEL,
        width: int = 15,
    ) -> SegmentationScores:
        """A state without any pixel.

        Args:
          num_classes: C; predictions hold 0..C-1.
          boundary: see `ScoreRules`, as all that follow.
          ignore: "reference" or "exclude".
          reduce_zero_label: labels hold k + 1 for class k and 0 for ignored pixels.
          ignore_label: label that is in no score.
          width: side of the dilating square in pixels.

        Returns:
          The empty state.

        Raises:
          InputError: unknown rule, or a number out of range.
        """
        if num_classes < 1:
            raise InputError(f"num_classes: {num_classes} must be at least 1")
        rules = ScoreRules(boundary, ignore, reduce_zero_label, ignore_label, width)
        side = num_classes + 1
        return cls(confusion.wide_zeros((4, side, side)), rules)

    @classmethod
    def from_counts(
        cls, counts: Int[np.ndarray, "4 classes classes"], rules: ScoreRules
    ) -> SegmentationScores:
        """A state from pixels that were counted elsewhere.

        Args:
          counts: pixels by region (see `region_map`), true class and predicted class.
          rules: what they were counted with.

        Returns:
          The state, as if `update` had counted them.

        Example:
          >>> counts = np.zeros((4, 2, 2), np.int64)
          >>> counts[0, 1, 1] = 2**40
          >>> SegmentationScores.from_counts(counts, ScoreRules()).compute()["pixels"]
          np.int64(1099511627776)
        """
        wide = confusion.wide_from_total(np.pad(counts, ((0, 0), (0, 1), (0, 1))))
        return cls(wide, rules)

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return self.counts.shape[-1] - 1

    def update(
        self,
        prediction: Integer[Array | np.ndarray, "*batch h w"],
        label: Integer[Array | np.ndarray, " ..."],
    ) -> SegmentationScores:
        """The state with more pictures counted; may be jitted and its state donated.

        Predictions outside 0..C-1 count as errors of the true class and as area of none, as in
        the published code. Labels that are neither a class nor ignored make `compute` raise.

        Args:
          prediction: predicted class ids, [h, w] or with batch axes in front.
          label: true labels of the same shape.

        Returns:
          The new state.

        Raises:
          InputError: shapes differ.
        """
        return _updated(self, prediction, label)

    def merge(self, other: SegmentationScores) -> SegmentationScores:
        """The state of all pictures of both.

        Raises:
          InputError: the two were made with other rules or numbers of classes.
        """
        if (self.rules, self.num_classes) != (other.rules, other.num_classes):
            raise InputError(
                f"scores of {self.num_classes} classes under {self.rules} do not merge with "
                f"those of {other.num_classes} classes under {other.rules}"
            )
        return dataclasses.replace(self, counts=confusion.wide_add(self.counts, other.counts))

    def psum(self, axis_name: str) -> SegmentationScores:
        """The sum of the states of all devices along a mapped axis, see `confusion.wide_psum`."""
        return dataclasses.replace(self, counts=confusion.wide_psum(self.counts, axis_name))

    def totals(self) -> Int[np.ndarray, "4 rows columns"]:
        """Pixels by region, true class and predicted class, as int64 on the host.

        Raises:
          InputError: labels were met that are neither a class nor ignored.
        """
        totals = confusion.wide_total(self.counts)
        confusion.check_labels(totals, self.rules.ignore_label)
        return totals

    def compute(self) -> dict[str, np.generic | np.ndarray]:
        """All scores, in float64, shares in [0, 1].

        With accuracy and IoU of a class as in `confusion.class_scores`, and means over the
        classes that have a value (absent ones are nan):

          aAcc, mIoU, mAcc, mDice, mPrecision, mRecall: all pixels;
          BIoU, BAcc: mean IoU and accuracy in the union of both bands; boundary_aAcc: share of
          right pixels there;
          FErr, MErr, DErr: 1 - mean accuracy in the predicted band, in the true band, in their
          intersection; aFErr, aMErr, aDErr: shares of wrong pixels there;
          false_response, merging_mistake, displacement, interior_error: shares of all pixels
          that are such errors (`error_kinds`); they add up to 1 - aAcc;
          pixels, invalid_predictions: numbers of pixels;
          per class: IoU Acc Dice Precision Recall boundary_IoU boundary_Acc class_FErr
          class_MErr class_DErr class_pixels.

        Returns:
          The scores by name.

        Raises:
          InputError: labels were met that are neither a class nor ignored.
        """
        counts = self.totals()
        _, predicted_only, true_only, both = counts
        whole = confusion.class_scores(counts.sum(0))
        result = {f"m{name}": confusion.mean_over_classes(v) for name, v in whole.items()}
        result |= whole | {"aAcc": confusion.pixel_accuracy(counts.sum(0))}
        result |= _union_scores(predicted_only + true_only + both)
        bands = {"F": predicted_only + both, "M": true_only + both, "D": both}
        for letter, band in bands.items():
            result |= _error_scores(letter, band)
        return {k: np.asarray(v)[()] for k, v in (result | _shares(counts)).items()}


@jax.jit
def _updated(state: SegmentationScores, prediction: Array, label: Array) -> SegmentationScores:
    new = confusion.confusion_counts(
        prediction,
        state.rules.class_label(label),
        region_map(prediction, label, state.rules),
        num_classes=state.num_classes,
        num_groups=4,
        ignore_label=state.rules.ignore_label,
    )
    wide = jnp.stack([new, jnp.zeros_like(new)])
    return dataclasses.replace(state, counts=confusion.wide_add(state.counts, wide))


def _union_scores(band: np.ndarray) -> dict:
    scores = confusion.class_scores(band)
    return {
        "BIoU": confusion.mean_over_classes(scores["IoU"]),
        "BAcc": confusion.mean_over_classes(scores["Acc"]),
        "boundary_aAcc": confusion.pixel_accuracy(band),
        "boundary_IoU": scores["IoU"],
        "boundary_Acc": scores["Acc"],
    }


def _error_scores(letter: str, band: np.ndarray) -> dict:
    accuracy = confusion.class_scores(band)["Acc"]
    return {
        f"{letter}Err": 1 - confusion.mean_over_classes(accuracy),
        f"a{letter}Err": 1 - confusion.pixel_accuracy(band),
        f"class_{letter}Err": 1 - accuracy,
    }


def _shares(counts: np.ndarray) -> dict:
    right, true, _ = confusion.class_areas(counts)
    wrong, pixels = (true - right).sum(-1), true.sum()
    kinds = {
        ERROR_KINDS[kind].replace(" ", "_"): confusion.share(wrong[region], pixels)
        for region, kind in enumerate(KIND_OF_REGION)
    }
    invalid = counts[..., -1].sum()
    return kinds | {"pixels": pixels, "invalid_predictions": invalid, "class_pixels": true.sum(0)}
