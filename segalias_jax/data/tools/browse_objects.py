"""What `segalias browse` shows of a recipe about objects: a sheet, and how many there are.

Objects have the outline and the tint of their class, their box and its name; crowds are hatched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from segalias_jax.data.files import image_size
from segalias_jax.data.geometry import Sample
from segalias_jax.data.instance_settings import InstanceSettings
from segalias_jax.data.instance_source import open_instances
from segalias_jax.data.instance_transforms import object_transforms
from segalias_jax.data.instances import InstanceSource
from segalias_jax.data.tools import sheets
from segalias_jax.errors import InputError
from segalias_jax.files import map_ahead
from segalias_jax.progress import progress_bar
from segalias_jax.typing import UInt8

_CELL = 440  # longest side of a picture in pixels
_NAMED = 30  # boxes of more objects would hide what they hold
# Sides of the squares whose areas part small, medium and large objects, as COCO scores them.
_SIDES = (32, 96)


@dataclasses.dataclass
class ObjectStatistics:
    """What the objects of a data set are, as its files have them.

    Args:
      num_classes: number of classes.

    Attributes:
      images: that could be read.
      objects: of each class, crowds not counted.
      crowds: of each class.
      sizes: small, medium and large objects, by COCO's areas of 32^2 and 96^2 pixels.
      empty: images without objects.
      most: objects of one image.
      unusable: what is wrong with images that cannot be used.

    Example:
      >>> statistics = ObjectStatistics(1)
      >>> statistics.add(np.ones(2, np.int32), np.zeros(2, np.bool_), np.array([9, 2000]))
      >>> print(statistics.table(["cell"]))
      1 images, 0 of them without objects; 2 objects, at most 2 an image, and 0 crowds
      area: 1 below 32x32 pixels, 1 below 96x96, 0 larger
      class  objects  crowds
      cell         2       0
    """

    num_classes: int
    images: int = 0
    objects: list[int] = dataclasses.field(default_factory=list)
    crowds: list[int] = dataclasses.field(default_factory=list)
    sizes: list[int] = dataclasses.field(default_factory=lambda: [0, 0, 0])
    empty: int = 0
    most: int = 0
    unusable: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        """Begins the counts of the classes."""
        self.objects = self.objects or [0] * self.num_classes
        self.crowds = self.crowds or [0] * self.num_classes

    def add(self, classes: np.ndarray, crowd: np.ndarray, areas: np.ndarray) -> None:
        """Counts the objects of an image.

        Args:
          classes: int[n], from 1.
          crowd: bool[n].
          areas: int[n] in pixels.
        """
        self.images += 1
        for label, is_crowd in zip(classes.tolist(), crowd.tolist(), strict=True):
            counts = self.crowds if is_crowd else self.objects
            counts[label - 1] += 1
        own = areas[~crowd]
        sizes = np.digitize(own, [side**2 for side in _SIDES])
        for size, count in enumerate(np.bincount(sizes, minlength=3).tolist()):
            self.sizes[size] += count
        self.empty += not len(own)
        self.most = max(self.most, len(own))

    def as_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns all numbers for a JSON file.

        Args:
          class_names: of the classes, from 1.
        """
        numbers = dataclasses.asdict(self)
        del numbers["num_classes"]
        return {"classes": list(class_names), **numbers}

    def table(self, class_names: Sequence[str]) -> str:
        """Returns the statistics as text; classes without objects are only counted.

        Args:
          class_names: of the classes, from 1.
        """
        small, medium, large = self.sizes
        lines = [
            f"{self.images} images, {self.empty} of them without objects; {sum(self.objects)} "
            f"objects, at most {self.most} an image, and {sum(self.crowds)} crowds",
            f"area: {small} below 32x32 pixels, {medium} below 96x96, {large} larger",
        ]
        rows = [
            (name, str(objects), str(crowds))
            for name, objects, crowds in zip(class_names, self.objects, self.crowds, strict=True)
            if objects or crowds
        ]
        rows = [("class", "objects", "crowds"), *rows]
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        for name, *counts in rows:
            numbers = (f"  {text:>{width}}" for text, width in zip(counts, widths[1:], strict=True))
            lines.append(f"{name:{widths[0]}}" + "".join(numbers))
        absent = self.num_classes - len(rows) + 1
        lines += [f"{absent} classes have none"] * bool(absent)
        lines += [f"unusable: {reason}" for reason in self.unusable]
        return "\n".join(lines)


