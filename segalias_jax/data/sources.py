"""Data sets with random access: `len(source)`, `source[i]`, class names and colors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from segalias_jax.data.classes import Classes, voc_colors
from segalias_jax.data.instances import InstanceSource
from segalias_jax.data.labels import LabelRule, mapped_lookup, threshold_lookup
from segalias_jax.data.layouts import LAYOUTS, Files
from segalias_jax.data.pairs import Pair, PairSource
from segalias_jax.data.prepared import PREFIX, PreparedSource
from segalias_jax.data.radar import RadarFields
from segalias_jax.data.settings import FOLDER_KEYS, DataSettings, read_settings
from segalias_jax.data.skipping import SkippingSource
from segalias_jax.data.splits import find_pairs, has_labels
from segalias_jax.data.synthetic import SyntheticScenes
from segalias_jax.data.transforms import Sample
from segalias_jax.errors import InputError
from segalias_jax.files import map_ahead
from segalias_jax.progress import progress_bar
from segalias_jax.typing import IGNORE_LABEL


@runtime_checkable
class Source(Protocol):
    """What every data set offers: samples by index, and what its labels mean.

    A sample is `{"image": uint8[h, w, 3] RGB, "label": uint8[h, w]}`, 255 being ignored.
    `size(i)` is its (height, width) without decoding, and `check(i)` raises `InputError` where
    its files are unusable.
    """

    names: list[str]
    classes: tuple[str, ...]
    palette: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of a sample in pixels."""
        ...

    def check(self, index: int) -> None:
        """Raises `InputError` where a sample's files are unusable."""
        ...


def open_layout(settings: DataSettings, split: str) -> PairSource:
    """Opens a split of a data set in `LAYOUTS`.

    Args:
      settings: reads `source`, `root`, `exif` and `on_error`.
      split: name of the split, or several joined by "+".

    Returns:
      The split, with random access.

    Raises:
      InputError: see `create_source`.

    Example:
      >>> open_layout(DataSettings("camvid"), "train")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.root: not set; pass --config.data.root=DIR, the folder \
of camvid
    """
    layout = LAYOUTS[settings.source]
    return _open(settings, split, layout.files, layout.classes)


def open_folders(settings: DataSettings, split: str) -> PairSource:
    """Opens a split of a data set that the recipe itself describes.

    Args:
      settings: reads `root`, `exif`, `on_error`, and all keys of `FOLDER_KEYS`.
      split: name of the split, or several joined by "+".

    Returns:
      The split, with random access.

    Raises:
      InputError: see `create_source`.

    Example:
      >>> open_folders(DataSettings("folders", classes=("no", "yes")), "train")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.root: not set; pass --config.data.root=DIR, the folder \
of folders
    """
    rule, palette = folder_rule(settings)
    for key in ("images", "labels", "regions"):
        path = getattr(settings, key)
        if path and "{name}" not in path:
            raise InputError(f"data.{key}: {path!r} lacks {{name}}, where each image's name goes")
    files = Files(
        settings.images,
        (settings.labels,),
        rule,
        names=settings.names,
        regions=settings.regions,
    )
    return _open(settings, split, (files,), (settings.classes, palette))


def folder_rule(settings: DataSettings) -> tuple[LabelRule, np.ndarray]:
    """Reads what the label values of a user's own data set mean.

    Args:
      settings: reads `classes`, `colors`, `id_map`, `ignored` and `threshold`.

    Returns:
      The rule, and a color for each class.

    Raises:
      InputError: no classes, or keys that contradict each other.

    Example:
      >>> settings = DataSettings("folders", classes=("a", "b"), id_map=((7, 0), (8, 1)))
      >>> folder_rule(settings)[0].lookup[6:10]
      (254, 0, 1, 254)
    """
    count = len(settings.classes)
    if not count:
        raise InputError("data.classes: not set; name the classes in the order of their ids")
    keys = [
        key for key in ("colors", "id_map", "threshold") if getattr(settings, key) not in ((), None)
    ]
    if len(keys) > 1:
        raise InputError(f"data.{keys[0]}: contradicts data.{keys[1]}; set one of them")
    if settings.ignored and (settings.colors or settings.threshold is not None):
        raise InputError(f"data.ignored: contradicts data.{keys[0]}; set one of them")
    for key in ("colors", "id_map"):
        for row in getattr(settings, key):
            if row[-1] >= count and row[-1] != IGNORE_LABEL:
                raise InputError(
                    f"data.{key}: {row} names class {row[-1]}, but data.classes names {count}; "
                    f"use 0 to {count - 1}, or {IGNORE_LABEL} for ignored"
                )
    palette = voc_colors(count)
    if settings.colors:
        for *color, label in reversed(settings.colors):
            if label != IGNORE_LABEL:
                palette[label] = color
        return LabelRule(count, reading="colors", colors=settings.colors), palette
    if settings.threshold is not None:
        if count != 2:
            raise InputError(f"data.threshold: makes two classes, data.classes names {count}")
        return LabelRule(2, threshold_lookup(settings.threshold), "gray"), palette
    identity = [(k, k) for k in range(count)]
    pairs = [(value, label) for value, label in settings.id_map] or identity
    for value, label in pairs:
        if value in settings.ignored and label != IGNORE_LABEL:
            raise InputError(
                f"data.ignored: {value} is stored for class {settings.classes[label]!r}; remove "
                f"it, or say by data.id_map that it is {IGNORE_LABEL}"
            )
    return LabelRule(count, mapped_lookup(pairs, ignored=settings.ignored)), palette


