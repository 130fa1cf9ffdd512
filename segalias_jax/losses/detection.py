"""Losses of detection heads, element by element, and their means over samples."""

from __future__ import annotations

import jax.numpy as jnp

from segalias_jax.typing import Array, Bool, Float


def smooth_l1(difference: Float[Array, "*shape"], *, beta: float = 1 / 9) -> Float[Array, "*shape"]:
    """A parabola near 0, and the absolute value less beta / 2 from beta on.

    l(d) = d^2 / (2 beta) for |d| < beta, else |d| - beta / 2

    Args:
      difference: d, prediction less target.
      beta: where the two meet.

    Returns:
      The losses.

    Example:
      >>> smooth_l1(jnp.array([-2.0, 0.5]), beta=1.0).tolist()
      [1.5, 0.125]

    Reference:
      Girshick, "Fast R-CNN", ICCV 2015.
    """
    size = jnp.abs(difference)
    return jnp.where(size < beta, 0.5 * jnp.square(size) / beta, size - 0.5 * beta)


def binary_cross_entropy(
    logits: Float[Array, "*shape"], target: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Cross-entropy of sigmoid probabilities and fractions.

    l = -t log s(x) - (1 - t) log(1 - s(x)) = max(x, 0) - x t + log(1 + exp(-|x|))

    Args:
      logits: x.
      target: t, of [0, 1].

    Returns:
      The losses.

    Example:
      >>> binary_cross_entropy(jnp.zeros(1), jnp.ones(1)).round(4).tolist()
      [0.6930999755859375]
    """
    return jnp.maximum(logits, 0) - logits * target + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def mean_over_samples(
    losses: Float[Array, "b k"],
    counted: Bool[Array, "b k"],
    samples: Bool[Array, "b k"],
    images: Bool[Array, " b"],
    *,
    average: str,
) -> Float[Array, ""]:
    """Returns the sum of the losses that count over the number of samples.

    "batch": sum_bk l / n; "image": mean over images b of sum_k l / n_b. The second is a mean over
    the parts of a batch, whatever they hold; the first is as published.

    Args:
      losses: of all entries.
      counted: entries whose loss counts.
      samples: entries that are divided by; of no entry, the mean is 0.
      images: rows that hold an image.
      average: "batch" or "image".

    Returns:
      The mean.

    Example:
      >>> losses = jnp.array([[2.0, 4.0], [3.0, 0.0]])
      >>> there = jnp.array([[True, True], [True, False]])
      >>> for average in ("batch", "image"):
      ...     print(mean_over_samples(losses, there, there, jnp.ones(2, bool), average=average))
      3.0
      3.0
    """
    if average == "batch":
        return jnp.sum(losses, where=counted) / jnp.maximum(samples.sum(), 1)
    of_image = jnp.sum(losses, 1, where=counted) / jnp.maximum(samples.sum(1), 1)
    return jnp.sum(of_image, where=images) / jnp.maximum(images.sum(), 1)
