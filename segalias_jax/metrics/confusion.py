"""Confusion counts, exact for any number of pixels, and the scores that follow from them.

A confusion matrix has rows for the true class and columns for the predicted one. Both have one
entry more than there are classes: the last column holds predictions that are no class (they are
errors, yet in no class's predicted area), the last row holds labels that are no class (a mistake
in the data, see `check_labels`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Integer, Shaped, UInt32

from segalias_jax.errors import InputError
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
    size = num_groups * side * side
    row, column = _valid_or_last(label, num_classes), _valid_or_last(prediction, num_classes)
    cell = (group.astype(jnp.int32) * side + row) * side + column
    cell = jnp.where(label == ignore_label, size, cell)  # out of range, hence dropped
    counts = jnp.zeros(size, jnp.uint32).at[cell.ravel()].add(1, mode="drop")
    return counts.reshape(num_groups, side, side)


def _valid_or_last(ids: Array, num_classes: int) -> Array:
    ids = ids.astype(jnp.int32)
    return jnp.where((ids >= 0) & (ids < num_classes), ids, num_classes)


def wide_zeros(shape: tuple[int, ...]) -> UInt32[Array, " 2 ..."]:
    """Zeros of a 64-bit counter: two 32-bit limbs, low and high, in front of `shape`.

    JAX has no 64-bit integers unless they are switched on for the whole program.

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
    return jnp.stack([jnp.asarray(part, jnp.uint32) for part in (total & 0xFFFFFFFF, total >> 32)])


def check_labels(counts: Integer[np.ndarray, "*groups rows columns"], ignore_label: int) -> None:
    """Raises where labels were met that are neither a class nor ignored.

    Args:
      counts: confusion counts of one or more groups.
      ignore_label: for the message.

    Raises:
      InputError: some were; the message says how many.
    """
    bad = int(counts[..., -1, :].sum())
    if bad:
        classes = counts.shape[-1] - 1
        raise InputError(
            f"labels: {bad} pixels are neither one of the {classes} classes 0..{classes - 1} nor "
            f"the ignored {ignore_label}; correct the labels, the number of classes or the "
            "ignored value"
        )


def class_scores(
    counts: Integer[np.ndarray, "rows columns"],
) -> dict[str, Float[np.ndarray, " classes"]]:
    """Scores of every class from one confusion matrix.

    With t = pixels that are truly and predictedly the class, L = pixels truly it, P = pixels
    predicted as it: IoU = t / (L + P - t), Acc = Recall = t / L, Precision = t / P and
    Dice = 2 t / (L + P). A class whose denominator is 0 scores nan.

    Args:
      counts: confusion matrix of C + 1 rows and columns.

    Returns:
      IoU, Acc, Dice, Precision, Recall: float64 of shape [C], shares in [0, 1].

    Example:
      >>> class_scores(np.asarray([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))["IoU"].tolist()
      [0.75, 0.8]
    """
    both, true, predicted = class_areas(counts)
    recall = share(both, true)
    return {
        "IoU": share(both, true + predicted - both),
        "Acc": recall,
        "Dice": share(2 * both, true + predicted),
        "Precision": share(both, predicted),
        "Recall": recall,
    }


def pixel_accuracy(counts: Integer[np.ndarray, "rows columns"]) -> float:
    """Share of pixels that are right; nan without any pixel.

    Example:
      >>> pixel_accuracy(np.asarray([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
      0.875
    """
    both, true, _ = class_areas(counts)
    return float(share(both.sum(), true.sum()))


def class_areas(
    counts: Integer[np.ndarray, "*groups rows columns"],
) -> tuple[
    Integer[np.ndarray, "*groups classes"],
    Integer[np.ndarray, "*groups classes"],
    Integer[np.ndarray, "*groups classes"],
]:
    """Pixels of every class: predicted rightly, true, predicted.

    Example:
      >>> [a.tolist() for a in class_areas(np.asarray([[3, 1, 1], [0, 4, 0], [0, 0, 0]]))]
      [[3, 4], [5, 4], [3, 5]]
    """
    inner = counts[..., :-1, :-1]
    both = np.diagonal(inner, axis1=-2, axis2=-1)
    return both, counts[..., :-1, :].sum(-1), inner.sum(-2)


def share(part: ArrayLike, whole: ArrayLike) -> Float[np.ndarray, " *shape"]:
    """Divides part by whole in float64, nan where the whole is 0.

    Example:
      >>> share(np.asarray([1, 0]), np.asarray([2, 0])).tolist()
      [0.5, nan]
    """
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.divide(part, whole, out=np.full(shape, np.nan), where=whole != 0)


def mean_over_classes(values: Float[np.ndarray, " classes"]) -> float:
    """Mean over the classes that have a value; nan where none has.

    Example:
      >>> mean_over_classes(np.asarray([0.5, np.nan, 1.0]))
      0.75
    """
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