SOURCES: Mapping[str, Callable[[DataSettings, str], Source]] = MappingProxyType(
    dict.fromkeys(LAYOUTS, open_layout)
    | {"folders": open_folders, "synthetic": SyntheticScenes, "radar": RadarFields}
)
"""Every data set by its name in a recipe; each takes the settings and a split's name."""


def create_source(data_config: Any, split: str) -> Source:
    """Opens one split of the data set that a recipe names.

    Args:
      data_config: the recipe's `data` section, see `DataSettings`.
      split: a split's name, such as `data_config.train_split`; of sets of files also several,
        joined by "+".

    Returns:
      The split, with random access.

    Raises:
      InputError: an unknown name or key, a missing or empty root or split, an image without label.

    Example:
      >>> source = create_source({"source": "synthetic", "image_size": (64, 96)}, "train")
      >>> source[0]["image"].shape
      (64, 96, 3)
    """
    settings = read_settings(data_config)
    source = open_split(settings, split)
    if settings.on_error == "skip":
        return SkippingSource(source, max_skipped=settings.max_skipped)
    return source


def open_split(settings: DataSettings, split: str) -> Source:
    """Opens a split as it is, whose unusable samples raise where they are read.

    Args:
      settings: the recipe's `data` section.
      split: as in `create_source`.

    Returns:
      The split, with random access.

    Raises:
      InputError: as in `create_source`.

    Example:
      >>> open_split(DataSettings("pascal"), "train")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.source: no data set 'pascal'; choose from camvid, \
cityscapes, voc2012, ade20k, coco_stuff, kvasir_seg, cvc_clinicdb, membrane, crackforest, drive, \
svrimg, folders, synthetic, radar
    """
    if settings.source.startswith(PREFIX):
        return PreparedSource(settings, split)
    if settings.source not in SOURCES:
        names = ", ".join(SOURCES)
        raise InputError(f"data.source: no data set {settings.source!r}; choose from {names}")
    if settings.source != "folders":
        for key in FOLDER_KEYS:
            if getattr(settings, key) != getattr(DataSettings, key):
                raise InputError(f"data.{key}: only data.source='folders' reads it; remove it")
    return SOURCES[settings.source](settings, split)


def check_source(source: Source, *, threads: int = 4, progress: bool = True) -> None:
    """Reads every label and compares it with the classes and with the size of its image.

    Args:
      source: the data set.
      threads: files read at a time.
      progress: show a bar where it takes more than two seconds.

    Raises:
      InputError: names the first unusable file and the reason.

    Example:
      >>> check_source(create_source({"source": "synthetic"}, "val"))
    """
    with progress_bar("checking labels" if progress else None, len(source), unit=" files") as bar:
        for _ in map_ahead(source.check, range(len(source)), threads=threads):
            bar.update()


def fingerprint(source: Source) -> str:
    """Returns a fingerprint of a data set's condition, so that `check_source` need not run again.

    It changes where a file is added, removed, or written since, whatever its size and age are then,
    or where labels mean something else. A run keeps those of the splits that it has checked, and a
    resumed one reads only what changed.

    Args:
      source: the data set.

    Returns:
      Hexadecimal digits; "" where there are no files, or unusable ones are to be skipped.

    Example:
      >>> fingerprint(create_source({"source": "synthetic"}, "val"))
      ''
    """
    if isinstance(source, SkippingSource) or not isinstance(source, PairSource | InstanceSource):
        return ""
    digest = hashlib.sha256(repr((source.rule, source.exif)).encode())
    for pair in source.pairs:
        for path in filter(None, (pair.image, pair.label, pair.region)):
            there = path.stat()
            condition = (str(path), there.st_size, there.st_mtime_ns, there.st_ctime_ns)
            digest.update(repr(condition).encode())
    return digest.hexdigest()


def _open(
    settings: DataSettings, split: str, trees: tuple[Files, ...], named: Classes
) -> PairSource:
    root = _existing_root(settings)
    parts = split.split("+")
    present = [files for files in trees if has_labels(root, files, parts[0])] or trees[:1]

    def find(files: Files) -> tuple[list[Pair], Path]:
        found = [find_pairs(root, files, part) for part in parts]
        return [pair for pairs, _ in found for pair in pairs], found[0][1]

    *others, files = present
    for other in others:
        pairs, origin = find(other)
        if all(os.path.isfile(pair.label) for pair in pairs):
            files = other
            break
    else:  # of the last one nothing is looked up here: it is taken whatever it lacks
        pairs, origin = find(files)
    if len({pair.name for pair in pairs}) < len(pairs):
        raise InputError(f"split {split!r}: its parts share images; correct the lists")
    return PairSource(
        pairs,
        origin=origin,
        rule=files.rule,
        class_names=named[0],
        palette=named[1],
        exif=settings.exif,
        complete=settings.on_error == "stop",
    )


def _existing_root(settings: DataSettings) -> Path:
    advice = f"pass --config.data.root=DIR, the folder of {settings.source}"
    if not settings.root:
        raise InputError(f"data.root: not set; {advice}")
    root = Path(settings.root)
    if not root.is_dir():
        raise InputError(f"data.root: no folder {root}; {advice}")
    if not any(root.iterdir()):
        raise InputError(f"data.root: the folder {root} is empty; {advice}")
    return root
