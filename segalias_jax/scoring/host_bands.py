"""Boundary bands on the host: `ops.morphology` and `metrics.region_map` on bit planes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import IGNORED, KIND_OF_REGION, ScoreRules
from segalias_jax.scoring import bit_planes
from segalias_jax.typing import Bool, Integer, UInt8, UInt64

# Lists of places are made for so many pixels at a time, and fewer than 2^24 are exact in the
# float32 histograms that OpenCV hands over.
STRIP_PIXELS = 1 << 22
# Masks of bytes are made for so many pixels at a time: larger ones leave the processor's cache, and
# the allocator hands their memory back to the system each time.
_MASK_PIXELS = 1 << 19
_BIT = np.uint8(1) << np.arange(8, dtype=np.uint8)


# Planes and lists of larger pictures are made for bands of so many pixels.
BAND_PIXELS = 1 << 24


def strips(height: int, width: int, pixels: int | None = None) -> Iterator[slice]:
    """Cuts a picture into rows of bounded area.

    Args:
      height: of the picture.
      width: of the picture.
      pixels: of a strip, unless a single row has more; None: `STRIP_PIXELS`.

    Returns:
      Ranges of rows.

    Example:
      >>> list(strips(3, 100, 200))
      [slice(0, 2, None), slice(2, 3, None)]
    """
    rows = max(1, (pixels or STRIP_PIXELS) // max(1, width))
    return (slice(top, min(height, top + rows)) for top in range(0, height, rows))


class RowBand(NamedTuple):
    """A band of rows of a picture with what lies around it.

    Attributes:
      crop: rows of the picture.
      core: rows of the crop that are the band; all others only surround it.
    """

    crop: slice
    core: slice


def row_bands(height: int, width: int, halo: int) -> Iterator[RowBand]:
    """Cuts a picture into bands of rows, so that any picture is counted in bounded memory.

    Args:
      height: of the picture.
      width: of the picture.
      halo: rows around a band that what is counted in it depends on.

    Returns:
      Bands that cover the picture; one where it has at most `BAND_PIXELS`.

    Example:
      >>> [band.crop for band in row_bands(6000, 4000, 10)]
      [slice(0, 4204, None), slice(4184, 6000, None)]
    """
    # With fewer rows than that, most of the work would be for what surrounds them.
    rows = max(BAND_PIXELS // max(1, width), 2 * halo, 1)
    for top in range(0, height, rows):
        low, end = max(0, top - halo), min(height, top + rows)
        yield RowBand(slice(low, min(height, end + halo)), slice(top - low, end - low))


@dataclasses.dataclass(frozen=True)
class MapPair:
    """A prediction and its label, widened to whole words of bit planes, and their steps.

    Published bands take predictions as they are. Scores of boundaries by themselves cannot: what
    is predicted under ignored pixels would make boundaries, and the label has boundaries around
    them that no prediction could have. So where there are ignored pixels, planes have a third map,
    the prediction ignored where the label is; `masked` picks what those scores take.

    Attributes:
      maps: predicted class ids as stored, and true labels as `ScoreRules.boundary_label` has them.
      width: of the picture; what lies to the right of it is filling.
      ignored: plane of the pixels that the rules ignore.
      down: planes of the maps: pixels that differ from the one below.
      across: planes of the maps: pixels that differ from the one to the right.

    Example:
      >>> ids = np.asarray([[1, 1, 2]], np.uint8)
      >>> MapPair.of(ids, ids, ScoreRules()).across.tolist()
      [[[2]], [[2]]]
    """

    maps: tuple[Integer[np.ndarray, "h filled"], Integer[np.ndarray, "h filled"]]
    width: int
    ignored: UInt64[np.ndarray, "h words"]
    down: UInt64[np.ndarray, "maps h words"]
    across: UInt64[np.ndarray, "maps h words"]

    @classmethod
    def of(
        cls,
        prediction: Integer[np.ndarray, "h w"],
        label: Integer[np.ndarray, "h w"],
        rules: ScoreRules,
    ) -> MapPair:
        """Finds the steps of both maps; under "exclude", none from or to an ignored label."""
        maps = _filled(prediction), _filled(rules.boundary_label(label))
        (height, width), words = label.shape, maps[0].shape[1] // bit_planes.WORD
        ignored = np.empty((height, words), np.uint64)
        down, across = np.zeros((2, 3, height, words), np.uint64)
        for rows in strips(height, maps[0].shape[1], _MASK_PIXELS):
            ignored[rows] = bit_planes.pack(ignored_pixels(maps[1][rows], rules))
            for i, ids in enumerate(maps):
                _find_steps(ids, rows, down[i], across[i])
        # The last pixel of a row steps to nothing.
        inside, inner = bit_planes.within(width, words), bit_planes.within(width - 1, words)
        ignored &= inside
        down[:2] &= inside
        across[:2] &= inner
        if not ignored.any():
            return cls(maps, width, ignored, down[:2], across[:2])
        for planes, beside in (
            (down, bit_planes.above(ignored)),
            (across, bit_planes.left_of(ignored)),
        ):
            counted = ~(ignored | beside)
            np.bitwise_and(planes[0], counted, out=planes[2])
            if rules.ignore == "exclude":
                planes[1] &= counted
            else:
                planes[2] |= np.bitwise_xor(ignored, beside, out=counted)
        # Nor does the last row.
        down[2, -1] = 0
        across[2] &= inner
        return cls(maps, width, ignored, down, across)

    @functools.cached_property
    def up(self) -> UInt64[np.ndarray, "maps h words"]:
        """Planes of the maps: pixels that differ from the one above."""
        return bit_planes.below(self.down)

    @functools.cached_property
    def left(self) -> UInt64[np.ndarray, "maps h words"]:
        """Planes of the maps: pixels that differ from the one to the left."""
        return bit_planes.right_of(self.across)

    @functools.cached_property
    def edges(self) -> UInt64[np.ndarray, "maps h words"]:
        """Planes of the maps: pixels that differ from any of their 4 neighbors."""
        edges = self.down | self.up
        edges |= self.across
        edges |= self.left
        return edges

    @staticmethod
    def masked(planes: UInt64[np.ndarray, "maps h words"]) -> UInt64[np.ndarray, "2 h words"]:
        """Planes of the prediction as ignored where the label is, and of the label."""
        return planes if len(planes) == 2 else planes[:0:-1]


def ignored_pixels(
    label: Integer[np.ndarray, "*shape"], rules: ScoreRules
) -> Bool[np.ndarray, "*shape"]:
    """Where labels are in no score.

    Example:
      >>> ignored_pixels(np.asarray([0, 1, 255]), ScoreRules(reduce_zero_label=True)).tolist()
      [True, False, True]
    """
    ignored = label == rules.ignore_label
    return ignored | (label == 0) if rules.reduce_zero_label else ignored


def region_bits(pair: MapPair, rules: ScoreRules) -> UInt64[np.ndarray, "2 h words"]:
    """`metrics.region_map` on the host: its two bits.

    Args:
      pair: maps and their steps.
      rules: boundary rule and width.

    Returns:
      Planes of the pixels near predicted boundaries, and near true ones.

    Example:
      >>> maps = np.asarray([[0, 1, 1, 1, 1, 1]]), np.asarray([[0, 0, 0, 0, 1, 1]])
      >>> rules = ScoreRules(width=3)
      >>> bits = region_bits(MapPair.of(*maps, rules), rules)
      >>> bit_planes.unpack(bits)[:, 0, :6].tolist()
      [[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]]
    """
    edges = pair.edges[:2]
    if rules.boundary == "laplacian":
        edges = edges.copy()
        for i in (0, 1):
            octets = edges[i].reshape(-1).view(np.uint8)
            for gone in _cancelled(pair, i, rules):
                np.bitwise_xor.at(octets, gone >> 3, _BIT[gone & 7])
    before = rules.width // 2
    return bit_planes.window_or(edges, before, rules.width - 1 - before)


def error_kinds(
    prediction: Integer[np.ndarray, "h w"], label: Integer[np.ndarray, " ..."], rules: ScoreRules
) -> UInt8[np.ndarray, "h w"]:
    """`metrics.error_kinds` on the host.

    Args:
      prediction: predicted class ids.
      label: true labels of the same shape.
      rules: boundary and ignore rule, width.

    Returns:
      Index into `metrics.ERROR_KINDS`, or 255 where the label is ignored.

    Raises:
      InputError: shapes differ.

    Example:
      >>> prediction, label = np.asarray([[0, 1, 1, 1, 1, 1]]), np.asarray([[0, 0, 0, 0, 1, 255]])
      >>> error_kinds(prediction, label, ScoreRules(width=3)).tolist()
      [[0, 1, 3, 2, 0, 255]]
    """
    if prediction.shape != label.shape:
        raise InputError(
            f"prediction of shape {prediction.shape} does not fit the label of shape "
            f"{label.shape}; resize the prediction to the label"
        )
    bits = region_bits(MapPair.of(prediction, label, rules), rules)
    predicted, true = bit_planes.unpack(bits)[..., : label.shape[1]]
    kinds = np.asarray(KIND_OF_REGION, np.uint8)[predicted + 2 * true]
    classes = rules.class_label(label)
    kinds[prediction == classes] = 0
    kinds[classes == rules.ignore_label] = IGNORED
    return kinds


def inner_bits(pair: MapPair, radius: int) -> UInt64[np.ndarray, "2 h words"]:
    """Inner bands of Boundary IoU, the prediction being ignored where the label is.

    A pixel is in the inner band of its own class when the square of 2 radius + 1 around it leaves
    the picture or holds another class, that is, a step.

    Args:
      pair: maps and their steps.
      radius: in pixels, at least 1.

    Returns:
      Planes of the predicted and of the true band.

    Example:
      >>> ids = np.asarray([[0, 0, 0, 1, 1, 1]] * 5, np.uint8)
      >>> pair = MapPair.of(ids, ids, ScoreRules())
      >>> bit_planes.unpack(inner_bits(pair, 1))[0, 2, :6].tolist()
      [1, 0, 1, 1, 0, 1]
    """
    # The square holds a step when it holds both its pixels: of the place of the second one, it
    # is a pixel short before, but for the axis that the step does not go along.
    up, left = pair.masked(pair.up), pair.masked(pair.left)
    steps = up | left
    steps |= bit_planes.right_of(up)
    steps |= bit_planes.below(left)
    near = bit_planes.window_or(steps, radius - 1, radius)
    near[:, :radius] = near[:, -radius:] = ~np.uint64(0)
    words = near.shape[2]
    near |= bit_planes.within(radius, words) | ~bit_planes.within(pair.width - radius, words)
    return near


def _filled(ids: np.ndarray) -> np.ndarray:
    """As many columns as whole words have, and as uint8 where all values fit: much faster."""
    if ids.dtype != np.uint8:
        small = ids.size and ids.min() >= 0 and ids.max() <= 255
        ids = ids.astype(np.uint8 if small else np.int64)
    missing = -ids.shape[1] % bit_planes.WORD
    return np.ascontiguousarray(np.pad(ids, ((0, 0), (0, missing))) if missing else ids)


def _find_steps(ids: np.ndarray, rows: slice, down: np.ndarray, across: np.ndarray) -> None:
    """Writes the steps of some rows into both planes."""
    crop = ids[rows.start : rows.stop + 1]
    below = crop[1:] != crop[:-1]
    down[rows.start : rows.start + len(below)] = bit_planes.pack(below)
    crop = ids[rows]
    right, flat = np.zeros(crop.shape, bool), crop.reshape(-1)
    np.not_equal(flat[1:], flat[:-1], out=right.reshape(-1)[:-1])
    across[rows] = bit_planes.pack(right)


def _cancelled(pair: MapPair, index: int, rules: ScoreRules) -> Iterator[np.ndarray]:
    """Places of the edges that the Laplacian misses: differences that add up to 0.

    That takes two neighbors that differ; the few such places are looked at one by one.
    """
    height, pitch = pair.maps[index].shape
    flat = pair.maps[index].reshape(-1)
    down, up, across, left = (p[index] for p in (pair.down, pair.up, pair.across, pair.left))
    several = (down & up) | (across & left) | ((down | up) & (across | left))
    last = height - 1, pair.width - 1
    for rows in strips(height, pitch):
        place = bit_planes.places(several[rows]) + rows.start * pitch
        row = place // pitch
        column = place - row * pitch
        own = flat[place].astype(np.int16 if flat.dtype == np.uint8 else np.int64)
        total = -4 * own
        for at, end, stride in ((row, last[0], pitch), (column, last[1], 1)):
            stride *= end > 0
            # Beyond the border, the picture is its mirror image, without the edge pixel.
            for near in (
                place + np.where(at > 0, -stride, stride),
                place + np.where(at < end, stride, -stride),
            ):
                ids = flat[near]
                if rules.ignore == "exclude" and index == 1:
                    ids = np.where(ignored_pixels(ids, rules), own, ids)
                total += ids
        yield place[total == 0]
