"""The keys of a recipe's `data` section where objects are learned: default, unit, help, check."""

from __future__ import annotations

import dataclasses
from typing import Any

from segalias_jax.errors import InputError
from segalias_jax.settings import (
    Check,
    check_settings,
    integer,
    interval,
    names,
    number,
    one_of,
    parse,
    setting,
    size,
    values,
)

INSTANCE_SOURCES = ("coco", "cityscapes_instances", "cityscapes_panoptic", "instance_maps")
"""Kinds of data sets of objects; a recipe that names one is about objects."""

_COUNT = integer(least=1)
_CLASSES = names("different names, such as ('person', 'car')")
# Keys that not every source reads, and which do.
_READ_BY = {
    "annotations": ("coco",),
    "images": ("coco", "instance_maps"),
    "maps": ("instance_maps",),
    "names": ("instance_maps",),
    "classes": ("coco", "instance_maps"),
    "divisor": ("instance_maps",),
    "id_map": ("instance_maps",),
    "stuff": ("instance_maps",),
}


def _lengths() -> Check:
    def read(given: Any) -> tuple[int, int]:
        low, high = (_COUNT("", item) for item in given)
        if low > high:
            raise ValueError
        return low, high

    what = "(smallest, largest) of positive integers with smallest <= largest"
    return values(read, what, example="640,800")


def _id_map() -> Check:
    def read(given: Any) -> tuple[tuple[int, int], ...]:
        rows = [tuple(integer(least=0)("", item) for item in row) for row in given]
        if any(len(row) != 2 for row in rows):
            raise ValueError
        return tuple((stored, label) for stored, label in rows)

    return values(read, "rows of (stored class, class from 1, or 0)", example='"((24,1),(7,0))"')


def _multiples() -> Check:
    def read(given: Any) -> tuple[int, ...]:
        sides = size(optional=True)("", given)
        if any(side % 32 for side in sides):
            raise ValueError
        return sides

    return values(read, "two multiples of 32, (height, width), or ()", example="416,608")


