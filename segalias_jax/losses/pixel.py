"""Losses that are sums over pixels: cross-entropy and what reweighs it.

L = 1/N sum_i u_i w[y_i] (log sum_k exp z_ik - z_i[y_i]) over the pixels i with a label, w being
class weights. The losses differ in the weight u_i that a pixel gets for itself. N counts "all"
pixels, the ignored ones too (the published behavior: images with many ignored pixels then weigh
less), or the "valid" ones, those with a label. Class weights do not enter N.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from segalias_jax.errors import InputError, check_choice
from segalias_jax.ops import boundary_band, current_target
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.settings import integer, number
from segalias_jax.typing import IGNORE_LABEL, Array, Bool, Float, Int

AVERAGES = ("all", "valid")
BALANCED = "balanced"
"""The word for `balanced_class_weights` in a recipe."""


@on_any_mesh
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

    With two classes, weights (1, a) and p the fraction of positives, the loss is least where the
    predicted fraction is a p / (1 - p + a p); both classes weigh the same at a = (1 - p) / p.

    Args:
      logits: class scores z.
      label: class numbers y; `IGNORE_LABEL` adds nothing to the sum.
      average: what N counts: "all" pixels, or the "valid" ones.
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
    loss, labeled, rows = _pixel_losses(logits, label, class_weights, valid)
    return _mean(loss, labeled, rows, average)


@on_any_mesh
def focal_loss(
    logits: Float[Array, "b h w c"],
    label: Int[Array, "b h w"],
    *,
    gamma: float = 2.0,
    average: str = "all",
    class_weights: Sequence[float] | None = None,
    valid: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    r"""Cross-entropy in which pixels that are right already weigh little.

    u_i = (1 - p_i)^gamma, with p_i the softmax probability of the pixel's own class.

    Args:
      logits: class scores.
      label: class numbers; `IGNORE_LABEL` adds nothing to the sum.
      gamma: exponent, at least 0; 0 gives the cross-entropy.
      average: see `cross_entropy`.
      class_weights: see `cross_entropy`; the paper's alpha.
      valid: see `cross_entropy`.

    Returns:
      The loss.

    Raises:
      InputError: as for `cross_entropy`, or a negative `gamma`.

    Example:
      >>> logits, label = jnp.zeros((1, 1, 1, 2)), jnp.zeros((1, 1, 1), int)
      >>> print(f"{focal_loss(logits, label):.4f} = log(2) / 4")
      0.1733 = log(2) / 4

    Reference:
      Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, for softmax probabilities.
    """
    number(least=0)("gamma", gamma)
    entropy, labeled, rows = _pixel_losses(logits, label, None, valid)
    # 1 - p without cancellation, and bounded away from 0, where a power below 1 has no slope.
    wrong = jnp.maximum(-jnp.expm1(-entropy), jnp.finfo(entropy.dtype).tiny)
    loss = wrong**gamma * entropy * _of_class(class_weights, label, logits)
    return _mean(loss, labeled, rows, average)


@on_any_mesh
def ohem_cross_entropy(
    logits: Float[Array, "b h w c"],
    label: Int[Array, "b h w"],
    *,
    threshold: float = 0.7,
    min_kept: int = 100_000,
    average: str = "valid",
    class_weights: Sequence[float] | None = None,
    valid: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    r"""Cross-entropy of the hard pixels only (online hard example mining).

    u_i = 1 where p_i <= max(threshold, q), else 0; p_i is the softmax probability of the pixel's
    own class and q the `min_kept`-th smallest of all p_i with a label in the batch.

    Args:
      logits: class scores.
      label: class numbers; `IGNORE_LABEL` is never kept.
      threshold: pixels at or below this probability count, in [0, 1].
      min_kept: pixels that count at least, over the whole batch, where so many have a label.
      average: what N counts: the "valid" pixels, here those kept, or "all".
      class_weights: see `cross_entropy`.
      valid: see `cross_entropy`.

    Returns:
      The loss; ties at the limit are all kept.

    Raises:
      InputError: as for `cross_entropy`, or a threshold or number out of range.

    Example:
      >>> logits = jnp.array([[[[0.0, 0.0], [4.0, 0.0]]]])
      >>> label = jnp.zeros((1, 1, 2), int)
      >>> print(f"{ohem_cross_entropy(logits, label, min_kept=1):.4f} = log(2)")
      0.6931 = log(2)

    Reference:
      Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example
      Mining", CVPR 2016, applied to pixels.
    """
    number(least=0, most=1)("threshold", threshold)
    integer(least=1)("min_kept", min_kept)
    entropy, labeled, rows = _pixel_losses(logits, label, None, valid)
    # By the entropy, which orders pixels as -p does but does not round to 1.
    ranked = jax.lax.stop_gradient(jnp.where(labeled, entropy, -jnp.inf)).ravel()
    hardest = jnp.sort(ranked, descending=True)[min(min_kept, ranked.size) - 1]
    limit = -jnp.log(jnp.asarray(threshold, entropy.dtype))
    # What is no number must not vanish: it compares as false with any limit.
    kept = labeled & ((entropy >= jnp.minimum(limit, hardest)) | jnp.isnan(entropy))
    loss = entropy * _of_class(class_weights, label, logits)
    return _mean(loss, kept, rows, average)


@on_any_mesh
def boundary_cross_entropy(
    logits: Float[Array, "b h w c"],
    label: Int[Array, "b h w"],
    *,
    boundary_weight: float = 5.0,
    width: int = 15,
    average: str = "all",
    class_weights: Sequence[float] | None = None,
    valid: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    r"""Cross-entropy in which pixels near a boundary of the truth weigh more.

    u_i = `boundary_weight` inside the band of `ops.boundary_band` (rule "exact", ignored pixels
    make no boundary), 1 outside.

    Args:
      logits: class scores.
      label: class numbers; `IGNORE_LABEL` adds nothing to the sum.
      boundary_weight: weight of a pixel inside the band, above 0.
      width: side of the square that makes the band from the boundary, in pixels.
      average: see `cross_entropy`.
      class_weights: see `cross_entropy`.
      valid: see `cross_entropy`.

    Returns:
      The loss.

    Raises:
      InputError: as for `cross_entropy`, or a weight or width that is not positive.

    Example:
      >>> logits, label = jnp.zeros((1, 1, 3, 2)), jnp.array([[[0, 0, 1]]])
      >>> loss = boundary_cross_entropy(logits, label, boundary_weight=4.0, width=1)
      >>> print(f"{loss:.4f} = (1 + 4 + 4) / 3 log(2)")
      2.0794 = (1 + 4 + 4) / 3 log(2)
    """
    number(above=0)("boundary_weight", boundary_weight)
    integer(least=1)("width", width)
    loss, labeled, rows = _pixel_losses(logits, label, class_weights, valid)
    band = boundary_band(label, width=width, rule="exact", ignore=IGNORE_LABEL)
    return _mean(jnp.where(band, boundary_weight * loss, loss), labeled, rows, average)


def balanced_class_weights(pixels: Sequence[float | int]) -> tuple[float, ...]:
    """Weights that keep rare classes from being outvoted.

    With p_c the fraction of class c among the labeled pixels: (1, (1 - p_1) / p_1) for two classes,
    with which both weigh the same in `cross_entropy`; (1 - p_c) / p_c for more. A class without
    pixels gets 0: nothing of it occurs.

    Args:
      pixels: number of pixels of each class, or their fractions.

    Returns:
      One weight per class.

    Raises:
      InputError: less than two classes occur.

    Example:
      >>> balanced_class_weights((90, 10)), balanced_class_weights((50, 40, 10))
      ((1.0, 9.0), (1.0, 1.5, 9.0))
    """
    total = float(sum(pixels))
    if sum(count > 0 for count in pixels) < 2:
        raise InputError(
            "class_weights is 'balanced', but less than two classes occur in the labels; "
            "give numbers, or none"
        )
    weights = [(total - count) / count if count else 0.0 for count in pixels]
    return (1.0, weights[1]) if len(weights) == 2 else tuple(weights)


def wide(logits: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
    """Returns logits in float32 at least, the type that losses are computed in.

    Example:
      >>> wide(jnp.zeros(3, jnp.bfloat16)).dtype
      dtype('float32')
    """
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def labeled_pixels(
    label: Int[Array, "b h w"], valid: Bool[Array, " b"] | None
) -> tuple[Bool[Array, "b h w"], Bool[Array, "b h w"]]:
    """Returns which pixels have a label, and which stand in rows that count at all.

    Example:
      >>> label, valid = jnp.array([[[0, 255]], [[1, 1]]]), jnp.array([True, False])
      >>> labeled, rows = labeled_pixels(label, valid)
      >>> labeled.tolist(), rows.tolist()
      ([[[True, False]], [[False, False]]], [[[True, True]], [[False, False]]])
    """
    rows = jnp.ones(label.shape[0], bool) if valid is None else valid
    rows = jnp.broadcast_to(rows[:, None, None], label.shape)
    return rows & (label != IGNORE_LABEL), rows


def outside_classes(
    label: Int[Array, "b h w"], labeled: Bool[Array, "b h w"], num_classes: int
) -> Bool[Array, "b h w"]:
    """Returns which pixels have a label that is no class; outside of jit, there must be none.

    A compiled program cannot raise, so losses are NaN there.

    Args:
      label: class numbers.
      labeled: of `labeled_pixels`.
      num_classes: number of classes.

    Returns:
      True where a label counts but is no class.

    Raises:
      InputError: there is one, and the label is no tracer.

    Example:
      >>> outside_classes(jnp.array([[[0, 2]]]), jnp.ones((1, 1, 2), bool), 2)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: label has 2 in 1 pixels, which is neither one of the classes \
