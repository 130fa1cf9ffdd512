"""Objects of an image, and data sets of images with objects.

Class ids are 1 to the number of classes; 0 is none. A crowd is a region of objects that are not
told apart: detections in it are neither right nor wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.data.classes import voc_colors
from segalias_jax.data.files import decode_image, image_size, read_bytes
from segalias_jax.data.geometry import Sample
from segalias_jax.data.masks import boxes_of_masks
from segalias_jax.data.pairs import Pair
from segalias_jax.errors import InputError
from segalias_jax.typing import Bool, Float32, Int32

MAX_MASK_BYTES = 1 << 31
"""No image's masks take more memory: a small file may claim thousands of large objects."""


@dataclasses.dataclass(frozen=True)
class Instances:
    """The objects of one image.

    Attributes:
      boxes: (x1, y1, x2, y2) in pixels.
      classes: 1 to the number of classes.
      crowd: whether it is a region of objects that are not told apart.
      masks: the pixels of each; they may overlap.

    Example:
      >>> Instances.of_masks(np.ones((1, 2, 3), np.bool_), classes=[1]).boxes.tolist()
      [[0.0, 0.0, 3.0, 2.0]]
    """

    boxes: Float32[np.ndarray, "n 4"]
    classes: Int32[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"]
    masks: Bool[np.ndarray, "n h w"]

    @classmethod
    def of_masks(
        cls,
        masks: Bool[np.ndarray, "n h w"],
        *,
        classes: Sequence[int] | np.ndarray,
        crowd: Sequence[bool] | np.ndarray | None = None,
    ) -> Instances:
        """Returns objects with the smallest boxes that hold their masks.

        Args:
          masks: the pixels of each.
          classes: of each.
          crowd: of each; None for no crowd.

        Returns:
          The objects.
        """
        return cls(
            boxes_of_masks(masks),
            np.asarray(classes, np.int32),
            np.zeros(len(masks), np.bool_) if crowd is None else np.asarray(crowd, np.bool_),
            masks,
        )

    def __len__(self) -> int:
        return len(self.classes)


class InstanceSource:
    """A data set of images with objects; a subclass says how those of one image are read.

    `source[i]` is `{"image": uint8[h, w, 3] RGB, "boxes", "classes", "crowd", "masks"}`, the last
    four as in `Instances`.

    Args:
      pairs: each image, the file that has its objects, and its name, each name once.
      classes: names of the classes, by id from 1.
      exif: see `decode_image`.

    Example:
      >>> pairs = [Pair(Path("a.png"), Path("a.tif"), "a")]
      >>> source = InstanceSource(pairs, classes=("nucleus",))
      >>> len(source), source.classes
      (1, ('nucleus',))
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        classes: tuple[str, ...],
        exif: bool = True,
    ):
        self.pairs = list(pairs)
        self.names = [pair.name for pair in pairs]
        self.classes = classes
        self.rule: Any = None  # what values in the files mean
        self.palette = voc_colors(len(classes) + 1)[1:]
        self.exif = exif

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        path = self.pairs[index].image
        image = decode_image(read_bytes(path), path, exif=self.exif)
        return {"image": image, **vars(self.instances(index, image.shape[:2]))}

    def instances(self, index: int, size: tuple[int, int] | None = None) -> Instances:
        """Reads the objects of an image.

        Args:
          index: of the image.
          size: its (height, width), where the image has been read.

        Returns:
          The objects, in the order of their files.

        Raises:
          InputError: names the file, the object and the reason.
        """
        raise NotImplementedError

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of an image in pixels, without decoding it."""
        return image_size(self.pairs[index].image, exif=self.exif)

    def count(self, index: int) -> int:
        """Returns how many objects an image has, crowds not counted."""
        return int(np.count_nonzero(~self.instances(index).crowd))

    def check(self, index: int) -> None:
        """Raises `InputError` where an image's objects, or its header, are unusable."""
        self.instances(index, image_size(self.pairs[index].image, exif=self.exif))


class ChosenImages(InstanceSource):
    """Some images of a data set.

    Args:
      source: all of them.
      indices: which ones.

    Example:
      >>> pairs = [Pair(Path(f"{name}.png"), Path(f"{name}.tif"), name) for name in "ab"]
      >>> source = InstanceSource(pairs, classes=("nucleus",))
      >>> ChosenImages(source, [1]).names
      ['b']
    """

    def __init__(self, source: InstanceSource, indices: Sequence[int]):
        pairs = [source.pairs[index] for index in indices]
        super().__init__(pairs, classes=source.classes, exif=source.exif)
        self.rule = source.rule
        self.source, self.indices = source, list(indices)

    def __getitem__(self, index: int) -> Sample:
        return self.source[self.indices[index]]

    def instances(self, index: int, size: tuple[int, int] | None = None) -> Instances:
        """Reads the objects of an image, see `InstanceSource`."""
        return self.source.instances(self.indices[index], size)

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of an image in pixels, as its source says."""
        return self.source.size(self.indices[index])

    def count(self, index: int) -> int:
        """Returns how many objects an image has, as its source says."""
        return self.source.count(self.indices[index])

    def check(self, index: int) -> None:
        """Raises where an image is unusable, as its source does."""
        self.source.check(self.indices[index])


def check_memory(path: Path, objects: int, size: tuple[int, ...]) -> None:
    """Raises where the masks of an image would not fit into `MAX_MASK_BYTES`.

    Args:
      path: of the file that says so.
      objects: how many.
      size: (height, width) of the image.

    Raises:
      InputError: names the file and the numbers.

    Example:
      >>> check_memory(Path("a.png"), 60_000, (1000, 1000))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: a.png: holds 60000 objects in 1000x1000 pixels, whose masks \
take 60 GB; is it a map of objects? cut large images into tiles
    """
    height, width = size
    if objects * height * width > MAX_MASK_BYTES:
        raise InputError(
            f"{path}: holds {objects} objects in {width}x{height} pixels, whose masks take "
            f"{objects * height * width / 1e9:.0f} GB; is it a map of objects? cut large images "
            "into tiles"
        )
