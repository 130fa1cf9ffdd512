"""Connected regions of two maps at once, found from runs of equal pixels instead of pixels.

A *region* is a connected set of pixels that have one true and one predicted class. Everything that
`causes` asks (true components, predicted components, who touches whom and how far) is a question
about regions, of which an image has thousands where it has millions of pixels.

Components have 8-connectivity for every class. Structures of one pixel in width that run diagonally
(cracks, vessels, poles) are one object for the people who draw them, and with 4-connectivity each
would be a hundred; that two classes may then cross at a corner does no harm, because no rule here
takes the outside of one class for the inside of another. Lengths of contact count sides of pixels,
not corners.

Ignored pixels belong to no count. Whether objects are connected under them cannot be known, so the
truth is taken to be what is predicted there: ignored pixels neither join nor part anything that
the prediction does not join or part as well.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring import host_bands
from segalias_jax.scoring.host_bands import ignored_pixels, strips
from segalias_jax.typing import Bool, Int, Integer

# Regions of so many runs take less than a gigabyte.
BAND_RUNS = 1 << 22


@dataclasses.dataclass(frozen=True)
class Regions:
    """Regions of a pair of maps, the runs that they consist of, and their contacts.

    Attributes:
      height: of the maps.
      width: of the maps.
      starts: place y * width + x of the first pixel of each run; runs stand in rows.
      region: of each run.
      true: class of each region; C (no class) where the label is ignored and the prediction is no
        class either.
      predicted: class of each region, C as above.
      ignored: whether a region is ignored.
      pixels: of each region; none where ignored.
      contacts: pairs of regions that touch, each once.
      sides: of pixels along which they touch; 0 where only corners meet.

    Example:
      >>> prediction = np.asarray([[0, 0, 1, 1], [0, 1, 1, 1]])
      >>> label = np.asarray([[0, 0, 1, 1]] * 2)
      >>> find_regions(prediction, label, 2, ScoreRules()).pixels.tolist()
      [3, 4, 1]
    """

    height: int
    width: int
    starts: Int[np.ndarray, " runs"]
    region: Int[np.ndarray, " runs"]
    true: Int[np.ndarray, " regions"]
    predicted: Int[np.ndarray, " regions"]
    ignored: Bool[np.ndarray, " regions"]
    pixels: Int[np.ndarray, " regions"]
    contacts: Int[np.ndarray, "2 contacts"]
    sides: Int[np.ndarray, " contacts"]

    @functools.cached_property
    def ends(self) -> Int[np.ndarray, " runs"]:
        """Place after the last pixel of each run."""
        return np.append(self.starts[1:], self.height * self.width)

    @functools.cached_property
    def right(self) -> Bool[np.ndarray, " regions"]:
        """Regions that are predicted as what they are; ignored ones among them."""
        return self.true == self.predicted

    @functools.cached_property
    def around_wrong(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Wrong regions, what each of them touches, and the sides: an entry for each contact."""
        a, b = self.contacts
        u, v = np.concatenate([a, b]), np.concatenate([b, a])
        keep = np.flatnonzero(~self.right[u])
        return u[keep], v[keep], np.concatenate([self.sides, self.sides])[keep]

    def components(self, values: Integer[np.ndarray, " regions"]) -> Int[np.ndarray, " regions"]:
        """Numbers connected sets of regions of the same value.

        Args:
          values: of each region.

        Returns:
          Number of the set of each region, from 0 on.
        """
        a, b = self.contacts
        same = np.flatnonzero(values[a] == values[b])
        return connected(len(values), a[same], b[same])

    def places(
        self, among: Bool[np.ndarray, " regions"]
    ) -> tuple[Int[np.ndarray, " pixels"], Int[np.ndarray, " pixels"]]:
        """Lists the pixels of some regions.

        Args:
          among: which regions.

        Returns:
          Places y * width + x in ascending order, and the region of each.
        """
        runs = np.flatnonzero(among[self.region])
        starts = self.starts[runs]
        lengths = self.ends[runs] - starts
        shift = starts - np.cumsum(lengths) + lengths
        places = np.arange(lengths.sum()) + np.repeat(shift, lengths)
        return places, np.repeat(self.region[runs], lengths)

    def paint(self, values: np.ndarray, rows: slice) -> np.ndarray:
        """Lays a value of each region out as pixels.

        Args:
          values: of each region.
          rows: of the map, which bound the memory that this takes.

        Returns:
          Array [rows, width].
        """
        first, last = np.searchsorted(
            self.starts, (rows.start * self.width, rows.stop * self.width)
        )
        ends = np.append(self.starts[first + 1 : last], rows.stop * self.width)
        runs = values[self.region[first:last]]
        return np.repeat(runs, ends - self.starts[first:last]).reshape(-1, self.width)

    def boxes(self, group: Int[np.ndarray, " regions"], count: int) -> Int[np.ndarray, "groups 4"]:
        """Finds the bounding boxes of groups of regions.

        Args:
          group: of each region; -1: none.
          count: number of groups.

        Returns:
          Top, left, bottom, right of each group; bottom and right are outside.
        """
        number = group[self.region]
        runs = np.flatnonzero(number >= 0)
        number, starts, ends = number[runs], self.starts[runs], self.ends[runs]
        boxes = np.empty((count, 4), np.int64)
        boxes[:, :2], boxes[:, 2:] = self.height * self.width, 0
        top, left = np.divmod(starts, self.width)
        np.minimum.at(boxes[:, 0], number, top)
        np.minimum.at(boxes[:, 1], number, left)
        np.maximum.at(boxes[:, 2], number, top + 1)
        np.maximum.at(boxes[:, 3], number, left + ends - starts)
        return boxes