def object_picture(
    sample: Sample, classes: Sequence[str], palette: UInt8[np.ndarray, "classes 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws the objects of a sample over its image.

    Args:
      sample: image and objects; of a pair, the dark image.
      classes: their names.
      palette: RGB color of each.

    Returns:
      RGB picture, the longest side 440 pixels. Up to 30 objects have boxes, with their names
      where there are several classes.

    Example:
      >>> from segalias_jax.data.instances import Instances
      >>> objects = Instances.of_masks(np.ones((1, 3, 4), np.bool_), classes=[1])
      >>> sample = {"image": np.zeros((3, 4, 3), np.uint8), **vars(objects)}
      >>> object_picture(sample, ["cell"], np.full((1, 3), 99, np.uint8)).shape
      (330, 440, 3)
    """
    image = sample.get("dark", sample["image"])
    scale = _CELL / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(image, (width, height), interpolation=smooth)
    hatched = np.add(*np.indices((height, width))) % 8 < 2
    objects = list(zip(sample["classes"], sample["crowd"], sample["masks"], strict=True))
    for label, crowd, mask in objects:
        color = palette[label - 1]
        shown = cv2.resize(mask.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        inside = shown.astype(np.bool_)
        tinted = inside & hatched if crowd else inside
        strength = 0.8 if crowd else 0.35
        picture[tinted] = ((1 - strength) * picture[tinted] + strength * color).astype(np.uint8)
        # Of touching objects of one class only their outlines tell them apart.
        rim = inside & ~cv2.erode(shown, np.ones((3, 3), np.uint8)).astype(np.bool_)
        picture[rim] = 255 if crowd else light_color(color)
    if len(objects) <= _NAMED:
        for box, (label, crowd, _) in zip(sample["boxes"], objects, strict=True):
            name = str(classes[int(label) - 1]) if len(classes) > 1 else ""
            text = f"{name} (crowd)" if crowd else name
            draw_box(picture, box * scale, text, light_color(palette[label - 1]))
    return picture


def browse_objects(
    settings: InstanceSettings,
    split: str,
    *,
    count: int = 16,
    limit: int | None = None,
    augment: bool = True,
    seed: int = 0,
) -> tuple[np.ndarray, ObjectStatistics, InstanceSource]:
    """Draws the sheet of a split and counts its objects.

    Args:
      settings: the recipe's `data` section.
      split: name of the split.
      count: samples on the sheet, spread evenly over the split.
      limit: images that are counted, spread evenly too; None counts all.
      augment: apply the recipe's training transforms to what the sheet shows.
      seed: of the augmentation.

    Returns:
      RGB picture, statistics, and the split.

    Raises:
      InputError: an error in the settings, or no sample can be used.

    Example:
      >>> browse_objects(InstanceSettings("coco"), "val")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.root: not set; pass --config.data.root=DIR, the folder \
of the data set
    """
    # What is missing is to be counted and listed, not to end the command.
    source = open_instances(dataclasses.replace(settings, on_error="skip"), split)
    indices = sheets.spread(len(source), len(source) if limit is None else limit)
    statistics = _collect(source, indices, settings.threads)
    transforms = object_transforms(settings) if augment else ()
    samples = sheets.chosen_samples(source, split, transforms, count=count, seed=seed)
    pictures = [(name, object_picture(s, source.classes, source.palette)) for name, s in samples]
    return sheets.picture_sheet(pictures, cell=_CELL), statistics, source


def _collect(source: InstanceSource, indices: Sequence[int], threads: int) -> ObjectStatistics:
    statistics = ObjectStatistics(len(source.classes))

    def read(index: int) -> Any:
        try:
            size = image_size(source.pairs[index].image, exif=source.exif)
            found = source.instances(index, size)
        except InputError as error:
            return str(error)
        return found.classes, found.crowd, np.count_nonzero(found.masks, axis=(1, 2))

    with progress_bar("reading objects", len(indices), unit=" files") as bar:
        for _, found in map_ahead(read, indices, threads=threads):
            if isinstance(found, str):
                statistics.unusable.append(found)
            else:
                statistics.add(*found)
            bar.update()
    return statistics


def light_color(color: np.ndarray) -> np.ndarray:
    """Returns a lighter color: lines of a dark one do not show on a dark image.

    Args:
      color: RGB.

    Example:
      >>> light_color(np.array([0, 100, 200])).tolist()
      [127, 177, 227]
    """
    return color // 2 + 127


def draw_box(picture: np.ndarray, box: np.ndarray, text: str, color: np.ndarray) -> None:
    """Draws a box and what is said about it into a picture.

    Args:
      picture: RGB, changed in place.
      box: (x1, y1, x2, y2) in pixels of it.
      text: above the box, where there is room; "" for none.
      color: RGB.
    """
    x1, y1, x2, y2 = (int(number) for number in np.rint(box))
    shade = [int(number) for number in color]
    cv2.rectangle(picture, (x1, y1), (max(x2 - 1, x1), max(y2 - 1, y1)), shade, 1)
    if not text:
        return
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    left = min(x1, max(picture.shape[1] - width - 2, 0))
    top = max(y1 - height - 4, 0)  # above the object, where there is room
    cv2.rectangle(picture, (left, top), (left + width + 2, top + height + 4), shade, cv2.FILLED)
    place = (left + 1, top + height + 1)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, [0, 0, 0], 1, cv2.LINE_AA)
