"""Counts one pair of maps on the host: what `metrics` counts on a device, for any size at once.

A device program is compiled for each size of a picture; a folder may hold a hundred sizes. This
module does the same arithmetic with NumPy and OpenCV, and tests hold both equal. It counts in
the same pass what needs single pictures: Boundary IoU and the boundary F-score.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Int, Integer, UInt8, UInt64

from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring import bit_planes, host_bands
from segalias_jax.scoring.host_bands import MapPair


@dataclasses.dataclass(frozen=True)
class CountSettings:
    """What is counted.

    Attributes:
      num_classes: C; predictions hold 0..C-1.
      rules: of the boundary scores.
      inner_width: reach of Boundary IoU inwards from an object's boundary: a share of the
        picture's diagonal when below 1, else pixels; 0 leaves this score out.
      tolerances: distances of the boundary F-score in pixels, ascending; () leaves it out.

    Example:
      >>> CountSettings(19).inner_radius((1024, 2048))
      46
    """

    num_classes: int
    rules: ScoreRules = dataclasses.field(default_factory=ScoreRules)
    inner_width: int | float = 0.02
    tolerances: tuple[int, ...] = (1, 3, 5)

    def __post_init__(self):
        """Raises `InputError` for numbers out of range."""
        if self.num_classes < 1:
            raise InputError(f"num_classes: {self.num_classes} must be at least 1")
        if self.inner_width < 0 or (self.inner_width >= 1 and self.inner_width % 1):
            raise InputError(
                f"boundary_iou: {self.inner_width} is neither a share of the diagonal below 1 nor "
                "a whole number of pixels"
            )
        if any(t < 0 for t in self.tolerances) or list(self.tolerances) != sorted(
            set(self.tolerances)
        ):
            raise InputError(f"tolerances: {self.tolerances} must be pixels in ascending order")

    def inner_radius(self, size: tuple[int, int]) -> int:
        """Reach of Boundary IoU in pixels for pictures of (height, width)."""
        if self.inner_width >= 1:
            return int(self.inner_width)
        return max(1, round(self.inner_width * float(np.hypot(*size))))


@dataclasses.dataclass(frozen=True)
class PairCounts:
    """Counts of one picture, or of many added up.

    Attributes:
      regions: pixels by region (as `metrics.region_map` numbers them), true and predicted class.
      inner: per class the pixels inside both inner bands, the true one, the predicted one.
      contour: per class the true and the predicted boundary pixels.
      hits: for each tolerance, those of them that have a boundary pixel of the same class in the
        other map within it.
    """

    regions: Int[np.ndarray, "4 classes classes"]
    inner: Int[np.ndarray, "3 classes"]
    contour: Int[np.ndarray, "2 classes"]
    hits: Int[np.ndarray, "tolerances 2 classes"]

    @classmethod
    def zeros(cls, settings: CountSettings) -> PairCounts:
        """Counts of no picture."""
        n = settings.num_classes
        shapes = ((4, n, n), (3, n), (2, n), (len(settings.tolerances), 2, n))
        return cls(*(np.zeros(shape, np.int64) for shape in shapes))

    def __add__(self, other: PairCounts) -> PairCounts:
        parts = (f.name for f in dataclasses.fields(self))
        return PairCounts(*(getattr(self, name) + getattr(other, name) for name in parts))


def count_pair(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    settings: CountSettings,
) -> PairCounts:
    """Counts one picture.

    Args:
      prediction: predicted class ids.
      label: true labels of the same shape.
      settings: what is counted.

    Returns:
      The counts.

    Raises:
      InputError: shapes differ, or a value is no class; the message says which.

    Example:
      >>> label = np.asarray([[0, 0, 1, 1]])
      >>> count_pair(label, label, CountSettings(2)).regions.sum((0, 2)).tolist()
      [2, 2]
    """
    if prediction.shape != label.shape:
        raise InputError(f"prediction of shape {prediction.shape}, label of shape {label.shape}")
    pair = MapPair.of(prediction, label, settings.rules)
    planes = host_bands.region_bits(pair, settings.rules)
    if settings.inner_width:
        radius = settings.inner_radius(label.shape)
        planes = np.concatenate([planes, host_bands.inner_bits(pair, radius)])
    cells = _histogram(pair, planes, settings)
    if cells.sum() != label.size - np.bitwise_count(pair.ignored).sum(dtype=np.int64):
        raise _stray_value(label, prediction, settings)
    if not settings.inner_width:
        inner = np.zeros((3, settings.num_classes), np.int64)
    else:
        cells = cells.reshape(4, 4, *cells.shape[1:])
        _, predicted_only, true_only, both = cells.sum(1)
        inner = both.diagonal(), (true_only + both).sum(1), (predicted_only + both).sum(0)
        cells = cells.sum(0)
    return PairCounts(cells, np.stack(inner), *_contours(pair, settings))


def _histogram(
    pair: MapPair, planes: UInt64[np.ndarray, "bits h words"], settings: CountSettings
) -> Int[np.ndarray, "groups classes classes"]:
    """Pixels by group (bit i: set in plane i), true and predicted class; those that count."""
    classes, rules = settings.num_classes, settings.rules
    first = int(rules.reduce_zero_label)
    shape = (1 << len(planes), classes, classes)
    prediction, label = pair.maps
    small = prediction.dtype == label.dtype == np.uint8
    total = np.zeros(shape, np.int64)
    for rows in host_bands.strips(*label.shape):
        crop = prediction[rows], label[rows], planes[:, rows]
        if small:
            steps = (*pair.across[:, rows], pair.ignored[rows])
            total += _octet_counts(*crop, steps, pair.width, (first, *shape))
            continue
        group = _group(list(bit_planes.unpack(crop[2])))[:, : pair.width]
        ids, true = (x[:, : pair.width] for x in crop[:2])
        keep = (true >= first) & (true < first + classes) & (ids >= 0) & (ids < classes)
        cell = (group[keep] * np.int64(classes) + (true[keep] - first)) * classes + ids[keep]
        total += np.bincount(cell, minlength=total.size).reshape(shape)
    if 0 <= rules.ignore_label - first < classes:
        total[:, rules.ignore_label - first] = 0
    return total


def _octet_counts(
    prediction: UInt8[np.ndarray, "h w"],
    label: UInt8[np.ndarray, "h w"],
    planes: UInt64[np.ndarray, "bits h words"],
    steps: Sequence[np.ndarray],
    width: int,
    sizes: tuple[int, int, int, int],
) -> np.ndarray:
    """The histogram of bytes: eight pixels of a row at once where they are all alike."""
    first, groups, classes, _ = sizes
    predicted, true, ignored, *bits = (
        np.ascontiguousarray(plane).view(np.uint8) for plane in (*steps, *planes)
    )
    # The last step of an octet leads out of it; a plane is uniform where its bits are 0 or 255.
    # Steps that do not count lead to ignored pixels or from them.
    mixed = ((predicted | true) & 0x7F) != 0
    for one in (ignored, *bits):
        mixed |= (one + np.uint8(1)) > 1
    whole = np.arange(mixed.shape[1]) < width // 8
    mixed |= ~whole
    bounds = [0, groups, first, first + classes, 0, classes]

    def count(*columns: np.ndarray) -> np.ndarray:
        images = [column.reshape(1, -1) for column in columns]
        return cv2.calcHist(images, [0, 1, 2], None, [groups, classes, classes], bounds)

    # No group is 255.
    alike = _group([one & 1 for one in bits]) | (0 - mixed.view(np.uint8))
    alike = count(alike, *(ids.view(np.uint64).astype(np.uint8) for ids in (label, prediction)))
    place = np.flatnonzero(mixed & (np.arange(mixed.shape[1]) < -(-width // 8)))
    single = _group([np.unpackbits(b.reshape(-1)[place], bitorder="little") for b in bits])
    pixels = [ids.view(np.uint64).reshape(-1)[place].view(np.uint8) for ids in (label, prediction)]
    if width % 8:
        beside = place % mixed.shape[1] == width // 8
        single.reshape(-1, 8)[beside, width % 8 :] = 255
    return (8 * alike.astype(np.int64)) + count(single, *pixels).astype(np.int64)


def _group(bits: Sequence[UInt8[np.ndarray, " *shape"]]) -> UInt8[np.ndarray, " *shape"]:
    """Bytes whose bit i is that of mask i."""
    total = bits[-1].copy()
    for one in reversed(bits[:-1]):
        total += total
        total |= one
    return total


def _contours(pair: MapPair, settings: CountSettings) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted boundary pixels, and those near one of the same class."""
    classes, tolerances = settings.num_classes, settings.tolerances
    contour = np.zeros((2, classes), np.int64)
    hits = np.zeros((len(tolerances), 2, classes), np.int64)
    counted = pair.edges & ~pair.ignored
    # What lies under ignored pixels is not counted; a prediction there may meet what is.
    shown = pair.edges[0], counted[1]
    first = 0, int(settings.rules.reduce_zero_label)  # how each map writes class 0
    for side, own, other in ((0, 1, 0), (1, 0, 1)) if tolerances else ():
        board = _Board.of(pair.maps[other], shown[other], tolerances[-1], classes + first[other])
        for place in _listed(counted[own]):
            ids = pair.maps[own].reshape(-1)[place].astype(np.int64) - first[own]
            contour[side] += np.bincount(ids, minlength=classes)
            for i, met in enumerate(board.nearby(place, ids + first[other], tolerances)):
                hits[i:, side] += np.bincount(met, minlength=classes + 1)[first[other] :][:classes]
    return contour, hits


