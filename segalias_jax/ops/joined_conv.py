"""A convolution of feature maps of several sizes, resized to one and joined.

All of it is linear, so it is a sum over the maps: taps are taken where a map is small, and its
resized form is never made.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax.ops import symbolic
from segalias_jax.ops.conv import conv2d, mix_channels
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.ops.resample import bilinear_matrix
from segalias_jax.typing import Array, Float, Side


@on_any_mesh
def joined_conv2d(
    parts: Sequence[Float[Array, "b _ _ _"]],
    kernel: Float[Array, "k1 k2 d o"],
    size: tuple[Side, Side],
    *,
    align_corners: bool = False,
) -> Float[Array, "b h w o"]:
    """Convolves maps that are resized to one size and joined along channels.

    y = conv2d([resize(x_1), ..., resize(x_n)], kernel), padded to keep the size

    A sum over parts. Resizing and taps are both linear, so for a small map the taps are taken
    where there are few pixels, and one matrix per axis resizes and shifts their results: for a map
    of an eighth of the size that is a fourteenth of the operations, and the resized map is never
    made.

    Args:
      parts: feature maps, channels last.
      kernel: square, with an odd side; `d` channels are those of all parts.
      size: height and width that parts are resized to, see `ops.resize_bilinear`.
      align_corners: of the resizing.

    Returns:
      The feature map, of the given size.

    Example:
      >>> parts = jnp.ones((1, 8, 8, 2)), jnp.ones((1, 2, 2, 3))
      >>> joined_conv2d(parts, jnp.ones((3, 3, 5, 1)), (8, 8))[0, 1, 1]
      Array([45.], dtype=float32)
    """
    summands, start = [], 0
    for x in parts:
        own = kernel[:, :, start : start + x.shape[-1]].astype(x.dtype)
        start += x.shape[-1]
        if x.shape[1:3] == tuple(size):
            summands.append(conv2d(x, own, padding=kernel.shape[0] // 2))
        else:
            summands.append(_conv_of_resized(x, own, size, align_corners))
    return functools.reduce(operator.add, summands)


def _conv_of_resized(
    x: Array, kernel: Array, size: tuple[Side, Side], align_corners: bool
) -> Array:
    """Taps at the size of `x`, then a sum over taps and pixels along each axis."""
    taps, _, channels, outputs = kernel.shape
    make = _shifted_matrices if symbolic.is_fixed(*x.shape[1:3], *size) else _symbolic_matrices
    rows, columns = (
        jnp.asarray(make(n, m, taps, align_corners), x.dtype)
        for n, m in zip(x.shape[1:3], size, strict=True)
    )
    highest = jax.lax.Precision.HIGHEST
    lines = []
    for row_of_taps in kernel:
        y = mix_channels(x, row_of_taps.transpose(1, 0, 2).reshape(channels, -1))
        # Pixels of a line and their taps are one axis.
        y = y.reshape(*x.shape[:2], -1, outputs)
        lines.append(jnp.einsum("bhwo,jw->bhjo", y, columns, precision=highest))
    y = jnp.stack(lines, 2).reshape(x.shape[0], -1, size[1], outputs)
    return jnp.einsum("bhjo,ih->bijo", y, rows, precision=highest)


@functools.lru_cache(maxsize=256)
def _shifted_matrices(n: int, m: int, taps: int, align_corners: bool) -> np.ndarray:
    """`[m, n * taps]`: row i holds, for pixel p and tap a, the weight of p in pixel i + a - r."""
    matrix, reach = bilinear_matrix(n, m, align_corners), taps // 2
    padded = np.pad(matrix, ((reach, reach), (0, 0)))
    return np.stack([padded[a : a + m] for a in range(taps)], 2).reshape(m, n * taps)


def _symbolic_matrices(n: Side, m: Side, taps: int, align_corners: bool) -> Array:
    """The same for lengths that are known only when a program runs."""
    shifts = (tap - taps // 2 for tap in range(taps))
    parts = [symbolic.bilinear_matrix(n, m, align_corners, shift=shift) for shift in shifts]
    return jnp.stack(parts, 2).reshape(m, n * taps)
