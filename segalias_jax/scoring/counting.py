"""Counts one pair of maps on the host: what `metrics` counts on a device, for any size at once.

A device program is compiled for each size of a picture; a folder may hold a hundred sizes. This
module does the same arithmetic with NumPy and OpenCV, and tests hold both equal. It counts in
the same pass what needs single pictures: Boundary IoU and the boundary F-score.

Masks are bit planes (`bit_planes`), 64 pixels a word, so that dilations cost next to nothing.
Pixels are counted eight at a time where all eight are alike, which they are away from boundaries,
and boundary pixels are lists of places.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring import bit_planes, host_bands
from segalias_jax.scoring.host_bands import MapPair
from segalias_jax.typing import Int, Integer, UInt8, UInt64

MOST_CLASSES = 2048
"""Classes whose confusions, by region, are kept: 0.5 GB."""

MOST_TOLERANCE = 100
"""Pixels within which boundaries are looked for, place by place."""


@dataclasses.dataclass(frozen=True)
class CountSettings:
    """What is counted.

    Attributes:
      num_classes: C; predictions hold 0..C-1.
      rules: of the boundary scores.
      boundary_iou: reach of Boundary IoU inwards from an object's boundary: a fraction of the
        picture's diagonal when below 1, else pixels; 0 leaves this score out.
      tolerances: distances of the boundary F-score in pixels, ascending; () leaves it out.

    Example:
      >>> CountSettings(19).inner_radius((1024, 2048))
      46
    """

    num_classes: int
    rules: ScoreRules = dataclasses.field(default_factory=ScoreRules)
    boundary_iou: int | float = 0.02
    tolerances: tuple[int, ...] = (1, 3, 5)

    def __post_init__(self):
        """Raises `InputError` for numbers out of range."""
        if self.num_classes < 1:
            raise InputError(f"num_classes: {self.num_classes} must be at least 1")
        if self.num_classes > MOST_CLASSES:
            raise InputError(
                f"num_classes: {self.num_classes} classes are more than the {MOST_CLASSES} that "
                "are counted; score maps of instances as objects (--instances), or say what is "
                "ignored (--ignore)"
            )
        if (
            not math.isfinite(self.boundary_iou)
            or self.boundary_iou < 0
            or (self.boundary_iou >= 1 and self.boundary_iou % 1)
        ):
            raise InputError(
                f"boundary_iou: {self.boundary_iou} is neither a fraction of the diagonal below 1 "
                "nor an integer number of pixels"
            )
        if any(t < 0 for t in self.tolerances) or list(self.tolerances) != sorted(
            set(self.tolerances)
        ):
            raise InputError(f"tolerances: {self.tolerances} must be pixels in ascending order")
        if self.tolerances and self.tolerances[-1] > MOST_TOLERANCE:
            raise InputError(
                f"tolerances: {self.tolerances[-1]} pixels are more than the {MOST_TOLERANCE} that "
                "boundaries are compared within; leave it out"
            )

    def inner_radius(self, size: tuple[int, int]) -> int:
        """Reach of Boundary IoU in pixels for pictures of (height, width)."""
        if self.boundary_iou >= 1:
            return int(self.boundary_iou)
        return max(1, round(self.boundary_iou * float(np.hypot(*size))))


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
        return cls(
            regions=np.zeros((4, n, n), np.int64),
            inner=np.zeros((3, n), np.int64),
            contour=np.zeros((2, n), np.int64),
            hits=np.zeros((len(settings.tolerances), 2, n), np.int64),
        )

    def __add__(self, other: PairCounts) -> PairCounts:
        return PairCounts(
            regions=self.regions + other.regions,
            inner=self.inner + other.inner,
            contour=self.contour + other.contour,
            hits=self.hits + other.hits,
        )


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
    radius = settings.inner_radius(label.shape) if settings.boundary_iou else 0
    # Steps of the last row of a crop are not known, nor where the Laplacian mirrors it.
    halo = 2 + max(settings.rules.width, radius, *settings.tolerances, 0)
    total, (height, width) = None, label.shape
    for band in host_bands.row_bands(height, width, halo):
        counts = _count_rows(prediction[band.crop], label[band.crop], settings, radius, band.core)
        total = counts if total is None else total + counts
    return PairCounts.zeros(settings) if total is None else total


def _count_rows(
    prediction: np.ndarray, label: np.ndarray, settings: CountSettings, radius: int, core: slice
) -> PairCounts:
    """Counts some rows of maps; those around them only bear on what is near."""
    pair = MapPair.of(prediction, label, settings.rules)
    planes = host_bands.region_bits(pair, settings.rules)
    if radius:
        planes = np.concatenate([planes, host_bands.inner_bits(pair, radius)])
    cells = pixels_by_plane(pair, planes, settings.num_classes, settings.rules, core)
    ignored = np.bitwise_count(pair.ignored[core]).sum(dtype=np.int64)
    if cells.sum() != label[core].size - ignored:
        raise stray_value(prediction[core], label[core], settings.num_classes, settings.rules)
    inner = np.zeros((3, settings.num_classes), np.int64)
    if radius:
        cells = cells.reshape(4, 4, *cells.shape[1:])
        _, predicted_only, true_only, both = cells.sum(1)
        inner[0] = both.diagonal()
        inner[1], inner[2] = (true_only + both).sum(1), (predicted_only + both).sum(0)
        cells = cells.sum(0)
    contour, hits = _contours(pair, settings, core)
    return PairCounts(cells, inner, contour, hits)


def pixels_by_plane(
    pair: MapPair,
    planes: UInt64[np.ndarray, "bits h words"],
    classes: int,
    rules: ScoreRules,
    core: slice,
) -> Int[np.ndarray, "groups classes classes"]:
    """Counts the pixels of some rows by group, true and predicted class.

    Args:
      pair: the maps.
      planes: pixels of which plane i is set are of a group whose bit i is; up to 7 planes.
      classes: C.
      rules: which labels are ignored, and how class 0 is written.
      core: the rows.

    Returns:
      Pixels that are not ignored and of a class in both maps.

    Example:
      >>> ids = np.asarray([[0, 1, 1]], np.uint8)
      >>> pair = MapPair.of(ids, ids, ScoreRules())
      >>> pixels_by_plane(pair, pair.across[:1], 2, ScoreRules(), slice(0, 1)).tolist()
      [[[0, 0], [0, 2]], [[1, 0], [0, 0]]]
    """
    shape = (1 << len(planes), classes, classes)
    prediction, label = pair.maps
    first = int(rules.reduce_zero_label)
    small = prediction.dtype == label.dtype == np.uint8
    total = np.zeros(shape, np.int64)
    for strip in host_bands.strips(core.stop - core.start, label.shape[1]):
        rows = slice(core.start + strip.start, core.start + strip.stop)
        if small:
            total += _octet_counts(
                prediction[rows],
                label[rows],
                planes=planes[:, rows],
                across=pair.across[:2, rows],
                ignored=pair.ignored[rows],
                width=pair.width,
                first=first,
                classes=classes,
            )
            continue
        group = _group(list(bit_planes.unpack(planes[:, rows])))[:, : pair.width]
        ids, true = prediction[rows, : pair.width], label[rows, : pair.width]
        keep = (true >= first) & (true < first + classes) & (ids >= 0) & (ids < classes)
        cell = (group[keep] * np.int64(classes) + (true[keep] - first)) * classes + ids[keep]
        total += np.bincount(cell, minlength=total.size).reshape(shape)
    if 0 <= rules.ignore_label - first < classes:
        total[:, rules.ignore_label - first] = 0
    return total


def _octet_counts(
    prediction: UInt8[np.ndarray, "h w"],
    label: UInt8[np.ndarray, "h w"],
    *,
    planes: UInt64[np.ndarray, "bits h words"],
    across: UInt64[np.ndarray, "2 h words"],
    ignored: UInt64[np.ndarray, "h words"],
    width: int,
    first: int,
    classes: int,
) -> Int[np.ndarray, "groups classes classes"]:
    """The histogram of bytes: eight pixels of a row at once where they are all alike.

    `first` is how labels write class 0. A prediction differs from the pixel to the right where
    `across[0]` is set, a label where `across[1]` is.
    """
    groups = 1 << len(planes)
    predicted, true = (np.ascontiguousarray(plane).view(np.uint8) for plane in across)
    octets = np.ascontiguousarray(ignored).view(np.uint8)
    bits = [np.ascontiguousarray(plane).view(np.uint8) for plane in planes]
    # The last step of an octet leads out of it; a plane is uniform where its bits are 0 or 255.
    # Steps that do not count lead to ignored pixels or from them.
    mixed = ((predicted | true) & 0x7F) != 0
    for one in (octets, *bits):
        mixed |= (one + np.uint8(1)) > 1
    whole = np.arange(mixed.shape[1]) < width // 8
    mixed |= ~whole
    bounds: list[float] = [0, groups, first, first + classes, 0, classes]

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


def _contours(
    pair: MapPair, settings: CountSettings, core: slice
) -> tuple[Int[np.ndarray, "2 classes"], Int[np.ndarray, "tolerances 2 classes"]]:
    """True and predicted boundary pixels of some rows, and those near one of the same class.

    A pixel counts for the smallest tolerance within which it is met, and for all larger ones.
    """
    classes, tolerances = settings.num_classes, settings.tolerances
    contour = np.zeros((2, classes), np.int64)
    hits = np.zeros((len(tolerances), 2, classes), np.int64)
    counted = pair.masked(pair.edges) & ~pair.ignored
    first = 0, int(settings.rules.reduce_zero_label)  # how each map writes class 0
    for side, own, other in ((0, 1, 0), (1, 0, 1)) if tolerances else ():
        board = _Board.of(pair.maps[other], counted[other], tolerances[-1], classes + first[other])
        for place in listed_places(counted[own], core):
            ids = pair.maps[own].reshape(-1)[place].astype(np.int64) - first[own]
            contour[side] += np.bincount(ids, minlength=classes)
            # What is met where it is needs no search, and that is much of a good prediction.
            nearby = board.nearby(place, ids + first[other], (0, *tolerances))
            for met, i in zip(nearby, (0, *range(len(tolerances))), strict=True):
                hits[i:, side] += np.bincount(met, minlength=classes + 1)[first[other] :][:classes]
    return contour, hits


def listed_places(
    plane: UInt64[np.ndarray, "h words"], rows: slice
) -> Iterator[Int[np.ndarray, " pixels"]]:
    """Lists the set pixels of some rows of a plane, those of a strip at a time.

    Args:
      plane: of the picture.
      rows: of it.

    Returns:
      Places as `bit_planes.places` has them, in the whole plane.

    Example:
      >>> plane = bit_planes.pack(np.arange(64)[None].repeat(2, 0) == 5)
      >>> [place.tolist() for place in listed_places(plane, slice(1, 2))]
      [[69]]
    """
    pitch = bit_planes.WORD * plane.shape[1]
    for strip in host_bands.strips(rows.stop - rows.start, pitch):
        top = rows.start + strip.start
        yield bit_planes.places(plane[top : rows.start + strip.stop]) + top * pitch


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
        for place in listed_places(plane, slice(0, height)):
            memory[board._framed(place)] = ids.reshape(-1)[place]
        return board

    def _framed(self, place: np.ndarray) -> np.ndarray:
        above = place // self.pitch + self.reach
        return place + above * self.reach + self.reach * (self.pitch + 1)

    def nearby(
        self, place: np.ndarray, ids: np.ndarray, tolerances: Sequence[int]
    ) -> Iterator[np.ndarray]:
        """For each tolerance, ids of the pixels that are met within it and not within the last."""
        wide, wanted, least = self.pitch + self.reach, ids.astype(self.ids.dtype), -1
        corner = self._framed(place) - self.reach * (wide + 1)
        for tolerance in tolerances:
            met = np.zeros(len(corner), bool)
            span, most = range(-tolerance, tolerance + 1), tolerance * tolerance
            # Nearer pixels were looked at for the last tolerance.
            for a, b in ((a, b) for a in span for b in span if least < a * a + b * b <= most):
                around = self.ids[(a + self.reach) * wide + b + self.reach :]
                met |= around.take(corner) == wanted
            yield wanted[met]
            corner, wanted, least = corner[~met], wanted[~met], most


def stray_value(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, "h w"],
    num_classes: int,
    rules: ScoreRules,
) -> InputError:
    """Names the first value that is no class, of the prediction where it has one.

    Args:
      prediction: predicted class ids.
      label: true labels of the same shape; one of both maps has such a value.
      num_classes: C.
      rules: which labels are ignored, and how class 0 is written.

    Returns:
      The error to raise.

    Example:
      >>> ids = np.asarray([[0, 7]])
      >>> str(stray_value(ids, ids * 0, 2, ScoreRules())).split(";")[0]
      'the prediction holds the value 7, which is no class 0..1'
    """
    counted = ~host_bands.ignored_pixels(label, rules)
    low, what, ids = 0, "prediction", prediction
    stray = ((ids < low) | (ids >= low + num_classes)) & counted
    if not stray.any():
        low, what, ids = int(rules.reduce_zero_label), "label", label
        stray = ((ids < low) | (ids >= low + num_classes)) & counted
    also = f" nor the ignored {rules.ignore_label}" if what == "label" else ""
    return InputError(
        f"the {what} holds the value {ids[stray][0]}, which is no class "
        f"{low}..{low + num_classes - 1}{also}; correct the map, the number of classes "
        "(--num-classes) or what is ignored (--ignore)"
    )
