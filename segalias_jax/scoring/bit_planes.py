"""Masks of pictures as bits: one operation serves 64 pixels, and a mask stays in the cache.

A plane is uint64 [height, words]; pixel x of a row is bit x % 64 of word x // 64. Where the width
is no multiple of 64, the bits beyond it belong to no pixel. Functions take several planes at once,
stacked in front.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from segalias_jax.typing import Bool, Int, UInt8, UInt64

WORD = 64
"""Pixels in a word."""

assert sys.byteorder == "little", "bit planes view bytes as words, lowest byte first"


def pack(mask: Bool[np.ndarray, "h w"]) -> UInt64[np.ndarray, "h words"]:
    """Makes a plane of a mask.

    Args:
      mask: its width is a multiple of 64.

    Returns:
      The plane.

    Example:
      >>> pack(np.arange(64)[None] < 2).tolist()
      [[3]]
    """
    bits = np.packbits(mask.reshape(-1), bitorder="little")
    return bits.view(np.uint64).reshape(len(mask), mask.shape[1] // WORD)


def unpack(planes: UInt64[np.ndarray, "*batch h words"]) -> UInt8[np.ndarray, "*batch h w"]:
    """Makes bytes of planes, 1 where a pixel is set.

    Example:
      >>> unpack(pack(np.arange(64)[None] < 2))[0, :4].tolist()
      [1, 1, 0, 0]
    """
    bits = np.unpackbits(np.ascontiguousarray(planes).reshape(-1).view(np.uint8), bitorder="little")
    return bits.reshape(*planes.shape[:-1], WORD * planes.shape[-1])


def places(plane: UInt64[np.ndarray, "h words"]) -> Int[np.ndarray, " pixels"]:
    """Lists the set pixels of a plane by their place, y * 64 * words + x, in ascending order.

    Example:
      >>> places(pack(np.arange(64)[None] % 40 == 3)).tolist()
      [3, 43]
    """
    octets = np.ascontiguousarray(plane).reshape(-1).view(np.uint8)
    # Most octets of a boundary are empty: only the others are taken apart.
    taken = np.flatnonzero(octets != 0)
    bits = np.flatnonzero(np.unpackbits(octets[taken], bitorder="little").view(bool))
    return 8 * taken[bits >> 3] + (bits & 7)


def within(width: int, words: int) -> UInt64[np.ndarray, " words"]:
    """One row with the first pixels set.

    Args:
      width: number of set pixels.
      words: length of the row.

    Returns:
      The row.

    Example:
      >>> within(3, 2).tolist()
      [7, 0]
    """
    return pack(np.arange(WORD * words)[None] < width)[0]


def below(planes: UInt64[np.ndarray, "*batch h words"]) -> UInt64[np.ndarray, "*batch h words"]:
    """Moves planes down by one pixel.

    Example:
      >>> below(np.asarray([[1], [2]], np.uint64)).tolist()
      [[0], [1]]
    """
    moved = np.zeros_like(planes)
    moved[..., 1:, :] = planes[..., :-1, :]
    return moved


def above(planes: UInt64[np.ndarray, "*batch h words"]) -> UInt64[np.ndarray, "*batch h words"]:
    """Moves planes up by one pixel.

    Example:
      >>> above(np.asarray([[1], [2]], np.uint64)).tolist()
      [[2], [0]]
    """
    moved = np.zeros_like(planes)
    moved[..., :-1, :] = planes[..., 1:, :]
    return moved


def left_of(planes: UInt64[np.ndarray, "*batch h words"]) -> UInt64[np.ndarray, "*batch h words"]:
    """Moves planes to the left by one pixel.

    Example:
      >>> left_of(np.asarray([[2, 1]], np.uint64)).tolist()
      [[9223372036854775809, 0]]
    """
    moved = planes >> 1
    moved[..., :-1] |= planes[..., 1:] << (WORD - 1)
    return moved


def right_of(
    planes: UInt64[np.ndarray, "*batch h words"], pixels: int = 1
) -> UInt64[np.ndarray, "*batch h words"]:
    """Moves planes to the right; what leaves the last word is lost.

    Args:
      planes: masks.
      pixels: how far, at least 0.

    Returns:
      The moved planes.

    Example:
      >>> right_of(np.asarray([[1, 0]], np.uint64), 65).tolist()
      [[0, 2]]
    """
    words, bits = divmod(pixels, WORD)
    moved, size = np.empty_like(planes), planes.shape[-1]
    moved[..., :words] = 0
    np.left_shift(planes[..., : size - words], bits, out=moved[..., words:])
    if bits:
        moved[..., words + 1 :] |= planes[..., : size - words - 1] >> (WORD - bits)
    return moved


def window_or(
    planes: UInt64[np.ndarray, "*batch h words"], before: int, after: int
) -> UInt64[np.ndarray, "*batch h words"]:
    """ORs the square of pixels from `before` up and left to `after` down and right of each.

    Args:
      planes: masks, without bits beyond the width.
      before: pixels, at least 0.
      after: pixels, at least 0.

    Returns:
      Planes of the same shape; what lies outside the picture is not set.

    Example:
      >>> window_or(np.asarray([[8]], np.uint64), 1, 1).tolist()
      [[28]]
    """
    height = planes.shape[-2]
    # A longer reach than the picture's own length finds nothing more.
    longest = max(height, WORD * planes.shape[-1])
    before, after = min(before, longest), min(after, longest)
    size = before + after + 1
    # Along a row, windows first gather what lies to the right of their pixel. Words beyond the
    # picture take what ends there, so that all rows can be moved as one.
    words = planes.shape[-1] + -(-(size - 1) // WORD)
    rows = np.zeros((*planes.shape[:-2], height + size - 1, words), np.uint64)
    rows[..., before : before + height, : planes.shape[-1]] = planes
    for step in _growth(size):
        rows = rows[..., :-step, :] | rows[..., step:, :]
    line = rows.reshape(1, -1)
    for step in _growth(size):
        line |= right_of(line, step)
    extra = -(-after // WORD)
    moved = right_of(line, WORD * extra - after).reshape(rows.shape)
    return moved[..., extra : extra + planes.shape[-1]]


def _growth(size: int) -> Iterator[int]:
    """Steps by which a window of 1 grows to a size, none longer than it was."""
    reach = 1
    while reach < size:
        step = min(reach, size - reach)
        yield step
        reach += step
