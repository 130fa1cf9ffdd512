"""What the stored values of a label file mean: the rule from a decoded file to class ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segalias_jax.data.files import decode_colors, decode_gray, decode_ids
from segalias_jax.errors import InputError
from segalias_jax.typing import IGNORE_LABEL, UInt8

UNKNOWN = 254
"""Marks a stored value that belongs to no class."""

_DECODERS = {"ids": decode_ids, "gray": decode_gray, "colors": decode_colors}


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """Maps stored label values, or colors, to class ids; plain numbers, so it can be stored too.

    `LabelRule(**json.loads(json.dumps(dataclasses.asdict(rule)))) == rule`.

    Args:
      num_classes: ids 0 to `num_classes - 1` are classes; at most 254.
      lookup: class of each of the 256 stored values; 255 is ignored, 254 is no class at all.
      reading: "ids": one channel of ids, of palette images the indices; "gray": any image, as gray
        values; "colors": any image, as colors.
      colors: (red, green, blue, class) where `reading` is "colors".

    Example:
      >>> rule = LabelRule(2, identity_lookup(2))
      >>> data = cv2.imencode(".png", np.asarray([[0, 1, 255]], np.uint8))[1].tobytes()
      >>> rule.read(data, Path("a.png")).tolist()
      [[0, 1, 255]]
    """

    num_classes: int
    lookup: Sequence[int] = ()
    reading: str = "ids"
    colors: Sequence[Sequence[int]] = ()

    def __post_init__(self):
        # JSON knows lists only.
        object.__setattr__(self, "lookup", tuple(self.lookup))
        object.__setattr__(self, "colors", tuple(tuple(color) for color in self.colors))

    @property
    def reduces_zero(self) -> bool:
        """Whether files hold k + 1 for class k and 0 for ignored pixels, as those of ADE20K do."""
        stored = range(1, self.num_classes + 1)
        shifted = mapped_lookup(((k, k - 1) for k in stored), ignored=(0,))
        return self.reading == "ids" and tuple(self.lookup) == shifted

    def read(self, data: bytes, path: Path) -> UInt8[np.ndarray, "h w"]:
        """Decodes a label file to class ids and 255.

        Args:
          data: the encoded file.
          path: where it comes from, named in errors.

        Returns:
          The ids.

        Raises:
          InputError: not decodable, or a value or color that belongs to no class.
        """
        stored = self.decode(data, path)
        label = self.classes_of(stored)
        unknown = label == UNKNOWN
        if unknown.any():
            first = stored[unknown][0]
            shown = f"color {tuple(first.tolist())}" if stored.ndim == 3 else f"value {first}"
            raise InputError(
                f"{path}: label {shown} is outside the {self.num_classes} classes "
                f"of this data set; map it to a class or to {IGNORE_LABEL} (ignored)"
            )
        return label

    def decode(self, data: bytes, path: Path) -> UInt8[np.ndarray, "h w *3"]:
        """Returns what a file stores: values [h, w], or colors [h, w, 3]."""
        return _DECODERS[self.reading](data, path)

    def classes_of(self, stored: UInt8[np.ndarray, "h w *3"]) -> UInt8[np.ndarray, "h w"]:
        """Returns the class of each stored value; 255 is ignored, 254 belongs to none."""
        if self.reading != "colors":
            return cv2.LUT(stored, np.asarray(self.lookup, np.uint8))
        table = np.asarray(sorted((r << 16 | g << 8 | b, label) for r, g, b, label in self.colors))
        codes = stored @ np.asarray([1 << 16, 1 << 8, 1])
        place = np.searchsorted(table[:, 0], codes).clip(max=len(table) - 1)
        classes = np.where(table[place, 0] == codes, table[place, 1], UNKNOWN)
        return classes.astype(np.uint8)


def identity_lookup(num_classes: int, *, ignored: Iterable[int] = ()) -> tuple[int, ...]:
    """Makes the lookup of a data set that stores class ids, and 255 for ignored pixels.

    Args:
      num_classes: ids 0 to `num_classes - 1` are classes; at most 254.
      ignored: stored values besides 255 that are ignored.

    Returns:
      The class of each stored value; 254 marks values that belong to none.

    Example:
      >>> identity_lookup(2, ignored=(7,))[:8]
      (0, 1, 254, 254, 254, 254, 254, 255)
    """
    return mapped_lookup(((k, k) for k in range(num_classes)), ignored=ignored)


def mapped_lookup(
    pairs: Iterable[tuple[int, int]], *, ignored: Iterable[int] = ()
) -> tuple[int, ...]:
    """Makes a lookup from (stored value, class) pairs.

    Args:
      pairs: stored value and class; they count before `ignored`.
      ignored: stored values besides 255 that are ignored.

    Returns:
      The class of each stored value; 254 marks values that belong to none.

    Example:
      >>> mapped_lookup([(1, 0), (2, 1)], ignored=[0])[:4]
      (255, 0, 1, 254)
    """
    lookup = np.full(256, UNKNOWN)
    lookup[[*ignored, IGNORE_LABEL]] = IGNORE_LABEL
    for stored, label in pairs:
        lookup[stored] = label
    return tuple(lookup.tolist())


def threshold_lookup(threshold: int, *, inverted: bool = False) -> tuple[int, ...]:
    """Makes the lookup of a mask of two shades.

    Args:
      threshold: gray values above it are class 1, all others class 0.
      inverted: the other way round.

    Returns:
      The class of each gray value.

    Example:
      >>> threshold_lookup(127)[126:130]
      (0, 0, 1, 1)
    """
    return tuple(int((value > threshold) != inverted) for value in range(256))


def restore_zero_label(batches: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Takes back what `reduces_zero` did: published boundaries are those of the stored labels.

    Args:
      batches: with "label", class ids and 255.

    Returns:
      An iterator over the same batches, with k + 1 for class k and 0 for ignored pixels.

    Example:
      >>> batches = restore_zero_label([{"label": np.asarray([0, 255])}])
      >>> [batch["label"].tolist() for batch in batches]
      [[1, 0]]
    """
    for batch in batches:
        label = np.asarray(batch["label"])
        yield {**batch, "label": np.where(label == IGNORE_LABEL, 0, label + 1)}
