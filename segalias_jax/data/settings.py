"""The keys of a recipe's `data` section: default, unit, help and check of each."""

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
    numbers,
    one_of,
    parse,
    setting,
    size,
    values,
)

_BYTE = integer(least=0, most=255)
_COUNT = integer(least=1)
_CLASSES = names("at most 254 different names, such as ('sky', 'road')", most=254)


def _rows(length: int, what: str, example: str) -> Check:
    def read(given: Any) -> tuple[tuple[int, ...], ...]:
        rows = tuple(tuple(_BYTE("", item) for item in row) for row in given)
        if any(len(row) != length for row in rows):
            raise ValueError
        return rows

    return values(read, f"rows of {what}, each 0 to 255", example=example)


def _median_side(given: Any) -> int:
    side = integer(least=0)("", given)
    if side and (side < 3 or side % 2 == 0):
        raise ValueError
    return side


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """What is read, and how training crops are made of it.

    Sizes are (height, width) in pixels unless said otherwise; `segalias_jax.settings.documentation`
    prints what each setting says.

    Raises:
      InputError: a value outside its range, by the setting's name.

    Example:
      >>> DataSettings(source="synthetic").flip
      0.5
      >>> DataSettings("camvid", crop=(0, 4))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: crop: (0, 4) is not two positive integers, (height, width)
    """

    source: str = setting(
        "synthetic",
        """"synthetic", "radar", "folders" (your own), a set of docs/datasets.md, or "tfds:NAME"
        of a prepared set""",
    )
    root: str = setting("", 'folder of the data set; unused by "synthetic" and "radar"')
    # Paths below root and the meaning of labels: only the source "folders" reads them.
    images: str = setting(
        "images/{split}/{name}.*",
        """path of an image below root, "folders" only, as for the next eight; {split} and {name}
        are filled in, and * is anything""",
    )
    labels: str = setting("labels/{split}/{name}.*", "path of its label")
    regions: str = setting(
        "", 'path of its field of view, outside of which pixels are ignored; "" for none'
    )
    names: str = setting(
        "{split}.txt", 'path of the list of names, or of a CSV file of pairs; "" takes all images'
    )
    classes: tuple[str, ...] = setting(
        (),
        "names of the classes, by id",
        check=_CLASSES,
    )
    colors: tuple[tuple[int, ...], ...] = setting(
        (),
        "what colors of labels that are colors mean; class 255 is ignored",
        check=_rows(4, "(red, green, blue, class)", '"((255,0,0,1),)"'),
    )
    id_map: tuple[tuple[int, ...], ...] = setting(
        (),
        "classes of stored values, where labels are no class ids; class 255 is ignored",
        check=_rows(2, "(stored value, class)", '"((7,0),(8,1))"'),
    )
    ignored: tuple[int, ...] = setting(
        (),
        "stored values besides 255 that are ignored",
        check=numbers(_BYTE, "stored values, each 0 to 255"),
    )
    threshold: int | None = setting(
        None,
        "gray value above which a mask of two classes is class 1; None for labels of ids",
        check=integer(least=0, most=254),
    )
    exif: bool = setting(
        True, "turn images as their EXIF orientation says; labels are never turned"
    )
    on_error: str = setting(
        "stop",
        'an unusable sample: "stop" ends the run; "skip" takes the next image, without labels',
        check=one_of(("stop", "skip")),
    )
    max_skipped: int = setting(
        10,
        'unusable samples of a split above which "skip" ends the run too',
        check=integer(least=0),
    )
    train_split: str = setting("train", "split that is trained on")
    eval_split: str = setting("val", "split that is scored")
    resize: tuple[int, ...] = setting(
        (),
        "sides that an image is fitted to at ratio 1; () keeps its own size",
        unit="pixels",
        check=size("(long, short)", optional=True),
    )
    ratio_range: tuple[float, float] = setting(
        (0.5, 2.0), "smallest and largest random factor of that size", check=interval(above=0)
    )
    crop: tuple[int, int] = setting((128, 128), "training crop", unit="pixels", check=size())
    pad: bool = setting(
        True,
        """fill what a crop lacks with the mean color and label 255; otherwise a crop that can
        exceed an image is an error""",
    )
    cat_max_ratio: float = setting(
        0.75,
        "largest fraction of one class in a crop, tried ten times; 1 accepts every crop",
        check=number(above=0, most=1),
    )
    flip: float = setting(0.5, "probability of a flipped sample", check=number(least=0, most=1))
    photometric: bool = setting(True, "distort brightness, contrast, saturation and hue")
    check: bool = setting(True, "read every label before the first step")
    workers: int = setting(
        0,
        "processes that prepare training batches; 0 prepares them in threads of this one",
        check=integer(least=0),
    )
    threads: int = setting(4, "reading threads, in each process", check=_COUNT)
    num_train: int = setting(
        1000, 'scenes of the split "train", "synthetic" and "radar" only', check=_COUNT
    )
    num_eval: int = setting(
        100, 'scenes of every other split, "synthetic" and "radar" only', check=_COUNT
    )
    image_size: tuple[int, int] = setting(
        (128, 128), 'size of a scene, "synthetic" and "radar" only', unit="pixels", check=size()
    )
    scale_jitter: float = setting(
        0.0,
        "largest fraction by which each side deviates from its aspect",
        check=number(least=0, most=0.9),
    )
    rotation: float = setting(
        0.0, "largest angle of a turned crop", unit="degrees", check=number(least=0, most=180)
    )
    blur: tuple[float, float] = setting(
        (0.0, 0.0),
        "smallest and largest standard deviation of a Gaussian blur",
        unit="pixels",
        check=interval(least=0),
    )
    noise: tuple[float, float] = setting(
        (0.0, 0.0),
        "smallest and largest standard deviation of Gaussian noise",
        unit="of 0..255",
        check=interval(least=0),
    )
    median: int = setting(
        0,
        "side of the square of a median filter; 0 for none",
        unit="pixels",
        check=values(_median_side, "0 or an odd integer from 3"),
    )

    def __post_init__(self) -> None:
        """Checks every value."""
        check_settings(self)


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
    settings = parse(DataSettings, config, section="data")
    if "source" not in config or not settings.source:
        raise InputError("data.source: not set; name a data set")
    return settings
