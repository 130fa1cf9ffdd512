"""Data sets of objects in maps: images of 16 bits whose values tell the objects of an image apart.

Value 0 is no object. Maps of one class number their objects in any way; of several, a value says
the class too, as in Cityscapes' `instanceIds`, where class k has 1000 k, 1000 k + 1, ...
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from segalias_jax.data.files import image_size
from segalias_jax.data.headers import MAX_IMAGE_PIXELS
from segalias_jax.data.instances import Instances, InstanceSource, check_memory
from segalias_jax.data.labels import LabelRule
from segalias_jax.data.layouts import Files
from segalias_jax.data.maps import read_map
from segalias_jax.data.masks import boxes_of_values, masks_of_map
from segalias_jax.data.pairs import Pair
from segalias_jax.data.splits import find_pairs
from segalias_jax.errors import InputError
from segalias_jax.typing import Integer


@dataclasses.dataclass(frozen=True)
class ObjectRule:
    """What the values of a map of objects mean.

    A value v belongs to the stored class v // `divisor`, or v itself where that is below 1, which
    makes it a crowd: a group of objects of the class that are not told apart. Without a divisor, v
    is its own stored class, so that `classes` lists the values; without both, all values but 0 are
    objects of class 1.

    Attributes:
      divisor: objects that a stored class can have; 0 where values have no class.
      classes: class, 1 to n, of each stored class; 0 for no object. {} takes every value as it is.
      stuff: classes without single objects; all their values are one region, which is no crowd.

    Example:
      >>> rule = ObjectRule(1000, {24: 1, 7: 0})
      >>> rule.objects(np.array([0, 7, 24, 24003]))
      [(24, 1, True), (24003, 1, False)]
    """

    divisor: int = 0
    classes: Mapping[int, int] = dataclasses.field(default_factory=dict)
    stuff: tuple[int, ...] = ()

    def objects(self, values: Integer[np.ndarray, " n"]) -> list[tuple[int, int, bool]]:
        """Returns which values of a map are objects.

        Args:
          values: that occur in the map, each once.

        Returns:
          (value, class, crowd) of each object, in the order of the values.

        Raises:
          InputError: a negative value, or one that belongs to no class.
        """
        found = []
        for value in values.tolist():
            if not value:
                continue
            if value < 0:
                raise InputError(f"the value {value} is negative; number objects from 1")
            crowd = 0 < value < self.divisor
            stored = value if crowd or not self.divisor else value // self.divisor
            label = self.classes.get(stored, -1) if self.classes else stored if self.divisor else 1
            if label < 0:
                raise InputError(
                    f"the value {value} belongs to class {stored}, which is not there; the classes "
                    f"are {', '.join(map(str, self.classes))}"
                )
            if label:
                found.append((value, label, crowd and label not in self.stuff))
        return found


CITYSCAPES_THINGS = MappingProxyType(
    {
        24: "person",
        25: "rider",
        26: "car",
        27: "truck",
        28: "bus",
        31: "train",
        32: "motorcycle",
        33: "bicycle",
    }
)
"""The classes that Cityscapes scores objects of, by the id in its files."""

CITYSCAPES_RULE = ObjectRule(
    1000,
    dict.fromkeys(range(34), 0) | {key: k + 1 for k, key in enumerate(CITYSCAPES_THINGS)},
)
"""Values of Cityscapes' `instanceIds`; the ids of other classes are no objects."""

CITYSCAPES_STUFF = MappingProxyType(
    {
        7: "road",
        8: "sidewalk",
        11: "building",
        12: "wall",
        13: "fence",
        17: "pole",
        19: "traffic light",
        20: "traffic sign",
        21: "vegetation",
        22: "terrain",
        23: "sky",
    }
)
"""The classes of stuff that Cityscapes scores, by the id in its files."""

CITYSCAPES_PANOPTIC_RULE = ObjectRule(
    1000,
    dict.fromkeys(range(34), 0)
    | {key: k + 1 for k, key in enumerate((*CITYSCAPES_STUFF, *CITYSCAPES_THINGS))},
    stuff=tuple(range(1, len(CITYSCAPES_STUFF) + 1)),
)
"""Values of Cityscapes' `instanceIds` with stuff, whose classes come first, as in training."""

CITYSCAPES_FILES = Files(
    "leftImg8bit/{split}/*/{name}_leftImg8bit.png",
    ("gtFine/{split}/*/{name}_gtFine_instanceIds.png",),
    LabelRule(0),
)
"""Where Cityscapes' images and maps of objects lie."""


