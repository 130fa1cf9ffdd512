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
from typing import NamedTuple

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring import host_bands
from segalias_jax.scoring.host_bands import ignored_pixels, strips
from segalias_jax.typing import Bool, Int, Integer

# Regions of so many runs take less than a gigabyte.
BAND_RUNS = 1 << 21
# Fibonacci hashing: the upper bits of the product with 2^64 over the golden ratio.
_HASH, _HASH_BITS = np.uint64(0x9E3779B97F4A7C15), 8


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
    starts, rows_touch = _runs(prediction, label)
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
    inner, between = _sorted_out(joint, rows_touch, _heads(starts, height, width))
    del rows_touch
    region = connected(len(starts), *inner)
    count = int(region.max(initial=-1)) + 1
    upper, lower, sides = between
    contacts, sides = _each_once(region[upper], region[lower], sides, count)
    lengths = np.diff(starts, append=height * width)
    of_region = np.empty(count, np.int64)
    of_region[region] = joint
    true, predicted = np.divmod(of_region >> 1, num_classes + 1)
    ignored = (of_region & 1).astype(bool)
    pixels = np.bincount(region, lengths, count).astype(np.int64)
    pixels[ignored] = 0
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
    """Adds up contacts of the same two regions: there are as many as there are runs.

    Pairs are put into a table of hashes; those whose place another one took wait for the next
    round. Sorting all contacts takes longer.
    """
    keys = np.minimum(a, b)
    keys *= count
    keys += np.maximum(a, b)
    found, sums = [keys[:0]], [sides[:0]]
    while len(keys):
        bits = max(_HASH_BITS, len(keys).bit_length())
        place = ((keys.view(np.uint64) * _HASH) >> np.uint64(64 - bits)).view(np.int64)
        table = np.full(1 << bits, -1)
        table[place] = keys
        taken = np.flatnonzero(table >= 0)
        held = table[place] == keys
        totals = np.bincount(place, sides * held, len(table))
        found.append(table[taken])
        sums.append(totals[taken].astype(np.int64))
        rest = np.flatnonzero(~held)
        keys, sides = keys[rest], sides[rest]
    key = np.concatenate(found)
    order = np.argsort(key)
    return np.stack(np.divmod(key[order], max(1, count))), np.concatenate(sums)[order]


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


class _RowsTouch(NamedTuple):
    """Contacts of runs with runs of the row below, from the left and from above.

    Attributes:
      upper: run above.
      lower: run below it.
      sides: length of the contact.
      corner: whether both runs begin there, so that four runs meet.
    """

    upper: Int[np.ndarray, " contacts"]
    lower: Int[np.ndarray, " contacts"]
    sides: Int[np.ndarray, " contacts"]
    corner: Bool[np.ndarray, " contacts"]


def _runs(
    prediction: Integer[np.ndarray, "h w"], label: Integer[np.ndarray, "h w"]
) -> tuple[Int[np.ndarray, " runs"], list[_RowsTouch]]:
    """Where runs start, and which of them touch from row to row.

    Between two rows, a contact begins wherever a run of either row does, so that all of them are
    found by counting starts, without a search.
    """
    height, width = label.shape
    starts, touching, before, change = [], [], 0, np.zeros((1, width), bool)
    for rows in strips(height, width):
        change = _changes(prediction, label, slice(rows.start, min(height, rows.stop + 1)))
        above, below = change[:-1].reshape(-1), change[1:].reshape(-1)
        places = np.flatnonzero(above | below)
        begins, begins_below = above[places], below[places]
        upper = np.cumsum(begins)
        upper += before - 1
        lower = np.cumsum(begins_below)
        lower += before + np.count_nonzero(change[0]) - 1
        sides = np.diff(places, append=len(above))
        corner = above & below
        corner[::width] = False
        touching.append(_RowsTouch(upper, lower, sides, corner[places]))
        own = places[begins]
        starts.append(own + rows.start * width)
        before += len(own)
    starts.append(np.flatnonzero(change[-1]) + (height - 1) * width)
    return np.concatenate(starts), touching


def _heads(starts: Int[np.ndarray, " runs"], height: int, width: int) -> Bool[np.ndarray, " runs"]:
    """Whether runs are the first of their row."""
    heads = np.zeros(len(starts), bool)
    heads[np.searchsorted(starts, np.arange(height) * width)] = True
    return heads


def _sorted_out(
    joint: Int[np.ndarray, " runs"], rows_touch: list[_RowsTouch], heads: Bool[np.ndarray, " runs"]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Runs that touch: pairs of one region, and pairs of two with the sides of their contact."""
    right = np.flatnonzero(~heads)
    lists = [(right - 1, right, np.ones(len(right), np.int64))]
    inner, between = [], []
    for upper, lower, sides, corner in rows_touch:
        apart = joint[upper] != joint[lower]
        within = np.flatnonzero(~apart)
        inner.append((upper[within], lower[within]))
        # Where one of two columns is of one region, its side says all that the corner could.
        meet = corner & apart
        meet[1:] &= apart[:-1]
        apart, meet = np.flatnonzero(apart), np.flatnonzero(meet)
        between.append((upper[apart], lower[apart], sides[apart]))
        upper, lower, none = upper[meet], lower[meet], np.zeros(len(meet), np.int64)
        lists += [(upper - 1, lower, none), (upper, lower - 1, none)]
    for a, b, sides in lists:
        apart = joint[a] != joint[b]
        if apart.all():
            between.append((a, b, sides))
            continue
        within, apart = np.flatnonzero(~apart), np.flatnonzero(apart)
        inner.append((a[within], b[within]))
        between.append((a[apart], b[apart], sides[apart]))
    a, b = (np.concatenate(one) for one in zip(*inner, strict=True))
    upper, lower, sides = (np.concatenate(one) for one in zip(*between, strict=True))
    return (a, b), (upper, lower, sides)


def _changes(
    prediction: Integer[np.ndarray, "h w"], label: Integer[np.ndarray, "h w"], rows: slice
) -> Bool[np.ndarray, "rows w"]:
    """Whether either map differs from the pixel to the left; rows begin with a change."""
    change, other = np.empty((2, *label[rows].shape), bool)
    for ids, out in ((label[rows], change), (prediction[rows], other)):
        flat = ids.reshape(-1)
        np.not_equal(flat[1:], flat[:-1], out=out.reshape(-1)[1:])
    change |= other
    change[:, :1] = True
    return change


def connected(
    count: int, a: Int[np.ndarray, " edges"], b: Int[np.ndarray, " edges"]
) -> Int[np.ndarray, " nodes"]:
    """Numbers the connected components of a graph.

    Every node takes a lower one next to it, and chains are shortened by pointer jumping; trees are
    then the nodes of a smaller graph. A few rounds are enough, whatever the number of nodes.

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
    root[np.maximum(a, b)] = np.minimum(a, b)
    while True:
        higher = root[root]
        if (higher == root).all():
            break
        root = higher
    number = (np.cumsum(root == nodes) - 1)[root]
    a, b = number[a], number[b]
    apart = np.flatnonzero(a != b)
    if not len(apart):
        return number
    # What is left is a smaller graph, whose nodes stand in the same order.
    return connected(int(number.max()) + 1, a[apart], b[apart])[number]
