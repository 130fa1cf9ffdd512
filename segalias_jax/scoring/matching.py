"""Which prediction belongs to which label: by file name, Cityscapes' official names included."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from segalias_jax.data.classes import CITYSCAPES
from segalias_jax.data.maps import MAP_SUFFIXES
from segalias_jax.errors import InputError
from segalias_jax.scoring.naming import Affixes, find_affixes, pattern_reader
from segalias_jax.scoring.pair_list import Pair, PairList
from segalias_jax.scoring.sources import PathList, list_files, shown, unpacked

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Kinds of files that hold the pictures themselves."""

_CITYSCAPES = re.compile(r"_(leftImg8bit|gt(Fine|Coarse)_(labelTrainIds|labelIds))$")
# The official program takes any file that begins so for the prediction of this frame.
_FRAME = re.compile(r"([^_]+_\d{6}_\d{6})(?!\d).*", re.DOTALL)
_OF_CITYSCAPES = re.compile(r"_gt(Fine|Coarse)_label(Train)?Ids$")
# What Cityscapes puts beside its maps.
_NO_MAP = re.compile(r"_gt(Fine|Coarse)_(color|instanceIds|instanceTrainIds)$")
_SHOWN = 2
# Files by name, in the form in which lists of paths keep them.
_Keyed = dict[str, str | Path]

CITYSCAPES_NAMES = CITYSCAPES[0]
"""Names of the 19 classes of `CITYSCAPES_IDS`."""


class Matches(NamedTuple):
    """All pairs, the names of files without a partner or use, with the reason, and what to know."""

    pairs: PairList
    lonely: list[tuple[str, str]]
    notices: tuple[str, ...] = ()


class _Side(NamedTuple):
    """Files of one folder, each with its name and the folder that it is in."""

    root: Path
    files: PathList
    names: list[str]

    def stripped(self, affixes: Affixes) -> _Side:
        return self._replace(names=[affixes.stripped(name) for name in self.names])


def match_folders(
    predictions: Path,
    labels: Path,
    images: Path | None = None,
    *,
    suffixes: Sequence[str] = MAP_SUFFIXES,
    pattern: str | None = None,
    label_pattern: str | None = None,
) -> Matches:
    """Pairs the files of two folders or archives by their names without suffix.

    `frankfurt_000000_000294_leftImg8bit`, `..._gtFine_labelIds`, `..._gtFine_labelTrainIds` and
    the bare `frankfurt_000000_000294` are one name, and so is all that begins with it where labels
    have Cityscapes' names. Where no two names are equal, affixes that all names of a side have are
    left away (`naming.find_affixes`), which a notice says. Where a name turns up twice in a folder,
    the path below it takes its place.

    Args:
      predictions: folder or archive of predicted maps.
      labels: folder or archive of true maps.
      images: folder or archive of the pictures; None: there are none.
      suffixes: of predictions.
      pattern: how predictions are named, see `naming.pattern_reader`; None: as said above.
      label_pattern: the same of labels.

    Returns:
      The pairs in the order of their names, what was left over, and notices.

    Raises:
      InputError: a folder that is missing or holds no map, no pair at all, or two files of one
        name.

    Example:
      >>> match_folders(Path("nowhere"), Path("nowhere"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere: no such folder
    """
    listings = [list_files(predictions, suffixes), list_files(labels, MAP_SUFFIXES)]
    true_files = listings[1].files if label_pattern else _without_ids(listings[1].files)
    official = any(_OF_CITYSCAPES.search(path.stem) for path in true_files)
    notices: list[str] = []
    predicted = _named(predictions, listings[0].files, official, notices, pattern, suffixes)
    true = _named(labels, true_files, official, notices, label_pattern, MAP_SUFFIXES, "label-")
    predicted, true = _agreed(predicted, true, notices, bool(pattern), bool(label_pattern))
    pictures = None
    if images:
        listings.append(list_files(images, IMAGE_SUFFIXES))
        pictures = _named(images, listings[2].files, official, [])
        if not set(pictures.names) & set(true.names):
            found = find_affixes(pictures.names, true.names)
            pictures = pictures.stripped(found[0]) if found and not any(found[1]) else pictures
    sides = _keyed(predicted, true, pictures)
    shared = sorted(sides[0].keys() & sides[1].keys())
    if not shared:
        raise InputError(_no_pair(predicted, true))
    lonely = [one for listing in listings for one in listing.unusable]
    lonely += [
        (shown(files[name]), f"no {missing} of this name in {shown(folder)}")
        for files, others, missing, folder in (
            (sides[0], sides[1], "label", labels),
            (sides[1], sides[0], "prediction", predictions),
        )
        for name in sorted(files.keys() - others.keys())
    ]
    pairs = PairList(
        Pair(shown(name), *(unpacked(files[name]) for files in sides if name in files))
        for name in shared
    )
    return Matches(pairs, lonely, tuple(notices))


