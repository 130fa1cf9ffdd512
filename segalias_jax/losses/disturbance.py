"""The loss that keeps features of noisy images near those of clean ones."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from segalias_jax.typing import Array, Float


def disturbance_suppression(
    noisy: Sequence[Float[Array, "b _ _ _"]],
    clean: Sequence[Float[Array, "b _ _ _"]],
    *,
    weight: float = 0.01,
    most: float = 0.1,
) -> Float[Array, ""]:
    """Returns how far feature maps of noisy images are from those of the clean images.

    L = weight sum_maps mean(min((f_noisy - f_clean)^2, most))

    Both get a gradient. It is added to the losses of the task on both images. Known as DSL.

    Args:
      noisy: feature maps of noisy images, fine to coarse.
      clean: those of the same images without noise.
      weight: factor of the loss.
      most: squared distance of two numbers from which on they are far enough, without a gradient.

    Returns:
      The loss.

    Raises:
      ValueError: other numbers of maps.

    Example:
      >>> print(disturbance_suppression([jnp.ones((1, 2, 2, 1))], [jnp.zeros((1, 2, 2, 1))]))
      0.001

    Reference:
      Chen et al., "Instance Segmentation in the Dark", IJCV 2023.
    """
    distances = [jnp.square(a - b) for a, b in zip(noisy, clean, strict=True)]
    return weight * sum((jnp.minimum(d, most).mean() for d in distances), start=jnp.zeros(()))
