"""Run lengths of binary masks as COCO stores them, and masks of its polygons.

The runs of a mask go down its columns, one column after the other, and alternate between 0 and 1,
beginning with 0. COCO's JSON has them as a list of counts (crowds) or as a string, in which each
count, or from the fourth on its difference from the one before the last, is written in digits of
five bits, the lowest first.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.typing import Bool, Int64

_OUTSIDE = 1.0  # pixels by which tools that draw polygons leave the image
_DIGITS = 7  # of five bits; more would be a mask of over 2^34 pixels


def encode_mask(mask: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
    """Returns the runs of a mask in COCO's compressed form.

    Args:
      mask: what is to be encoded.

    Returns:
      `{"size": [height, width], "counts": text}`, as it stands in JSON.

    Example:
      >>> encode_mask(np.array([[False, True], [False, True]]))
      {'size': [2, 2], 'counts': '22'}
    """
    return {"size": list(mask.shape), "counts": compress_counts(mask_counts(mask))}


def mask_counts(mask: Bool[np.ndarray, "h w"]) -> Int64[np.ndarray, " runs"]:
    """Returns the lengths of a mask's runs, that of zeros first.

    Args:
      mask: what is to be encoded.

    Returns:
      The counts; the first is 0 where the mask begins with a one.

    Example:
      >>> mask_counts(np.array([[True, False], [True, True]])).tolist()
      [0, 2, 1, 1]
    """
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0] if flat.size and flat[0] else []
    return np.diff(np.concatenate([first, [0], changes, [flat.size]]).astype(np.int64))


def decode_mask(run_length: Mapping[str, Any]) -> Bool[np.ndarray, "h w"]:
    """Returns the mask of COCO's run lengths, compressed or not.

    Args:
      run_length: `{"size": [height, width], "counts": list or text}`.

    Returns:
      The mask.

    Raises:
      InputError: no such mapping, or counts that do not cover the image exactly.

    Example:
      >>> decode_mask({"size": [2, 2], "counts": [0, 2, 1, 1]}).tolist()
      [[True, False], [True, True]]
      >>> decode_mask({"size": [2, 2], "counts": [3]})
      Traceback (most recent call last):
      segalias_jax.errors.InputError: its run lengths cover 3 pixels of 2x2; correct the counts
    """
    size: Any = run_length.get("size")
    counts: Any = run_length.get("counts")
    if not _is_list(size, 2, int) or min(size) < 1:
        raise InputError(f"its run lengths have the size {size!r}; write [height, width]")
    height, width = size
    if isinstance(counts, (str, bytes)):
        counts = expand_counts(counts)
    elif not _is_list(counts, None, int) or any(not 0 <= count < 2**40 for count in counts):
        raise InputError("its counts are neither a text nor a list of integers from 0")
    counts = np.asarray(counts, np.int64)
    if (counts < 0).any() or counts.sum() != height * width:
        raise InputError(
            f"its run lengths cover {counts.sum()} pixels of {width}x{height}; correct the counts"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def compress_counts(counts: Int64[np.ndarray, " runs"]) -> str:
    """Writes counts as COCO's text.

    Args:
      counts: of a mask, see `mask_counts`.

    Returns:
      The text, of characters from "0" to "o".

    Example:
      >>> compress_counts(np.array([5, 40, 3, 38]))
      '5X13N'
    """
    steps = counts.copy()
    steps[3:] -= counts[1:-2]
    text = bytearray()
    for step in steps.tolist():
        while True:
            digit, step = step & 31, step >> 5
            # The sign of the rest is that of the digit's highest bit, so that -1 ends a number too.
            last = step == (-1 if digit & 16 else 0)
            text.append(48 + digit + 32 * (not last))
            if last:
                break
    return text.decode("ascii")


def expand_counts(text: str | bytes) -> Int64[np.ndarray, " runs"]:
    """Reads counts out of COCO's text.

    Args:
      text: what `compress_counts` writes.

    Returns:
      The counts.

    Raises:
      InputError: other characters, or a number that is cut off.

    Example:
      >>> expand_counts("5X13N").tolist()
      [5, 40, 3, 38]
    """
    data = text.encode("utf-8") if isinstance(text, str) else text
    digits = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if not digits.size:
        return np.zeros(0, np.int64)
    ends = np.flatnonzero((digits & 32) == 0)
    lengths = np.diff(ends, prepend=-1)
    outside = (digits < 0) | (digits > 63)
    if outside.any() or not ends.size or ends[-1] + 1 < digits.size or lengths.max() > _DIGITS:
        raise InputError("its counts are a damaged text; write them again")
    starts = ends + 1 - lengths
    place = np.arange(digits.size) - np.repeat(starts, lengths)
    steps = np.add.reduceat((digits & 31) << (5 * place), starts)
    steps -= ((digits[ends] & 16) != 0).astype(np.int64) << (5 * lengths)
    counts = steps
    counts[1::2] = np.cumsum(steps[1::2])
    counts[2::2] = np.cumsum(steps[2::2])
    return counts


def polygon_mask(polygons: Sequence[Any], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Returns the union of polygons as COCO rasters them, by faster-coco-eval.

    Args:
      polygons: each x1, y1, x2, y2, ... in pixels; a point may lie 1 pixel outside of the image.
      size: (height, width) of the image.

    Returns:
      The mask.

    Raises:
      InputError: a polygon with less than three points, half a point, or points that are no
        numbers or outside; or faster-coco-eval is not installed.

    Example:
      >>> polygon_mask([[0, 0, 2, 0, 2, 1, 0, 1]], (2, 3)).tolist()
      [[True, True, False], [False, False, False]]
      >>> polygon_mask([[0, 0, 2, 0]], (2, 3))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: its polygon 0 has 4 numbers; three points or more have 6 or \
more, an even count
    """
    height, width = size
    checked = [_polygon(points, k, size) for k, points in enumerate(polygons)]
    if not checked:
        raise InputError("it has no polygon; remove it, or draw its outline")
    api = _mask_api()
    runs = api.merge(api.frPyObjects(checked, height, width), 0)
    return decode_mask({"size": [height, width], "counts": runs["counts"]})


