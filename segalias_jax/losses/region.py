"""Losses of whole regions: overlap of probability and truth, class by class.

They see a batch as one set of labeled pixels, so a small object weighs by its class, not by its
number of pixels. Pixels without a label are in no sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from segalias_jax.errors import InputError
from segalias_jax.losses.pixel import check_class_weights, labeled_pixels, outside_classes, wide
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array, Bool, Float, Int


@on_any_mesh
def tversky_loss(
    logits: Float[Array, "b h w c"],
    label: Int[Array, "b h w"],
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1.0,
    class_weights: Sequence[float] | None = None,
    valid: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    r"""One minus the Tversky index of each class, averaged over classes.

    L = 1/C sum_c w_c (1 - (TP_c + s) / (TP_c + alpha FP_c + beta FN_c + s)), with the soft counts
    TP_c = sum_i p_ic t_ic, FP_c = sum_i p_ic (1 - t_ic), FN_c = sum_i (1 - p_ic) t_ic of softmax
    probabilities p and one-hot labels t.

    Args:
      logits: class scores.
      label: class numbers; `IGNORE_LABEL` is in no sum.
      alpha: weight of false positives.
      beta: weight of false negatives; larger than `alpha` favors recall.
      smooth: s, in pixels.
      class_weights: one weight per class; None for ones.
      valid: False on rows that only pad the batch.

    Returns:
      The loss.

    Raises:
      InputError: a number of weights that is not the number of classes.

    Example:
      >>> logits, label = jnp.array([[[[99.0, 0.0]]]]), jnp.zeros((1, 1, 1), int)
      >>> print(f"{tversky_loss(logits, label):.1f}")
      0.0

    Reference:
      Salehi et al., "Tversky loss function for image segmentation using 3D fully convolutional
      deep networks", MLMI 2017; computed by `optax.losses.dice_loss`.
    """
    check_class_weights(class_weights or (), logits.shape[-1])
    scores, target = _with_ignored_class(logits, label, valid)
    losses = optax.losses.dice_loss(
        scores,
        target,
        alpha=alpha,
        beta=beta,
        smooth=smooth,
        reduction="none",
        axis=(0, 1, 2),  # pyright: ignore[reportArgumentType]  optax takes tuples, as its doc says
    )[:-1]
    return jnp.mean(losses * jnp.asarray(class_weights or 1.0, losses.dtype))


@on_any_mesh
def dice_loss(
    logits: Float[Array, "b h w c"],
    label: Int[Array, "b h w"],
    *,
    smooth: float = 1.0,
    class_weights: Sequence[float] | None = None,
    valid: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    r"""One minus the Dice coefficient (F1) of each class, averaged over classes.

    L = 1/C sum_c w_c (1 - (2 TP_c + 2 s) / (sum_i p_ic + sum_i t_ic + 2 s)): `tversky_loss` with
    alpha = beta = 1/2.

    Args:
      logits: class scores.
      label: class numbers; `IGNORE_LABEL` is in no sum.
      smooth: s, in pixels.
      class_weights: one weight per class; None for ones.
      valid: False on rows that only pad the batch.

    Returns:
      The loss.

    Raises:
      InputError: as for `tversky_loss`.

    Example:
      >>> logits, label = jnp.zeros((1, 1, 2, 2)), jnp.array([[[0, 255]]])
      >>> print(f"{dice_loss(logits, label, smooth=0.0):.4f} = (1/3 + 1) / 2")
      0.6667 = (1/3 + 1) / 2

    Reference:
      Milletari et al., "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image
      Segmentation", 3DV 2016, with p in place of its square.
    """
    return tversky_loss(
        logits,
        label,
        alpha=0.5,
        beta=0.5,
        smooth=smooth,
        class_weights=class_weights,
        valid=valid,
    )


@on_any_mesh
def generalized_dice_loss(
    logits: Float[Array, "b h w c"],
    label: Int[Array, "b h w"],
    *,
    smooth: float = 1.0,
    valid: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    r"""One minus a Dice coefficient over all classes, each weighed by its size.

    L = 1 - (2 sum_c w_c TP_c + s) / (sum_c w_c (sum_i p_ic + sum_i t_ic) + s),
    w_c = (N / sum_i t_ic)^2 with N labeled pixels, 0 for classes that do not occur.

    Args:
      logits: class scores.
      label: class numbers; `IGNORE_LABEL` is in no sum.
      smooth: s; weights are relative, so it has no unit.
      valid: False on rows that only pad the batch.

    Returns:
      The loss.

    Example:
      >>> logits, label = jnp.zeros((1, 1, 2, 2)), jnp.array([[[0, 1]]])
      >>> print(f"{generalized_dice_loss(logits, label, smooth=0.0):.2f}")
      0.50

    Reference:
      Sudre et al., "Generalised Dice overlap as a deep learning loss function for highly
      unbalanced segmentations", DLMIA 2017.
    """
    scores, target = _with_ignored_class(logits, label, valid)
    probability, target = jax.nn.softmax(scores)[..., :-1], target[..., :-1]
    true = jnp.sum(target, (0, 1, 2))
    share = true / jnp.maximum(true.sum(), 1)
    weight = jnp.where(share > 0, 1 / jnp.square(jnp.where(share > 0, share, 1)), 0)
    overlap = jnp.sum(weight * jnp.sum(probability * target, (0, 1, 2)))
    both = jnp.sum(weight * (jnp.sum(probability, (0, 1, 2)) + true))
    nothing = both + smooth <= 0
    return jnp.where(nothing, 0, 1 - (2 * overlap + smooth) / jnp.where(nothing, 1, both + smooth))


@on_any_mesh
def lovasz_softmax(
    logits: Float[Array, "b h w c"],
    label: Int[Array, "b h w"],
    *,
    class_weights: Sequence[float] | None = None,
    valid: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    r"""The Lovász extension of one minus IoU, averaged over the classes that occur.

    With errors e_i = |t_ic - p_ic| in falling order, L_c = sum_i e_i (J_i - J_{i-1}), where J_i
    is one minus the IoU of class c if the first i pixels were wrong and the others right.

    Args:
      logits: class scores.
      label: class numbers; `IGNORE_LABEL` is in no sum.
      class_weights: one weight per class; None for ones.
      valid: False on rows that only pad the batch.

    Returns:
      The loss; 0 where no pixel has a label.

    Raises:
      InputError: a number of weights that is not the number of classes.

    Example:
      >>> logits, label = jnp.zeros((1, 1, 2, 2)), jnp.array([[[0, 1]]])
      >>> print(f"{lovasz_softmax(logits, label):.2f}")
      0.50

    Reference:
      Berman et al., "The Lovász-Softmax loss: A tractable surrogate for the optimization of the
      intersection-over-union measure in neural networks", CVPR 2018.
    """
    check_class_weights(class_weights or (), logits.shape[-1])
    labeled, _ = labeled_pixels(label, valid)
    probability = jax.nn.softmax(wide(logits))
    bad = outside_classes(label, labeled, logits.shape[-1])
    probability = jnp.where(bad[..., None], jnp.nan, probability)

    def of_class(number: Array) -> tuple[Array, Array]:
        true = labeled & (label == number)
        p = jax.lax.dynamic_index_in_dim(probability, number, -1, keepdims=False)
        return _lovasz(jnp.abs(true - p), true, labeled), jnp.any(true)

    # One class after the other: sorting all at once would hold a batch of them in memory.
    losses, present = jax.lax.map(of_class, jnp.arange(logits.shape[-1]))
    losses = losses * jnp.asarray(class_weights or 1.0, losses.dtype)
    return jnp.sum(jnp.where(present, losses, 0)) / jnp.maximum(jnp.sum(present), 1)


@on_any_mesh
def lovasz_hinge(
    logits: Float[Array, "b h w c"],
    label: Int[Array, "b h w"],
    *,
    valid: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
    r"""The Lovász extension of one minus IoU of class 1, on hinge errors; two classes only.

    With the margin m_i = z_i1 - z_i0 and signs s_i = 2 y_i - 1, the errors of `lovasz_softmax`
    are e_i = max(0, 1 - m_i s_i).

    Args:
      logits: scores of the two classes.
      label: 0, 1, or `IGNORE_LABEL` for pixels in no sum.
      valid: False on rows that only pad the batch.

    Returns:
      The loss.

    Raises:
      InputError: another number of classes than two.

    Example:
      >>> logits, label = jnp.zeros((1, 1, 1, 2)), jnp.ones((1, 1, 1), int)
      >>> print(f"{lovasz_hinge(logits, label):.1f}")
      1.0

    Reference:
      Yu and Blaschko, "Learning Submodular Losses with the Lovász Hinge", ICML 2015.
    """
    if logits.shape[-1] != 2:
        raise InputError(
            f"loss 'lovasz_hinge' is for two classes, not {logits.shape[-1]}; use 'lovasz_softmax'"
        )
    labeled, _ = labeled_pixels(label, valid)
    true = labeled & (label == 1)
    scores = wide(logits)
    margin = scores[..., 1] - scores[..., 0]
    margin = jnp.where(outside_classes(label, labeled, 2), jnp.nan, margin)
    return _lovasz(jax.nn.relu(1 - margin * jnp.where(true, 1, -1)), true, labeled)


def _lovasz(errors: Array, true: Array, labeled: Array) -> Array:
    """Sum of errors, each times its step of one minus IoU.

    The steps are written out, 1/U where the pixel is of the class and I / (U (U - 1)) where it is
    not (I and U intersection and union after it), since differences of quotients near 1 would
    lose what float32 has of them.
    """
    errors, true = jnp.where(labeled, errors, 0).ravel(), true.ravel()
    fixed = jax.lax.stop_gradient(jnp.where(labeled.ravel(), errors, -1))
    order = jnp.argsort(-fixed)
    true_sorted, counted = true[order], labeled.ravel()[order]
    total = jnp.sum(true)
    inside = total - jnp.cumsum(true_sorted)
    union = total + jnp.cumsum(counted & ~true_sorted)
    inside, union = inside.astype(errors.dtype), union.astype(errors.dtype)
    # Where nothing is of the class, the first wrong pixel makes all the loss.
    first = jnp.where((total == 0) & (union == 1), 1.0, 0.0)
    outside = jnp.where(union > 1, inside / (union * jnp.maximum(union - 1, 1)), first)
    steps = jnp.where(true_sorted, 1 / jnp.maximum(union, 1), outside)
    return jnp.sum(errors * jnp.zeros_like(errors).at[order].set(steps, unique_indices=True))


def _with_ignored_class(logits: Array, label: Array, valid: Array | None) -> tuple[Array, Array]:
    """Scores and one-hot labels with one more class, which has all pixels without a label.

    Its probability is 1 there and 0 elsewhere, so that no sum of another class sees them.
    """
    labeled, _ = labeled_pixels(label, valid)
    num_classes, scores = logits.shape[-1], wide(logits)
    ours = jnp.where(labeled[..., None], scores, -jnp.inf)
    extra = jnp.where(labeled, -jnp.inf, 0).astype(scores.dtype)
    target = jax.nn.one_hot(jnp.where(labeled, label, num_classes), num_classes + 1)
    bad = outside_classes(label, labeled, num_classes)
    target = jnp.where(bad[..., None], jnp.nan, target.astype(scores.dtype))
    return jnp.concatenate([ours, extra[..., None]], -1), target