def find_regions(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    num_classes: int,
    rules: ScoreRules,
) -> Regions:
    """Finds the regions of a pair of maps.

    Args:
      prediction: predicted class ids.
      label: true labels.
      num_classes: C.
      rules: which labels are ignored, and how class 0 is written.

    Returns:
      The regions.

    Raises:
      InputError: shapes differ, or a counted value is no class.

    Example:
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> find_regions(ids, ids, 2, ScoreRules()).true.tolist()
      [0, 1]
    """
    if prediction.shape != label.shape:
        raise InputError(f"prediction of shape {prediction.shape}, label of shape {label.shape}")
    height, width = label.shape
    starts = _run_starts(prediction, label)
    stored = label.reshape(-1)[starts].astype(np.int64)
    predicted = prediction.reshape(-1)[starts].astype(np.int64)
    ignored = ignored_pixels(stored, rules)
    true = stored - int(rules.reduce_zero_label)
    stray = (true < 0) | (true >= num_classes)
    if stray.any():
        _refuse_stray("label", stored, stray & ~ignored)
    stray = (predicted < 0) | (predicted >= num_classes)
    if stray.any():
        _refuse_stray("prediction", predicted, stray & ~ignored)
        predicted[stray] = num_classes
    if ignored.any():
        np.copyto(true, predicted, where=ignored)
    joint = (true * (num_classes + 1) + predicted) * 2 + ignored
    a, b, sides = _touching(starts, height, width)
    same = joint[a] == joint[b]
    inner, between = np.flatnonzero(same), np.flatnonzero(~same)
    region = connected(len(starts), a[inner], b[inner])
    lengths = np.diff(starts, append=height * width)
    count = int(region.max(initial=-1)) + 1
    of_region = np.empty(count, np.int64)
    of_region[region] = joint
    true, predicted = np.divmod(of_region >> 1, num_classes + 1)
    ignored = (of_region & 1).astype(bool)
    pixels = np.bincount(region, lengths, count).astype(np.int64)
    pixels[ignored] = 0
    contacts, sides = _each_once(region[a[between]], region[b[between]], sides[between], count)
    return Regions(
        height=height,
        width=width,
        starts=starts,
        region=region,
        true=true,
        predicted=predicted,
        ignored=ignored,
        pixels=pixels,
        contacts=contacts,
        sides=sides,
    )


def _refuse_stray(
    name: str, ids: Int[np.ndarray, " runs"], stray: Bool[np.ndarray, " runs"]
) -> None:
    if stray.any():
        raise InputError(f"{name} holds {ids[stray][0]}, which is no class and not ignored")