def _polygon(points: Any, k: int, size: tuple[int, int]) -> list[float]:
    if not _is_list(points, None, (int, float)):
        raise InputError(f"its polygon {k} is no list of numbers x1, y1, x2, y2, ...")
    if len(points) < 6 or len(points) % 2:
        raise InputError(
            f"its polygon {k} has {len(points)} numbers; three points or more have 6 or more, an "
            "even count"
        )
    if not all(abs(number) < 1e9 for number in points):  # nor is NaN
        raise InputError(f"its polygon {k} has a number that is not finite; draw it again")
    for name, numbers, side in (("x", points[::2], size[1]), ("y", points[1::2], size[0])):
        low, high = min(numbers), max(numbers)
        if low < -_OUTSIDE or high > side + _OUTSIDE:
            worst = low if low < -_OUTSIDE else high
            raise InputError(
                f"its polygon {k} has {name} = {worst:g}, outside of the image, which has "
                f"{size[1]}x{size[0]} pixels; correct it, or the size"
            )
    return [float(number) for number in points]


def _is_list(given: Any, length: int | None, kind: type | tuple[type, ...]) -> bool:
    return (
        isinstance(given, (list, tuple))
        and (length is None or len(given) == length)
        and all(isinstance(item, kind) and not isinstance(item, bool) for item in given)
    )


def _mask_api() -> Any:
    try:
        return importlib.import_module("faster_coco_eval.core.mask")
    except ImportError:
        raise InputError(
            "polygons need faster-coco-eval, which is not installed; "
            "pip install 'segalias_jax[instances]'"
        ) from None