@dataclasses.dataclass(frozen=True)
class InstanceSettings:
    """What is read where objects are learned, and how training images are made of it.

    Sizes are (height, width) in pixels; in paths, {split} is filled in.

    Raises:
      InputError: a value outside its range, by the setting's name.

    Example:
      >>> InstanceSettings(source="coco").long
      1333
      >>> InstanceSettings("coco", padded=(400, 600))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: padded: (400, 600) is not two multiples of 32, \
(height, width), or ()
    """

    source: str = setting(
        "coco",
        """"coco": a JSON file as COCO writes it; "cityscapes_instances": the official tree,
        "cityscapes_panoptic" with its stuff;
        "instance_maps": images whose values tell objects apart""",
        check=one_of(INSTANCE_SOURCES),
    )
    root: str = setting("", "folder of the data set")
    annotations: str = setting(
        "annotations/instances_{split}.json", 'path of the JSON file below root, "coco" only'
    )
    images: str = setting(
        "",
        """of "coco" the folder of the images below root, "{split}" where it is not given; of
        "instance_maps" the path of an image, "images/{split}/{name}.*" where it is not given""",
    )
    maps: str = setting(
        "instances/{split}/{name}.png", 'path of the map of an image, "instance_maps" only'
    )
    names: str = setting("", 'path of the list of names, "instance_maps" only; "" takes all images')
    classes: tuple[str, ...] = setting(
        (),
        """names of the classes, by id from 1; of "coco" the categories to read, () for all""",
        check=_CLASSES,
    )
    divisor: int = setting(
        0,
        """objects that a class can have in a map, whose values are class * divisor + number, and
        the class alone a crowd; 0 where values have no class; "instance_maps" only""",
        check=integer(least=0),
    )
    id_map: tuple[tuple[int, int], ...] = setting(
        (),
        """classes of the stored ones, or without divisor of the stored values; class 0 is no
        object; "instance_maps" only""",
        check=_id_map(),
    )
    stuff: tuple[str, ...] = setting(
        (),
        """those of the classes that are stuff, of which an image shows one region each; where
        there are any, pixels of no class are unknown; "instance_maps" only""",
        check=_CLASSES,
    )
    exif: bool = setting(True, "turn images as their EXIF orientation says")
    on_error: str = setting(
        "stop",
        'an unusable image: "stop" ends the run; "skip" leaves it out of losses and scores',
        check=one_of(("stop", "skip")),
    )
    max_skipped: int = setting(
        10,
        'unusable images of a split above which "skip" ends the run too',
        check=integer(least=0),
    )
    train_split: str = setting("train", "split that is trained on")
    eval_split: str = setting("val", "split that is scored")
    empty: bool = setting(False, "train on images without objects too, which teach what is none")
    repeat_by_objects: bool = setting(
        False, "train on images with more objects than the mean as many times as often"
    )
    short: tuple[int, int] = setting(
        (800, 800),
        "smallest and largest short side that training draws; scoring takes the largest",
        unit="pixels",
        check=_lengths(),
    )
    long: int = setting(1333, "most that the long side may have", unit="pixels", check=_COUNT)
    interpolation: str = setting(
        "bilinear",
        'of pixels: "bilinear", or "nearest", which leaves noise as strong as it is',
        check=one_of(("bilinear", "nearest")),
    )
    ratio_range: tuple[float, float] = setting(
        (1.0, 1.0), "smallest and largest random factor of that size", check=interval(above=0)
    )
    crop: tuple[int, int] | tuple[()] = setting(
        (), "training crop; () trains on whole images", unit="pixels", check=size(optional=True)
    )
    flip: float = setting(0.5, "probability of a flipped sample", check=number(least=0, most=1))
    photometric: bool = setting(False, "distort brightness, contrast, saturation and hue")
    padded: tuple[int, int] | tuple[()] = setting(
        (),
        """size of all batches, multiples of 32; () takes the smallest that holds the crop, or
        every image of the split""",
        unit="pixels",
        check=_multiples(),
    )
    max_objects: int = setting(
        100, "objects of an image in a batch; of more, the largest stay", check=_COUNT
    )
    dark: float = setting(
        0.0,
        "probability of a training image that is darkened, with a camera's noise",
        check=number(least=0, most=1),
    )
    dark_pair: bool = setting(
        False, 'keep the image and add the darkened one to the batch as "dark"'
    )
    dark_ratio: tuple[float, float] = setting(
        (10.0, 100.0),
        "smallest and largest factor by which light is missing",
        check=interval(least=1),
    )
    dark_form: str = setting(
        "text",
        'noise as the paper says ("text") or as its code has it ("reference")',
        check=one_of(("text", "reference")),
    )
    dark_develop: bool = setting(
        False, "take darkened images back to sRGB, which no published code does"
    )
    check: bool = setting(True, "read all objects before the first step")
    workers: int = setting(
        0,
        "processes that prepare training batches; 0 prepares them in threads of this one",
        check=integer(least=0),
    )
    threads: int = setting(4, "reading threads, in each process", check=_COUNT)

    def __post_init__(self) -> None:
        """Checks every value."""
        check_settings(self)

    @property
    def has_stuff(self) -> bool:
        """Whether some classes are stuff."""
        return bool(self.stuff) or self.source == "cityscapes_panoptic"


def read_instance_settings(config: Any) -> InstanceSettings:
    """Reads the `data` section of a recipe about objects.

    Args:
      config: an `ml_collections.ConfigDict`, a plain dict, or settings that were read before.

    Returns:
      The settings; keys that `config` lacks have their default.

    Raises:
      InputError: an unknown key, or a value outside its range.

    Example:
      >>> read_instance_settings({"source": "coco", "short": [640, 800]}).short
      (640, 800)
    """
    if isinstance(config, InstanceSettings):
        return config
    settings = parse(InstanceSettings, config, section="data")
    for key, sources in _READ_BY.items():
        default = getattr(InstanceSettings, key)
        if settings.source not in sources and getattr(settings, key) != default:
            raise InputError(
                f"data.{key}: data.source={settings.source!r} does not read it; remove it"
            )
    if settings.dark_pair and not settings.dark:
        raise InputError(
            "data.dark_pair: adds the darkened image, and data.dark is 0; set data.dark to 1"
        )
    return settings
