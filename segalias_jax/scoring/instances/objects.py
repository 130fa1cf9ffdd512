"""The objects of one image: a class, a mask, a score for each, kept as small as their boxes.

A dense image has hundreds of objects in a million pixels. Masks of the whole image would take
gigabytes and be read again for every pair, so that each is cut to its box when it comes in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from segalias_jax.data.run_length import expand_counts
from segalias_jax.errors import InputError
from segalias_jax.typing import Bool, Int64, Integer, Real


class Mask(NamedTuple):
    """Pixels of an object in the smallest box that holds them.

    Attributes:
      top: first row.
      left: first column.
      bits: the box; of no pixel where the mask is empty.
    """

    top: int
    left: int
    bits: Bool[np.ndarray, "h w"]

    @classmethod
    def of_pixels(cls, pixels: Bool[np.ndarray, "h w"], *, top: int = 0, left: int = 0) -> Mask:
        """Cuts a mask to its box.

        Args:
          pixels: the mask, of the image or a part of it.
          top: row of the image that the part begins at.
          left: column of the image that the part begins at.

        Returns:
          The mask.

        Example:
          >>> Mask.of_pixels(np.asarray([[False, False], [False, True]]))[:2]
          (1, 1)
        """
        rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
        if not len(rows):
            return cls(0, 0, np.zeros((0, 0), bool))
        y, x = int(rows[0]), int(columns[0])
        return cls(top + y, left + x, pixels[y : rows[-1] + 1, x : columns[-1] + 1].copy())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x, y, width, height) in pixels."""
        height, width = self.bits.shape
        return self.left, self.top, width, height

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.bits))

    def window(self, top: int, left: int, height: int, width: int) -> Bool[np.ndarray, "h w"]:
        """The mask in a part of the image, which may reach beyond the box.

        Args:
          top: first row of the part.
          left: first column of the part.
          height: of the part in pixels.
          width: of the part in pixels.

        Returns:
          The part.

        Example:
          >>> Mask(1, 1, np.ones((1, 1), bool)).window(0, 1, 2, 2).tolist()
          [[False, False], [True, False]]
        """
        found = np.zeros((height, width), bool)
        rows = max(top, self.top), min(top + height, self.top + self.bits.shape[0])
        columns = max(left, self.left), min(left + width, self.left + self.bits.shape[1])
        if rows[0] < rows[1] and columns[0] < columns[1]:
            found[rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left] = self.bits[
                rows[0] - self.top : rows[1] - self.top,
                columns[0] - self.left : columns[1] - self.left,
            ]
        return found


