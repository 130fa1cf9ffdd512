"""The keys of a recipe's `data` section, checked once and then read as attributes."""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
import os
from collections.abc import Callable
from typing import Any

from segalias_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """The `data` section of a recipe, as `read_settings` checks it.

    Sizes are (height, width) in pixels unless said otherwise.

    Args:
      source: a name in `segalias_jax.data.SOURCES`, or "tfds:NAME" of a prepared set.
      root: folder of the data set; unused by procedural sources.
      images: path of an image below `root`, with {split} and {name}; this and the next eight are
        read by the source "folders" alone.
      labels: path of its label.
      regions: path of its field of view, outside of which pixels are ignored; "" for none.
      names: path of the list of names, or of a CSV file of pairs; "" takes all images there are.
      classes: names of the classes, by id.
      colors: (red, green, blue, class) of labels that are colors; class 255 is ignored.
      id_map: (stored value, class) where labels do not store class ids; class 255 is ignored.
      ignored: stored values besides 255 that are ignored.
      threshold: gray value above which a mask of two classes is class 1; None for labels of ids.
      exif: turn images as their EXIF orientation says; labels are never turned.
      on_error: what an unusable sample does: "stop" ends the run, "skip" is `SkippingSource`.
      max_skipped: unusable samples of a split above which "skip" ends the run too.
      train_split: name of the split that is trained on.
      eval_split: name of the split that is scored.
      resize: (long, short) side that an image is fitted to at ratio 1; () keeps its own size.
      ratio_range: smallest and largest random factor on that size.
      crop: training crop.
      pad: fill what a crop lacks with the mean color and label 255; otherwise a crop that can
        exceed an image is an error.
      cat_max_ratio: largest share of one class in a crop, tried ten times; 1 accepts every crop.
      flip: probability of a mirrored sample.
      photometric: distort brightness, contrast, saturation and hue.
      check: read every label before the first step.
      workers: processes that prepare training batches; 0 prepares them in threads of this one.
      threads: reading threads, in each process.
      num_train: procedural scenes of split "train".
      num_eval: procedural scenes of every other split.
      image_size: size of a procedural scene.
      scale_jitter: largest share by which each side deviates from its aspect.
      rotation: largest angle of a turned crop in degrees.
      blur: smallest and largest standard deviation of a Gaussian blur in pixels.
      noise: smallest and largest standard deviation of Gaussian noise, in units of 0..255.
      median: side of the square of a median filter in pixels; 0 for none.

    Example:
      >>> DataSettings(source="synthetic").flip
      0.5
    """

    source: str
    root: str = ""
    images: str = "images/{split}/{name}.*"
    labels: str = "labels/{split}/{name}.*"
    regions: str = ""
    names: str = "{split}.txt"
    classes: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int, int], ...] = ()
    id_map: tuple[tuple[int, int], ...] = ()
    ignored: tuple[int, ...] = ()
    threshold: int | None = None
    exif: bool = True
    on_error: str = "stop"
    max_skipped: int = 10
    train_split: str = "train"
    eval_split: str = "val"
    resize: tuple[int, ...] = ()
    ratio_range: tuple[float, float] = (0.5, 2.0)
    crop: tuple[int, int] = (128, 128)
    pad: bool = True
    cat_max_ratio: float = 0.75
    flip: float = 0.5
    photometric: bool = True
    check: bool = True
    workers: int = 0
    threads: int = 4
    num_train: int = 1000
    num_eval: int = 100
    image_size: tuple[int, int] = (128, 128)
    scale_jitter: float = 0.0
    rotation: float = 0.0
    blur: tuple[float, float] = (0.0, 0.0)
    noise: tuple[float, float] = (0.0, 0.0)
    median: int = 0


FOLDER_KEYS = (
    "images",
    "labels",
    "regions",
    "names",
    "classes",
    "colors",
    "id_map",
    "ignored",
    "threshold",
)
"""Keys that describe a user's own data set; only the source "folders" reads them."""


def _size(value: Any) -> tuple[int, int]:
    height, width = (operator.index(side) for side in value)
    if min(height, width) < 1:
        raise ValueError
    return height, width


def _ratio_range(value: Any) -> tuple[float, float]:
    low, high = (float(ratio) for ratio in value)
    if not 0 < low <= high < math.inf:
        raise ValueError
    return low, high


def _number(kind: Callable[[Any], Any], low: float, high: float) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not low <= kind(value) <= high:
            raise ValueError
        return kind(value)

    return read


def _bytes(value: Any, length: int) -> tuple[int, ...]:
    numbers = tuple(operator.index(number) for number in value)
    if len(numbers) != length or not all(0 <= number <= 255 for number in numbers):
        raise ValueError
    return numbers


