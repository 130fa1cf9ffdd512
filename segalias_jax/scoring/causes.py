"""Why pixels are wrong: every wrong pixel has exactly one of seven causes. (draft)"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Int, Integer, UInt8

from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import IGNORED, ScoreRules
from segalias_jax.scoring.cause_counts import (
    CAUSES,
    REACH,
    CauseCounts,
    ObjectRecord,
    size_of,
)
from segalias_jax.scoring.components import Regions, find_regions
from segalias_jax.scoring.host_bands import strips
from segalias_jax.typing import IGNORE_LABEL

MISSED, FALSE, CONFUSED, MERGE, SPLIT, DISPLACED, HOLE = range(1, 8)
_LARGE = 96**2
HALF, SURE, MAJORITY = 1.0, 0.75, 1000
TIMES, SLACK, PART = 1.2, 1.5, 20
_BOX_PIXELS = 1 << 24


@dataclasses.dataclass(frozen=True)
class CauseSettings:
    """What separates the causes.

    Attributes:
      coverage: fraction of a true component that must be predicted as its class for it to be found,
        and of a predicted one that must be true for it to be confirmed.
      reach: pixels by which a thin component may be displaced and still be found.
      background: class that is no object; None: class 0 of two classes, none of more.
    """

    coverage: float = 0.25
    reach: int = 5
    background: int | None = None

    def __post_init__(self):
        """Raises `InputError` for numbers out of range."""
        if not 0 < self.coverage <= 1:
            raise InputError(f"coverage: {self.coverage} is not a fraction above 0, up to 1")
        if self.reach < 0:
            raise InputError(f"reach: {self.reach} must be at least 0 pixels")

    def ground(self, num_classes: int) -> int:
        """Class of the background; -1: none."""
        if self.background is not None:
            return self.background
        return 0 if num_classes == 2 else -1


@dataclasses.dataclass(frozen=True)
class _Side:
    """Components of one of the two maps."""

    component: np.ndarray  # of each region
    classes: np.ndarray  # of each component
    pixels: np.ndarray
    right: np.ndarray
    ground: np.ndarray
    met: np.ndarray  # found or confirmed

    @classmethod
    def of(cls, regions: Regions, values: np.ndarray, right: np.ndarray, ground: int, coverage: float):
        component = regions.components(values)
        count = int(component.max(initial=-1)) + 1
        classes = np.empty(count, np.int64)
        classes[component] = values
        pixels = np.bincount(component, regions.pixels, count)
        covered = np.bincount(component, regions.pixels * right, count)
        is_ground = classes == ground
        met = is_ground | (covered >= coverage * pixels)
        return cls(component, classes, pixels, covered, is_ground, met)


@dataclasses.dataclass(frozen=True)
class _Found:
    """Causes of a pair: of regions, and of single pixels where regions have two."""

    regions: Regions
    true: _Side
    predicted: _Side
    cause: np.ndarray  # of each region
    places: np.ndarray
    codes: np.ndarray
    merged: np.ndarray
    split: np.ndarray

    def paint(self, rows: slice) -> np.ndarray:
        causes = self.regions.paint(self.cause, rows)
        width = self.regions.width
        first, last = np.searchsorted(self.places, (rows.start * width, rows.stop * width))
        causes.reshape(-1)[self.places[first:last] - rows.start * width] = self.codes[first:last]
        return causes


def _explain(regions: Regions, num_classes: int, settings: CauseSettings) -> _Found:
    ground = settings.ground(num_classes)
    right = regions.true == regions.predicted
    true = _Side.of(regions, regions.true, right, ground, settings.coverage)
    predicted = _Side.of(regions, regions.predicted, right, ground, settings.coverage)
    wrong = ~right
    cause = np.where(regions.ignored, IGNORED, 0).astype(np.uint8)
    empty = np.zeros(0, np.int64)
    if not wrong.any():
        none = np.zeros(0, np.int64)
        return _Found(regions, true, predicted, cause, none, none.astype(np.uint8), empty, empty)
    _reach(regions, true, predicted, num_classes, settings)
    w = np.flatnonzero(wrong)
    cause[w] = _of_regions(regions, true, predicted, w, ground, settings)
    places, codes, merged, split = _bridges(regions, true, predicted, cause, ground)
    return _Found(regions, true, predicted, cause, places, codes, merged, split)


def _reach(regions, true, predicted, num_classes, settings):
    """Thin components are met also where they are displaced by a few pixels."""
    reach = settings.reach
    if not reach:
        return
    lone = [np.flatnonzero(~side.met) for side in (true, predicted)]
    if not len(lone[0]) and not len(lone[1]):
        return
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = [np.zeros(len(s.classes)) for s in (true, predicted)]
    right = (regions.true == regions.predicted) & ~regions.ignored
    for c in np.unique(np.concatenate([true.classes[lone[0]], predicted.classes[lone[1]]])):
        for which, (own, values, others) in enumerate(
            ((true, regions.true, regions.predicted), (predicted, regions.predicted, regions.true))
        ):
            ask = ((own.classes == c) & ~own.met)[own.component] & ~regions.ignored
            board = ((others == c) & ~right & ~regions.ignored) | (ask & right)
            if not ask.any() or not board.any():
                continue
            number = np.where(ask, own.component, -1)
            for rows in strips(regions.height, regions.width):
                wide = slice(max(0, rows.start - reach), min(regions.height, rows.stop + reach))
                inner = slice(rows.start - wide.start, rows.stop - wide.start)
                zone = cv2.dilate(regions.paint(board.astype(np.uint8), wide), kernel)[inner]
                met = regions.paint(number, rows)[zone > 0]
                near[which] += np.bincount(met[met >= 0], minlength=len(own.classes))
    for own, pixels in zip((true, predicted), near):
        own.met[:] |= pixels >= np.maximum(settings.coverage * own.pixels, 1)


def _of_regions(regions, true, predicted, w, ground, settings):
    """Cause of each wrong region but for merges and splits."""
    tc, pc = true.component, predicted.component
    u = np.concatenate([regions.contacts[0], regions.contacts[1]])
    v = np.concatenate([regions.contacts[1], regions.contacts[0]])
    sides = np.concatenate([regions.sides, regions.sides])
    keep = regions.true[u] != regions.predicted[u]
    u, v, sides = u[keep], v[keep], sides[keep]
    # pairs (T, P)
    key = tc[w] * len(predicted.classes) + pc[w]
    _, number = np.unique(key, return_inverse=True)
    pair = np.empty(len(regions.true), np.int64)
    pair[w] = number
    count = number.max() + 1

    def total(weights):
        return np.bincount(pair[u], weights, count)[number]

    leaves_t, leaves_p = tc[v] != tc[u], pc[v] != pc[u]
    # fraction of the outline of T (of P) that the other map runs across
    over_t = 2 * total(sides * (leaves_t & ~leaves_p)) > total(sides * leaves_t)
    over_p = 2 * total(sides * (leaves_p & ~leaves_t)) > total(sides * leaves_p)
    both = np.bincount(number, regions.pixels[w], count)[number]
    found, confirmed = true.met[tc[w]], predicted.met[pc[w]]
    t_pixels, p_pixels = true.pixels[tc[w]], predicted.pixels[pc[w]]
    same_shape = (2 * both >= p_pixels) & (2 * both >= t_pixels)
    to_ground = regions.predicted[w] == ground
    of_ground = regions.true[w] == ground
    around = _surroundings(regions, true, tc, w)
    missed = to_ground | over_t | (regions.predicted[w] == around)
    false = of_ground | over_p
    out = np.full(len(w), DISPLACED, np.uint8)
    out[~found & confirmed] = np.where(missed, MISSED, CONFUSED)[~found & confirmed]
    out[found & ~confirmed] = np.where(false, FALSE, CONFUSED)[found & ~confirmed]
    neither = ~found & ~confirmed
    out[neither] = np.where(
        same_shape | ~(over_t | over_p), CONFUSED, np.where(over_t, MISSED, FALSE)
    )[neither]
    # holes
    enclosed_p = np.ones(len(predicted.classes), bool)  # all of P is in one T and touches only it
    one = _only(pc[w], tc[w], len(predicted.classes))
    enclosed_p &= one & (predicted.right == 0)
    enclosed_p[pc[u[leaves_t]]] = False
    inner = enclosed_p[pc[w]]
    small = (t_pixels < _LARGE) & (100 * p_pixels >= t_pixels)
    figure = regions.predicted[w] == around
    if ground >= 0:
        hole = inner & to_ground
    else:
        hole = inner & (figure | small)
    out[hole & ~of_ground] = HOLE
    if ground >= 0:
        enclosed_t = _only(tc[w], pc[w], len(true.classes)) & (true.right == 0)
        enclosed_t[tc[u[leaves_p]]] = False
        out[enclosed_t[tc[w]] & of_ground] = HOLE
    return out


def _only(a, b, count):
    """Whether all b of each a are the same."""
    low, high = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(low, a, b)
    np.maximum.at(high, a, b)
    return low == high


def _surroundings(regions, true, tc, w):
    """Class that more than half of the outline of the true component of each region touches."""
    if not len(w):
        return np.zeros(0, np.int64)
    wanted, number = np.unique(tc[w], return_inverse=True)
    place = np.full(len(true.classes), -1)
    place[wanted] = np.arange(len(wanted))
    u = np.concatenate([regions.contacts[0], regions.contacts[1]])
    v = np.concatenate([regions.contacts[1], regions.contacts[0]])
    sides = np.concatenate([regions.sides, regions.sides])
    keep = (place[tc[u]] >= 0) & (tc[u] != tc[v])
    u, v, sides = u[keep], v[keep], sides[keep]
    n = int(regions.true.max()) + 1
    table = np.bincount(place[tc[u]] * n + regions.true[v], sides, len(wanted) * n).reshape(-1, n)
    best = table.argmax(1)
    best = np.where(MAJORITY * table.max(1) > table.sum(1), best, -1)
    return best[number]


def _bridges(regions, true, predicted, cause, ground):
    """Pixels of merges and splits."""
    none = np.zeros(0, np.int64)
    results = []
    for code, own, other, lost in ((MERGE, true, predicted, (MISSED,)), (SPLIT, predicted, true, (FALSE, HOLE))):
        open_ = cause == DISPLACED
        for k in lost:
            touches = k == HOLE or (own.right > 0)[own.component]
            open_ |= (cause == k) & touches
        if code == SPLIT:
            open_ &= (2 * other.right >= HALF * other.pixels)[other.component]
        # an extra region of class d: displaced regions of one class in `other`
        extra, comps = _joining(regions, own, other, open_, ground)
        results.append((code, own, extra, comps))
    places, codes, figures = [none], [none.astype(np.uint8)], [none]
    joined = []
    for code, own, extra, (number, component) in results:
        hit = []
        order = np.argsort(number, kind="stable")
        number, component = number[order], component[order]
        cuts = np.flatnonzero(np.diff(number, prepend=-1))
        if len(cuts):
            ids = number[cuts]
            index = np.full(int(extra.max()) + 1, -1)
            index[ids] = np.arange(len(ids))
            group = np.where(extra >= 0, index[extra], -1)
            boxes = regions.boxes(group, len(ids))
            for i, comps in enumerate(np.split(component, cuts[1:])):
                place = _bridge_pixels(regions, group == i, own, comps, boxes[i])
                if len(place):
                    places.append(place)
                    codes.append(np.full(len(place), code, np.uint8))
                    sizes = np.sort(own.pixels[comps])
                    figures.append(np.full(len(place), -sizes[-2] / sizes[-1]))
                    hit.append(comps)
        joined.append(np.unique(np.concatenate(hit)) if hit else none)
    places, codes = np.concatenate(places), np.concatenate(codes)
    # the more even one
    order = np.lexsort((codes, np.concatenate(figures), places))
    places, codes = places[order], codes[order]
    keep = np.ones(len(places), bool)
    keep[1:] = places[1:] != places[:-1]
    return places[keep], codes[keep], joined[0], joined[1]


def _joining(regions, own, other, open_, ground):
    """Extra regions (of `other`) that touch two components of `own` or more: (number, component)."""
    values = other.classes[other.component]
    extra = regions.components(values, open_)
    extra = np.where(open_ & (values != ground), extra, -1)
    u = np.concatenate([regions.contacts[0], regions.contacts[1]])
    v = np.concatenate([regions.contacts[1], regions.contacts[0]])
    value = own.classes[own.component]
    sure = (own.right >= SURE * own.pixels) & (own.right > 0)
    keep = (extra[u] >= 0) & (value[v] == values[u]) & (values[v] == values[u]) & sure[own.component[v]]
    key = np.unique(extra[u[keep]] * len(own.classes) + own.component[v[keep]])
    number, component = np.divmod(key, max(1, len(own.classes)))
    size = np.bincount(extra[extra >= 0], regions.pixels[extra >= 0], len(values) + 1)
    large = PART * own.pixels[component] >= size[number]
    number, component = number[large], component[large]
    several = np.bincount(number, minlength=len(values) + 1)[number] > 1
    return extra, (number[several], component[several])


def _bridge_pixels(regions, members, own, comps, box):
    pad = 2
    top, left = max(0, box[0] - pad), max(0, box[1] - pad)
    bottom, right = min(regions.height, box[2] + pad), min(regions.width, box[3] + pad)
    if (bottom - top) * (right - left) > _BOX_PIXELS:
        return np.zeros(0, np.int64)
    values = np.full(len(own.classes), 0)
    values[comps] = np.arange(len(comps)) + 1
    code = np.where(members, -1, values[own.component])
    crop = regions.paint(code, slice(top, bottom))[:, left:right]
    inside = crop == -1
    i, j = np.nonzero(inside)
    near = np.full((2, len(i)), np.inf)
    for k in range(1, len(comps) + 1):
        d = cv2.distanceTransform((crop != k).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[i, j]
        near[1] = np.minimum(near[1], np.maximum(near[0], d))
        near[0] = np.minimum(near[0], d)
    # The line of equal distance from two components, as far as it is in the region.
    middle = np.ones(crop.shape, np.uint8)
    even = near[1] - near[0] <= 1.5
    middle[i[even], j[even]] = 0
    if not even.any():
        return np.zeros(0, np.int64)
    away = cv2.distanceTransform(middle, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[i, j]
    # As near to it as on a straight way from one to the other.
    hit = away <= (near[1] - near[0]) / 2 * TIMES + SLACK
    return (i[hit] + top) * regions.width + j[hit] + left


def error_types(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, "h w"],
    *,
    num_classes: int,
    ignore: int = IGNORE_LABEL,
    coverage: float = 0.25,
    reach: int = 5,
    background: int | None = None,
) -> tuple[UInt8[np.ndarray, "h w"], dict[str, int]]:
    """Gives every wrong pixel its cause.

    Args:
      prediction: predicted class ids.
      label: true labels.
      num_classes: C.
      ignore: label that is in no score.
      coverage: see `CauseSettings`.
      reach: see `CauseSettings`.
      background: see `CauseSettings`.

    Returns:
      Map of 0 where right, 1 + index into `CAUSES` where wrong, `IGNORED` where ignored; and the
      pixels of each cause.
    """
    settings = CauseSettings(coverage, reach, background)
    rules = ScoreRules(ignore_label=ignore)
    _check(prediction, label, num_classes, rules)
    found = _explain(find_regions(prediction, label, num_classes, rules), num_classes, settings)
    causes = np.empty(label.shape, np.uint8)
    for rows in strips(*label.shape):
        causes[rows] = found.paint(rows)
    pixels = np.bincount(causes.reshape(-1), minlength=256)[1 : len(CAUSES) + 1]
    return causes, dict(zip(CAUSES, pixels.tolist(), strict=True))


def _check(prediction, label, num_classes, rules):
    if prediction.shape != label.shape:
        raise InputError(f"prediction of shape {prediction.shape}, label of shape {label.shape}")


def count_causes(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, "h w"],
    rules: ScoreRules,
    num_classes: int,
    settings: CauseSettings | None = None,
) -> CauseCounts:
    """Counts the causes of one pair.

    Args:
      prediction: predicted class ids.
      label: true labels.
      rules: which labels are ignored.
      num_classes: C.
      settings: what separates the causes.

    Returns:
      The counts.
    """
    settings = settings or CauseSettings()
    _check(prediction, label, num_classes, rules)
    regions = find_regions(prediction, label, num_classes, rules)
    found = _explain(regions, num_classes, settings)
    table = np.zeros((len(CAUSES) + 1, num_classes, num_classes), np.int64)
    w = np.flatnonzero((found.cause > 0) & (found.cause <= len(CAUSES)))
    np.add.at(table, (found.cause[w], regions.true[w], regions.predicted[w]), regions.pixels[w])
    run = np.searchsorted(regions.starts, found.places, "right") - 1
    of = regions.region[run]
    np.add.at(table, (found.codes, regions.true[of], regions.predicted[of]), 1)
    np.subtract.at(table, (found.cause[of], regions.true[of], regions.predicted[of]), 1)
    pixels = np.stack([table[1:].sum(2), table[1:].sum(1)], 1)
    counts = CauseCounts.zeros(num_classes)
    objects, records = _objects(found, num_classes)
    return CauseCounts(pixels, objects, _distances(found, num_classes), records)


def _objects(found, num_classes):
    regions, true, predicted = found.regions, found.true, found.predicted
    objects = np.zeros_like(CauseCounts.zeros(num_classes).objects)
    tables = []
    for side, codes in ((true, (MISSED, CONFUSED)), (predicted, (FALSE,))):
        for code in codes:
            pixels = np.bincount(
                side.component, np.where(found.cause == code, regions.pixels, 0), len(side.classes)
            )
            tables.append((side, code, 2 * pixels > side.pixels))
    for side, joined, code in ((true, found.merged, MERGE), (predicted, found.split, SPLIT)):
        flags = np.zeros(len(side.classes), bool)
        flags[joined] = True
        tables.append((side, code, flags))
    # the true objects that were parted
    parted = np.zeros(len(true.classes), bool)
    if len(found.split):
        part = np.isin(predicted.component, found.split) & (regions.true == regions.predicted)
        parted[true.component[part]] = True
    tables[-1] = (true, SPLIT, parted)
    rows = {MISSED: 2, CONFUSED: 3, MERGE: 4, SPLIT: 5, FALSE: 7}
    counted = [(0, true, true.pixels > 0), (1, true, true.met), (6, predicted, predicted.pixels > 0)]
    counted += [(rows[code], side, flags) for side, code, flags in tables]
    for row, side, flags in counted:
        flags = flags & (side.pixels > 0) & ~side.ground
        np.add.at(objects[row], (side.classes[flags], size_of(side.pixels[flags])), 1)
    return objects, tuple(_records(found, tables))


def _records(found, tables) -> Iterator[ObjectRecord]:
    regions = found.regions
    for side, code, flags in tables:
        ids = np.flatnonzero(flags & (side.pixels > 0) & ~side.ground)
        if not len(ids):
            continue
        index = np.full(len(side.classes), -1)
        index[ids] = np.arange(len(ids))
        group = index[side.component]
        boxes = regions.boxes(group, len(ids))
        # what most of it is in the other map
        other = regions.predicted if side is found.true else regions.true
        size = int(other.max()) + 1
        members = np.flatnonzero(group >= 0)
        share = np.zeros((len(ids), size))
        np.add.at(share, (group[members], other[members]), regions.pixels[members])
        most = share.argmax(1)
        for k, i in enumerate(ids):
            own, opposite = int(side.classes[i]), int(most[k])
            if side is found.predicted:
                own, opposite = opposite, own
            top, left, bottom, right = boxes[k].tolist()
            yield ObjectRecord(
                CAUSES[code - 1], own, opposite, left, top, right - left, bottom - top,
                int(side.pixels[i]),
            )


def _distances(found, num_classes):
    """Displaced pixels by class and signed distance."""
    regions = found.regions
    out = np.zeros((num_classes, 2 * REACH + 1), np.int64)
    displaced = found.cause == DISPLACED
    if not displaced.any():
        return out
    classes = np.unique(np.concatenate([regions.true[displaced], regions.predicted[displaced]]))
    for rows in strips(regions.height, regions.width):
        wide = slice(max(0, rows.start - REACH), min(regions.height, rows.stop + REACH))
        inner = slice(rows.start - wide.start, rows.stop - wide.start)
        causes = found.paint(wide)
        true = regions.paint(regions.true, wide)
        predicted = regions.paint(regions.predicted, wide)
        open_ = np.zeros_like(causes, bool)
        open_[inner] = causes[inner] == DISPLACED
        for c in classes:
            is_class = (true == c).astype(np.uint8)
            for sign, mask, board in ((1, predicted == c, 1 - is_class), (-1, true == c, is_class)):
                mask = mask & open_
                if mask.any():
                    d = cv2.distanceTransform(board, cv2.DIST_L2, 5)[mask]
                    d = np.clip(np.rint(d), 1, REACH).astype(np.int64)
                    out[c] += np.bincount(REACH + sign * d, minlength=2 * REACH + 1)
    return out
