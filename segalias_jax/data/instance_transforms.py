"""Random transforms of images with objects, and the arrays of fixed size that batches are made of.

A sample is `{"image": uint8[h, w, 3] RGB, "boxes", "classes", "crowd", "masks"}`, see
`data.instances`; transforms are as in `data.transforms`, and those that change colors alone are the
same. Pixels are resized as OpenCV does it, masks by the nearest pixel. Boxes are resized and
flipped with the image; a crop makes them anew, the smallest that hold what is left of the masks.
Objects of which no pixel is left are dropped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from segalias_jax.data.appearance import PhotometricDistortion
from segalias_jax.data.geometry import Sample, Transform, resized_window
from segalias_jax.data.instance_settings import InstanceSettings
from segalias_jax.data.low_light import Darken, LowLight
from segalias_jax.data.masks import boxes_of_masks, pack_masks
from segalias_jax.typing import Float32

OBJECT_KEYS = ("boxes", "classes", "crowd", "masks")
MULTIPLE = 32
"""Batches have sides that are multiples of it: the coarsest map of a feature pyramid's encoder."""


@dataclasses.dataclass(frozen=True)
class ResizeSides:
    """Resizes so that the short side has a length, unless the long one would exceed another.

    scale = min(short / min(h, w), long / max(h, w)), h <- floor(scale h), w <- floor(scale w), with
    short ~ U{least, ..., most}. A random ratio ~ U(ratio_range) multiplies the scale.

    Needs: image, objects. Changes: image, boxes, masks.

    Args:
      short: smallest and largest length of the short side in pixels.
      long: most pixels of the long side, at ratio 1.
      ratio_range: smallest and largest random factor.
      interpolation: of pixels, "bilinear" or "nearest".

    Example:
      >>> ResizeSides((800, 800), 1333).scaled_size((480, 640), 800)
      (800, 1066)
    """

    short: tuple[int, int]
    long: int
    ratio_range: tuple[float, float] = (1.0, 1.0)
    interpolation: str = "bilinear"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws a size and resizes."""
        size = self.draw_size(sample["image"].shape[:2], rng)
        window = (slice(0, size[0]), slice(0, size[1]))
        return _windowed(sample, size, window, self.interpolation)

    def draw_size(self, size: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
        """Draws the (height, width) that an image of (height, width) `size` gets."""
        least, most = self.short
        short = least if least == most else int(rng.integers(least, most + 1))
        low, high = self.ratio_range
        return self.scaled_size(size, short, 1.0 if low == high == 1 else rng.uniform(low, high))

    def largest_size(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Returns the largest (height, width) that an image of (height, width) `size` can get."""
        return self.scaled_size(size, self.short[1], self.ratio_range[1])

    def scaled_size(self, size: tuple[int, ...], short: int, ratio: float = 1.0) -> tuple[int, int]:
        """Returns the (height, width) for a short side and a ratio."""
        scale = min(short / min(size), self.long / max(size)) * ratio
        height, width = (max(1, int(side * scale)) for side in size)
        return height, width


@dataclasses.dataclass(frozen=True)
class ObjectCrop:
    """Cuts out a random window; an image smaller than it is kept along that side.

    Boxes become the smallest that hold what is left of the masks.

    Needs: image, objects. Changes: image, objects.

    Args:
      size: (height, width) of the window in pixels.

    Example:
      >>> from segalias_jax.data.instances import Instances
      >>> objects = Instances.of_masks(np.eye(9, dtype=np.bool_)[None], classes=[1])
      >>> sample = {"image": np.zeros((9, 9, 3), np.uint8), **vars(objects)}
      >>> ObjectCrop((20, 4))(sample, np.random.default_rng(0))["boxes"].shape
      (1, 4)
    """

    size: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws a window and cuts it out."""
        size = sample["image"].shape[:2]
        return _windowed(sample, size, self.draw_window(size, rng), "bilinear", anew=True)

    def draw_window(self, size: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, slice]:
        """Draws the rows and columns of an image of (height, width) `size`."""
        (top, bottom), (left, right) = (
            (start := int(rng.integers(max(have - want, 0) + 1)), min(start + want, have))
            for have, want in zip(size, self.size, strict=True)
        )
        return slice(top, bottom), slice(left, right)


@dataclasses.dataclass(frozen=True)
class ResizedObjectCrop:
    """`ResizeSides` and then `ObjectCrop`, without the pixels that the crop drops.

    Same draws, same bytes.

    Needs: image, objects. Changes: image, objects.

    Args:
      resize: the first step.
      crop: the second step.

    Example:
      >>> ResizedObjectCrop(ResizeSides((8, 8), 99), ObjectCrop((4, 4))).crop.size
      (4, 4)
    """

    resize: ResizeSides
    crop: ObjectCrop

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws a size and a window, and makes the pixels of that."""
        size = self.resize.draw_size(sample["image"].shape[:2], rng)
        window = self.crop.draw_window(size, rng)
        return _windowed(sample, size, window, self.resize.interpolation, anew=True)