def _without_ids(files: PathList) -> PathList:
    """Labels alone; of Cityscapes' two numberings the one that is trained on."""
    maps = files.only(lambda path: not _NO_MAP.search(path.stem))
    trained = maps.only(lambda path: path.stem.endswith("_labelTrainIds"))
    official = [path for path in maps if path.stem.endswith("_labelIds")]
    return trained if len(trained) >= max(1, len(official)) else maps


def _named(
    root: Path,
    files: PathList,
    official: bool,
    notices: list[str],
    pattern: str | None = None,
    suffixes: Sequence[str] = (),
    flag: str = "",
) -> _Side:
    """The files of a side that have its pattern, with their names."""
    names: list[str | None] = [path.stem for path in files]
    if pattern:
        read = pattern_reader(pattern, suffixes, f"--{flag}pattern")
        names = [read(path, root) for path in files]
    wanted = iter(names)
    chosen = files.only(lambda _: next(wanted))
    if not chosen:
        raise InputError(f"{shown(root)}: no file is named {pattern!r}; it holds {_few(files)}")
    if len(chosen) < len(files):
        number = len(files) - len(chosen)
        notices.append(f"{number} files in {shown(root)} are not named {pattern!r} and left aside")
    return _Side(root, chosen, [_key(name, official) for name in names if name])


def _key(stem: str, official: bool) -> str:
    frame = _FRAME.fullmatch(stem) if official else None
    return frame[1] if frame else _CITYSCAPES.sub("", stem)


def _agreed(
    predicted: _Side, true: _Side, notices: list[str], given: bool, label_given: bool
) -> tuple[_Side, _Side]:
    """Both sides without the affixes by which all their names differ."""
    if set(predicted.names) & set(true.names):
        return predicted, true
    found = find_affixes(predicted.names, true.names)
    if found is None or (given and any(found[0])) or (label_given and any(found[1])):
        return predicted, true
    for affixes, flag in zip(found, ("--pattern", "--label-pattern"), strict=True):
        if any(affixes):
            notices.append(f"names are matched as by {flag} '{shown(affixes.pattern)}'")
    return predicted.stripped(found[0]), true.stripped(found[1])


def _keyed(predicted: _Side, true: _Side, pictures: _Side | None) -> tuple[_Keyed, _Keyed, _Keyed]:
    """Files of each side by name, or by folder and name where names alone are not enough."""
    if all(len(set(side.names)) == len(side.names) for side in (predicted, true)):
        found = _by_key(predicted, None), _by_key(true, None)
        return *found, _by_key(pictures, None, strict=False) if pictures else {}
    # One side may keep a folder such as val/ above those of the other.
    best: tuple[_Keyed, _Keyed] | None = None
    above = [_common(side) for side in (predicted, true)]
    for ways in itertools.product(*(dict.fromkeys(("", folder)) for folder in above)):
        found = _by_key(predicted, ways[0]), _by_key(true, ways[1])
        if best is None or len(found[0].keys() & found[1]) > len(best[0].keys() & best[1]):
            best = found
    assert best is not None
    if pictures is None:
        return *best, {}
    tried = [_by_key(pictures, folder, strict=False) for folder in ("", _common(pictures))]
    return *best, max(tried, key=lambda files: len(files.keys() & best[1]))


def _common(side: _Side) -> str:
    return os.path.commonpath([p.relative_to(side.root).parent.as_posix() for p in side.files])


def _by_key(side: _Side, above: str | None, *, strict: bool = True) -> _Keyed:
    """Files by name; with a folder, by the path below it and their name."""
    keyed: _Keyed = {}
    for kept, name in zip(side.files.kept, side.names, strict=True):
        path, key = unpacked(kept), name
        if above is not None:
            key = (path.relative_to(side.root / above).parent / name).as_posix()
        if strict and key in keyed:
            other = shown(unpacked(keyed[key]).name)
            raise InputError(
                f"{shown(path)}: {other} has the same name; keep one of them, or "
                f"say how files are named, such as --pattern '{{name}}{shown(path.suffix)}'"
            )
        keyed[key] = kept
    return keyed


def _no_pair(predicted: _Side, true: _Side) -> str:
    example = predicted.files[0]
    return (
        f"{shown(predicted.root)}: no prediction has the name of a label; it holds "
        f"{_few(predicted.files)}, and {shown(true.root)} {_few(true.files)}; say how they are "
        f"named, such as --pattern '{{name}}_pred{shown(example.suffix)}' and --label-pattern "
        f"'{{name}}{shown(true.files[0].suffix)}'"
    )


def _few(files: Sequence[Path]) -> str:
    names = [shown(path.name) for path in files[:_SHOWN]]
    return ", ".join(names) + ", ..." * (len(files) > _SHOWN)