0..1 nor the ignored 255; correct the labels or the number of classes
    """
    bad = labeled & ((label < 0) | (label >= num_classes))
    if not isinstance(bad, Tracer) and bool(jnp.any(bad)):
        first = int(label[bad][0])
        raise InputError(
            f"label has {first} in {int(jnp.sum(label == first))} pixels, which is neither one of "
            f"the classes 0..{num_classes - 1} nor the ignored {IGNORE_LABEL}; correct the labels "
            "or the number of classes"
        )
    return bad


def _pixel_losses(logits, label, class_weights, valid):
    """Cross-entropy of every pixel, and the two masks of `labeled_pixels`."""
    labeled, rows = labeled_pixels(label, valid)
    logits, safe = wide(logits), jnp.where(labeled, label, 0)
    loss = (
        optax.softmax_cross_entropy_with_integer_labels(logits, safe)
        if current_target().platform == "cpu"
        else jax.nn.logsumexp(logits, -1) - _compare_and_sum(logits, safe)
    )
    loss = jnp.where(outside_classes(label, labeled, logits.shape[-1]), jnp.nan, loss)
    return loss * _of_class(class_weights, label, logits), labeled, rows


def _of_class(class_weights, label, logits) -> Array | float:
    """The weight of every pixel's class; whatever on ignored ones."""
    if class_weights is None or not len(class_weights):
        return 1.0
    check_class_weights(class_weights, logits.shape[-1])
    table = jnp.asarray(class_weights, wide(logits).dtype)
    safe = jnp.where(label == IGNORE_LABEL, 0, label)
    return table[safe] if current_target().platform == "cpu" else _compare_and_sum(table, safe)


