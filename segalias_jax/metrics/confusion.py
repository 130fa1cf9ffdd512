"""Confusion counts on a device, exact for any number of pixels.

A confusion matrix has rows for the true class and columns for the predicted one. Both have one
entry more than there are classes: the last column holds predictions that are no class (they are
errors, yet in no class's predicted area), the last row holds labels that are no class (an error
in the data, see `totals.check_labels`).

Counters are two uint32 limbs: JAX has no 64-bit integers unless they are switched on for the whole
program, and a data set has more than 2^32 pixels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Integer, Shaped, UInt32

from segalias_jax.metrics.histogram import joint_histogram
from segalias_jax.typing import Array

_HALF = 16
_LOW_BITS = 0xFFFF


def confusion_counts(
    prediction: Integer[Array, "*shape"],
    label: Integer[Array, "*shape"],
    group: Integer[Array, "*shape"],
    *,
    num_classes: int,
    num_groups: int,
    ignore_label: int,
) -> UInt32[Array, "groups rows columns"]:
    """Counts the pixels of each (group, true class, predicted class).

    Args:
      prediction: predicted class ids.
      label: true class ids; pixels with `ignore_label` are in no count.
      group: part of the picture each pixel is in, in [0, num_groups).
      num_classes: C; rows and columns are C + 1, see the module's first lines.
      num_groups: number of groups.
      ignore_label: label that never counts.

    Returns:
      Counts of shape [num_groups, C + 1, C + 1]; exact below 2^32 pixels a call.

    Example:
      >>> ids = jnp.asarray([0, 1, 1, 255])
      >>> n = confusion_counts(
      ...     ids, ids, 0 * ids, num_classes=2, num_groups=1, ignore_label=255)
      >>> n[0].tolist()
      [[1, 0, 0], [0, 2, 0], [0, 0, 0]]
    """
    side = num_classes + 1
    row, column = _valid_or_last(label, num_classes), _valid_or_last(prediction, num_classes)
    row = jnp.where(label == ignore_label, -1, group.astype(jnp.int32) * side + row)
    # One histogram: every pixel is read once, whatever the number of groups.
    counts = joint_histogram(
        row.reshape(1, -1), column.reshape(1, -1), rows=num_groups * side, columns=side
    )
    return counts.reshape(num_groups, side, side)


def _valid_or_last(ids: Array, num_classes: int) -> Array:
    ids = ids.astype(jnp.int32)
    return jnp.where((ids >= 0) & (ids < num_classes), ids, num_classes)


def wide_zeros(shape: tuple[int, ...]) -> UInt32[Array, " 2 ..."]:
    """Zeros of a 64-bit counter: two 32-bit limbs, low and high, in front of `shape`.

    Example:
      >>> wide_zeros((3,)).shape
      (2, 3)
    """
    return jnp.zeros((2, *shape), jnp.uint32)


def wide_add(
    a: UInt32[Array, " 2 *shape"], b: UInt32[Array, " 2 *shape"]
) -> UInt32[Array, " 2 *shape"]:
    """Adds two 64-bit counters exactly.

    Example:
      >>> a = jnp.asarray([[2**32 - 1], [0]], jnp.uint32)
      >>> wide_add(a, a).tolist()
      [[4294967294], [1]]
    """
    # The sum of two limbs wraps around where it is smaller than either of them.
    low = a[0] + b[0]
    carry = (low < a[0]).astype(jnp.uint32)
    return jnp.stack([low, a[1] + b[1] + carry])


def wide_psum(wide: UInt32[Array, " 2 *shape"], axis_name: str) -> UInt32[Array, " 2 *shape"]:
    """Adds a 64-bit counter over the devices of a mapped axis, exactly on up to 65536 of them.

    Args:
      wide: this device's counter.
      axis_name: axis of `jax.shard_map` or `jax.vmap`.

    Returns:
      The sum, on every device.

    Example:
      >>> a = jnp.full((4, 2, 1), 2**32 - 1, jnp.uint32)
      >>> wide_total(jax.vmap(lambda x: wide_psum(x, "i"), axis_name="i")(a)[0]) == 4 * (2**64 - 1)
      array([False])
    """
    # Sums of 65536 halves of 16 bits fit into 32; a carry out of a whole limb would be lost.
    lower = jax.lax.psum(wide[0] & _LOW_BITS, axis_name)
    upper = jax.lax.psum(wide[0] >> _HALF, axis_name) + (lower >> _HALF)
    low = (upper << _HALF) | (lower & _LOW_BITS)
    return jnp.stack([low, jax.lax.psum(wide[1], axis_name) + (upper >> _HALF)])


def wide_total(wide: Shaped[Array | np.ndarray, " 2 *shape"]) -> Int[np.ndarray, "*shape"]:
    """Brings a 64-bit counter to the host as int64.

    Example:
      >>> wide_total(jnp.asarray([[7], [1]], jnp.uint32)).tolist()
      [4294967303]
    """
    low, high = np.asarray(wide, np.int64)
    return (high << 32) + low


def wide_from_total(total: Int[np.ndarray, "*shape"]) -> UInt32[Array, " 2 *shape"]:
    """Makes a 64-bit counter of int64 numbers on the host; the inverse of `wide_total`.

    Example:
      >>> wide_from_total(np.asarray([2**32 + 7])).tolist()
      [[7], [1]]
    """
    # Parted on the host: on the device a number of 64 bits would be cut to 32.
    return jnp.stack([jnp.asarray(part, jnp.uint32) for part in (total & 0xFFFFFFFF, total >> 32)])
