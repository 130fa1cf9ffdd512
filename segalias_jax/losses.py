"""Pixel losses: cross-entropy with an ignore label, and the loss of a whole model.

Logits are channels-last; labels are class numbers, `IGNORE_LABEL` where a pixel must not count.
Everything is computed in float32, or in float64 where the logits are.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import optax

from segalias_jax.errors import InputError
from segalias_jax.typing import IGNORE_LABEL, Array, Bool, Float, Int

AVERAGES = ("all", "valid")


def cross_entropy(
    logits: Float[Array, "b h w c"],
    label: Int[Array, "b h w"],
    *,
    average: str = "all",
    class_weights: Sequence[float] | None = None,
    valid: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    r"""Averages the cross-entropy of every labeled pixel.

    L = 1/N sum_i w[y_i] (log sum_k exp z_ik - z_i[y_i]) over the pixels i with a label.

    Args:
      logits: class scores z.
      label: class numbers y; `IGNORE_LABEL` adds nothing to the sum.
      average: what N counts: "all" pixels, the ignored ones too (the published behavior: images
        with many ignored pixels then weigh less), or the "valid" ones, those with a label.
      class_weights: one weight w per class; None for ones. They do not enter N.
      valid: False on rows that only pad the batch; these are neither in the sum nor in N.

    Returns:
      The loss; 0 with finite gradients where no pixel has a label.

    Raises:
      InputError: unknown `average`, or a number of weights that is not the number of classes.

    Example:
      >>> logits = jnp.zeros((1, 1, 2, 4))
      >>> label = jnp.array([[[3, 255]]])
      >>> print(f"{cross_entropy(logits, label):.4f} = log(4) / 2")
      0.6931 = log(4) / 2
      >>> print(f"{cross_entropy(logits, label, average='valid'):.4f} = log(4)")
      1.3863 = log(4)
    """
    check_loss(average, class_weights or (), logits.shape[-1])
    rows = jnp.ones(label.shape[0], bool) if valid is None else valid
    rows = jnp.broadcast_to(rows[:, None, None], label.shape)
    labeled = rows & (label != IGNORE_LABEL)
    safe = jnp.where(labeled, label, 0)
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    loss = optax.softmax_cross_entropy_with_integer_labels(wide, safe)
    if class_weights:
        loss = loss * jnp.asarray(class_weights, wide.dtype)[safe]
    count = jnp.sum(rows if average == "all" else labeled)
    return jnp.sum(jnp.where(labeled, loss, 0.0)) / jnp.maximum(count, 1)


def segmentation_loss(
    logits: Float[Array, "b h w c"],
    auxiliary: Sequence[Float[Array, "b h w c"]],
    label: Int[Array, "b h w"],
    *,
    auxiliary_weight: float = 0.4,
    average: str = "all",
    class_weights: Sequence[float] | None = None,
    valid: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    """Adds the losses of a model's output and of its auxiliary heads.

    L = CE(logits) + auxiliary_weight * sum_j CE(auxiliary_j)

    Args:
      logits: output of the model.
      auxiliary: outputs of its auxiliary heads at the same size; may be empty.
      label: class numbers, `IGNORE_LABEL` where a pixel does not count.
      auxiliary_weight: weight of every auxiliary head.
      average: see `cross_entropy`.
      class_weights: see `cross_entropy`.
      valid: see `cross_entropy`.

    Returns:
      The loss.

    Example:
      >>> logits, label = jnp.zeros((1, 2, 2, 4)), jnp.zeros((1, 2, 2), int)
      >>> print(f"{segmentation_loss(logits, (logits,), label):.4f} = 1.4 log(4)")
      1.9408 = 1.4 log(4)
    """

    def one(scores: Array) -> Array:
        return cross_entropy(
            scores, label, average=average, class_weights=class_weights, valid=valid
        )

    return one(logits) + auxiliary_weight * sum(one(scores) for scores in auxiliary)


def check_loss(average: str, class_weights: Sequence[float], num_classes: int) -> None:
    """Raises if the options of a loss do not fit.

    Args:
      average: one of `AVERAGES`.
      class_weights: empty, or one per class.
      num_classes: number of classes.

    Raises:
      InputError: naming the recipe key.

    Example:
      >>> check_loss("all", (1.0, 2.0), 2)
    """
    if average not in AVERAGES:
        raise InputError(f"loss.average is {average!r}; choose one of {', '.join(AVERAGES)}")
    if len(class_weights) not in (0, num_classes):
        raise InputError(
            f"loss.class_weights has {len(class_weights)} numbers for {num_classes} classes; "
            "give one per class or none"
        )
