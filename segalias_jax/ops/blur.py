"""Binomial blur, the classical anti-aliasing filter before a stride."""

from __future__ import annotations

import functools
import math
import operator

import jax.numpy as jnp

from segalias_jax.errors import InputError
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array, Float


@on_any_mesh
def binomial_blur(
    x: Float[Array, "*batch h w c"], kernel_size: int, *, stride: int = 1
) -> Float[Array, "*batch h2 w2 c"]:
    """Blurs with a row of Pascal's triangle along both axes, keeping every `stride`-th pixel.

    y[i, j] = 4^(1-k) sum_{a, b} C(k-1, a) C(k-1, b) x[s i + a - p, s j + b - p],  p = (k-1) // 2

    Borders are reflected without repeating the edge pixel.

    Args:
      x: feature map, channels last.
      kernel_size: k, number of taps per axis, 1 to 7.
      stride: s, in pixels.

    Returns:
      The blurred map, `ceil(n / s)` pixels along each image axis, in the type of `x`.

    Raises:
      InputError: `kernel_size` outside 1 to 7, or an axis too short to reflect.

    Example:
      >>> binomial_blur(jnp.array([[[0.0], [4.0], [0.0]]] * 3), 3)[0, :, 0].tolist()
      [2.0, 2.0, 2.0]

    Reference:
      Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019.
    """
    if not 1 <= kernel_size <= 7:
        raise InputError(f"kernel_size is {kernel_size}, but must lie in 1 to 7 taps")
    for axis in (x.ndim - 2, x.ndim - 3):
        x = _blur_axis(x, kernel_size, stride, axis)
    return x


def binomial_taps(kernel_size: int) -> tuple[float, ...]:
    """Returns the taps of the blur along one axis, which sum to 1.

    Args:
      kernel_size: number of taps.

    Returns:
      The row of Pascal's triangle over its sum.

    Example:
      >>> binomial_taps(3)
      (0.25, 0.5, 0.25)
    """
    total = 2.0 ** (kernel_size - 1)
    return tuple(math.comb(kernel_size - 1, tap) / total for tap in range(kernel_size))


def _blur_axis(x: Array, kernel_size: int, stride: int, axis: int) -> Array:
    length, before = x.shape[axis], (kernel_size - 1) // 2
    after = kernel_size - 1 - before
    if length <= after:
        raise InputError(
            f"a blur of {kernel_size} taps needs more than {after} pixels along each image axis, "
            f"but one has {length}"
        )
    pads = [(0, 0)] * x.ndim
    pads[axis] = (before, after)
    padded = jnp.pad(x, pads, mode="reflect")
    parts = []
    for tap, weight in enumerate(binomial_taps(kernel_size)):
        # Shifted multiply-adds: XLA's CPU depthwise convolution is ten times slower.
        index = [slice(None)] * x.ndim
        index[axis] = slice(tap, tap + length, stride)
        parts.append(padded[tuple(index)] * weight)
    return functools.reduce(operator.add, parts)
