"""Pixels that join two components into one: those of merges, and of splits the other way around.

An *extra* region of a class is a connected set of wrong pixels that are predicted as it. Where it
touches two true components of the class, the prediction makes them one. Seldom is all of the region
to blame: objects that are predicted two pixels too large touch where they are close, and what joins
them is a small part of a rim that is displaced. So pixels are told apart:

    with a(x) <= b(x) the distances from pixel x to the nearest two of the joined components, and
    e(x) the distance to the *middle*, the pixels of the region where b - a <= 1.5,
    x belongs to the bridge where  e(x) <= 1.2 (b(x) - a(x)) / 2 + 1.5.

On the straight way from one component to the other, e = (b - a) / 2; a pixel of a rim is farther
from the middle than that. The rule knows no width and no length: both a line of one pixel over 40
and a wide one over 3 are bridges.

What is joined has to be worth the name: each of the components is right in three quarters of its
pixels, and has at least a twentieth of the region's. (The branches of a tree are a hundred
components, and a crown that is drawn a little too large would merge them all.)

A split is a merge with the maps exchanged: a *missing* region joins, in the truth, components that
the prediction parts. Its true component has to be found in half of its pixels: of what little is
left of an object nobody says that it was cut.

Where a pixel is in both a merge and a split (whoever joins two pieces of grass across a path cuts
the path), it belongs to the one whose two largest parts are more even in size: a path that loses
a corner was not split.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from segalias_jax.scoring.components import Regions, connected
from segalias_jax.typing import Bool, Int

_SURE, _PART = 0.75, 20
_TIMES, _SLACK, _EVEN = 1.2, 1.5, 1.5
# A region whose box is larger is taken for a displaced boundary as a whole: memory is bounded.
_BOX_PIXELS = 1 << 24
# With many components at hand, distances from each are measured up to so many pixels around it.
_FEW, _WINDOW = 3, 32
_FAR = 1e6


@dataclasses.dataclass(frozen=True)
class Side:
    """Components of one of the two maps.

    Attributes:
      values: class of each region in this map.
      component: of each region.
      classes: of each component.
      pixels: of each component, those that count.
      right: those of them that are right.
    """

    values: Int[np.ndarray, " regions"]
    component: Int[np.ndarray, " regions"]
    classes: Int[np.ndarray, " components"]
    pixels: Int[np.ndarray, " components"]
    right: Int[np.ndarray, " components"]

    @classmethod
    def of(cls, regions: Regions, values: Int[np.ndarray, " regions"]) -> Side:
        """Finds the components of a map: `regions.true` or `regions.predicted`."""
        component = regions.components(values)
        count = int(component.max(initial=-1)) + 1
        classes = np.empty(count, np.int64)
        classes[component] = values
        pixels = np.bincount(component, regions.pixels, count).astype(np.int64)
        right = np.bincount(component, regions.pixels * regions.right, count).astype(np.int64)
        return cls(values, component, classes, pixels, right)


@dataclasses.dataclass(frozen=True)
class Bridges:
    """What joins components.

    Attributes:
      places: pixels y * width + x, in ascending order.
      evenness: size of the second largest of the joined components over that of the largest, at
        each pixel.
      joined: components that are joined to others.
    """

    places: Int[np.ndarray, " pixels"]
    evenness: np.ndarray
    joined: Int[np.ndarray, " components"]


def find_bridges(
    regions: Regions, own: Side, other: Side, among: Bool[np.ndarray, " regions"]
) -> Bridges:
    """Finds the pixels of extra regions that join components.

    Args:
      regions: of the maps.
      own: the true components for merges, the predicted ones for splits.
      other: those of the other map.
      among: wrong regions that may be parts of a bridge.

    Returns:
      The bridges.
    """
    extra, number, component = _joining(regions, own, other, among)
    first = np.flatnonzero(np.diff(number, prepend=-1))
    places, evenness, joined = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0, np.int64)]
    if len(first):
        ids = number[first]
        index = np.full(extra.max() + 1, -1)
        index[ids] = np.arange(len(ids))
        group = np.where(extra >= 0, index[extra], -1)
        boxes = regions.boxes(group, len(ids))
        touched, which = np.unique(component, return_inverse=True)
        place = np.full(len(own.classes), -1)
        place[touched] = np.arange(len(touched))
        own_boxes = regions.boxes(place[own.component], len(touched))
        for i, entries in enumerate(np.split(np.arange(len(number)), first[1:])):
            ends = component[entries]
            found = _bridge(
                regions, group == i, own.component, ends, boxes[i], own_boxes[which[entries]]
            )
            if len(found):
                small, large = np.sort(own.pixels[ends])[-2:]
                places.append(found)
                evenness.append(np.full(len(found), small / large))
                joined.append(ends)
    all_places = np.concatenate(places)
    order = np.argsort(all_places)
    return Bridges(
        all_places[order], np.concatenate(evenness)[order], np.unique(np.concatenate(joined))
    )


def _joining(
    regions: Regions,
    own: Side,
    other: Side,
    among: Bool[np.ndarray, " regions"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of the extra region of each region, and pairs of those and what they join."""
    u, v, _ = regions.around_wrong
    values = other.values
    keep = among[u] & (values[u] == values[v])
    u, v = u[keep], v[keep]
    inner = among[v]
    extra = np.where(among, connected(len(values), u[inner], v[inner]), -1)
    sizes = np.bincount(extra[among], regions.pixels[among], len(values))
    sure = (own.right >= _SURE * own.pixels) & (own.right > 0)
    touched = own.component[v]
    keep = regions.right[v] & sure[touched]
    keep &= _PART * own.pixels[touched] >= sizes[extra[u]]
    key = np.unique(extra[u[keep]] * len(own.classes) + touched[keep])
    number, component = np.divmod(key, max(1, len(own.classes)))
    several = np.bincount(number, minlength=1)[number] > 1
    return extra, number[several], component[several]


