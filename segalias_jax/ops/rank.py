"""Rank filters: the median of a neighborhood, and the majority for label maps."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Integer, Real

from segalias_jax.errors import InputError, check_choice
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import IGNORE_LABEL, Array

_BORDERS = ("reflect", "edge", "zero")
"""What lies beyond the border: the reflected picture (edge pixel repeated), the edge, or zeros."""

_PADS = {"reflect": "symmetric", "edge": "edge", "zero": "constant"}
# Up to this size a network of exchanges is written out; larger windows are sorted, which takes
# ten times as long, but compiles.
_NETWORK_UP_TO = 9


@on_any_mesh
def median_filter(
    x: Real[Array, "*shape"],
    size: int,
    *,
    axes: tuple[int, int] = (-3, -2),
    border: str = "reflect",
) -> Real[Array, "*shape"]:
    """Median over square windows of `size` x `size` pixels.

    y(i, j) = the ((size^2 + 1) / 2)-th smallest x(i + a, j + b), |a|, |b| <= (size - 1) / 2.

    Windows up to 9 are selected by a fixed network of minima and maxima: first the columns are
    sorted, once for all windows that share them, then only exchanges that reach the middle are
    left. Larger windows are sorted, a row of the picture at a time, so that memory stays
    size^2 rows.

    The gradient of a window goes to the pixel that is its median, in equal parts to those that tie
    for it; so it costs size^2 comparisons a pixel, however the median was found.

    Args:
      x: signal; any real type, channels last by default.
      size: side of the window in pixels, odd.
      axes: height and width.
      border: "reflect" (as scipy and OpenCV's "reflect": the edge pixel repeats), "edge" or "zero".

    Returns:
      Array of the shape and dtype of `x`.

    Raises:
      InputError: an even or negative size, an unknown border, or a picture smaller than half a
        window under "reflect".

    Example:
      >>> x = jnp.zeros((3, 3, 1)).at[1, 1].set(9.0)
      >>> float(median_filter(x, 3).max())
      0.0
    """
    padded = _pad(jnp.moveaxis(jnp.asarray(x), axes, (0, 1)), size, border)
    if size == 1:
        return x
    return jnp.moveaxis(_median(padded, size), (0, 1), axes)


@on_any_mesh
def majority_filter(
    label: Integer[Array, "*batch h w"],
    size: int,
    *,
    num_classes: int,
    border: str = "reflect",
) -> Integer[Array, "*batch h w"]:
    """The most frequent class of every square window: a median for class numbers.

    Pixels with `IGNORE_LABEL` do not vote and stay as they are. Where several classes lead, the
    pixel keeps its own if that is one of them, else it takes the smallest number.

    Args:
      label: class numbers.
      size: side of the window in pixels, odd.
      num_classes: number of classes.
      border: as for `median_filter`, but "zero" means that nothing votes beyond the border.

    Returns:
      Array of the shape and dtype of `label`.

    Raises:
      InputError: as for `median_filter`.

    Example:
      >>> label = jnp.array([[2, 2, 0], [2, 1, 2], [0, 2, 2]])
      >>> int(majority_filter(label, 3, num_classes=3)[1, 1])
      2
    """
    height, width = label.shape[-2:]
    planes = jnp.moveaxis(label, (-2, -1), (0, 1))

    def vote(best: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], None]:
        votes, winner = best
        window = functools.partial(_window_sum, size=size, shape=(height, width))
        count = window(_pad((planes == number).astype(jnp.int32), size, border))
        # The pixel's own class wins ties, by half a vote.
        count = 2 * count + (planes == number)
        better = count > votes
        return (jnp.where(better, count, votes), jnp.where(better, number, winner)), None

    nothing = (jnp.zeros_like(planes, jnp.int32), planes)
    numbers = jnp.arange(num_classes, dtype=label.dtype)
    (_, winner), _ = jax.lax.scan(vote, nothing, numbers)
    winner = jnp.where(planes == IGNORE_LABEL, planes, winner)
    return jnp.moveaxis(winner, (0, 1), (-2, -1))


def _pad(x: Array, size: int, border: str) -> Array:
    check_choice("border", border, _BORDERS)
    if size < 1 or size % 2 == 0:
        raise InputError(f"the window's size is {size}, but must be odd and positive")
    half = size // 2
    if border == "reflect" and min(x.shape[:2]) < half:
        raise InputError(
            f"a window of {size} pixels reaches over a picture of {x.shape[0]} x {x.shape[1]}; "
            "take a smaller one, or border 'edge'"
        )
    return jnp.pad(x, [(half, half)] * 2 + [(0, 0)] * (x.ndim - 2), mode=_PADS[border])


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _median(padded: Array, size: int) -> Array:
    """Medians of the windows of `padded`, which is `[h + size - 1, w + size - 1, ...]`."""
    return _select(padded, size) if size <= _NETWORK_UP_TO else _sort(padded, size)


@_median.defjvp
def _median_jvp(size, primals, tangents):
    (padded,), (slope,) = primals, tangents
    median = _median(padded, size)
    offsets = jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size)), -1).reshape(-1, 2)

    # A loop, so that the median is not recomputed for each of its pixels.
    def add(total: tuple[Array, Array], offset: Array) -> tuple[tuple[Array, Array], None]:
        moved, ties = total
        start = (*offset, *[0] * (padded.ndim - 2))
        window = jax.lax.dynamic_slice(padded, start, median.shape)
        t = jax.lax.dynamic_slice(slope, start, median.shape)
        equal = window == median
        return (moved + jnp.where(equal, t, 0), ties + equal.astype(median.dtype)), None

    nothing = jnp.zeros_like(median)
    (moved, ties), _ = jax.lax.scan(add, (nothing, nothing), offsets)
    return median, moved / jnp.maximum(ties, 1)


def _windows(padded: Array, size: int) -> list[Array]:
    height, width = (n - size + 1 for n in padded.shape[:2])
    return [padded[i : i + height, j : j + width] for i in range(size) for j in range(size)]


def _select(padded: Array, size: int) -> Array:
    """The median by exchanges."""
    height, width = (n - size + 1 for n in padded.shape[:2])
    columns = [padded[i : i + height] for i in range(size)]
    _exchange(columns, _sorting_network(size))
    # Rows of sorted columns: ranks[r][j] is the r-th smallest of the j-th column of a window.
    ranks = [[column[:, j : j + width] for j in range(size)] for column in columns]
    for rank in ranks:
        _exchange(rank, _sorting_network(size))
    middle = [
        ranks[r][j] for r in range(size) for j in range(size) if _may_be_median(r + 1, j + 1, size)
    ]
    # Exchanges that do not reach the middle are dead code, which the compiler removes.
    _exchange(middle, _sorting_network(len(middle)))
    return middle[len(middle) // 2]


def _may_be_median(row: int, column: int, size: int) -> bool:
    """With rows and columns sorted, row * column values at least are not larger."""
    half = size * size // 2 + 1
    return row * column <= half and (size + 1 - row) * (size + 1 - column) <= half


def _exchange(values: list[Array], pairs: tuple[tuple[int, int], ...]) -> None:
    for i, j in pairs:
        values[i], values[j] = jnp.minimum(values[i], values[j]), jnp.maximum(values[i], values[j])


@functools.cache
def _sorting_network(n: int) -> tuple[tuple[int, int], ...]:
    """Exchanges that sort n values: Batcher's merge exchange (Knuth, volume 3, 5.2.2 M)."""
    pairs, top = [], 1
    while top < n:
        top *= 2
    p = top // 2
    while p > 0:
        q, r, distance = top // 2, 0, p
        while distance > 0:
            pairs += [(i, i + distance) for i in range(n - distance) if i & p == r]
            distance, q, r = q - p, q // 2, p
        p //= 2
    return tuple(pairs)


def _sort(padded: Array, size: int) -> Array:
    """The median by sorting every window."""

    def row(i: Array) -> Array:
        strip = jax.lax.dynamic_slice_in_dim(padded, i, size, 0)
        windows = jnp.stack([window[0] for window in _windows(strip, size)], -1)
        return jnp.sort(windows, axis=-1)[..., size * size // 2]

    return jax.lax.map(row, jnp.arange(padded.shape[0] - size + 1))


def _window_sum(padded: Array, size: int, shape: tuple[int, int]) -> Array:
    zero = jnp.zeros((), padded.dtype)
    rows = sum((padded[i : i + shape[0]] for i in range(size)), zero)
    return sum((rows[:, j : j + shape[1]] for j in range(size)), zero)
