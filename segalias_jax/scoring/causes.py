"""Error types: the cause of every wrong pixel, as a map and as counts of pixels and objects.

What the seven causes are stands in `cause_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from segalias_jax.metrics.rules import IGNORED, ScoreRules
from segalias_jax.scoring.bridges import Side
from segalias_jax.scoring.cause_counts import (
    CAUSES,
    CONFUSED,
    DISPLACED,
    FALSE,
    MERGE,
    MISSED,
    OBJECT_ROWS,
    REACH,
    SIZES,
    SPLIT,
    CauseCounts,
    ObjectRecord,
    ObjectRecords,
    repaired_miou,
    size_of,
)
from segalias_jax.scoring.cause_rules import CauseSettings, Explained, explain
from segalias_jax.scoring.components import bands
from segalias_jax.scoring.host_bands import ignored_pixels, strips
from segalias_jax.typing import IGNORE_LABEL, Bool, Int, Integer, UInt8

__all__ = [
    "CAUSES",
    "IGNORED",
    "OBJECT_ROWS",
    "REACH",
    "SIZES",
    "CauseCounts",
    "CauseSettings",
    "ObjectRecord",
    "cause_thumbnail",
    "count_causes",
    "error_types",
    "paint_causes",
    "repaired_miou",
]

# Pixels whose distance, as OpenCV measures it, is rounded to 0, 1, ... 5: each of these takes those
# of one pixel more away.
_SQUARE, _CROSS = (
    cv2.getStructuringElement(shape, (3, 3)) for shape in (cv2.MORPH_RECT, cv2.MORPH_CROSS)
)
_ROUND = (_SQUARE, _CROSS, _CROSS, _SQUARE, _CROSS)
# Rows and columns whose distances are found at once. With what surrounds them they stay below 128
# kB, from where on memory is fetched from the system each time, which takes longer than its use.
_TILE = (192, 480)
_Objects = tuple[int, Side, Bool[np.ndarray, " components"]]


def error_types(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    *,
    num_classes: int,
    ignore: int = IGNORE_LABEL,
    coverage: int | float = 0.25,
    reach: int = 5,
    background: int | None = None,
    reduce_zero_label: bool = False,
) -> tuple[UInt8[np.ndarray, "h w"], dict[str, int]]:
    """Gives every wrong pixel its cause.

    Args:
      prediction: predicted class ids.
      label: true labels.
      num_classes: C.
      ignore: label that is in no score.
      coverage: fraction of an object that must be found, see `CauseSettings`.
      reach: displacement in pixels of thin objects that are found, see there.
      background: class that is no object, see there.
      reduce_zero_label: labels hold k + 1 for class k, and 0 for ignored pixels.

    Returns:
      Map that holds 0 where the prediction is right, k + 1 where the cause is `CAUSES[k]`, and
      `IGNORED` where the label is ignored; and the pixels of each cause by name.

    Raises:
      InputError: shapes differ, a value is no class, or a setting is out of range.

    Example:
      >>> label = np.zeros((8, 8), np.uint8)
      >>> label[2:5, 2:5] = 1
      >>> causes, pixels = error_types(0 * label, label, num_classes=2)
      >>> {name: count for name, count in pixels.items() if count}
      {'missed object': 9}
    """
    settings = CauseSettings(coverage, reach, background)
    rules = ScoreRules(ignore_label=ignore, reduce_zero_label=reduce_zero_label)
    causes = np.empty(label.shape, np.uint8)
    pixels = np.zeros(256, np.int64)
    for rows, painted in paint_causes(prediction, label, rules, num_classes, settings):
        causes[rows] = painted
        pixels += np.bincount(painted.reshape(-1), minlength=256)
    return causes, dict(zip(CAUSES, pixels[1 : len(CAUSES) + 1].tolist(), strict=True))


def paint_causes(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    rules: ScoreRules,
    num_classes: int,
    settings: CauseSettings,
) -> Iterator[tuple[slice, UInt8[np.ndarray, "rows w"]]]:
    """Yields the map of causes some rows at a time, from above.

    Args:
      prediction: predicted class ids.
      label: true labels.
      rules: which labels are ignored, and how class 0 is written.
      num_classes: C.
      settings: what separates the causes.

    Yields:
      A range of rows, and their causes as in `error_types`.

    Raises:
      InputError: shapes differ, or a value is no class.
    """
    for band in bands(prediction, label):
        explained = explain(prediction[band], label[band], rules, num_classes, settings)
        for rows in strips(band.stop - band.start, label.shape[1]):
            whole = slice(band.start + rows.start, band.start + rows.stop)
            yield whole, explained.paint(rows)
        del explained  # or it would be there while the next one is found


def cause_thumbnail(
    painted: Iterable[tuple[slice, UInt8[np.ndarray, "_ w"]]],
    top: Int[np.ndarray, " a"],
    left: Int[np.ndarray, " b"],
) -> UInt8[np.ndarray, "a b"]:
    """Reduces a map of causes to a pixel for each block, in which thin errors stay.

    Args:
      painted: what `paint_causes` yields.
      top: first row of the blocks, ascending from 0.
      left: first column of the blocks, ascending from 0.

    Returns:
      Of each block the largest code of a wrong pixel; without one, `IGNORED` where all of it is.

    Example:
      >>> causes = np.asarray([[0, 255, 255], [3, 0, 255]], np.uint8)
      >>> cause_thumbnail([(slice(0, 2), causes)], np.asarray([0]), np.asarray([0, 2])).tolist()
      [[3, 255]]
    """
    # What is ignored comes last: it is made 0, and what is right 1, until the end.
    highest = np.zeros((len(top), len(left)), np.uint8)
    for rows, causes in painted:
        line = np.searchsorted(top, np.arange(rows.start, rows.stop), "right") - 1
        first = np.flatnonzero(np.diff(line, prepend=-1))
        found = np.maximum.reduceat(causes + np.uint8(1), first, axis=0)
        found = np.maximum.reduceat(found, left, axis=1)
        highest[line[first]] = np.maximum(highest[line[first]], found)
    return highest - np.uint8(1)


def count_causes(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    rules: ScoreRules,
    num_classes: int,
    settings: CauseSettings | None = None,
) -> CauseCounts:
    """Counts the causes of the errors of one image.

    Args:
      prediction: predicted class ids.
      label: true labels.
      rules: which labels are ignored, and how class 0 is written.
      num_classes: C.
      settings: what separates the causes; None: the defaults.

    Returns:
      The counts.

    Raises:
      InputError: shapes differ, or a value is no class.

    Example:
      >>> label = np.zeros((8, 8), np.uint8)
      >>> label[2:5, 2:5] = 1
      >>> count_causes(0 * label, label, ScoreRules(), 2).pixels[0].tolist()
      [[0, 9], [9, 0]]
    """
    settings = settings or CauseSettings()
    total = CauseCounts.zeros(num_classes)
    for band in bands(prediction, label):
        found = _count_band(prediction[band], label[band], rules, num_classes, settings)
        found.records.numbers[:, ObjectRecord._fields.index("y")] += band.start
        total += found
    return total


def _count_band(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    rules: ScoreRules,
    num_classes: int,
    settings: CauseSettings,
) -> CauseCounts:
    # What it needs of a band is gone when the next one comes.
    explained = explain(prediction, label, rules, num_classes, settings)
    objects, records = _objects(explained, num_classes, settings.ground(num_classes))
    return CauseCounts(
        pixels=_pixels(explained, num_classes),
        objects=objects,
        displacement=_distances(explained, label, rules, num_classes),
        records=records,
    )


def _pixels(explained: Explained, classes: int) -> Int[np.ndarray, "causes 2 classes"]:
    regions, bridged = explained.regions, explained.bridged()
    wrong = np.flatnonzero(~regions.right)
    of = np.concatenate([wrong, bridged, bridged])
    code = np.concatenate([explained.cause[wrong], explained.codes, explained.cause[bridged]])
    ones = np.ones(len(bridged))
    pixels = np.concatenate([regions.pixels[wrong], ones, -ones])
    shape = (len(CAUSES) + 1, classes)
    counts = [
        np.bincount(code * np.int64(classes) + values[of], pixels, shape[0] * classes)
        for values in (regions.true, regions.predicted)
    ]
    return np.stack([one.reshape(shape)[1:] for one in counts], 1).astype(np.int64)


def _objects(
    explained: Explained, classes: int, ground: int
) -> tuple[Int[np.ndarray, "rows classes sizes"], ObjectRecords]:
    true, predicted, regions = explained.true, explained.predicted, explained.regions
    blamed: list[_Objects] = []
    for side, code in ((true, MISSED), (true, CONFUSED), (predicted, FALSE)):
        here = np.flatnonzero(explained.cause == code)
        pixels = np.bincount(side.component[here], regions.pixels[here], len(side.classes))
        blamed.append((code, side, 2 * pixels > side.pixels))
    merged, split = np.zeros((2, len(true.classes)), bool)
    merged[explained.merged] = True
    is_part = np.zeros(len(predicted.classes), bool)
    is_part[explained.parts] = True
    split[true.component[is_part[predicted.component] & regions.right & ~regions.ignored]] = True
    blamed += [(MERGE, true, merged), (SPLIT, true, split)]
    row = {MISSED: "missed", CONFUSED: "confused", FALSE: "false", MERGE: "merged", SPLIT: "split"}
    counted = [("true", true, true.pixels > 0), ("found", true, explained.found)]
    counted.append(("predicted", predicted, predicted.pixels > 0))
    counted += [(row[code], side, which) for code, side, which in blamed]
    objects = np.zeros((len(OBJECT_ROWS), classes, len(SIZES)), np.int64)
    for name, side, which in counted:
        ids = np.flatnonzero(which & (side.pixels > 0) & (side.classes != ground))
        cell = side.classes[ids] * len(SIZES) + size_of(side.pixels[ids])
        objects[OBJECT_ROWS.index(name)] = np.bincount(
            cell, minlength=classes * len(SIZES)
        ).reshape(classes, len(SIZES))
    records = [_records(explained, one, ground) for one in blamed]
    return objects, ObjectRecords(np.concatenate(records))


def _records(
    explained: Explained, objects: _Objects, ground: int
) -> Int[np.ndarray, "objects numbers"]:
    regions, (code, side, which) = explained.regions, objects
    ids = np.flatnonzero(which & (side.pixels > 0) & (side.classes != ground))
    if not len(ids):
        return ObjectRecords().numbers
    index = np.full(len(side.classes), -1)
    index[ids] = np.arange(len(ids))
    group = index[side.component]
    # The class that most of it has in the other map: the last of its entries by pixels.
    other = regions.predicted if side is explained.true else regions.true
    members = np.flatnonzero((group >= 0) & ~regions.ignored)
    size = int(other.max()) + 1
    keys, number = np.unique(group[members] * size + other[members], return_inverse=True)
    pixels = np.bincount(number, regions.pixels[members])
    most = np.zeros(len(ids), np.int64)
    order = np.lexsort((-keys, pixels))
    most[keys[order] // size] = keys[order] % size
    pair = (side.classes[ids], most) if side is explained.true else (most, side.classes[ids])
    top, left, bottom, right = regions.boxes(group, len(ids)).T
    cause = np.full(len(ids), code - 1)
    columns = (cause, *pair, left, top, right - left, bottom - top, side.pixels[ids])
    return np.stack(columns, 1)


def _distances(
    explained: Explained, label: Integer[np.ndarray, "h w"], rules: ScoreRules, classes: int
) -> Int[np.ndarray, "classes bins"]:
    """Displaced pixels by class and signed distance from the nearest true boundary."""
    regions, bins = explained.regions, 2 * REACH + 1
    total = np.zeros(classes * bins)
    places, of = regions.places(explained.cause == DISPLACED)
    bridged = explained.bridged()
    taken = explained.cause[bridged] == DISPLACED
    # Pixels of bridges count as their region does, and are then taken away.
    places = np.concatenate([places, explained.places[taken]])
    of = np.concatenate([of, bridged[taken]])
    weights = np.ones(len(places))
    weights[len(places) - np.count_nonzero(taken) :] = -1
    height, width = label.shape
    for top in range(0, height, _TILE[0]) if len(places) else ():
        rows = slice(top, min(height, top + _TILE[0]))
        here = np.flatnonzero((places >= top * width) & (places < rows.stop * width))
        if not len(here):
            continue
        steps = _steps(label, regions.paint(explained.cause == DISPLACED, rows), rows, rules)
        steps = steps.reshape(-1)[places[here] - top * width].astype(np.int64)
        for sign, values in ((1, regions.predicted), (-1, regions.true)):
            cell = (values * bins + REACH)[of[here]] + sign * steps
            total += np.bincount(cell, weights[here], len(total))
    return total.reshape(classes, bins).astype(np.int64)


def _steps(
    label: Integer[np.ndarray, "h w"],
    displaced: Bool[np.ndarray, "rows w"],
    rows: slice,
    rules: ScoreRules,
) -> UInt8[np.ndarray, "rows w"]:
    """Pixels that displaced ones are beyond the nearest true boundary, up to `REACH`."""
    steps = np.empty(displaced.shape, np.uint8)
    up = max(0, rows.start - REACH)
    for left in range(0, label.shape[1], _TILE[1]):
        columns = slice(left, left + _TILE[1])
        wanted = displaced[:, columns]
        if not wanted.any():
            continue
        west = max(0, left - REACH)
        inner = _inner(label[up : rows.stop + REACH, west : columns.stop + REACH], rules)
        core = np.s_[rows.start - up : rows.stop - up, left - west : left - west + wanted.shape[1]]
        np.add(_distances_from(inner, wanted, core), 1, out=steps[:, columns])
    return steps


def _distances_from(
    inner: UInt8[np.ndarray, "h w"],
    wanted: Bool[np.ndarray, "rows columns"],
    core: tuple[slice, slice],
) -> UInt8[np.ndarray, "rows columns"]:
    """Rounded distance of wanted pixels from the nearest one that is not inner, below `REACH`.

    They are those of the core; what surrounds it is as wide as `REACH`, or ends with the map.
    """
    distance, far = inner[core].copy(), inner
    for kernel in _ROUND:
        far = cv2.erode(far, kernel)
        distance += far[core]
    # Few displaced pixels are farther than that, and they stand together.
    beyond = cv2.bitwise_and(far[core], wanted.view(np.uint8))
    x, y, width, height = cv2.boundingRect(beyond)
    if width:
        top, left = core[0].start + y, core[1].start + x
        up, west = max(0, top - REACH), max(0, left - REACH)
        window = inner[up : top + height + REACH, west : left + width + REACH]
        away = np.full(window.shape, REACH, np.uint8)
        if not window.all():
            # Rounds halves to even numbers, and cuts off at 255.
            exact = cv2.distanceTransform(window, cv2.DIST_L2, cv2.DIST_MASK_5)
            away = cv2.convertScaleAbs(exact)
        box = np.s_[y : y + height, x : x + width]
        distance[box] = np.minimum(away[top - up :, left - west :][:height, :width], REACH - 1)
    return distance


def _inner(label: Integer[np.ndarray, "h w"], rules: ScoreRules) -> UInt8[np.ndarray, "h w"]:
    """1 where no pixel beside is of another class; ignored ones are of none."""
    ignored = ignored_pixels(label, rules)
    if label.dtype == np.uint8:
        # Beside another class the highest and the lowest class around differ.
        hidden, ids = np.negative(ignored.view(np.uint8)), label.view(np.uint8)
        high, low = cv2.dilate(ids & ~hidden, _CROSS), cv2.erode(ids | hidden, _CROSS)
        inner = ((high == low) | ignored).view(np.uint8)
    else:
        inner = np.ones(label.shape, np.uint8)
        for axis in (0, 1):
            size = label.shape[axis]
            before, after = (np.s_[: size - 1], np.s_[1:])
            if axis:
                before, after = (slice(None), before), (slice(None), after)
            same = (label[before] == label[after]) | ignored[before] | ignored[after]
            inner[before] &= same
            inner[after] &= same
    return inner
