"""From bytes to the numbers a network reads."""

from __future__ import annotations

import jax.numpy as jnp

from segalias_jax.typing import Array, Float, UInt8

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def normalize_image(
    image: UInt8[Array, "*batch h w 3"],
    *,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Float[Array, "*batch h w 3"]:
    """Shifts and scales RGB bytes: y = (x - mean) / std per channel, in float32.

    Args:
      image: RGB, 0 to 255.
      mean: per channel, in the same units.
      std: per channel, in the same units.

    Returns:
      float32 image. Done on the device, so that pixels travel there as bytes.

    Example:
      >>> normalize_image(jnp.zeros((1, 1, 3), jnp.uint8), mean=(1.0,) * 3, std=(2.0,) * 3)
      Array([[[-0.5, -0.5, -0.5]]], dtype=float32)
    """
    return (image.astype(jnp.float32) - jnp.array(mean, jnp.float32)) / jnp.array(std, jnp.float32)