class MapSource(InstanceSource):
    """A data set of images and maps of their objects.

    Args:
      pairs: the image and map files, in order.
      origin: the list or folder that the pairs come from, named in errors.
      rule: what the values of a map mean.
      classes: names of the classes, by id from 1.
      exif: see `decode_image`.
      complete: raise where an image or map is missing; otherwise only where it is read.

    Raises:
      InputError: no pairs, or an image or map that does not exist.

    Example:
      >>> MapSource([], origin=Path("val.txt"), rule=ObjectRule(), classes=("nucleus",))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: val.txt: holds no images; check data.root and the split
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        origin: Path,
        rule: ObjectRule,
        classes: tuple[str, ...],
        exif: bool = True,
        complete: bool = True,
    ):
        if not pairs:
            raise InputError(f"{origin}: holds no images; check data.root and the split")
        for pair in pairs if complete else ():
            if not pair.image.is_file():
                raise InputError(f"{pair.image}: no such image, though {origin} names it")
            if not pair.label.is_file():
                raise InputError(f"{pair.image}: image without objects, {pair.label} is missing")
        super().__init__(pairs, classes=classes, exif=exif)
        self.rule = rule
        self._counts: dict[int, int] = {}

    def instances(self, index: int, size: tuple[int, int] | None = None) -> Instances:
        """Reads the objects of an image, see `InstanceSource`."""
        stored, objects = self._read(index, size)
        masks, boxes = masks_of_map(stored, [value for value, _, _ in objects])
        classes = np.array([label for _, label, _ in objects], np.int32)
        return Instances(
            boxes, classes, np.array([crowd for *_, crowd in objects], np.bool_), masks
        )

    def count(self, index: int) -> int:
        """Returns how many objects an image has, crowds not counted; its map is read once."""
        if index not in self._counts:
            _, objects = self._read(index)
            self._counts[index] = sum(not crowd for *_, crowd in objects)
        return self._counts[index]

    def check(self, index: int) -> None:
        """Raises `InputError` where a map is unusable, as counting its objects does."""
        self.count(index)

    def _read(
        self, index: int, size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, list[tuple[int, int, bool]]]:
        """A map and its objects; all that can be wrong with them is found here."""
        pair = self.pairs[index]
        stored = read_map(pair.label, max_pixels=MAX_IMAGE_PIXELS)
        if size is None:
            size = image_size(pair.image, exif=self.exif)
        if stored.shape != tuple(size):
            raise InputError(
                f"{pair.label}: the map has {stored.shape[1]}x{stored.shape[0]} pixels, its image "
                f"{pair.image} {size[1]}x{size[0]}; they must match"
            )
        try:
            objects = self.rule.objects(boxes_of_values(stored)[0])
        except InputError as error:
            raise InputError(f"{pair.label}: {error}") from None
        for value, label, _ in objects:
            if label > len(self.classes):
                raise InputError(
                    f"{pair.label}: the value {value} is of class {label}, and {len(self.classes)} "
                    "are named; name all classes"
                )
        stored, objects = _one_region_each(stored, objects, self.rule.stuff)
        check_memory(pair.label, len(objects), stored.shape)
        return stored, objects


def _one_region_each(
    stored: np.ndarray, objects: list[tuple[int, int, bool]], stuff: tuple[int, ...]
) -> tuple[np.ndarray, list[tuple[int, int, bool]]]:
    """Map and objects where each class of stuff has the first of its values alone."""
    first: dict[int, int] = {}
    kept = []
    for value, label, crowd in objects:
        if label in stuff and first.setdefault(label, value) != value:
            stored = np.where(stored == value, first[label], stored)
        else:
            kept.append((value, label, crowd))
    return stored, kept


def open_maps(
    root: Path,
    split: str,
    *,
    images: str,
    maps: str,
    names: str = "",
    classes: tuple[str, ...],
    rule: ObjectRule | None = None,
    exif: bool = True,
    complete: bool = True,
) -> MapSource:
    """Opens a split of a folder of images and maps.

    Args:
      root: folder of the data set.
      split: name of the split.
      images: path of an image below root; {split} and {name} are filled in, and * is anything.
      maps: path of its map.
      names: path of the list of names; "" takes all images.
      classes: names of the classes, by id from 1.
      rule: what the values of a map mean; None for objects of one class.
      exif: see `decode_image`.
      complete: see `MapSource`.

    Returns:
      The split, with random access.

    Raises:
      InputError: no such split, an image without map, a name that occurs twice, or no {name}.

    Example:
      >>> open_maps(Path("/no"), "val", images="{name}.png", maps="{name}.tif", classes=("cell",))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: split 'val': /no is missing; check data.root
    """
    for key, path in (("images", images), ("maps", maps)):
        if "{name}" not in path:
            raise InputError(f"{key}: {path!r} lacks {{name}}, where each image's name goes")
    pairs, origin = find_pairs(root, Files(images, (maps,), LabelRule(0), names=names), split)
    return MapSource(
        pairs,
        origin=origin,
        rule=rule or ObjectRule(),
        classes=classes,
        exif=exif,
        complete=complete,
    )


def open_cityscapes(
    root: Path, split: str, *, stuff: bool = False, exif: bool = True, complete: bool = True
) -> MapSource:
    """Opens the objects of a split of Cityscapes in its official tree.

    Things are eight classes. A value below 1000 is a group, which is a crowd here.

    Args:
      root: folder with leftImg8bit and gtFine.
      split: "train" or "val".
      stuff: add eleven classes of stuff, which come first.
      exif: see `decode_image`.
      complete: see `MapSource`.

    Returns:
      The split, with random access.

    Raises:
      InputError: no such split, or an image without map.

    Example:
      >>> open_cityscapes(Path("/no"), "val")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: split 'val': /no/leftImg8bit/val is missing; check data.root
    """
    pairs, origin = find_pairs(root, CITYSCAPES_FILES, split)
    things = tuple(CITYSCAPES_THINGS.values())
    classes = (*CITYSCAPES_STUFF.values(), *things) if stuff else things
    rule = CITYSCAPES_PANOPTIC_RULE if stuff else CITYSCAPES_RULE
    return MapSource(pairs, origin=origin, rule=rule, classes=classes, exif=exif, complete=complete)