def _rows(length: int) -> Callable[[Any], Any]:
    return lambda value: tuple(_bytes(row, length) for row in value)


def _class_names(value: Any) -> tuple[str, ...]:
    names = tuple(value)
    if isinstance(value, str) or not all(isinstance(name, str) and name for name in names):
        raise TypeError
    several = len(names) == 1 and "," in names[0]  # --config.data.classes=a,b is one text
    if several or len(names) > 254 or len(set(names)) < len(names):
        raise ValueError
    return names


def _one_of(*choices: str) -> Callable[[Any], str]:
    return lambda value: choices[choices.index(value)]


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _sigma_range(value: Any) -> tuple[float, float]:
    low, high = (float(sigma) for sigma in value)
    if not 0 <= low <= high < math.inf:
        raise ValueError
    return low, high


def _median_size(value: Any) -> int:
    size = operator.index(value)
    if size and (size < 3 or size % 2 == 0):
        raise ValueError
    return size


_POSITIVE = (_number(operator.index, 1.0, math.inf), "a whole number from 1")
_SWITCH = (_switch, "True or False")
_TEXT = (os.fspath, "a text")
_SIGMAS = (_sigma_range, "(smallest, largest) with 0 <= smallest <= largest")
_SIZE = (_size, "two positive whole numbers, (height, width)")

# How each key is read, and what to call the values it takes.
_READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "source": _TEXT,
    "root": _TEXT,
    "images": _TEXT,
    "labels": _TEXT,
    "regions": _TEXT,
    "names": _TEXT,
    "classes": (_class_names, "at most 254 different names, such as ('sky', 'road')"),
    "colors": (_rows(4), "rows of (red, green, blue, class), each 0 to 255"),
    "id_map": (_rows(2), "rows of (stored value, class), each 0 to 255"),
    "ignored": (lambda value: _bytes(value, len(value)), "stored values, each 0 to 255"),
    "threshold": (_number(operator.index, 0.0, 254.0), "a gray value from 0 to 254"),
    "exif": _SWITCH,
    "on_error": (_one_of("stop", "skip"), "'stop' or 'skip'"),
    "max_skipped": (_number(operator.index, 0.0, math.inf), "a whole number from 0"),
    "train_split": _TEXT,
    "eval_split": _TEXT,
    "resize": (lambda value: _size(value) if len(value) else (), "(long, short) in pixels, or ()"),
    "ratio_range": (_ratio_range, "(smallest, largest) with 0 < smallest <= largest"),
    "crop": _SIZE,
    "pad": _SWITCH,
    "cat_max_ratio": (_number(float, 1e-6, 1.0), "a share in (0, 1]"),
    "flip": (_number(float, 0.0, 1.0), "a probability in [0, 1]"),
    "photometric": _SWITCH,
    "check": _SWITCH,
    "workers": (_number(operator.index, 0.0, math.inf), "a whole number from 0"),
    "threads": _POSITIVE,
    "num_train": _POSITIVE,
    "num_eval": _POSITIVE,
    "image_size": _SIZE,
    "scale_jitter": (_number(float, 0.0, 0.9), "a share in [0, 0.9]"),
    "rotation": (_number(float, 0.0, 180.0), "an angle in [0, 180] degrees"),
    "blur": _SIGMAS,
    "noise": _SIGMAS,
    "median": (_median_size, "0 or an odd whole number from 3"),
}


def read_settings(config: Any) -> DataSettings:
    """Reads the `data` section of a recipe.

    Args:
      config: an `ml_collections.ConfigDict`, a plain dict, or settings that were read before.

    Returns:
      The settings; keys that `config` lacks have their default.

    Raises:
      InputError: an unknown key, or a value outside its range.

    Example:
      >>> read_settings({"source": "synthetic", "crop": [64, 96]}).crop
      (64, 96)
      >>> read_settings({"source": "synthetic", "crops": 64})
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.crops: unknown key; did you mean data.crop?
    """
    if isinstance(config, DataSettings):
        return config
    values = {key: config[key] for key in config if config[key] is not None}
    for key, value in values.items():
        values[key] = _read(key, value)
    if not values.get("source"):
        raise InputError("data.source: not set; name a data set")
    return DataSettings(**values)


def _read(key: str, value: Any) -> Any:
    if key not in _READERS:
        close = difflib.get_close_matches(key, _READERS, n=1)
        hint = f"did you mean data.{close[0]}?" if close else f"choose from {', '.join(_READERS)}"
        raise InputError(f"data.{key}: unknown key; {hint}")
    reader, what = _READERS[key]
    try:
        return reader(value)
    except (TypeError, ValueError):
        raise InputError(f"data.{key}: {value!r} is not {what}") from None
