"""Segmentation scores of whole pictures and of the bands around class boundaries, on a device.

One pass splits the pixels into four disjoint regions (near no boundary, near a predicted one
only, near a true one only, near both) and counts a confusion matrix in each. Every score follows
from these counts (`scores`), so states merge exactly over batches, devices and processes, and need
the same memory for any number of pictures.
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
from segalias_jax.metrics.regions import region_map
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.metrics.totals import SegmentationTotals, check_mergeable
from segalias_jax.ops.placement import on_any_mesh
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
          ignore_label: label that is in no score; a class of that number is in none, either.
          width: side of the dilating square in pixels.

        Returns:
          The empty state.

        Raises:
          InputError: unknown rule, or a number out of range.
        """
        if num_classes < 1:
            raise InputError(f"num_classes: {num_classes} must be at least 1")
        if ignore_label == IGNORE_LABEL < num_classes:
            raise InputError(
                f"ignore_label: {ignore_label} is also one of {num_classes} classes, whose pixels "
                "would be in no score; give another ignore_label, such as -1"
            )
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
        check_mergeable(self, other)
        return dataclasses.replace(self, counts=confusion.wide_add(self.counts, other.counts))

    def psum(self, axis_name: str) -> SegmentationScores:
        """The sum of the states of all devices along a mapped axis, see `confusion.wide_psum`."""
        return dataclasses.replace(self, counts=confusion.wide_psum(self.counts, axis_name))

    def host(self) -> SegmentationTotals:
        """Returns the state on the host."""
        return SegmentationTotals(confusion.wide_total(self.counts), self.rules)

    def totals(self) -> Int[np.ndarray, "4 rows columns"]:
        """Returns pixels by region, true class and predicted class, as int64 on the host.

        Raises:
          InputError: labels were met that are neither a class nor ignored.
        """
        return self.host().totals()

    def compute(self) -> dict[str, Any]:
        """Returns all scores, in float64, fractions in [0, 1].

        Means are over the classes that have a value (absent ones are nan):

          aAcc, mIoU, mAcc, mDice, mPrecision, mRecall: all pixels;
          BIoU, BAcc: mean IoU and accuracy in the union of both bands; boundary_aAcc: fraction of
          right pixels there;
          FErr, MErr, DErr: 1 - mean accuracy in the predicted band, in the true band, in their
          intersection; aFErr, aMErr, aDErr: fractions of wrong pixels there;
          false_response, merging_mistake, displacement, interior_error: fractions of all pixels
          that are such errors (`error_kinds`); they add up to 1 - aAcc;
          pixels, invalid_predictions: numbers of pixels;
          per class: IoU Acc Dice Precision Recall boundary_IoU boundary_Acc class_FErr
          class_MErr class_DErr class_pixels;
          and what was registered (`register_score`).

        Returns:
          The scores by name.

        Raises:
          InputError: labels were met that are neither a class nor ignored.
        """
        return self.host().compute()


@on_any_mesh
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
    # A batch has fewer than 2^32 pixels, so its upper half is 0.
    wide = jnp.stack([new, jnp.zeros_like(new)])
    return dataclasses.replace(state, counts=confusion.wide_add(state.counts, wide))