def _each_once(
    a: Int[np.ndarray, " all"],
    b: Int[np.ndarray, " all"],
    sides: Int[np.ndarray, " all"],
    count: int,
) -> tuple[Int[np.ndarray, "2 contacts"], Int[np.ndarray, " contacts"]]:
    """Adds up contacts of the same two regions: there are as many as there are runs."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = _order(high, count)
    order = order[_order(low[order], count)]
    low, high = low[order], high[order]
    first = np.flatnonzero((np.diff(low, prepend=-1) != 0) | (np.diff(high, prepend=-1) != 0))
    return np.stack([low[first], high[first]]), np.add.reduceat(sides[order], first)


def _order(values: Int[np.ndarray, " all"], count: int) -> Int[np.ndarray, " all"]:
    """Stable order of numbers below `count`; NumPy sorts those of 16 bits by radix."""
    return np.argsort(values.astype(np.uint16) if count <= 1 << 16 else values, kind="stable")


def bands(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    runs: int | None = None,
) -> list[slice]:
    """Cuts maps into rows of a bounded number of runs, which bounds the memory that regions take.

    Maps that people draw or networks predict stay whole, up to 16384x16384 pixels and more; noise
    of such a size does not, and its components end at the cuts.

    Args:
      prediction: predicted class ids.
      label: true labels.
      runs: of a band, unless a single strip has more; None: `BAND_RUNS`.

    Returns:
      Ranges of rows.

    Example:
      >>> ids = np.arange(12).reshape(4, 3)
      >>> bands(ids, ids, 6)
      [slice(0, 4, None)]
    """
    height, width = label.shape
    limit = BAND_RUNS if runs is None else runs
    if prediction.shape != label.shape or label.size <= max(limit, host_bands.STRIP_PIXELS):
        return [slice(0, height)]
    found, top, held = [], 0, 0
    for rows in strips(height, width):
        count = np.count_nonzero(label[rows, 1:] != label[rows, :-1])
        count += np.count_nonzero(prediction[rows, 1:] != prediction[rows, :-1])
        if held and held + count > limit:
            found.append(slice(top, rows.start))
            top, held = rows.start, 0
        held += count
    return [*found, slice(top, height)]


def _run_starts(
    prediction: Integer[np.ndarray, "h w"], label: Integer[np.ndarray, "h w"]
) -> Int[np.ndarray, " runs"]:
    """Places where either map differs from the pixel to the left, and where rows begin."""
    height, width = label.shape
    found = []
    for rows in strips(height, width):
        change = np.ones(label[rows].shape, bool)
        np.not_equal(label[rows, 1:], label[rows, :-1], out=change[:, 1:])
        change[:, 1:] |= prediction[rows, 1:] != prediction[rows, :-1]
        found.append(np.flatnonzero(change) + rows.start * width)
    return np.concatenate(found)


def _touching(
    starts: Int[np.ndarray, " runs"], height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of runs that touch by a side or a corner, and the length of their contact."""
    runs = np.arange(len(starts))
    heads = starts % width == 0
    inner = runs[1:][~heads[1:]]
    # The runs below a run follow each other, from the one below the pixel left of its start to the
    # one below the start of the next run.
    upper = runs[: np.searchsorted(starts, (height - 1) * width)]
    below = np.searchsorted(starts, starts[upper] + width, "right") - 1
    begins = starts[below] == starts[upper] + width
    first = below - (begins & ~heads[upper])
    last = np.append(below[1:], len(starts) - 1)[: len(upper)]
    last = last - np.append(heads[upper][1:], False)
    count = last - first + 1
    a = np.repeat(upper, count)
    b = np.arange(len(a)) + np.repeat(first - np.cumsum(count) + count, count)
    ends = np.append(starts[1:], height * width)
    sides = np.minimum(ends[a] + width, ends[b]) - np.maximum(starts[a] + width, starts[b])
    return (
        np.concatenate([a, inner - 1]),
        np.concatenate([b, inner]),
        np.concatenate([np.maximum(sides, 0), np.ones(len(inner), np.int64)]),
    )


def connected(
    count: int, a: Int[np.ndarray, " edges"], b: Int[np.ndarray, " edges"]
) -> Int[np.ndarray, " nodes"]:
    """Numbers the connected components of a graph.

    Every root takes the lowest root next to it, and chains are shortened by pointer jumping; a few
    rounds are enough, whatever the number of nodes.

    Args:
      count: number of nodes.
      a: one end of each edge.
      b: the other.

    Returns:
      Number of the component of each node, from 0 on, in order of their lowest nodes.

    Example:
      >>> connected(5, np.asarray([3, 1]), np.asarray([1, 0])).tolist()
      [0, 0, 1, 0, 2]
    """
    nodes = np.arange(count)
    root = nodes.copy()
    while len(a):
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while True:
            higher = root[root]
            if not (higher != root).any():
                break
            root = higher
        a, b = root[a], root[b]
        apart = a != b
        a, b = a[apart], b[apart]
    number = np.cumsum(root == nodes) - 1
    return number[root]
