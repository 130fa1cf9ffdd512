"""What counts as a boundary, how wide its band is, what is ignored, and which errors there are.

Plain values that both engines share: the device counts with JAX (`regions`), the host with NumPy
(`scoring.counting`), and neither may need the other.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from segalias_jax.errors import InputError
from segalias_jax.typing import BOUNDARY_RULES, IGNORE_LABEL, Int, Integer

ERROR_KINDS = (
    "correct",
    "false response",
    "merging mistake",
    "displacement",
    "interior error",
)
"""Names of the values of `error_kinds`, which holds `IGNORED` besides."""

IGNORED = 255
IGNORE_RULES = ("reference", "exclude")
KIND_OF_REGION = (4, 1, 2, 3)
"""Index into `ERROR_KINDS` of a wrong pixel in each region."""


@dataclasses.dataclass(frozen=True)
class ScoreRules:
    """What counts as a boundary, how wide its band is, and what is ignored.

    Attributes:
      boundary: "laplacian" (comparable with published tables) or "exact"; see
        `ops.label_boundary`.
      ignore: "reference": ignored pixels make true boundaries of their own, as in the published
        code; "exclude": a pair of neighbors counts only when neither is ignored.
      reduce_zero_label: labels hold 0 for ignored pixels and k + 1 for class k (ADE20K);
      ignore_label: label that is in no score.
      width: side of the square that dilates boundaries, in pixels.

    Example:
      >>> ScoreRules(boundary="sobel")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: boundary rule 'sobel' does not exist; choose laplacian, exact
    """

    boundary: str = "laplacian"
    ignore: str = "reference"
    reduce_zero_label: bool = False
    ignore_label: int = IGNORE_LABEL
    width: int = 15

    def __post_init__(self):
        """Raises `InputError` for a rule that does not exist or a width below 1."""
        for kind, name, choices in (
            ("boundary", self.boundary, BOUNDARY_RULES),
            ("ignore", self.ignore, IGNORE_RULES),
        ):
            if name not in choices:
                raise InputError(
                    f"{kind} rule {name!r} does not exist; choose {', '.join(choices)}"
                )
        if self.reduce_zero_label and 0 <= self.ignore_label < IGNORE_LABEL:
            # A class has that number once labels are those of predictions.
            raise InputError(
                f"ignore_label: {self.ignore_label} does not go with reduce_zero_label, by which 0 "
                f"is ignored already; leave it at {IGNORE_LABEL}"
            )
        if self.width < 1:
            raise InputError(f"width: a band of {self.width} pixels must be at least 1 wide")

    def boundary_label(self, label: Integer[Any, "*shape"]) -> Integer[Any, "*shape"]:
        """Returns the ids that the published code draws boundaries from.

        With `reduce_zero_label` it has turned 0 into 255 in place by then, but not yet lowered
        the other ids by 1. That decides which differences the Laplacian cancels, and whether a
        pixel of 0 beside one of 255 is at a boundary.

        Args:
          label: true labels as stored, an array of NumPy or of JAX.

        Returns:
          Array of the same library, of a type that holds `ignore_label`.

        Example:
          >>> import numpy as np
          >>> ScoreRules(reduce_zero_label=True).boundary_label(np.asarray([0, 1, 255])).tolist()
          [255, 1, 255]
        """
        if not self.reduce_zero_label:
            return label
        xp = label.__array_namespace__()
        fits = label.dtype == xp.uint8 and self.ignore_label == IGNORE_LABEL
        label = label if fits else label.astype(xp.int32)
        return xp.where(label == 0, xp.asarray(self.ignore_label, dtype=label.dtype), label)

    def class_label(self, label: Integer[Any, "*shape"]) -> Int[Any, "*shape"]:
        """Returns a label map in the numbering of predictions: class ids and `ignore_label`.

        Args:
          label: true labels, an array of NumPy or of JAX.

        Returns:
          Array of int32 of the same library, so that a map on the host stays there.

        Example:
          >>> import numpy as np
          >>> ScoreRules(reduce_zero_label=True).class_label(np.asarray([0, 1, 255])).tolist()
          [255, 0, 255]
        """
        xp = label.__array_namespace__()
        label = label.astype(xp.int32)
        if not self.reduce_zero_label:
            return label
        ignored = (label == 0) | (label == self.ignore_label)
        return xp.where(ignored, self.ignore_label, label - 1)
