"""Counts one pair of maps on the host: what `metrics` counts on a device, for any size at once.

A device program is compiled for each size of a picture; a folder may hold a hundred sizes. This
module does the same arithmetic with NumPy and OpenCV, and tests hold both equal. It counts in
the same pass what needs single pictures: Boundary IoU and the boundary F-score.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Int, Integer, UInt8

from segalias_jax.errors import InputError
from segalias_jax.evaluation import host_bands
from segalias_jax.evaluation.host_bands import Steps
from segalias_jax.metrics import ScoreRules

_GROUPS = 16  # 4 regions of the boundary scores x 4 of Boundary IoU
# Temporary arrays of this size stay in the processor's cache, and fewer than 2^24 pixels are exact
# in the float32 histograms that OpenCV hands over.
_STRIP_PIXELS = 1 << 19


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
    prediction, label = _bytes(prediction), _bytes(label)
    radius = settings.inner_radius(label.shape) if settings.inner_width else 0
    reach = max((settings.rules.width, radius, *settings.tolerances)) + 1
    rows = max(1, _STRIP_PIXELS // max(1, label.shape[1]))
    total = PairCounts.zeros(settings)
    for top in range(0, len(label), rows):
        start = max(0, top - reach)
        crop = slice(start, top + rows + reach)
        strip = _Strip.cut(
            prediction[crop], label[crop], slice(top - start, top - start + rows), settings
        )
        group = strip.groups(radius)[strip.inside]
        if radius:
            # The border of the picture bounds every object that it cuts.
            group[: max(0, radius - top)] |= 12
            group[max(0, len(label) - radius - top) :] |= 12
            group[:, :radius] |= 12
            group[:, -radius:] |= 12
        total = total + strip.counts(group)
    return total


def _bytes(ids: np.ndarray) -> np.ndarray:
    """As uint8 where all values fit, which is much faster."""
    if ids.dtype != np.uint8:
        small = ids.size and ids.min() >= 0 and ids.max() <= 255
        ids = ids.astype(np.uint8 if small else np.int64)
    return np.ascontiguousarray(ids)


@dataclasses.dataclass(frozen=True)
class _Strip:
    """Rows of a picture, with as many more around them as have a say in their counts."""

    prediction: np.ndarray
    label: np.ndarray
    inside: slice
    steps: tuple[Steps, Steps]
    settings: CountSettings

    @classmethod
    def cut(
        cls, prediction: np.ndarray, label: np.ndarray, inside: slice, settings: CountSettings
    ) -> _Strip:
        rules = settings.rules
        if rules.ignore == "exclude":
            true = Steps.between(host_bands.class_label(label, rules), rules.ignore_label)
        else:
            true = Steps.between(label)
        return cls(prediction, label, inside, (Steps.between(prediction), true), settings)

    def groups(self, radius: int) -> UInt8[np.ndarray, "h w"]:
        """Region of each pixel, and its region of Boundary IoU times four."""
        rules, label = self.settings.rules, self.label
        if rules.ignore == "exclude":
            label = host_bands.class_label(label, rules)
        group = host_bands.regions(self.prediction, label, self.steps, rules)
        return group | (host_bands.inner_regions(self.steps, radius) << 2) if radius else group

    def counts(self, group: UInt8[np.ndarray, "h w"]) -> PairCounts:
        """Counts of the rows inside."""
        classes = self.settings.num_classes
        prediction, label = self.prediction[self.inside], self.label[self.inside]
        cells = _histogram(group, label, prediction, self.settings)
        cells = cells.reshape(4, 4, classes, classes)
        _, predicted_only, true_only, both = cells.sum(1)
        diagonal = both.diagonal()
        inner = diagonal, (true_only + both).sum(1), (predicted_only + both).sum(0)
        return PairCounts(cells.sum(0), np.stack(inner), *self._contours())

    def _contours(self) -> tuple[np.ndarray, np.ndarray]:
        """True and predicted boundary pixels, and those near one of the same class."""
        classes, tolerances = self.settings.num_classes, self.settings.tolerances
        contour = np.zeros((2, classes), np.int64)
        hits = np.zeros((len(tolerances), 2, classes), np.int64)
        if not tolerances:
            return contour, hits
        truth = host_bands.class_label(self.label, self.settings.rules)
        hidden = truth == self.settings.rules.ignore_label
        maps = [
            _boundary_classes(ids, step)
            for ids, step in ((truth, self.steps[1]), (self.prediction, self.steps[0]))
        ]
        for side in (0, 1):
            # What lies under ignored pixels is not counted, but it may meet what is.
            counted = (maps[side] >= 0) & ~hidden
            place = np.flatnonzero(counted[self.inside]) + self.inside.start * counted.shape[1]
            own, distance = _squared_distances(place, maps[side], maps[1 - side], tolerances[-1])
            contour[side] = np.bincount(own, minlength=classes)
            for i, tolerance in enumerate(tolerances):
                hits[i, side] = np.bincount(own[distance <= tolerance**2], minlength=classes)
        return contour, hits


def _boundary_classes(ids: np.ndarray, step: Steps) -> np.ndarray:
    """Class of each boundary pixel, and -1 elsewhere."""
    classes = ids.astype(np.int16 if ids.dtype == np.uint8 else np.int32)
    classes[step.edges() == 0] = -1
    return classes


def _squared_distances(
    place: np.ndarray, own: np.ndarray, other: np.ndarray, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """Class of the pixels at places of `own`, and how far the next one of it is in `other`.

    Distances are Euclidean and squared; beyond `reach` they are only known to be larger.
    """
    width = own.shape[1] + 2 * reach
    row, column = np.divmod(place, own.shape[1])
    ids, place = own.ravel()[place], (row + reach) * width + column + reach
    other = np.pad(other, reach, constant_values=-1).ravel()
    distance = np.full(ids.shape, reach * reach + 1)
    far = np.arange(len(ids))
    for a, b in _disc(reach):
        near = other[place[far] + a * width + b] == ids[far]
        distance[far[near]] = a * a + b * b
        far = far[~near]
    return ids, distance


def _disc(reach: int) -> list[tuple[int, int]]:
    """Offsets up to a distance, the nearest first."""
    span = range(-reach, reach + 1)
    offsets = [(a, b) for a in span for b in span if a * a + b * b <= reach * reach]
    return sorted(offsets, key=lambda offset: offset[0] ** 2 + offset[1] ** 2)


def _histogram(
    group: np.ndarray, label: np.ndarray, prediction: np.ndarray, settings: CountSettings
) -> np.ndarray:
    """int64 [16, C, C] of the pixels that count; a value that should and cannot is an error."""
    classes, rules = settings.num_classes, settings.rules
    first = int(rules.reduce_zero_label)
    ignored = label == rules.ignore_label
    if first:
        ignored |= label == 0
    ignored_class = first <= rules.ignore_label < first + classes
    bins, ranges = [_GROUPS, classes, classes], [0, _GROUPS, first, first + classes, 0, classes]
    if label.dtype == prediction.dtype == np.uint8 and classes <= 255 and not ignored_class:
        counts = cv2.calcHist([group, label, prediction], [0, 1, 2], None, bins, ranges)
    else:
        keep = ~ignored & (label >= first) & (label < first + classes)
        keep &= (prediction >= 0) & (prediction < classes)
        truth = label[keep].astype(np.int64) - first
        cell = (group[keep] * np.int64(classes) + truth) * classes + prediction[keep]
        counts = np.bincount(cell, minlength=_GROUPS * classes * classes)
    if counts.sum(dtype=np.int64) != label.size - np.count_nonzero(ignored):
        raise _stray_value(label, prediction, ignored, settings)
    return counts.astype(np.int64)


def _stray_value(
    label: np.ndarray,
    prediction: np.ndarray,
    ignored: Bool[np.ndarray, "h w"],
    settings: CountSettings,
) -> InputError:
    rules, low, what, ids = settings.rules, 0, "prediction", prediction
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
