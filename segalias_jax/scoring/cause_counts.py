"""What is counted of the causes of errors, and how it adds up over images."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from segalias_jax.typing import Float, Int, Integer, Shaped

CAUSES = (
    "missed object",
    "false object",
    "class confusion",
    "merge",
    "split",
    "displacement",
    "interior hole",
)
"""Names of the causes; code k + 1 in a map of causes is entry k."""

MISSED, FALSE, CONFUSED, MERGE, SPLIT, DISPLACED, HOLE = range(1, len(CAUSES) + 1)

OBJECT_ROWS = ("true", "found", "missed", "confused", "merged", "split", "predicted", "false")
"""What objects are counted; the last two are predicted objects, the others true ones."""

SIZES = ("small", "medium", "large")
"""Sizes of objects: below 32^2 pixels, below 96^2, and above, as in COCO."""

REACH = 16
"""Signed distances of displaced pixels are clipped to this many pixels."""

# Records, and bytes of JSON, that are Python's objects at a time.
_AT_ONCE, _PIECE = 1 << 14, 1 << 20


class ObjectRecord(NamedTuple):
    """One object that is missed, false, confused, merged or split.

    Attributes:
      cause: one of `CAUSES`.
      true_class: class of the object; of a false one, what most of it truly is.
      predicted_class: class that most of it is predicted as.
      x: left edge of its box in pixels.
      y: top edge.
      width: of its box.
      height: of its box.
      pixels: of the object.
    """

    cause: str
    true_class: int
    predicted_class: int
    x: int
    y: int
    width: int
    height: int
    pixels: int


class ObjectRecords(Sequence[ObjectRecord]):
    """A list of objects in a sixth of the memory: noise on a large map makes millions of them.

    Args:
      numbers: of each object what `ObjectRecord` holds, the cause as an index into `CAUSES`.

    Attributes:
      numbers: the same.

    Raises:
      ValueError: other numbers of columns, or causes that there are not.

    Example:
      >>> ObjectRecords(np.asarray([[0, 1, 2, 10, 20, 3, 4, 12]]))[0].cause
      'missed object'
    """

    def __init__(self, numbers: Int[np.ndarray, "objects columns"] | None = None):
        columns = len(ObjectRecord._fields)
        self.numbers = np.zeros((0, columns), np.int64) if numbers is None else numbers
        if self.numbers.shape[1] != columns:
            raise ValueError(f"{self.numbers.shape[1]} numbers of an object, not {columns}")
        if len(self) and not 0 <= self.numbers[:, 0].min() <= self.numbers[:, 0].max() < len(
            CAUSES
        ):
            raise ValueError("an object of an unknown cause")

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[ObjectRecord]:
        for first in range(0, len(self), _AT_ONCE):
            for cause, *rest in self.numbers[first : first + _AT_ONCE].tolist():
                yield ObjectRecord(CAUSES[cause], *rest)

    @overload
    def __getitem__(self, index: int) -> ObjectRecord: ...
    @overload
    def __getitem__(self, index: slice) -> ObjectRecords: ...
    def __getitem__(self, index: int | slice) -> ObjectRecord | ObjectRecords:
        if isinstance(index, slice):
            return ObjectRecords(self.numbers[index])
        cause, *rest = self.numbers[index].tolist()
        return ObjectRecord(CAUSES[cause], *rest)

    def __add__(self, other: ObjectRecords) -> ObjectRecords:
        return ObjectRecords(np.concatenate([self.numbers, other.numbers]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectRecords) and np.array_equal(self.numbers, other.numbers)

    def to_json(self) -> str:
        """Writes a list of the numbers of each object."""
        parts = (
            json.dumps(self.numbers[first : first + _AT_ONCE].tolist(), separators=(",", ":"))[1:-1]
            for first in range(0, len(self), _AT_ONCE)
        )
        return f"[{','.join(parts)}]"

    @classmethod
    def of(cls, rows: Any) -> ObjectRecords:
        """Takes a list of the numbers of each object, as JSON holds it.

        Raises:
          ValueError: they are none of an object.
        """
        if not rows:
            return cls()
        numbers = np.asarray(rows)
        if numbers.ndim != 2 or numbers.dtype != np.int64:
            raise ValueError("objects are not lists of integers")
        return cls(numbers)

    @classmethod
    def from_json(cls, text: bytes) -> ObjectRecords:
        """Reads what `to_json` wrote, in pieces.

        Raises:
          ValueError: something else.
        """
        parts, start = [cls().numbers], 1
        while start < len(text) - 1:
            end = text.find(b"],[", start + _PIECE) + 1 or len(text) - 1
            parts.append(cls.of(json.loads(b"[%b]" % text[start:end])).numbers)
            start = end + 1
        return cls(np.concatenate(parts))


@dataclasses.dataclass(frozen=True)
class CauseCounts:
    """Causes of the errors of one image, or of many added up.

    Attributes:
      pixels: wrong pixels of each cause by [0] true and [1] predicted class.
      objects: by `OBJECT_ROWS`, class and `SIZES`.
      displacement: displaced pixels of each class by signed distance from its true boundary, from
        -16 (missing, that far inside) over 0 (empty) to 16 (extra, that far outside).
      records: the objects that are missed, false, confused, merged or split.

    Example:
      >>> CauseCounts.zeros(2).pixels.shape
      (7, 2, 2)
    """

    pixels: Int[np.ndarray, "causes 2 classes"]
    objects: Int[np.ndarray, "rows classes sizes"]
    displacement: Int[np.ndarray, "classes bins"]
    records: ObjectRecords = dataclasses.field(default_factory=ObjectRecords)

    @classmethod
    def zeros(cls, num_classes: int) -> CauseCounts:
        """Counts of no image."""
        return cls(
            pixels=np.zeros((len(CAUSES), 2, num_classes), np.int64),
            objects=np.zeros((len(OBJECT_ROWS), num_classes, len(SIZES)), np.int64),
            displacement=np.zeros((num_classes, 2 * REACH + 1), np.int64),
        )

    def __add__(self, other: CauseCounts) -> CauseCounts:
        return CauseCounts(
            pixels=self.pixels + other.pixels,
            objects=self.objects + other.objects,
            displacement=self.displacement + other.displacement,
            records=self.records + other.records,
        )

    @property
    def totals(self) -> dict[str, int]:
        """Wrong pixels of each cause."""
        return dict(zip(CAUSES, self.pixels[:, 0].sum(-1).tolist(), strict=True))


def size_of(pixels: Shaped[np.ndarray, " objects"]) -> Int[np.ndarray, " objects"]:
    """Returns the index into `SIZES` of objects of so many pixels.

    Example:
      >>> size_of(np.asarray([1023, 1024, 9216])).tolist()
      [0, 1, 2]
    """
    return np.searchsorted(np.asarray([32**2, 96**2]), pixels, "right")


def repaired_miou(
    true: Integer[np.ndarray, "*batch classes"],
    predicted: Integer[np.ndarray, "*batch classes"],
    right: Integer[np.ndarray, "*batch classes"],
    pixels: Integer[np.ndarray, "*batch causes 2 classes"],
) -> Float[np.ndarray, "*batch causes"]:
    """Returns what mIoU would gain if the wrong pixels of one cause were right.

    With n, m, r the true, predicted and right pixels of a class, of which the cause takes a (true)
    and b (predicted ones):

        IoU = r / (n + m - r),  repaired IoU = (r + a) / (n + (m + a - b) - (r + a)).

    mIoU is the mean over classes that have a pixel: before the repair those with n + m > 0, after
    it those with n + m - b > 0. A class that is nowhere true and whose predicted pixels are all
    repaired is gone, as it would be from the score of the repaired maps.

    Args:
      true: n.
      predicted: m.
      right: r.
      pixels: a and b of each cause, as in `CauseCounts`.

    Returns:
      The gains, as fractions; nan where there is no pixel.

    Example:
      >>> pixels = np.zeros((7, 2, 2), np.int64)
      >>> pixels[0] = [[0, 5], [5, 0]]
      >>> n, m, r = np.asarray([[5, 5], [10, 0], [5, 0]])
      >>> repaired_miou(n, m, r, pixels)[:2].tolist()
      [0.75, 0.0]
    """
    true, predicted, right = (x[..., None, :].astype(np.float64) for x in (true, predicted, right))
    gained, lost = pixels[..., 0, :], pixels[..., 1, :]
    # A pixel that is repaired leaves the union of the class that was predicted, and is in that of
    # its true class already.
    before, after = true + predicted - right, true + predicted - right - lost
    return _mean_ratio(right + gained, after) - _mean_ratio(right, before)


def _mean_ratio(
    right: Float[np.ndarray, "*batch causes classes"],
    union: Float[np.ndarray, "*batch causes classes"],
) -> Float[np.ndarray, "*batch causes"]:
    """Mean over classes that have a pixel; nan where none has."""
    present = union > 0
    ratio = np.where(present, right / np.where(present, union, 1), 0)
    count = present.sum(-1)
    return np.where(count > 0, ratio.sum(-1) / np.maximum(count, 1), np.nan)