@dataclasses.dataclass(frozen=True)
class Objects:
    """Objects of one image, predicted or true. They may overlap.

    Attributes:
      classes: class of each object, 1..num_classes.
      masks: pixels of each: [n, h, w], or masks cut to their boxes, or run lengths as COCO writes
        them ({"size": [h, w], "counts": ...}).
      scores: confidence of each; None: 1.
      crowd: which are regions of many objects, as COCO's iscrowd; None: none is.
      size: height and width of the image; None: that of the masks, of which there must be one.
      xywh: boxes of each as COCO writes them, (x, y, width, height); None: those of the masks.
      areas: of each as annotated, in pixels; None: those of the masks.
      pixels: number of pixels of each mask.

    Raises:
      InputError: numbers that do not fit each other, classes below 1, or masks of several sizes.

    Example:
      >>> masks = np.zeros((2, 4, 6), bool)
      >>> masks[0, :2, :2] = masks[1, 2:, 2:5] = True
      >>> objects = Objects(np.asarray([1, 2]), masks)
      >>> objects.size, objects.areas.tolist(), objects.xywh[1].tolist()
      ((4, 6), [4.0, 6.0], [2.0, 2.0, 3.0, 2.0])
    """

    classes: Integer[np.ndarray, " n"]
    masks: Any
    scores: Any = None
    crowd: Any = None
    size: tuple[int, int] | None = None
    xywh: Any = None
    areas: Any = None
    pixels: Int64[np.ndarray, " n"] = dataclasses.field(init=False)

    def __post_init__(self):
        """Brings all fields to their one form and checks them."""
        size, masks = _cut(self.masks, self.size)
        number = len(masks)
        pixels = np.asarray([mask.area for mask in masks], np.int64)
        boxes = np.asarray([mask.box for mask in masks], np.float64).reshape(number, 4)
        columns: dict[str, np.ndarray] = {
            "classes": np.asarray(self.classes, np.int64).reshape(-1),
            "scores": np.asarray(np.ones(number) if self.scores is None else self.scores, float),
            "crowd": np.asarray(np.zeros(number) if self.crowd is None else self.crowd, bool),
            "xywh": np.asarray(boxes if self.xywh is None else self.xywh, float).reshape(-1, 4),
            "areas": np.asarray(pixels if self.areas is None else self.areas, float),
        }
        for name, column in columns.items():
            if len(column) != number:
                raise InputError(f"{name}: {len(column)} values for {number} masks; give each one")
            object.__setattr__(self, name, column)
        if number and self.classes.min() < 1:
            raise InputError(f"classes: {self.classes.min()} is no class; they count from 1")
        if not np.isfinite(columns["scores"]).all():
            raise InputError("scores: hold nan or inf; give finite numbers")
        object.__setattr__(self, "masks", masks)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "pixels", pixels)

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.masks)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        assert self.size is not None
        return self.size

    @classmethod
    def of_map(
        cls,
        ids: Integer[np.ndarray, "h w"],
        *,
        classes: Mapping[int, int] | None = None,
    ) -> Objects:
        """Reads a map of instances.

        Args:
          ids: id of the object that each pixel is of, 0 of none. The pixels of an id are one
            object, connected or not.
          classes: class of each id; None: all are of class 1.

        Returns:
          The objects in the order of their ids.

        Raises:
          InputError: a negative id, or one without a class.

        Example:
          >>> Objects.of_map(np.asarray([[0, 7], [3, 7]])).areas.tolist()
          [1.0, 2.0]
        """
        flat = np.flatnonzero(ids)
        values = ids.reshape(-1)[flat]
        order = np.argsort(values, kind="stable")
        present, starts = np.unique(values[order], return_index=True)
        if len(present) and present[0] < 0:
            raise InputError(f"id {present[0]} of an object is negative; 0 is the background")
        masks = []
        for places in np.split(flat[order], starts[1:]) if len(present) else ():
            y, x = np.divmod(places, ids.shape[1])
            top, left = int(y.min()), int(x.min())
            bits = np.zeros((int(y.max()) - top + 1, int(x.max()) - left + 1), bool)
            bits[y - top, x - left] = True
            masks.append(Mask(top, left, bits))
        found = np.ones(len(present), np.int64)
        if classes is not None:
            missing = [int(one) for one in present if int(one) not in classes]
            if missing:
                raise InputError(f"id {missing[0]} of an object has no class")
            found = np.asarray([classes[int(one)] for one in present], np.int64)
        height, width = ids.shape
        return cls(found, tuple(masks), size=(height, width))

    def chosen(self, which: Bool[np.ndarray, " n"] | Integer[np.ndarray, " k"]) -> Objects:
        """Some of the objects.

        Args:
          which: one bool for each, or indices.

        Returns:
          These.

        Example:
          >>> Objects.of_map(np.asarray([[1, 2]])).chosen(np.asarray([1])).masks[0].left
          1
        """
        places = np.arange(len(self))[which]
        return Objects(
            self.classes[places],
            tuple(self.masks[i] for i in places),
            self.scores[places],
            self.crowd[places],
            self.size,
            self.xywh[places],
            self.areas[places],
        )


