"""Matrices along axes whose length is known only when an exported program runs.

A program exported for images of any size cannot hold the matrices of `ops.bands` and
`ops.resample`, so it computes them. Positions and phases are kept as integers until the last
step, so that the weights are those of fixed lengths to a rounding of float32. Filters are Dirichlet
kernels and resizing is ramps, both in closed form; the bounds of bands come from a table, because
their rule is one of float64.

JAX knows two symbolic lengths to be equal where they are written alike, so half a length is
(n - 1) // 2 + 1 everywhere, which is how it writes that of a strided convolution. Where n % 2 would
decide something (2x2 pooling), a copy of the last row is there in any case.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from segalias_jax.ops.bands import bounds_table
from segalias_jax.typing import Array, Side

LONGEST = 8192
"""Pixels along an axis, at most: products of two lengths are computed in int32."""


def is_fixed(*lengths: Side) -> bool:
    """Whether all lengths are plain numbers.

    Example:
      >>> import jax
      >>> is_fixed(3, 4), is_fixed(3, *jax.export.symbolic_shape("n"))
      (True, False)
    """
    return all(isinstance(length, int) for length in lengths)


def band_operators(
    lengths: Sequence[Side], cutoff: float, band: str
) -> tuple[list[Array], list[tuple[Array, Array]]]:
    """Computes what `ops.bands` has as `band_matrix` and `odd_factors`.

    C[i, j] = (1/n) sum_k cos(2 pi k t / n), t = i - j, over the bins k = a, ..., b - 1 of the band
    is a Dirichlet kernel: (sin(pi (2b - 1) t / n) - sin(pi (2a - 1) t / n)) / (2 n sin(pi t / n)),
    and (b - a) / n where t = 0.

    Args:
      lengths: number n of samples along each axis, at most `LONGEST`.
      cutoff: in cycles per pixel.
      band: "symmetric" or "reference".

    Returns:
      A float32 matrix `[n, n]` for each axis, and factors `[n, 2]` and `[2, n]` of the imaginary
      part, empty for the symmetric band.

    Example:
      >>> matrices, _ = band_operators([2], 0.25, "symmetric")
      >>> matrices[0].tolist()
      [[0.5, 0.5], [0.5, 0.5]]
    """
    # The rule of the bounds is one of float64, which programs do not have: so it is a table.
    bounds = jnp.asarray(bounds_table(LONGEST, cutoff, band))
    matrices, odd = [], []
    for length in lengths:
        start, stop = (lax.dynamic_index_in_dim(row, length, keepdims=False) for row in bounds)
        matrices.append(_dirichlet(length, start, stop))
        none = jnp.zeros((1, 0)), jnp.zeros((0, 1))
        odd.append(_odd_factors(length, start, stop) if band == "reference" else none)
    return matrices, odd


def _dirichlet(length: Side, start: Array, stop: Array) -> Array:
    t, n = jnp.abs(_column(length) - _row(length)), jnp.asarray(length, jnp.float32)
    t = jnp.minimum(t, length - t)  # the same on a ring, away from the sine's other zero
    above, below = (jnp.sin(_angle(2 * bin - 1, t, 2 * length)) for bin in (stop, start))
    around = jnp.where(t == 0, 1, 2 * jnp.sin(_angle(1, t, 2 * length)))
    return jnp.where(t == 0, (stop - start).astype(jnp.float32), (above - below) / around) / n


def _odd_factors(length: Side, start: Array, stop: Array) -> tuple[Array, Array]:
    """Of the published bounds one bin at most is without its mirror image."""
    without = start + stop - 1
    angle = _angle(jnp.where(without > 0, stop - 1, start), _row(length)[0], length)
    share = (without != 0) / jnp.asarray(length, jnp.float32)
    left = jnp.stack([jnp.sin(angle), -jnp.cos(angle)], 1) * share
    return left, jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _angle(factor: Array | int, t: Array, period: Side) -> Array:
    """2 pi factor t / period; whole turns are taken off while they are integers."""
    phase = jnp.fmod(factor * t, period)
    return phase * (2 * jnp.pi / jnp.asarray(period, jnp.float32))


def bilinear_matrix(n: Side, m: Side, align_corners: bool, *, shift: int = 0) -> Array:
    """Computes what `ops.resample` has as `bilinear_matrix`.

    W[i, j] = max(0, 1 - |p_i - j|), p_i being the position that output i reads.

    Args:
      n: pixels of the input.
      m: pixels of the output.
      align_corners: which of the two sampling grids.
      shift: row i is that of output i + shift, and 0 where there is no such output.

    Returns:
      float32 `[m, n]`.

    Example:
      >>> bilinear_matrix(2, 3, False).tolist()
      [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    i = _column(m) + shift
    if align_corners:
        unit = jnp.maximum(jnp.asarray(m) - 1, 1)
        position = i * (n - 1)
    else:
        unit = jnp.asarray(2 * m)
        position = jnp.clip((2 * i + 1) * n - m, 0, 2 * m * (n - 1))
    near = jnp.maximum(unit - jnp.abs(position - unit * _row(n)), 0)
    weights = near.astype(jnp.float32) / unit.astype(jnp.float32)
    return jnp.where((i >= 0) & (i < m), weights, 0) if shift else weights


def nearest_matrix(n: Side, m: Side) -> Array:
    """Computes the weights of `ops.resize_nearest` along one axis.

    Args:
      n: pixels of the input.
      m: pixels of the output.

    Returns:
      float32 `[m, n]`.

    Example:
      >>> nearest_matrix(2, 3).tolist()
      [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    # Pixel j is read where j <= i n / m < j + 1.
    at = _column(m) * n - _row(n) * m
    return ((at >= 0) & (at < m)).astype(jnp.float32)


def pooling_matrix(n: Side, m: int) -> Array:
    """Computes the weights of `ops.adaptive_avg_pool` along one axis.

    Args:
      n: pixels of the input.
      m: number of cells.

    Returns:
      float32 `[m, n]`.

    Example:
      >>> pooling_matrix(3, 2).tolist()
      [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    # Pixel j is in cell i where it begins before the cell ends, and ends after the cell begins.
    i, j = _column(m), _row(n)
    inside = ((j * m < (i + 1) * n) & ((j + 1) * m > i * n)).astype(jnp.float32)
    return inside / inside.sum(1, keepdims=True)


def _column(length: Side) -> Array:
    return lax.broadcasted_iota(jnp.int32, (length, 1), 0)


def _row(length: Side) -> Array:
    return lax.broadcasted_iota(jnp.int32, (1, length), 1)
