"""Why pixels are wrong: every wrong pixel has exactly one of seven causes.

T is a true component (connected pixels of one true class), P a predicted one. |T|, |P| are their
counted pixels; T is *found* where at least `coverage` of |T| is predicted as its class, P is
*confirmed* where at least `coverage` of |P| truly is its class. Something thin that is displaced
covers nothing of itself: T is found as well where `coverage` of it (three fifths, if it is compact
and not a strip or a net) lies within `reach` pixels of extra pixels of its class or of what was
found of T; P likewise with missing ones. A background, where there is one, is always found and
always confirmed: it is no object.

A wrong pixel of T and P (that is, of true class t and predicted class p != t) is

1. of T not found, P confirmed: a *missed object* where the prediction runs across the outline of T
   (along more than a third of it, P goes on outside of T), or p is the background; else *class
   confusion*: the outline is drawn, the name is wrong;
2. of T found, P not confirmed: a *false object* where the truth runs across more than half of the
   outline of P, or t is the background; else class confusion;
3. of neither: class confusion where T and P share half of each or neither map runs across the
   other's outline; else a missed or a false object, by the outline that is run across;
4. an *interior hole* where P touches nothing but T and shows what is behind it: p is the
   background, or the class that surrounds T most (unless T is half of the image), or T is less than
   a twentieth of the image and P a hundredth of T or more; and likewise where P fills a hole
   through which background is seen;
5. of both: a *merge* or a *split* where the pixel is part of a bridge (see `bridges`); a missed or
   a false object where a thick region hangs on to the rest of its class by a neck (area above the
   square of its contact: one of two cells that touch); else *displacement*.

Missed and false, and merge and split, are each other's counterparts when the maps are exchanged.
Everything left over is a displaced boundary, and its histogram of distances says by how much.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import IGNORED, ScoreRules
from segalias_jax.scoring.bridges import Side, find_bridges
from segalias_jax.scoring.cause_counts import (
    CONFUSED,
    DISPLACED,
    FALSE,
    HOLE,
    MERGE,
    MISSED,
    SPLIT,
)
from segalias_jax.scoring.components import Regions, connected, find_regions
from segalias_jax.scoring.host_bands import strips
from segalias_jax.typing import Bool, Int, Integer, Shaped, UInt8

# Fraction of something compact and displaced that has to be near pixels of its class: a corner that
# is left of a disc is near to a large part of it.
_NEAR = 0.6
# Square of the outline over the area: 16 of a square, 4 a of a strip whose sides have ratio a.
_LONG = 40
# Classes that are looked for at once, as bits. Zones are that small because memory for larger ones
# is fetched from the system each time, which takes longer than all else that is done with them.
_WORD, _ZONE_PIXELS = 64, 1 << 16


@dataclasses.dataclass(frozen=True)
class CauseSettings:
    """What separates the causes.

    Attributes:
      coverage: fraction of a true component that must be predicted as its class for it to be found,
        and of a predicted one that must be true for it to be confirmed.
      reach: pixels by which something thin may be displaced and still be found; 0: none.
      background: class that is no object; None: class 0 of two classes, none of more.

    Example:
      >>> CauseSettings(coverage=2)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: coverage: 2 is no fraction above 0 and up to 1
    """

    coverage: int | float = 0.25
    reach: int = 5
    background: int | None = None

    def __post_init__(self):
        """Raises `InputError` for numbers out of range."""
        if not 0 < self.coverage <= 1:
            raise InputError(f"coverage: {self.coverage} is no fraction above 0 and up to 1")
        if self.reach < 0:
            raise InputError(f"reach: {self.reach} must be 0 pixels or more")

    def ground(self, num_classes: int) -> int:
        """Returns the class of the background; -1: there is none.

        Raises:
          InputError: the background is no class.
        """
        if self.background is None:
            return 0 if num_classes == 2 else -1
        if not 0 <= self.background < num_classes:
            raise InputError(
                f"background: {self.background} is no class; classes are 0 to {num_classes - 1}"
            )
        return self.background


@dataclasses.dataclass(frozen=True)
class Explained:
    """Causes of a pair of maps: of regions, and of the pixels of bridges.

    Attributes:
      regions: of the maps.
      true: true components.
      predicted: predicted components.
      found: whether each true component is found.
      cause: of each region, as in a map of causes.
      places: pixels y * width + x that are part of a bridge, in ascending order.
      codes: their causes, in place of that of their region.
      merged: true components that are merged.
      parts: predicted components that are parts of a split one.
    """

    regions: Regions
    true: Side
    predicted: Side
    found: Bool[np.ndarray, " components"]
    cause: UInt8[np.ndarray, " regions"]
    places: Int[np.ndarray, " pixels"]
    codes: UInt8[np.ndarray, " pixels"]
    merged: Int[np.ndarray, " merged"]
    parts: Int[np.ndarray, " parts"]

    def paint(self, rows: slice) -> UInt8[np.ndarray, "rows width"]:
        """Returns the map of causes of some rows."""
        causes = self.regions.paint(self.cause, rows)
        start = rows.start * self.regions.width
        first, last = np.searchsorted(self.places, (start, rows.stop * self.regions.width))
        causes.reshape(-1)[self.places[first:last] - start] = self.codes[first:last]
        return causes

    def bridged(self) -> Int[np.ndarray, " pixels"]:
        """Returns the region of each pixel of a bridge."""
        runs = np.searchsorted(self.regions.starts, self.places, "right") - 1
        return self.regions.region[runs]


def explain(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    rules: ScoreRules,
    num_classes: int,
    settings: CauseSettings,
) -> Explained:
    """Finds the causes of a pair of maps, without laying them out as pixels.

    Args:
      prediction: predicted class ids.
      label: true labels.
      rules: which labels are ignored, and how class 0 is written.
      num_classes: C.
      settings: what separates the causes.

    Returns:
      The causes.

    Raises:
      InputError: shapes differ, or a value is no class.
    """
    ground = settings.ground(num_classes)
    regions = find_regions(prediction, label, num_classes, rules)
    true, predicted = Side.of(regions, regions.true), Side.of(regions, regions.predicted)
    found, confirmed = _met(regions, (true, predicted), ground, settings)
    cause = np.where(regions.ignored, IGNORED, 0).astype(np.uint8)
    wrong = np.flatnonzero(~regions.right)
    empty = np.zeros(0, np.int64)
    if not len(wrong):
        return Explained(
            regions, true, predicted, found, cause, empty, empty.astype(np.uint8), empty, empty
        )
    cause[wrong] = _causes(regions, true, predicted, found, confirmed, ground)
    displaced = cause == DISPLACED
    # What is drawn right in part may also be swallowed by a bridge, or imagined by a cut.
    open_ = displaced | ((cause == MISSED) & (true.right > 0)[true.component])
    merges = find_bridges(regions, true, predicted, open_ & (predicted.values != ground))
    open_ = displaced | ((cause == FALSE) & (predicted.right > 0)[predicted.component])
    open_ |= cause == HOLE
    open_ &= (2 * true.right >= true.pixels)[true.component] & (true.values != ground)
    splits = find_bridges(regions, predicted, true, open_)
    places = np.concatenate([merges.places, splits.places])
    codes = np.repeat(
        np.asarray([MERGE, SPLIT], np.uint8), [len(merges.places), len(splits.places)]
    )
    # Bridges join objects of all sizes; what a cut parts is rather even.
    evenness = np.concatenate([np.sqrt(merges.evenness), splits.evenness])
    order = np.lexsort((codes, -evenness, places))
    order = order[np.diff(places[order], prepend=-1) > 0]
    explained = Explained(
        regions,
        true,
        predicted,
        found,
        cause,
        places[order],
        codes[order],
        merges.joined,
        splits.joined,
    )
    joining = np.zeros(len(cause), bool)
    joining[explained.bridged()] = True
    for other, code in ((predicted, FALSE), (true, MISSED)):
        hung = _hanging(regions, other.values, displaced & ~joining, settings.reach)
        cause[hung & (other.values != ground) & (cause == DISPLACED)] = code
        if code == FALSE:
            cause[hung & (other.values == ground)] = HOLE
    return explained


def _met(
    regions: Regions, sides: tuple[Side, Side], ground: int, settings: CauseSettings
) -> tuple[Bool[np.ndarray, " true"], Bool[np.ndarray, " predicted"]]:
    """Whether true components are found and predicted ones confirmed."""
    true, predicted = (
        (own.classes == ground) | (own.right >= settings.coverage * own.pixels) for own in sides
    )
    if settings.reach:
        near = _near(regions, sides, (~true, ~predicted), settings.reach)
        for own, met, pixels in zip(sides, (true, predicted), near, strict=True):
            least = np.where(
                _is_long(regions, own), settings.coverage, max(settings.coverage, _NEAR)
            )
            met |= pixels >= np.maximum(least * own.pixels, 1)
    return true, predicted


def _is_long(regions: Regions, side: Side) -> Bool[np.ndarray, " components"]:
    """Whether components are strips or nets rather than compact."""
    a, b = (side.component[one] for one in regions.contacts)
    sides = regions.sides * (a != b)
    count = len(side.classes)
    outline = np.bincount(a, sides, count) + np.bincount(b, sides, count)
    return outline**2 >= _LONG * side.pixels


def _near(
    regions: Regions,
    sides: tuple[Side, Side],
    lone: tuple[Bool[np.ndarray, " true"], Bool[np.ndarray, " predicted"]],
    reach: int,
) -> list[Int[np.ndarray, " components"]]:
    """Pixels of lone components near pixels of their class that the other map has and this not.

    Right pixels are the other's own where they are of the component itself: else an object that
    was missed would be found in its neighbor.
    """
    near = [np.zeros(len(own.classes), np.int64) for own in sides]
    nothing = int(max(own.values.max(initial=0) for own in sides)) + 1
    asked, shown, bits = [], [], []
    for k, (own, other) in enumerate(zip(sides, sides[::-1], strict=True)):
        among = lone[k][own.component] & ~regions.ignored
        asking = np.where(among, own.values, nothing)
        showing = np.where(regions.right, asking, other.values)
        present = np.zeros((2, nothing + 1), bool)
        present[0, asking] = present[1, showing] = True
        bits.append(np.flatnonzero((present[0] & present[1])[:nothing]) + k * (nothing + 1))
        asked.append(asking + k * (nothing + 1))
        shown.append(showing + k * (nothing + 1))
    # Each class of either map is a bit, so that all of them are spread at once.
    used = np.concatenate(bits)
    for first in range(0, len(used), _WORD):
        some = used[first : first + _WORD]
        kind = np.min_scalar_type((1 << len(some)) - 1)
        table = np.zeros(2 * (nothing + 1), kind)
        table[some] = np.left_shift(np.ones(1, kind), np.arange(len(some), dtype=kind))
        wanted, given = (table[one[0]] | table[one[1]] for one in (asked, shown))
        halves = [np.bitwise_or.reduce(half) for half in np.split(table, 2)]
        counts = _count_near(regions, wanted, given, halves, reach)
        for own, found, pixels in zip(sides, near, counts, strict=True):
            found += np.bincount(own.component, pixels, len(found)).astype(np.int64)
    return near


def _count_near(
    regions: Regions,
    wanted: Shaped[np.ndarray, " regions"],
    given: Shaped[np.ndarray, " regions"],
    masks: Sequence[np.integer],
    reach: int,
) -> Int[np.ndarray, "masks regions"]:
    """Pixels of each region with one of its wanted bits of a mask given within reach."""
    height, width = regions.height, regions.width
    counts = np.zeros((len(masks), len(wanted)), np.int64)
    for rows in strips(height, width, max(_ZONE_PIXELS, 4 * reach * width)):
        first, last = np.searchsorted(regions.starts, (rows.start * width, rows.stop * width))
        runs = first + np.flatnonzero(wanted[regions.region[first:last]])
        if not len(runs):
            continue
        starts = regions.starts[runs]
        lengths = regions.ends[runs] - starts
        y, x = np.divmod(starts, width)
        top, bottom, left, right = y[0], y[-1] + 1, x.min(), (x + lengths).max()
        # The box of what asks and its surroundings: windows of rows of it never leave a row.
        zone = np.zeros((bottom - top + 2 * reach, right - left + 2 * reach), wanted.dtype)
        up, down = max(0, top - reach), min(height, bottom + reach)
        west, east = max(0, left - reach), min(width, right + reach)
        inside = np.s_[
            up - top + reach : down - top + reach, west - left + reach : east - left + reach
        ]
        zone[inside] = regions.paint(given, slice(up, down))[:, west:east]
        beside = _spread(zone.reshape(-1), zone.shape[1], 2 * reach + 1)
        beside = _spread(beside, 1, 2 * reach + 1)
        ends = np.cumsum(lengths)
        first_pixels = ends - lengths
        begins = (y - top) * zone.shape[1] + x - left
        places = np.arange(ends[-1]) + np.repeat(begins - first_pixels, lengths)
        of = regions.region[runs]
        hits = beside[places] & np.repeat(wanted[of], lengths)
        for k, mask in enumerate(masks):
            near = ((hits & mask) != 0).view(np.uint8)
            sums = np.add.reduceat(near, first_pixels, dtype=np.int64)
            counts[k] += np.bincount(of, sums, len(wanted)).astype(np.int64)
    return counts


def _spread(words: Shaped[np.ndarray, " words"], step: int, count: int) -> np.ndarray:
    """Bits of `count` words that are a step apart, from each word on."""
    held = 1
    while held < count:
        more = min(held, count - held)
        words = words[: len(words) - more * step] | words[more * step :]
        held += more
    return words


def _causes(
    regions: Regions,
    true: Side,
    predicted: Side,
    found: Bool[np.ndarray, " true"],
    confirmed: Bool[np.ndarray, " predicted"],
    ground: int,
) -> UInt8[np.ndarray, " wrong"]:
    """Causes of wrong regions but for what bridges and necks change."""
    wrong = np.flatnonzero(~regions.right)
    tc, pc = true.component[wrong], predicted.component[wrong]
    t, p = regions.true[wrong], regions.predicted[wrong]
    t_pixels, p_pixels = true.pixels[tc], predicted.pixels[pc]
    u, v, sides = regions.around_wrong
    _, number = np.unique(tc * len(predicted.classes) + pc, return_inverse=True)
    pair = np.zeros(len(regions.true), np.int64)
    pair[wrong] = number

    def total(among: np.ndarray) -> np.ndarray:
        """Sides of the contacts of each pair of components, for each wrong region."""
        return np.bincount(pair[u], sides * among, len(wrong))[number]

    leaves_t = true.component[u] != true.component[v]
    leaves_p = predicted.component[u] != predicted.component[v]
    crossed, outline = total(leaves_t & ~leaves_p), total(leaves_t)
    over_t = 2 * crossed > outline
    over_p = 2 * total(leaves_p & ~leaves_t) > total(leaves_p)
    shared = np.bincount(number, regions.pixels[wrong])[number]
    same = (2 * shared >= t_pixels) & (2 * shared >= p_pixels)
    is_found, is_confirmed = found[tc], confirmed[pc]
    # P touches nothing but T.
    enclosed = predicted.right == 0
    enclosed[predicted.component[u[leaves_t]]] = False
    inside = enclosed[pc]
    around = np.full(len(wrong), -1)
    around[inside] = _surroundings(regions, true, wrong[inside])
    missed = (3 * crossed > outline) | (p == ground)
    false = over_p | (t == ground)
    out = np.full(len(wrong), DISPLACED, np.uint8)
    place = ~is_found & is_confirmed
    out[place] = np.where(missed, MISSED, CONFUSED)[place]
    place = is_found & ~is_confirmed
    out[place] = np.where(false, FALSE, CONFUSED)[place]
    place = ~is_found & ~is_confirmed
    unclear = same | ~(over_t | over_p)
    out[place] = np.where(unclear, CONFUSED, np.where(over_t, MISSED, FALSE))[place]
    if ground >= 0:
        filled = true.right == 0
        filled[true.component[u[leaves_p]]] = False
        behind = (p == ground) & inside | (t == ground) & filled[tc]
    else:
        behind = (p == around) & (2 * t_pixels <= regions.pixels.sum())
        small = (20 * t_pixels < regions.pixels.sum()) & (100 * p_pixels >= t_pixels)
        behind = inside & (behind | small)
    out[behind & is_found | behind & (t == ground)] = HOLE
    return out


def _surroundings(
    regions: Regions, true: Side, wanted: Int[np.ndarray, " wanted"]
) -> Int[np.ndarray, " wanted"]:
    """Class that the true component of each wanted region touches along most sides; -1: none."""
    components, number = np.unique(true.component[wanted], return_inverse=True)
    place = np.full(len(true.classes), -1)
    place[components] = np.arange(len(components))
    classes = int(regions.true.max()) + 1
    table = np.zeros(len(components) * classes)
    for a, b in (regions.contacts, regions.contacts[::-1]):
        row = place[true.component[a]]
        keep = (row >= 0) & (true.component[a] != true.component[b])
        cell = row[keep] * classes + regions.true[b[keep]]
        table += np.bincount(cell, regions.sides[keep], len(table))
    table = table.reshape(-1, classes)
    return np.where(table.max(1) > 0, table.argmax(1), -1)[number]


def _hanging(
    regions: Regions,
    values: Int[np.ndarray, " regions"],
    among: Bool[np.ndarray, " regions"],
    reach: int,
) -> Bool[np.ndarray, " regions"]:
    """Regions of thick parts of a class that hang on to the rest of it by a neck."""
    u, v, sides = regions.around_wrong
    keep = among[u]
    u, v, sides = u[keep], v[keep], sides[keep]
    inner = among[v] & (values[u] == values[v])
    part = connected(len(values), u[inner], v[inner])
    size = len(values)
    area = np.bincount(part[among], regions.pixels[among], size)
    outline = np.bincount(part[u], sides * ~inner, size)
    neck = np.bincount(part[u], sides * (~inner & (values[u] == values[v])), size)
    # A disc has an area of r / 2 times its outline, a strip of w / 2 times.
    thick = 2 * area > reach * outline
    return among & (thick & (area > neck**2))[part]