def _listed(plane: np.ndarray) -> Iterator[np.ndarray]:
    """Places of set pixels, those of a strip at a time."""
    height, pitch = plane.shape[0], bit_planes.WORD * plane.shape[1]
    for rows in host_bands.strips(height, pitch):
        yield bit_planes.places(plane[rows]) + rows.start * pitch


@dataclasses.dataclass(frozen=True)
class _Board:
    """Ids at boundary pixels, and a value that is no class elsewhere and in a frame around."""

    ids: np.ndarray
    pitch: int
    reach: int
    kept = threading.local()

    @classmethod
    def of(cls, ids: np.ndarray, plane: np.ndarray, reach: int, count: int) -> _Board:
        """Ids on the pixels of a plane, all of them below `count`."""
        (height, pitch), small = ids.shape, ids.dtype == np.uint8 and count <= 255
        # The frame to the right of a row is the one to the left of the next.
        size = (height + 2 * reach + 1) * (pitch + reach)
        if small:
            # Each thread keeps its memory: to get it anew takes longer than to use it.
            if len(getattr(cls.kept, "memory", ())) < size:
                cls.kept.memory = np.empty(size, np.uint8)
            memory = cls.kept.memory[:size]
        else:
            memory = np.empty(size, np.int64)
        memory.fill(255 if small else -1)
        board = cls(memory, pitch, reach)
        for place in _listed(plane):
            memory[board._framed(place)] = ids.reshape(-1)[place]
        return board

    def _framed(self, place: np.ndarray) -> np.ndarray:
        above = place // self.pitch + self.reach
        return place + above * self.reach + self.reach * (self.pitch + 1)

    def nearby(
        self, place: np.ndarray, ids: np.ndarray, tolerances: Sequence[int]
    ) -> Iterator[np.ndarray]:
        """For each tolerance, ids of the pixels that are met within it and not within the last."""
        wide, wanted, before = self.pitch + self.reach, ids.astype(self.ids.dtype), -1
        corner = self._framed(place) - self.reach * (wide + 1)
        for tolerance in tolerances:
            met = np.zeros(len(corner), bool)
            for a, b in _ring(before, tolerance):
                around = self.ids[(a + self.reach) * wide + b + self.reach :]
                met |= around.take(corner) == wanted
            yield wanted[met]
            corner, wanted, before = corner[~met], wanted[~met], tolerance


def _ring(inner: int, outer: int) -> list[tuple[int, int]]:
    """Offsets farther than one distance and not farther than another."""
    span = range(-outer, outer + 1)
    least = inner * inner if inner >= 0 else -1
    return [(a, b) for a in span for b in span if least < a * a + b * b <= outer * outer]


def _stray_value(label: np.ndarray, prediction: np.ndarray, settings: CountSettings) -> InputError:
    rules, low, what, ids = settings.rules, 0, "prediction", prediction
    ignored = host_bands.ignored_pixels(label, rules)
    stray = _outside(ids, low, settings.num_classes) & ~ignored
    if not stray.any():
        low, what, ids = int(rules.reduce_zero_label), "label", label
        stray = _outside(ids, low, settings.num_classes) & ~ignored
    also = f" nor the ignored {rules.ignore_label}" if what == "label" else ""
    return InputError(
        f"the {what} holds the value {ids[stray][0]}, which is no class "
        f"{low}..{low + settings.num_classes - 1}{also}; correct the map, the number of classes "
        "or what is ignored"
    )


def _outside(ids: np.ndarray, low: int, count: int) -> np.ndarray:
    return (ids < low) | (ids >= low + count)
