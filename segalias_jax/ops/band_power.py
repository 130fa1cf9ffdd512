"""Both bands of a map with the power of each, which a kernel sums up while it filters."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from segalias_jax.ops.bands import band_bounds, band_matrix, odd_factors
from segalias_jax.ops.fourier import fuses_products, low_pass, split_bands
from segalias_jax.typing import Array, Float

_AXES = (1, 2)


def split_bands_and_power(
    x: Float[Array, "b h w c"], cutoff: float, *, band: str = "symmetric"
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"], tuple[Array, Array]]:
    """`split_bands` of an NHWC map, and the mean square of both bands.

    p_low[b, c] = mean_ij low[b, i, j, c]^2, p_high likewise

    Args:
      x: the map.
      cutoff: as for `low_pass`.
      band: as for `low_pass`.

    Returns:
      low, high and `(p_low, p_high)`, `[b, c]` each, in float32 at least.

    Example:
      >>> low, high, power = split_bands_and_power(jnp.ones((1, 4, 4, 1)), 0.25)
      >>> [p.tolist() for p in power]
      [[[1.0]], [[0.0]]]
    """
    if fuses_products(x, _AXES) and not _is_lopsided(x, cutoff, band):
        low, power = _fused(x, cutoff, band)
        return low, x - low, (power[:, 0], power[:, 1])
    low, high = split_bands(x, cutoff, band=band)
    return low, high, (_mean_square(low), _mean_square(high))


def _is_lopsided(x: Array, cutoff: float, band: str) -> bool:
    """Whether two products alone are not the filter."""
    bounds = ((n, *band_bounds(n, cutoff, band=band)) for n in x.shape[1:3])
    return all(odd_factors(*bound)[0].size for bound in bounds)


def _mean_square(x: Array) -> Array:
    return jnp.mean(jnp.square(_wide(x)), _AXES)


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _fused(x: Array, cutoff: float, band: str) -> tuple[Array, Array]:
    from segalias_jax.ops.fused_products import fused_products  # imports what only a TPU needs

    height, width = x.shape[1:3]
    matrices = (band_matrix(n, *band_bounds(n, cutoff, band=band)) for n in (height, width))
    low, power = fused_products(x, *matrices, power=True)
    assert power is not None
    return low, power / (height * width)


@_fused.defjvp
def _fused_jvp(cutoff: float, band: str, primals: tuple, tangents: tuple) -> tuple:
    (x,), (step,) = primals, tangents
    low, power = _fused(x, cutoff, band)
    low_step = low_pass(step, cutoff, band=band)
    pairs = (low, low_step), (x - low, step - low_step)
    moved = [2 * jnp.mean(_wide(value) * _wide(change), _AXES) for value, change in pairs]
    return (low, power), (low_step, jnp.stack(moved, 1))