def size_class(areas: Real[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """COCO's size of areas: 0 small, below 32² pixels, 1 medium, below 96², 2 large.

    Example:
      >>> size_class(np.asarray([1023, 1024, 9216])).tolist()
      [0, 1, 2]

    Reference:
      Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
    """
    return np.searchsorted(np.asarray([32**2, 96**2]), areas, side="right").astype(np.int64)


def intersections(one: Objects, other: Objects) -> Int64[np.ndarray, "n m"]:
    """Pixels that two objects share, for each pair.

    Args:
      one: n objects.
      other: m objects of the same image.

    Returns:
      Numbers of pixels.

    Raises:
      InputError: images of two sizes.

    Example:
      >>> a, b = Objects.of_map(np.asarray([[1, 1, 2]])), Objects.of_map(np.asarray([[0, 1, 1]]))
      >>> intersections(a, b).tolist()
      [[1], [1]]
    """
    if one.size != other.size:
        raise InputError(f"objects of an image of {one.size}, and of one of {other.size} pixels")
    found = np.zeros((len(one), len(other)), np.int64)
    edges = [_edges(objects) for objects in (one, other)]
    first = np.maximum(edges[0][0][:, None], edges[1][0][None])
    last = np.minimum(edges[0][1][:, None], edges[1][1][None])
    for i, j in zip(*np.nonzero((first < last).all(2)), strict=True):
        (top, left), (bottom, right) = first[i, j], last[i, j]
        a, b = one.masks[i], other.masks[j]
        part = a.bits[top - a.top : bottom - a.top, left - a.left : right - a.left]
        rest = b.bits[top - b.top : bottom - b.top, left - b.left : right - b.left]
        found[i, j] = np.count_nonzero(part & rest)
    return found


def _edges(objects: Objects) -> tuple[np.ndarray, np.ndarray]:
    """First row and column of each box, and those after its last."""
    starts = np.asarray([(m.top, m.left) for m in objects.masks], np.int64).reshape(-1, 2)
    sides = np.asarray([m.bits.shape for m in objects.masks], np.int64).reshape(-1, 2)
    return starts, starts + sides


def _cut(masks: Any, size: tuple[int, int] | None) -> tuple[tuple[int, int], tuple[Mask, ...]]:
    """Masks in any form, cut to their boxes, and the size of their image."""
    if isinstance(masks, np.ndarray):
        if masks.ndim != 3:
            raise InputError(f"masks: shape {masks.shape} is not [n, h, w]")
        shape = int(masks.shape[1]), int(masks.shape[2])
        if size is not None and tuple(size) != shape:
            raise InputError(f"masks: of {shape} pixels in an image of {tuple(size)}")
        return shape, tuple(Mask.of_pixels(mask) for mask in masks.astype(bool))
    found: Sequence[Any] = tuple(masks)
    if size is None:
        sizes = {tuple(one["size"]) for one in found if isinstance(one, Mapping)}
        if len(sizes) != 1:
            raise InputError("masks: the size of their image is not known; give size=(h, w)")
        ((height, width),) = sizes
        size = int(height), int(width)
    return size, tuple(
        mask_of_runs(one, size) if isinstance(one, Mapping) else one for one in found
    )


def mask_of_runs(runs: Mapping[str, Any], size: tuple[int, int]) -> Mask:
    """Reads run lengths as COCO writes them, without the image around the object.

    Args:
      runs: {"size": [h, w], "counts": text or numbers}, down the columns, zeros first.
      size: height and width of the image.

    Returns:
      The mask.

    Raises:
      InputError: another size, or runs that do not fill the image.

    Example:
      >>> mask_of_runs({"size": [2, 3], "counts": [2, 1, 3]}, (2, 3)).box
      (1, 0, 1, 1)
    """
    height, width = size
    shape, stored = runs.get("size"), runs.get("counts")
    text = isinstance(stored, (str, bytes))
    if not isinstance(shape, (list, tuple)) or not (text or isinstance(stored, (list, tuple))):
        raise InputError("run lengths lack a size [h, w] or counts; write both")
    if tuple(shape) != (height, width):
        raise InputError(f"mask of {list(shape)} pixels in an image of {[height, width]}")
    counts = expand_counts(stored) if text else np.asarray(stored, np.int64)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    if total != height * width or (len(counts) and counts.min() < 0):
        raise InputError(f"run lengths of {total} pixels in an image of {height * width}")
    starts, stops = ends[:-1:2], ends[1::2]
    starts = starts[: len(stops)]
    kept = stops > starts
    if not kept.any():
        return Mask(0, 0, np.zeros((0, 0), bool))
    left, right = int(starts[kept][0]) // height, (int(stops[kept][-1]) - 1) // height
    column = np.zeros((right - left + 1) * height + 1, np.int8)
    # Steps up and down, of which the running sum is the mask.
    np.add.at(column, starts[kept] - left * height, 1)
    np.add.at(column, stops[kept] - left * height, -1)
    bits = np.cumsum(column[:-1], dtype=np.int8).astype(bool).reshape(-1, height).T
    return Mask.of_pixels(bits, left=left)


def runs_of_mask(mask: Mask, size: tuple[int, int]) -> Int64[np.ndarray, " runs"]:
    """Writes a mask as run lengths down the columns of its image, zeros first.

    Args:
      mask: cut to its box.
      size: height and width of the image.

    Returns:
      The lengths.

    Example:
      >>> runs_of_mask(Mask(0, 1, np.ones((1, 1), bool)), (2, 3)).tolist()
      [2, 1, 3]
    """
    height, width = size
    if not mask.bits.size:
        return np.asarray([height * width], np.int64)
    columns = mask.window(0, mask.left, height, mask.bits.shape[1])
    flat = np.concatenate([[0], columns.T.reshape(-1), [0]]).astype(np.int8)
    changes = np.flatnonzero(np.diff(flat)) + mask.left * height
    return np.diff(np.concatenate([[0], changes, [height * width]])).astype(np.int64)
