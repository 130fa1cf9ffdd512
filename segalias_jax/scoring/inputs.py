"""What users say of their files, and how stored values become class ids by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from segalias_jax.data.classes import CITYSCAPES_IDS
from segalias_jax.data.maps import MAX_PIXELS, map_size, read_map
from segalias_jax.data.palettes import Palette
from segalias_jax.errors import InputError
from segalias_jax.scoring.pair_list import Pair
from segalias_jax.scoring.sources import PathList
from segalias_jax.typing import IGNORE_LABEL, Integer

MOST_PIXELS = (1 << 31) - 1
"""Pixels of the largest map: counts of one image are numbers of 32 bits."""

_OFFICIAL = range(34)  # Cityscapes' ids


@dataclasses.dataclass(frozen=True)
class InputOptions:
    """How files are named and what their values mean.

    Attributes:
      pattern: how predictions are named, such as "{name}_pred.png"; None: as their labels.
      label_pattern: how labels are named.
      colors: classes that colors stand for; None: color images are refused.
      changes: class id of stored ids, of predictions and labels; ids that are not in it stay.
      prediction_changes: the same of predictions alone, going before `changes`.
      label_changes: the same of labels alone.
      key: name of the array in npz files of several ones.
      max_pixels: of a map.

    Example:
      >>> InputOptions(max_pixels=0)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: max_pixels: 0 must be in 1..2147483647
    """

    pattern: str | None = None
    label_pattern: str | None = None
    colors: Palette | None = None
    changes: Mapping[int, int] = dataclasses.field(default_factory=dict)
    prediction_changes: Mapping[int, int] = dataclasses.field(default_factory=dict)
    label_changes: Mapping[int, int] = dataclasses.field(default_factory=dict)
    key: str | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self):
        """Raises `InputError` for a number of pixels out of range."""
        if not 0 < self.max_pixels <= MOST_PIXELS:
            raise InputError(f"max_pixels: {self.max_pixels} must be in 1..{MOST_PIXELS}")

    def reader(self, further: Mapping[int, int]) -> MapReader:
        """Reads maps by these options, and by changes of one side."""
        changes = dict(self.changes) | dict(further)
        return MapReader(self.max_pixels, self.colors, self.key, tuple(changes.items()))


AS_STORED = InputOptions()
"""Names and values as they are."""


@dataclasses.dataclass(frozen=True)
class MapReader:
    """Reads maps of one side as class ids.

    Attributes:
      max_pixels: see `data.maps.read_map`, as the next two.
      colors: classes that colors stand for.
      key: name of the array in npz files.
      changes: (stored id, class id), all made at once.

    Example:
      >>> MapReader(changes=((255, 1),)).changed(np.asarray([[0, 255]])).tolist()
      [[0, 1]]
    """

    max_pixels: int = MAX_PIXELS
    colors: Palette | None = None
    key: str | None = None
    changes: tuple[tuple[int, int], ...] = ()

    def size(self, path: Path) -> tuple[int, int]:
        """(height, width) of a map, see `data.maps.map_size`."""
        return map_size(path, max_pixels=self.max_pixels, colors=self.colors, key=self.key)

    def read(self, path: Path) -> Integer[np.ndarray, "h w"]:
        """The class ids of a map: bytes where they fit, which are counted fastest."""
        ids = read_map(path, max_pixels=self.max_pixels, colors=self.colors, key=self.key)
        return self.changed(ids)

    def changed(self, ids: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
        """Class ids of stored ids."""
        if ids.dtype != np.uint8 and ids.size and ids.min() >= 0 and ids.max() < 256:
            ids = ids.astype(np.uint8)
        if not self.changes:
            return ids
        if ids.dtype == np.uint8 and all(0 <= new < 256 for _, new in self.changes):
            table = np.arange(256, dtype=np.uint8)
            for old, new in self.changes:
                if 0 <= old < 256:
                    table[old] = new
            return cv2.LUT(ids, table)
        result = ids.astype(np.int64)
        for old, new in self.changes:
            result[ids == old] = new
        return result


@dataclasses.dataclass(frozen=True)
class Readers:
    """How both sides are read, and what was found out of it.

    Attributes:
      prediction: reads predictions.
      label: reads labels.
      notices: what a user should know.
      cityscapes: whether classes are the 19 of Cityscapes.
      official: whether labels hold Cityscapes' own ids.
    """

    prediction: MapReader
    label: MapReader
    notices: tuple[str, ...] = ()
    cityscapes: bool = False
    official: bool = False


def map_readers(
    pairs: Sequence[Pair],
    options: InputOptions,
    *,
    num_classes: int,
    ignore_label: int = IGNORE_LABEL,
    reduce_zero_label: bool = False,
    probabilities: bool = False,
) -> Readers:
    """Finds out how the maps of two folders write their classes.

    Cityscapes' own ids become those of its 19 classes: of labels by their names, of predictions by
    their names or by values in 19..33, which are no train ids. Of two classes, a side that holds
    nothing but 0 and 255 has masks whose 255 is class 1 and not what is ignored. What a user says
    of a stored id goes before all that.

    Args:
      pairs: all files.
      options: what the user says.
      num_classes: C.
      ignore_label: label that is in no score.
      reduce_zero_label: labels hold k + 1 for class k.
      probabilities: predictions are no maps of ids.

    Returns:
      The readers, and notices for the user.

    Example:
      >>> map_readers([], InputOptions(changes={7: 1}), num_classes=3).label.changes
      ((7, 1),)
    """
    sides = {
        "prediction": (PathList(pair.prediction for pair in pairs), options.prediction_changes),
        "label": (PathList(pair.label for pair in pairs), options.label_changes),
    }
    notices: list[str] = []
    readers, official = {}, False
    cityscapes = num_classes == 19 and any(_has_name_of_cityscapes(pair.label) for pair in pairs)
    for side, (paths, further) in sides.items():
        reader = options.reader(further)
        readers[side] = reader
        if side == "prediction" and probabilities:
            continue
        found: dict[int, int] = {}
        if num_classes == 19 and paths and all(p.stem.endswith("_labelIds") for p in paths):
            found = _train_ids(ignore_label)
            official |= side == "label"
        elif side == "prediction" and cityscapes and _holds_official_ids(paths, reader):
            found = _train_ids(ignore_label)
            notices.append("predictions hold Cityscapes' label ids, which are made train ids")
        elif num_classes == 2 and not reduce_zero_label and _are_masks(paths, reader):
            found = {255: 1}
            notices.append(
                f"{side}s hold only 0 and 255, so that 255 is class 1 and nothing is ignored; "
                f"--map-{side}s 255=255 keeps it as the ignored label"
            )
        if found:
            changes = found | dict(reader.changes)
            readers[side] = dataclasses.replace(reader, changes=tuple(changes.items()))
    return Readers(
        prediction=readers["prediction"],
        label=readers["label"],
        notices=tuple(notices),
        cityscapes=official or cityscapes,
        official=official,
    )


def parse_changes(text: str) -> dict[int, int]:
    """Reads what stored ids stand for.

    Args:
      text: such as "255=1,7=0".

    Returns:
      The class id of each stored id.

    Raises:
      InputError: no such list, or an id that is given twice.

    Example:
      >>> parse_changes("255=1,7=0")
      {255: 1, 7: 0}
    """
    changes: dict[int, int] = {}
    for word in text.split(","):
        try:
            old, new = (int(number) for number in word.split("="))
        except ValueError:
            raise InputError(f"{text!r} is no list of ids such as 255=1,7=0") from None
        if max(abs(old), abs(new)) >= 1 << 31:
            raise InputError(f"{word!r}: ids are below {1 << 31}")
        if changes.setdefault(old, new) != new:
            raise InputError(f"{text!r} says of {old} that it is {changes[old]} and {new}")
    return changes


def _has_name_of_cityscapes(path: Path) -> bool:
    return path.stem.endswith(("_gtFine_labelIds", "_gtFine_labelTrainIds", "_labelTrainIds"))


def _train_ids(ignore_label: int) -> dict[int, int]:
    """The class of each of Cityscapes' ids."""
    return dict.fromkeys(_OFFICIAL, ignore_label) | {
        stored: index for index, stored in enumerate(CITYSCAPES_IDS)
    }


def _holds_official_ids(paths: Sequence[Path], reader: MapReader) -> bool:
    """Whether any of the first maps has a value that is an id of Cityscapes and no train id."""
    for path in paths[:32]:
        try:
            ids = reader.read(path)
        except InputError:
            continue  # scoring the pair says so
        if ((ids > 18) & (ids < len(_OFFICIAL))).any():
            return True
    return False


def _are_masks(paths: Sequence[Path], reader: MapReader) -> bool:
    """Whether maps hold 0 and 255 and nothing else; one of another value ends the search."""
    if any(old == 255 for old, _ in reader.changes):
        return False
    found = [False, False]
    for path in paths:
        try:
            ids = reader.read(path)
        except InputError:
            continue
        background, foreground = ids == 0, ids == 255
        if not (background | foreground).all():
            return False
        found = [found[0] or bool(background.any()), found[1] or bool(foreground.any())]
    return all(found)