@dataclasses.dataclass(frozen=True)
class ObjectFlip:
    """Flips left and right with a probability.

    Needs: image, objects. Changes: image, boxes, masks.

    Args:
      probability: how often a sample is flipped.

    Example:
      >>> from segalias_jax.data.instances import Instances
      >>> objects = Instances.of_masks(np.array([[[True, False, False]]]), classes=[1])
      >>> sample = {"image": np.zeros((1, 3, 3), np.uint8), **vars(objects)}
      >>> ObjectFlip(1.0)(sample, np.random.default_rng(0))["boxes"].tolist()
      [[2.0, 0.0, 3.0, 1.0]]
    """

    probability: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Flips or does not."""
        if rng.random() >= self.probability:
            return sample
        width = np.float32(sample["image"].shape[1])
        x1, y1, x2, y2 = sample["boxes"].T
        return sample | {
            "image": cv2.flip(sample["image"], 1),
            "boxes": np.stack([width - x2, y1, width - x1, y2], 1),
            "masks": sample["masks"][..., ::-1],
        }


def object_transforms(settings: InstanceSettings) -> tuple[Transform, ...]:
    """Returns the training transforms of a recipe's instance settings, in their order.

    Args:
      settings: the recipe's `data` section.

    Returns:
      Resize and crop, flip, photometric distortion, low light; without those switched off.

    Example:
      >>> [type(t).__name__ for t in object_transforms(InstanceSettings("coco", flip=0.0))]
      ['ResizeSides']
    """
    resize = training_resize(settings)
    first = ResizedObjectCrop(resize, ObjectCrop(settings.crop)) if settings.crop else resize
    steps: list[Transform] = [first]
    if settings.flip:
        steps.append(ObjectFlip(settings.flip))
    if settings.photometric:
        steps.append(PhotometricDistortion())
    if settings.dark:
        how = LowLight(settings.dark_ratio, settings.dark_form, settings.dark_develop)
        steps.append(Darken(how, settings.dark, settings.dark_pair))
    return tuple(steps)


def training_resize(settings: InstanceSettings) -> ResizeSides:
    """Returns how a recipe resizes training images.

    Args:
      settings: the recipe's `data` section.

    Example:
      >>> training_resize(InstanceSettings("coco", short=(640, 800))).short
      (640, 800)
    """
    return ResizeSides(settings.short, settings.long, settings.ratio_range, settings.interpolation)


def evaluation_resize(settings: InstanceSettings) -> ResizeSides:
    """Returns how a recipe resizes the images that are scored: the largest short side, no ratio.

    Args:
      settings: the recipe's `data` section.

    Example:
      >>> evaluation_resize(InstanceSettings("coco", short=(640, 800))).short
      (800, 800)
    """
    most = settings.short[1]
    return ResizeSides((most, most), settings.long, interpolation=settings.interpolation)


def fixed_arrays(sample: Sample, size: tuple[int, int], max_objects: int) -> Sample:
    """Returns a sample as a row of a batch: every array of one size, whatever the image.

    The image is filled up with zeros at the bottom and at the right. They are bytes: what is 0
    after normalization has no byte of its own, so whoever normalizes sets to 0 what lies beyond
    "size". Of more objects than `max_objects` those with the most pixels stay, in their order.

    Args:
      sample: with an image that is no larger than `size`.
      size: (height, width) of the arrays; a multiple of 8 in width.
      max_objects: rows of the arrays of objects.

    Returns:
      "image" uint8[h, w, 3], "size" int32[2], "boxes" float32[g, 4], "classes" int32[g] (0 where
      there is no object), "crowd" bool[g], "masks" uint8[g, h, w / 8], "valid" bool (as the sample
      says, else True) and, of a pair, "dark".

    Example:
      >>> from segalias_jax.data.instances import Instances
      >>> objects = Instances.of_masks(np.ones((1, 3, 4), np.bool_), classes=[2])
      >>> sample = {"image": np.zeros((3, 4, 3), np.uint8), **vars(objects)}
      >>> row = fixed_arrays(sample, (32, 32), 2)
      >>> row["size"].tolist(), row["classes"].tolist(), row["masks"].shape
      ([3, 4], [2, 0], (2, 32, 4))
    """
    height, width = sample["image"].shape[:2]
    keep = largest(sample["masks"], max_objects)
    row = {
        "valid": np.asarray(sample.get("valid", True)),
        "size": np.array([height, width], np.int32),
        "boxes": np.zeros((max_objects, 4), np.float32),
        "classes": np.zeros(max_objects, np.int32),
        "crowd": np.zeros(max_objects, np.bool_),
        "masks": np.zeros((max_objects, size[0], -(-size[1] // 8)), np.uint8),
    }
    for key in ("boxes", "classes", "crowd"):
        row[key][: len(keep)] = sample[key][keep]
    packed = pack_masks(sample["masks"][keep])
    row["masks"][: len(keep), :height, : packed.shape[-1]] = packed
    for key in ("image", "dark"):
        if key in sample:
            row[key] = np.zeros((*size, 3), np.uint8)
            row[key][:height, :width] = sample[key]
    return row


def largest(masks: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of the masks with the most pixels, in ascending order.

    Args:
      masks: bool[n, h, w].
      count: how many at most.

    Example:
      >>> largest(np.array([[[1, 0]], [[1, 1]], [[1, 0]]], np.bool_), 2).tolist()
      [0, 1]
    """
    if len(masks) <= count:
        return np.arange(len(masks))
    areas = np.count_nonzero(masks, axis=(1, 2))
    return np.sort(np.argsort(-areas, kind="stable")[:count])


