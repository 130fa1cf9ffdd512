"""Binary masks of objects: packed to bits, their boxes, and masks of networks pasted into images.

A batch holds masks as bits, eight pixels of a row in a byte, since those of a hundred objects
would otherwise take a hundred times the memory of the image's pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from segalias_jax.typing import Bool, Float, Float32, Integer, UInt8


def pack_masks(masks: Bool[np.ndarray, "*n h w"]) -> UInt8[np.ndarray, "*n h bytes"]:
    """Packs masks along their width, the first pixel in the highest bit.

    Args:
      masks: of objects.

    Returns:
      ceil(w / 8) bytes a row; bits beyond the width are 0.

    Example:
      >>> pack_masks(np.array([[[True, False, True]]])).tolist()
      [[[160]]]
    """
    return np.packbits(masks, axis=-1)


def unpack_masks(packed: UInt8[np.ndarray, "*n h bytes"], width: int) -> Bool[np.ndarray, "*n h w"]:
    """Returns the masks that `pack_masks` packed.

    Args:
      packed: ceil(width / 8) bytes a row.
      width: of the masks in pixels.

    Returns:
      The masks.

    Example:
      >>> unpack_masks(np.array([[[160]]], np.uint8), 3).tolist()
      [[[True, False, True]]]
    """
    return np.unpackbits(packed, axis=-1, count=width).view(np.bool_)


def boxes_of_masks(masks: Bool[np.ndarray, "n h w"]) -> Float32[np.ndarray, "n 4"]:
    """Returns the smallest boxes that hold the masks.

    Args:
      masks: of objects.

    Returns:
      (x1, y1, x2, y2) in pixels, the edges of pixels: a mask of the pixel (0, 0) alone has
      (0, 0, 1, 1), an empty one four zeros.

    Example:
      >>> boxes_of_masks(np.array([[[False, True], [False, True]]])).tolist()
      [[1.0, 0.0, 2.0, 2.0]]
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    for k, shown in enumerate((np.any(masks, axis=-2), np.any(masks, axis=-1))):
        some = shown.any(-1)
        boxes[:, k] = np.where(some, shown.argmax(-1), 0)
        boxes[:, k + 2] = np.where(some, shown.shape[1] - shown[:, ::-1].argmax(-1), 0)
    return boxes


def boxes_of_values(
    stored: Integer[np.ndarray, "h w"],
) -> tuple[Integer[np.ndarray, " n"], Float32[np.ndarray, "n 4"]]:
    """Returns the values of a map but for 0, ascending, and the smallest box that holds each.

    A map has far fewer runs of equal pixels than pixels, and their ends say all.

    Args:
      stored: values of pixels.

    Returns:
      The values, and boxes as those of `boxes_of_masks`.

    Example:
      >>> values, boxes = boxes_of_values(np.array([[0, 7, 7], [3, 3, 7]]))
      >>> values.tolist(), boxes.tolist()
      ([3, 7], [[0.0, 1.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]])
    """
    flat, width = stored.reshape(-1), stored.shape[1]
    begins = np.ones(flat.size, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[::width] = True
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=flat.size)
    inside = flat[starts] != 0
    starts, lengths = starts[inside], lengths[inside]
    order = np.argsort(flat[starts], kind="stable")
    starts, lengths = starts[order], lengths[order]
    values, first = np.unique(flat[starts], return_index=True)
    y, x = np.divmod(starts, width)
    edges = [np.minimum.reduceat(line, first) for line in (x, y)]
    edges += [np.maximum.reduceat(line, first) for line in (x + lengths, y + 1)]
    return values, np.stack(edges, -1).astype(np.float32)


def masks_of_map(
    stored: Integer[np.ndarray, "h w"], values: Sequence[int]
) -> tuple[Bool[np.ndarray, "n h w"], Float32[np.ndarray, "n 4"]]:
    """Returns the masks of some values of a map, and the smallest boxes that hold them.

    A mask is compared inside of its box alone: objects are small, and may be a thousand.

    Args:
      stored: values of pixels.
      values: of the masks; all of them are in the map, and none is 0.

    Returns:
      The masks and their boxes, in the order of `values`.

    Example:
      >>> masks, boxes = masks_of_map(np.array([[0, 7, 7], [3, 3, 7]]), [7])
      >>> masks.astype(int).tolist(), boxes.tolist()
      ([[[0, 1, 1], [0, 0, 1]]], [[1.0, 0.0, 3.0, 2.0]])
    """
    there, boxes = boxes_of_values(stored)
    boxes = boxes[np.searchsorted(there, values)]
    masks = np.zeros((len(values), *stored.shape), np.bool_)
    for k, (value, box) in enumerate(zip(values, boxes.astype(int).tolist(), strict=True)):
        window = slice(box[1], box[3]), slice(box[0], box[2])
        np.equal(stored[window], value, out=masks[(k, *window)])
    return masks, boxes


def paste_masks(
    probabilities: Float[np.ndarray, "n m m"],
    boxes: Float[np.ndarray, "n 4"],
    size: tuple[int, int],
    threshold: float = 0.5,
) -> Bool[np.ndarray, "n h w"]:
    """Returns masks of whole images from those that a network gives for its boxes.

    The m x m probabilities get a rim of zeros, their box grows by (m + 2) / m about its center and
    is cut to integers, and they are resized to it, bilinear, ends included.

    Args:
      probabilities: of the boxes' pixels.
      boxes: (x1, y1, x2, y2) in pixels of the image.
      size: (height, width) of the image.
      threshold: what a probability must exceed.

    Returns:
      A mask of the image for each box.

    Example:
      >>> masks = paste_masks(np.ones((1, 28, 28)), np.array([[20.0, 10, 60, 50]]), (64, 64))
      >>> boxes_of_masks(masks).tolist()
      [[19.0, 9.0, 61.0, 51.0]]

    Reference:
      He et al., "Mask R-CNN", ICCV 2017, as torchvision's `paste_masks_in_image` has it.
    """
    masks = np.zeros((len(boxes), *size), np.bool_)
    for mask, pasted in zip(masks, map(_pasted, probabilities, boxes), strict=True):
        soft, left, top = pasted
        rows = slice(max(top, 0), max(top + soft.shape[0], 0))
        columns = slice(max(left, 0), max(left + soft.shape[1], 0))
        window = mask[rows, columns]
        cut = soft[max(-top, 0) :, max(-left, 0) :][: window.shape[0], : window.shape[1]]
        window[...] = cut > threshold
    return masks


def _pasted(probability: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Probabilities resized to their grown box, and its left and top pixel."""
    side = probability.shape[-1]
    grown = (side + 2) / side
    x1, y1, x2, y2 = (float(number) for number in box)
    half_width, half_height = (x2 - x1) / 2 * grown, (y2 - y1) / 2 * grown
    center_x, center_y = (x2 + x1) / 2, (y2 + y1) / 2
    left, top = int(center_x - half_width), int(center_y - half_height)
    width = max(int(center_x + half_width) - left + 1, 1)
    height = max(int(center_y + half_height) - top + 1, 1)
    padded = np.pad(probability.astype(np.float64), 1)
    return cv2.resize(padded, (width, height), interpolation=cv2.INTER_LINEAR), left, top
