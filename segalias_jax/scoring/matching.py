"""Which prediction belongs to which label: by file name, Cityscapes' official names included."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segalias_jax.data.classes import CITYSCAPES, CITYSCAPES_IDS
from segalias_jax.data.maps import MAP_SUFFIXES
from segalias_jax.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Kinds of files that hold the pictures themselves."""

_CITYSCAPES = re.compile(r"_(leftImg8bit|gtFine_(labelTrainIds|labelIds))$")
# What Cityscapes puts beside its maps.
_NO_MAP = re.compile(r"_gtFine_(color|instanceIds|instanceTrainIds)$")
_SHOWN = 3

CITYSCAPES_NAMES = CITYSCAPES[0]
"""Names of the 19 classes that `train_ids` maps to."""


class Pair(NamedTuple):
    """A prediction, its label, the image of both where there is one, and their name."""

    name: str
    prediction: Path
    label: Path
    image: Path | None = None


class Matches(NamedTuple):
    """All pairs, and the names of files that have no partner, with the reason."""

    pairs: list[Pair]
    lonely: list[tuple[str, str]]


def match_folders(
    predictions: Path,
    labels: Path,
    images: Path | None = None,
    *,
    suffixes: Sequence[str] = MAP_SUFFIXES,
) -> Matches:
    """Pairs the files of two folders, subfolders included, by their names without suffix.

    `frankfurt_000000_000294_leftImg8bit`, `..._gtFine_labelIds`, `..._gtFine_labelTrainIds` and
    the bare `frankfurt_000000_000294` are one name. Where a name turns up twice in a folder, the
    path below it takes its place.

    Args:
      predictions: folder of predicted maps.
      labels: folder of true maps.
      images: folder of the pictures; None: there are none.
      suffixes: of predictions.

    Returns:
      The pairs in the order of their names, and what was left over.

    Raises:
      InputError: a folder that is missing or holds no map, no pair at all, or two files of one
        name.

    Example:
      >>> match_folders(Path("nowhere"), Path("nowhere"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere: no such folder
    """
    found = [_files(predictions, suffixes), _without_ids(_files(labels, MAP_SUFFIXES))]
    pictures = _files(images, IMAGE_SUFFIXES) if images else []
    plain = all(len({_key(path) for path in files}) == len(files) for files in found)
    predicted, true = (
        _named(folder, files, plain)
        for folder, files in zip((predictions, labels), found, strict=True)
    )
    shown = _named(images, pictures, plain) if images else {}
    both = sorted(predicted.keys() & true.keys())
    if not both:
        raise InputError(
            f"{predictions}: no prediction has the name of a label; it holds "
            f"{_few(predicted)}, and {labels} {_few(true)}"
        )
    lonely = [
        (str(files[name]), f"no {missing} of this name in {folder}")
        for files, others, missing, folder in (
            (predicted, true, "label", labels),
            (true, predicted, "prediction", predictions),
        )
        for name in sorted(files.keys() - others.keys())
    ]
    return Matches([Pair(n, predicted[n], true[n], shown.get(n)) for n in both], lonely)


def train_ids(paths: Sequence[Path], num_classes: int) -> np.ndarray | None:
    """The class of each stored id where maps hold Cityscapes' own ids and 19 classes are scored.

    Args:
      paths: the maps of a folder.
      num_classes: C.

    Returns:
      uint8 [256], 255 being ignored; None where maps are to be taken as they are.

    Example:
      >>> train_ids([Path("a_gtFine_labelIds.png")], 19)[[0, 7, 33]].tolist()
      [255, 0, 18]
    """
    if num_classes != 19 or not all(path.stem.endswith("_labelIds") for path in paths):
        return None
    table = np.arange(256, dtype=np.uint8)
    table[:34] = 255
    table[list(CITYSCAPES_IDS)] = range(19)
    return table


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    every = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = [p for p in every if p.suffix.lower() in suffixes and not p.name.startswith(".")]
    if not chosen:
        kinds = sorted({path.suffix or path.name for path in every})
        holds = f"it holds {', '.join(kinds[:_SHOWN])} files" if kinds else "it is empty"
        raise InputError(f"{folder}: no {' or '.join(suffixes)} file is in there; {holds}")
    return chosen


def _without_ids(files: list[Path]) -> list[Path]:
    """Labels alone; of Cityscapes' two numberings the one that is trained on."""
    maps = [path for path in files if not _NO_MAP.search(path.stem)]
    trained = [path for path in maps if path.stem.endswith("_labelTrainIds")]
    official = [path for path in maps if path.stem.endswith("_labelIds")]
    return trained if len(trained) >= max(1, len(official)) else maps


def _key(path: Path) -> str:
    return _CITYSCAPES.sub("", path.stem)


def _named(folder: Path, files: list[Path], plain: bool) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in files:
        key = _key(path)
        if not plain:
            key = (path.relative_to(folder).parent / key).as_posix()
        if key in named:
            raise InputError(f"{path}: {named[key].name} has the same name; keep one of them")
        named[key] = path
    return named


def _few(files: dict[str, Path]) -> str:
    names = [path.name for path in files.values()][:_SHOWN]
    return ", ".join(names) + ", ..." * (len(files) > _SHOWN)