def padded_size(sizes: Sequence[tuple[int, int]], multiple: int = MULTIPLE) -> tuple[int, int]:
    """Returns the smallest size of batches that holds images of some sizes.

    Args:
      sizes: (height, width) of the images as they are in a batch.
      multiple: of which both sides are.

    Example:
      >>> padded_size([(400, 533), (400, 600)])
      (416, 608)
    """
    height, width = (
        -(-max(size[axis] for size in sizes) // multiple) * multiple for axis in (0, 1)
    )
    return height, width


def _windowed(
    sample: Sample,
    size: tuple[int, int],
    window: tuple[slice, slice],
    interpolation: str,
    *,
    anew: bool = False,
) -> Sample:
    """Resizes to `size` and cuts out `window`; `anew` makes boxes of the masks that are left."""
    image, masks = sample["image"], sample["masks"]
    old = image.shape[:2]
    rows, columns = (_nearest(*sides)[part] for *sides, part in zip(old, size, window, strict=True))
    whole = rows.size == size[0] and columns.size == size[1]
    if interpolation == "nearest":
        image = np.take(np.take(image, rows, 0), columns, 1)
    elif whole:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    else:
        image = resized_window(image, size, window)
    # Most objects of a large image are outside of the window: they are not resized.
    masks = masks[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    seen = np.flatnonzero(masks.any((1, 2)))
    if tuple(size) != tuple(old) or anew:
        masks = np.take(np.take(masks[seen], rows - rows[0], 1), columns - columns[0], 2)
        left = masks.any((1, 2))  # a small object can be between the pixels that are shown
        seen, masks = seen[left], masks[left]
    else:
        masks = masks[seen]
    boxes = boxes_of_masks(masks) if anew else _scaled(sample["boxes"][seen], old, size)
    others = {key: sample[key][seen] for key in OBJECT_KEYS if key not in ("boxes", "masks")}
    return sample | others | {"image": image, "boxes": boxes, "masks": masks}


def _nearest(old: int, new: int) -> np.ndarray:
    """Which of `old` pixels each of `new` ones shows: floor(i old / new) in float32, as PyTorch.

    OpenCV's reciprocals come out a pixel lower where the product is an integer.
    """
    positions = np.arange(new, dtype=np.float32) * np.float32(old / new)
    return np.minimum(positions.astype(np.intp), old - 1)


def _scaled(
    boxes: Float32[np.ndarray, "n 4"], old: tuple[int, ...], new: tuple[int, int]
) -> Float32[np.ndarray, "n 4"]:
    ratios = [np.float32(there) / np.float32(here) for there, here in zip(new, old, strict=True)]
    return boxes * np.array([ratios[1], ratios[0]] * 2, np.float32)