def _bridge(
    regions: Regions,
    members: Bool[np.ndarray, " regions"],
    component: Int[np.ndarray, " regions"],
    ends: Int[np.ndarray, " ends"],
    box: Int[np.ndarray, " 4"],
    boxes: Int[np.ndarray, "ends 4"],
) -> Int[np.ndarray, " pixels"]:
    """Pixels of one extra region, the members, that join some components, its ends."""
    top, left, bottom, right = box.tolist()
    top, left = max(0, top - 2), max(0, left - 2)
    bottom, right = min(regions.height, bottom + 2), min(regions.width, right + 2)
    empty = np.zeros(0, np.int64)
    if (bottom - top) * (right - left) > _BOX_PIXELS:
        return empty
    # One byte a pixel: ends are numbered from 1 on, the members after them.
    code = np.zeros(int(component.max()) + 1, np.min_scalar_type(len(ends) + 1))
    code[ends] = np.arange(1, len(ends) + 1)
    codes = code[component]
    codes[members] = len(ends) + 1
    crop = regions.paint(codes, slice(top, bottom))[:, left:right]
    inside = crop == len(ends) + 1
    y, x = np.nonzero(inside)
    a = np.full(crop.shape, _FAR, np.float32)
    b = a.copy()
    for end, (up, west, down, east) in enumerate(boxes.tolist(), 1):
        rows = columns = slice(None)
        if len(ends) > _FEW:
            rows = slice(max(0, up - top - _WINDOW), max(0, down - top + _WINDOW))
            columns = slice(max(0, west - left - _WINDOW), max(0, east - left + _WINDOW))
        away = _distance(crop[rows, columns] != end)
        np.minimum(b[rows, columns], np.maximum(a[rows, columns], away), out=b[rows, columns])
        np.minimum(a[rows, columns], away, out=a[rows, columns])
    apart = b - a
    middle = inside & (apart <= _EVEN) & (b < _FAR)
    if not middle.any():
        return empty
    hit = _distance(~middle)[y, x] <= _TIMES / 2 * apart[y, x] + _SLACK
    return (y[hit] + top) * regions.width + x[hit] + left


def _distance(mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    """Distance of set pixels from one that is not, the same for a flipped mask."""
    if not mask.size or mask.all():
        return np.full(mask.shape, _FAR, np.float32)
    return cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
