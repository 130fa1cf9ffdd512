"""Which boundary bands a pixel lies in, and which kind of error it is, on the device."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer, UInt8

from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import IGNORED, KIND_OF_REGION, ScoreRules
from segalias_jax.ops import morphology
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array


@on_any_mesh
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
        true = morphology.label_boundary(rules.boundary_label(label), rule=rules.boundary)
    else:
        classes, ignored = rules.class_label(label), rules.ignore_label
        true = morphology.label_boundary(classes, rule=rules.boundary, ignore=ignored)
    # Both masks share one dilation, as two bits of a byte; the byte is the region.
    return morphology.dilate(predicted + jnp.uint8(2) * true, rules.width)


@on_any_mesh
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
