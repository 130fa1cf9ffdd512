"""What training on a ratio of the spectrum trades off: what a network sees, and what varies."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax.ops import ratio_low_pass
from segalias_jax.typing import Array, Float

Logits = Callable[[Float[Array, "b h w 3"]], Float[Array, "b h w n"]]

TERMS = ("saliency_low", "saliency_high", "variation_low", "variation_high")
"""Numbers of an image at a ratio, in this order everywhere."""


def saliency(logits: Logits, image: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Mean saliency of images: the l2 norm over input channels of a network's gradient.

    s(x) = 1/(h w) sum_ij sqrt( sum_c (df/dx_ijc)^2 ),  f = sum over pixels of the largest logit

    Args:
      logits: the network, in evaluation mode, so that images of a batch do not mix.
      image: x, as the network reads it.

    Returns:
      One number for each image, float32, in logits per unit of the image.

    Example:
      >>> saliency(lambda x: jnp.stack([3 * x[..., 0], 0 * x[..., 0]], -1), jnp.ones((1, 4, 4, 2)))
      Array([3.], dtype=float32)

    Reference:
      Simonyan et al., "Deep Inside Convolutional Networks", ICLR workshop 2014.
    """

    def score(image: Array) -> Array:
        scores = logits(image)
        # The first of equal logits; `jnp.max` would compare in its gradient what may have been
        # recomputed, rounded otherwise, and divide by the number of equals, 0.
        largest = jax.nn.one_hot(jnp.argmax(scores, -1), scores.shape[-1], dtype=bool)
        return jnp.sum(jnp.where(largest, scores, 0), dtype=jnp.float32)

    gradient = jax.grad(score)(image).astype(jnp.float32)
    return jnp.mean(jnp.sqrt(jnp.sum(gradient**2, axis=-1)), axis=(1, 2))


def total_variation(image: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Mean total variation of images.

    sigma(x) = 1/(h w) sum_ij sqrt( sum_c (x_(i+1)jc - x_ijc)^2 + (x_i(j+1)c - x_ijc)^2 ),
    differences across the border being 0.

    Args:
      image: x.

    Returns:
      One number for each image, float32, in units of the image per pixel.

    Example:
      >>> total_variation(jnp.eye(2)[None, :, :, None])
      Array([0.8535534], dtype=float32)

    Reference:
      Rudin et al., "Nonlinear total variation based noise removal algorithms", Physica D 1992.
    """
    image = image.astype(jnp.float32)
    down = jnp.pad(jnp.diff(image, axis=1), ((0, 0), (0, 1), (0, 0), (0, 0)))
    right = jnp.pad(jnp.diff(image, axis=2), ((0, 0), (0, 0), (0, 1), (0, 0)))
    return jnp.mean(jnp.sqrt(jnp.sum(down**2 + right**2, axis=-1)), axis=(1, 2))


def image_terms(
    logits: Logits, image: Float[Array, "b h w c"], low: Float[Array, "b h w c"]
) -> Float[Array, "b 4"]:
    """Computes saliency and variation of both bands of images.

    Args:
      logits: the network in evaluation mode.
      image: x.
      low: its low pass; the rest is the high band.

    Returns:
      Numbers of every image, in the order of `TERMS`.

    Example:
      >>> x = jnp.ones((2, 4, 4, 3))
      >>> image_terms(lambda x: x, x, x).shape
      (2, 4)
    """
    bands = jnp.stack([low, image - low])
    # One after the other: the network is compiled once, and rows stay on their devices.
    saliencies = jax.lax.map(lambda x: saliency(logits, x), bands)
    variations = jax.vmap(total_variation)(bands)
    return jnp.concatenate([saliencies, variations]).T


def objective(
    terms: Float[Array | np.ndarray, "*batch n 4"], alpha: float, beta: float
) -> Float[Array | np.ndarray, "*batch n"]:
    """Weighs the terms of an image: -alpha (s_low + s_high) + beta (sigma_low + sigma_high).

    Total variation is a seminorm, and the two bands add up to the image, so for every ratio
    sigma_low + sigma_high >= sigma(x). Both sides are equal where a band is constant: at ratio 1,
    where the high one is 0, and at ratios that keep the mean alone. In between the term is
    larger: it has its least value at both ends, and the saliency decides which ratio is best.

    Args:
      terms: in the order of `TERMS`.
      alpha: weight of the saliency.
      beta: weight of the variation.

    Returns:
      The objective.

    Example:
      >>> objective(np.array([[1.0, 2.0, 3.0, 4.0]]), 1.0, 0.5)
      array([0.5])
    """
    return -alpha * (terms[..., 0] + terms[..., 1]) + beta * (terms[..., 2] + terms[..., 3])


def best_ratio(
    logits: Logits,
    image: Float[Array, "b h w 3"],
    ratios: Float[Array, " k"],
    *,
    alpha: float,
    beta: float,
    band: str = "square",
) -> Float[Array, ""]:
    """Picks the ratio of the least mean objective of a batch, inside of a compiled program.

    The objective is that of `optimal_frequency_ratio`; filters are matrix products, so the batch
    may be split over devices.

    Args:
      logits: the network in evaluation mode.
      image: normalized.
      ratios: to choose from; of equals the first is taken.
      alpha: weight of the saliency.
      beta: weight of the variation.
      band: "square" or "round".

    Returns:
      One of `ratios`.

    Example:
      >>> x = jnp.indices((1, 8, 8, 3)).sum(0) % 2.0
      >>> best_ratio(lambda x: x, x, jnp.array([0.9, 0.5]), alpha=0.0, beta=1.0)
      Array(0.9, dtype=float32)
    """

    def mean_objective(ratio: Array) -> Array:
        low = ratio_low_pass(image, ratio, band=band)
        return jnp.mean(objective(image_terms(logits, image, low), alpha, beta))

    return ratios[jnp.argmin(jax.lax.map(mean_objective, ratios))]
