"""Which boundary bands a pixel lies in, and which kind of error it is."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Integer, UInt8

from segalias_jax.errors import InputError
from segalias_jax.ops import morphology
from segalias_jax.typing import IGNORE_LABEL, Array

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
        predictions hold k. Under "reference", boundaries come from the labels as given.
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
        named = (("boundary", morphology.BOUNDARY_RULES), ("ignore", IGNORE_RULES))
        for kind, choices in named:
            name = getattr(self, kind)
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

    def class_label(self, label: Integer[Array | np.ndarray, "*shape"]) -> Int[Array, "*shape"]:
        """Label map in the numbering of predictions: class ids and `ignore_label`.

        Example:
          >>> ScoreRules(reduce_zero_label=True).class_label(np.asarray([0, 1, 255])).tolist()
          [255, 0, 255]
        """
        label = jnp.asarray(label).astype(jnp.int32)
        if not self.reduce_zero_label:
            return label
        ignored = (label == 0) | (label == self.ignore_label)
        return jnp.where(ignored, self.ignore_label, label - 1)


@functools.partial(jax.jit, static_argnames="rules")
def region_map(
    prediction: Integer[Array | np.ndarray, "*batch h w"],
    label: Integer[Array | np.ndarray, " ..."],
    rules: ScoreRules,
) -> UInt8[Array, "*batch h w"]:
    """Says for every pixel which boundary bands it lies in.

    Args:
      prediction: predicted class ids.
      label: true labels of the same shape.
      rules: boundary and ignore rule, width.

    Returns:
      0 neither band, 1 predicted only, 2 true only, 3 both.

    Raises:
      InputError: shapes differ.

    Example:
      >>> prediction, label = np.asarray([[0, 1, 1, 1, 1, 1]]), np.asarray([[0, 0, 0, 0, 1, 1]])
      >>> region_map(prediction, label, ScoreRules(width=3)).tolist()
      [[1, 1, 3, 2, 2, 2]]
    """
    if np.shape(prediction) != np.shape(label):
        raise InputError(
            f"prediction of shape {np.shape(prediction)} does not fit the label of shape "
            f"{np.shape(label)}; resize the prediction to the label"
        )
    predicted = morphology.label_boundary(prediction, rule=rules.boundary)
    if rules.ignore == "reference":
        true = morphology.label_boundary(label, rule=rules.boundary)
    else:
        classes, ignored = rules.class_label(label), rules.ignore_label
        true = morphology.label_boundary(classes, rule=rules.boundary, ignore=ignored)
    # Both masks share one dilation, as two bits of a byte; the byte is the region.
    return morphology.dilate(predicted + jnp.uint8(2) * true, rules.width)


@functools.partial(jax.jit, static_argnames="rules")
def error_kinds(
    prediction: Integer[Array | np.ndarray, "*batch h w"],
    label: Integer[Array | np.ndarray, " ..."],
    rules: ScoreRules,
) -> UInt8[Array, "*batch h w"]:
    """Says for every pixel whether it is right, and if not, which kind of error it is.

    A wrong pixel near a predicted boundary only is a false response, near a true one only a
    merging mistake, near both a displacement, near none an interior error.

    Args:
      prediction: predicted class ids.
      label: true labels of the same shape.
      rules: boundary and ignore rule, width.

    Returns:
      Index into `ERROR_KINDS`, or 255 where the label is ignored.

    Raises:
      InputError: shapes differ.

    Example:
      >>> prediction, label = np.asarray([[0, 1, 1, 1, 1, 1]]), np.asarray([[0, 0, 0, 0, 1, 255]])
      >>> error_kinds(prediction, label, ScoreRules(width=3)).tolist()
      [[0, 1, 3, 2, 0, 255]]
    """
    region = region_map(prediction, label, rules)
    kind = jnp.asarray(KIND_OF_REGION, jnp.uint8)[region]
    classes = rules.class_label(label)
    kind = jnp.where(jnp.asarray(prediction) == classes, jnp.uint8(0), kind)
    return jnp.where(classes == rules.ignore_label, jnp.uint8(IGNORED), kind)