def _compare_and_sum(values, label):
    """The value of every pixel's class: y = sum_k [k = label] values_k, exact as all but one are 0.

    An accelerator reads all classes in one pass that it joins with what stands before and behind;
    a gather, and the scatter that is its gradient, it takes pixel by pixel.
    """
    own = label[..., None] == jnp.arange(values.shape[-1], dtype=label.dtype)
    return jnp.sum(jnp.where(own, values, 0), -1)


def check_class_weights(
    class_weights: Any, num_classes: int | None, *, name: str = "class_weights"
) -> None:
    """Raises unless there is one class weight per class, or none, or the word for counting them.

    Args:
      class_weights: numbers, or "balanced".
      num_classes: number of classes; None where it is not known yet.
      name: what the weights are called where they were given.

    Raises:
      InputError: naming the argument.

    Example:
      >>> check_class_weights((1.0, 2.0), 2)
      >>> check_class_weights("balanced", 2)
    """
    if isinstance(class_weights, str) and class_weights == BALANCED:
        return
    plural = isinstance(class_weights, Sequence) and not isinstance(class_weights, str)
    if not plural or not all(isinstance(weight, int | float) for weight in class_weights):
        raise InputError(
            f"{name} is {class_weights!r}; give one number per class, none, or {BALANCED!r}"
        )
    if num_classes is not None and len(class_weights) not in (0, num_classes):
        raise InputError(
            f"{name} has {len(class_weights)} numbers for {num_classes} classes; "
            "give one per class or none"
        )


def check_average(average: str) -> None:
    """Raises unless `average` is one of `AVERAGES`.

    Example:
      >>> check_average("all")
    """
    check_choice("average", average, AVERAGES)


def _mean(loss: Array, counted: Array, rows: Array, average: str) -> Array:
    check_average(average)
    count = jnp.sum(rows if average == "all" else counted)
    return jnp.sum(jnp.where(counted, loss, 0.0)) / jnp.maximum(count, 1)
