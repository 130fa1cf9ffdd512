"""Weighted sums of losses by name, over a model's output and its auxiliary heads."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from segalias_jax.errors import InputError
from segalias_jax.losses import pixel, region
from segalias_jax.settings import pairs
from segalias_jax.typing import Array, Bool, Float, Int

LOSSES: dict[str, Callable[..., Array]] = {
    "cross_entropy": pixel.cross_entropy,
    "focal": pixel.focal_loss,
    "ohem": pixel.ohem_cross_entropy,
    "boundary": pixel.boundary_cross_entropy,
    "dice": region.dice_loss,
    "generalized_dice": region.generalized_dice_loss,
    "tversky": region.tversky_loss,
    "lovasz_softmax": region.lovasz_softmax,
    "lovasz_hinge": region.lovasz_hinge,
}
"""Losses by the name that the terms of a mixture give them."""

SUMS_OVER_PIXELS = ("cross_entropy", "focal", "boundary")
"""Those that are the same sum whether a batch is computed whole or in parts."""

# Option of a mixture: (loss, its parameter). The default is that parameter's.
_OPTIONS = {
    "focal_gamma": ("focal", "gamma"),
    "ohem_threshold": ("ohem", "threshold"),
    "ohem_min_kept": ("ohem", "min_kept"),
    "boundary_weight": ("boundary", "boundary_weight"),
    "boundary_width": ("boundary", "width"),
    "tversky_alpha": ("tversky", "alpha"),
    "tversky_beta": ("tversky", "beta"),
}
Terms = Sequence[tuple[str, float]]


def segmentation_loss(
    logits: Float[Array, "b h w c"],
    auxiliary: Sequence[Float[Array, "b h w c"]],
    label: Int[Array, "b h w"],
    *,
    terms: Terms = (("cross_entropy", 1.0),),
    auxiliary_terms: Terms = (),
    auxiliary_weight: float = 0.4,
    average: str = "all",
    class_weights: Sequence[float] | None = None,
    valid: Bool[Array, " b"] | None = None,
    **options: Any,
) -> Float[Array, ""]:
    """Adds the losses of a model's output and of its auxiliary heads.

    L = l(logits) + auxiliary_weight * sum_j a(auxiliary_j), l = sum_k weight_k LOSSES[name_k]

    Args:
      logits: output of the model.
      auxiliary: outputs of its auxiliary heads at the same size; may be empty.
      label: class numbers, `IGNORE_LABEL` where a pixel does not count.
      terms: pairs (name in `LOSSES`, weight).
      auxiliary_terms: the same of a, for auxiliary heads; () for `terms`.
      auxiliary_weight: weight of every auxiliary head.
      average: of the losses that are sums over pixels, see `cross_entropy`.
      class_weights: see `cross_entropy`; of every term that takes them.
      valid: see `cross_entropy`.
      **options: of single losses: `focal_gamma`, `ohem_threshold`, `ohem_min_kept`,
        `boundary_weight`, `boundary_width`, `tversky_alpha`, `tversky_beta`.

    Returns:
      The loss.

    Raises:
      InputError: as for `check_loss` and for each loss.

    Example:
      >>> import jax.numpy as jnp
      >>> logits, label = jnp.zeros((1, 2, 2, 4)), jnp.zeros((1, 2, 2), int)
      >>> print(f"{segmentation_loss(logits, (logits,), label):.4f} = 1.4 log(4)")
      1.9408 = 1.4 log(4)
    """
    check_loss(
        terms,
        auxiliary_terms=auxiliary_terms,
        num_classes=logits.shape[-1],
        average=average,
        class_weights=class_weights,
        **options,
    )
    given = {"average": average, "class_weights": class_weights or None}

    def mixture(scores: Array, terms: Terms) -> Any:
        parts = [(weight, _bind(name, given, options)) for name, weight in terms]
        return sum(weight * loss(scores, label, valid=valid) for weight, loss in parts)

    further = sum(mixture(scores, auxiliary_terms or terms) for scores in auxiliary)
    return mixture(logits, terms) + auxiliary_weight * further


def check_loss(
    terms: Terms,
    *,
    auxiliary_terms: Terms = (),
    average: str,
    class_weights: Any,
    num_classes: int | None,
    **options: Any,
) -> None:
    """Raises if the options of a loss do not fit.

    Args:
      terms: as for `segmentation_loss`.
      auxiliary_terms: as for `segmentation_loss`.
      average: one of `AVERAGES`.
      class_weights: none, one per class, or "balanced".
      num_classes: number of classes; None to check what does not depend on it.
      **options: as for `segmentation_loss`.

    Raises:
      InputError: naming the argument.

    Example:
      >>> check_loss((("dice", 1.0),), average="all", class_weights=(1.0, 2.0), num_classes=2)
      >>> check_loss((("dyce", 1.0),), average="all", class_weights=(), num_classes=2)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: terms has 'dyce'; choose from cross_entropy, focal, ohem, \
boundary, dice, generalized_dice, tversky, lovasz_softmax, lovasz_hinge
    """
    pixel.check_average(average)
    pixel.check_class_weights(class_weights or (), num_classes)
    if not terms:
        raise InputError("terms is (); name at least one loss, each once")
    chosen = [
        *_names("terms", terms, num_classes),
        *_names("auxiliary_terms", auxiliary_terms, num_classes),
    ]
    for key, value in options.items():
        if key not in _OPTIONS:
            raise InputError(f"{key} is no option of a loss; options are {', '.join(_OPTIONS)}")
        loss, parameter = _OPTIONS[key]
        if loss not in chosen and value != _parameters(loss)[parameter].default:
            raise InputError(f"{key} is set, but terms has no {loss!r}; add it or drop it")
    if class_weights and not any("class_weights" in _parameters(name) for name in chosen):
        raise InputError(f"class_weights is set, but {', '.join(chosen)} takes none; drop it")


def _names(key: str, terms: Terms, num_classes: int | None) -> list[str]:
    """The losses of `terms` by name, each of which exists and fits the number of classes."""
    names = [name for name, _ in pairs("('dice', 1.0)")(key, terms)]
    for name in names:
        if name not in LOSSES:
            raise InputError(f"{key} has {name!r}; choose from {', '.join(LOSSES)}")
    if len(set(names)) < len(names):
        raise InputError(f"{key} is {tuple(terms)}; name each loss once")
    if "lovasz_hinge" in names and num_classes not in (2, None):
        raise InputError(
            f"{key} has 'lovasz_hinge', which is for two classes, not {num_classes}; use "
            "'lovasz_softmax'"
        )
    return names


def _bind(name: str, given: dict[str, Any], options: dict[str, Any]) -> Callable[..., Array]:
    """The loss of that name with the options that are its own."""
    known = _parameters(name)
    mine = {key: value for key, value in given.items() if key in known}
    for key, (loss, parameter) in _OPTIONS.items():
        if loss == name and key in options:
            mine[parameter] = options[key]
    return functools.partial(LOSSES[name], **mine)


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(LOSSES[name]).parameters
