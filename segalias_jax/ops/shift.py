"""How much class maps depend on where the pixel grid happens to lie."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer

from segalias_jax.errors import InputError
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array, Float, Num

_ONE_PIXEL = ((0, 1), (1, 0), (1, 1))
"""The shifts by one pixel: to the right, down, and both."""


def shift_consistency(
    predict: Callable[[Array], Integer[Array | np.ndarray, "b h w"]],
    image: Num[Array | np.ndarray, "b h w c"],
    *,
    shifts: tuple[tuple[int, int], ...] = _ONE_PIXEL,
) -> Float[Array, " b"]:
    """Share of pixels that keep their class when the image is shifted.

    s = mean over (dy, dx) and pixels p of [ predict(T x)(p + (dy, dx)) = predict(x)(p) ]

    T moves the image down by dy and to the right by dx; what leaves it is dropped, and its edge
    pixels are repeated where it leaves a gap, so that its size stays. Pixels count that both
    images show. A network that samples without aliasing moves its prediction along.

    Args:
      predict: maps images to class ids of the same size.
      image: the images, of any type.
      shifts: (down, right) in pixels; negative ones go up and to the left.

    Returns:
      One share in [0, 1] per image.

    Raises:
      InputError: no shift, or one that is as large as the image.

    Example:
      >>> stripes = jnp.tile(jnp.arange(8) % 4, (1, 8, 1))[..., None]
      >>> sampled = lambda x: jnp.repeat(x[:, :, ::2, 0], 2, 2)
      >>> float(shift_consistency(lambda x: x[..., 0], stripes)[0])
      1.0
      >>> float(shift_consistency(sampled, stripes, shifts=((0, 1),))[0]) < 1
      True

    Reference:
      Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019 (consistency);
      Zou et al., "Delving Deeper into Anti-aliasing in ConvNets", BMVC 2020 (of class maps).
    """
    size = image.shape[1:3]
    if not shifts:
        raise InputError("shifts is empty; give at least one (down, right)")
    for shift in shifts:
        if any(abs(step) >= side for step, side in zip(shift, size, strict=True)):
            raise InputError(f"shifts has {shift}, which leaves nothing of {size[0]}x{size[1]}")
    image = jnp.asarray(image)
    still = jnp.asarray(predict(image))
    shares = []
    for shift in shifts:
        moved = jnp.asarray(predict(_shifted(image, shift)))
        there, here = (
            tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(move, size, strict=True))
            for move in (shift, tuple(-step for step in shift))
        )
        shares.append(_same(moved, still, there, here))
    return jnp.mean(jnp.stack(shares), 0)


@on_any_mesh
def _same(moved: Array, still: Array, there: tuple[slice, ...], here: tuple[slice, ...]) -> Array:
    return jnp.mean(moved[:, *there] == still[:, *here], (1, 2), dtype=jnp.float32)


@on_any_mesh
def _shifted(image: Array, shift: tuple[int, int]) -> Array:
    for axis, step in enumerate(shift, start=1):
        length = image.shape[axis]
        source = jnp.clip(jnp.arange(length) - step, 0, length - 1)
        image = jnp.take(image, source, axis)
    return image
