"""A checksum of arrays, the same on any number of devices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from segalias_jax.typing import Array

_STEP = 2654435761  # prime, and far from any small fraction of 2^32: neighbors land far apart


def checksum(tree: Any) -> int:
    """Sums the bits of all arrays, each weighted by its place, modulo 2^32.

    c = sum_k (2k + 1) sum_i w_i b_ki, b being the bits of element i of array k as an integer
    and w_i an odd number scrambled from i. Integers add up to the same in any order, so the
    devices and processes over which arrays are distributed do not matter; nothing is gathered.

    Args:
      tree: arrays of numbers, booleans or random keys.

    Returns:
      The sum.

    Example:
      >>> checksum({"a": jnp.arange(3)}) == checksum({"a": jnp.asarray([0, 2, 1])})
      False
    """
    arrays = [_numbers(leaf) for leaf in jax.tree.leaves(tree)]
    sums = jax.device_get(_SUMS(arrays))
    total = sum((2 * k + 1) * int(value) for k, value in enumerate(sums))
    return total % 2**32


def _numbers(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf


@jax.jit  # for one trace of all arrays of a shape; a state has hundreds of arrays
def _sum(x: Array) -> Array:
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}.get(x.dtype.itemsize, jnp.uint64)
    bits = x.astype(jnp.uint8) if x.dtype == bool else jax.lax.bitcast_convert_type(x, unsigned)
    place = jnp.zeros(x.shape, jnp.uint32)
    for axis, length in enumerate(x.shape):
        place = place * jnp.uint32(length) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
    # float64 states exist under jax_enable_x64 only; their upper halves are folded onto the lower.
    if bits.dtype.itemsize == 8:
        bits = bits ^ (bits >> 32)
    weight = place * jnp.uint32(_STEP)
    weight = (weight ^ (weight >> 16)) * jnp.uint32(_STEP) | 1
    return jnp.sum(bits.astype(jnp.uint32) * weight, dtype=jnp.uint32)


_SUMS = jax.jit(lambda arrays: [_sum(x) for x in arrays])
