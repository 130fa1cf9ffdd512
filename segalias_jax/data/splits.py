"""Splits of a data set: from its lists and folders to pairs of files, and what identifies them."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segalias_jax.data.files import read_bytes
from segalias_jax.data.layouts import Files
from segalias_jax.data.pairs import Pair, PairSource
from segalias_jax.errors import InputError

_SUFFIXES = ("bmp", "gif", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp")


def find_pairs(root: Path, files: Files, split: str) -> tuple[list[Pair], Path]:
    """Finds the files of one split.

    Args:
      root: folder of the data set.
      files: where they lie below it.
      split: name of the split.

    Returns:
      The pairs in the order of the list, or by name, and the list or folder that named them;
      files may turn out to be missing.

    Raises:
      InputError: no such split, a name that occurs twice, or a malformed list.

    Example:
      >>> from segalias_jax.data.labels import LabelRule
      >>> files = Files("{name}.png", ("{name}.png",), LabelRule(2), names="no.txt")
      >>> find_pairs(Path("/"), files, "train")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: split 'train': /no.txt is missing; write the names of its \
images there, one a line, or check data.root and data.names
    """
    images = _Template(root, files.images, split)
    labels = [_Template(root, path, split) for path in files.labels]
    regions = _Template(root, files.regions, split) if files.regions else None
    if not files.names:
        names, origin = images.names(), images.folder
    else:
        origin = root / files.names.replace("{split}", split)
        if not origin.is_file():
            raise _no_split(split, origin, root / files.images)
        if origin.suffix == ".csv":
            return _unique(_read_csv(origin, root), origin), origin
        names = _read_list(origin)
    pairs = [
        Pair(
            images.path(name),
            _first_file([label.path(name) for label in labels]),
            name,
            regions.path(name) if regions else None,
        )
        for name in names
    ]
    return _unique(pairs, origin), origin


def has_labels(root: Path, files: Files, split: str) -> bool:
    """Returns whether a folder exists that a split's labels would be in.

    Args:
      root: folder of the data set.
      files: where files lie below it.
      split: name of the split.

    Returns:
      Whether there is one; what is in it is not looked at.

    Example:
      >>> from segalias_jax.data.labels import LabelRule
      >>> has_labels(Path("no"), Files("{name}.jpg", ("{name}.png",), LabelRule(2)), "train")
      False
    """
    return any(_Template(root, path, split).folder.is_dir() for path in files.labels)


def split_hash(names: Sequence[str]) -> str:
    """Returns an identifier of a split that does not depend on its name, root or order.

    Args:
      names: of its images, such as `source.names`.

    Returns:
      SHA-256 of the sorted names joined by newlines, in hexadecimal digits.

    Example:
      >>> split_hash(["b", "a"])[:12]
      '7e18f737311b'
    """
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def check_splits(first: str, second: str, sources: Sequence[Any]) -> str:
    """Compares the images of two splits.

    Args:
      first: name of a split, or names joined by "+".
      second: name of another one; one that shares a part with `first`, as "train+val" and "val",
        overlaps on purpose.
      sources: both, opened.

    Returns:
      A remark where different files have one name, which often are one picture; else "".

    Raises:
      InputError: names the files that are in both.

    Example:
      >>> from types import SimpleNamespace as Source
      >>> sources = Source(names=["1", "2"]), Source(names=["2", "3"])
      >>> check_splits("train", "val", sources)
      "splits 'train' and 'val' both have an image named 2"
    """
    if set(first.split("+")) & set(second.split("+")):
        return ""
    files = [{str(pair.image) for pair in getattr(s, "pairs", ())} for s in sources]
    if shared := sorted(files[0] & files[1]):
        raise InputError(
            f"splits {first!r} and {second!r} share {len(shared)} image{'s' * (len(shared) > 1)}: "
            f"{_some(shared)}; scores on images that were trained on say nothing, so correct the "
            "lists"
        )
    names = sorted(set(sources[0].names) & set(sources[1].names))
    return (
        f"splits {first!r} and {second!r} both have an image named {_some(names)}" if names else ""
    )


def same_content(first: PairSource, second: PairSource) -> list[tuple[str, str]]:
    """Finds image files of equal bytes in two splits, under any names.

    Args:
      first: a split.
      second: another one.

    Returns:
      The names of each such pair of images.

    Raises:
      InputError: a file cannot be read.
    """
    known = {_digest(pair): pair.name for pair in first.pairs}
    digests = ((_digest(pair), pair.name) for pair in second.pairs)
    return [(known[digest], name) for digest, name in digests if digest in known]


class _Template:
    """A path below a root in which {name} and * are open."""

    def __init__(self, root: Path, path: str, split: str):
        filled = path.replace("{split}", split)
        self._whole = str(root / filled)
        fixed = re.split(r"\{name\}|\*", filled)[0]
        self.folder = root / fixed.rpartition("/")[0]
        self._sought = root / path
        self._split = split
        self._found: dict[str, str] | None = None  # texts: a Path is slow to make

    def path(self, name: str) -> Path:
        """The file of a name; where there is none, a path that does not exist."""
        expected = self._whole.replace("{name}", name)
        return Path(self._files().get(name, expected) if "*" in self._whole else expected)

    def names(self) -> list[str]:
        if not self.folder.is_dir():
            raise _no_split(self._split, self.folder, self._sought)
        return sorted(self._files())

    def _files(self) -> dict[str, str]:
        if self._found is not None:
            return self._found
        found: dict[str, str] = {}
        pattern = self._pattern()
        for path in _walk(self.folder):
            if match := pattern.fullmatch(path):
                other = found.setdefault(match["name"], path)
                if other != path:
                    raise InputError(
                        f"{other} and {Path(path).name} both go by the name {match['name']!r}; "
                        "remove one"
                    )
        self._found = found
        return found

    def _pattern(self) -> re.Pattern[str]:
        whole, suffix = self._whole, ""
        if whole.endswith(".*"):
            whole, suffix = whole[:-1], rf"(?i:{'|'.join(_SUFFIXES)})"
        parts = re.split(r"(\{name\}|\*)", whole)
        pattern = "".join("[^/]*" if part == "*" else re.escape(part) for part in parts)
        name = re.escape("{name}")
        pattern = pattern.replace(name, "(?P<name>.+)", 1).replace(name, "(?P=name)")
        return re.compile(pattern + suffix)


def _first_file(paths: Sequence[Path]) -> Path:
    # Without a choice nothing is looked up: a hundred thousand files take their time.
    return paths[0] if len(paths) == 1 else next(filter(os.path.isfile, paths), paths[0])


def _walk(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield f"{parent}/{name}"


def _read_list(path: Path) -> list[str]:
    lines = (line.strip() for line in _text(path).splitlines())
    return [_without_suffix(line) for line in lines if line]


def _read_csv(path: Path, root: Path) -> list[Pair]:
    rows = csv.DictReader(_text(path).splitlines())
    if not {"image", "label"} <= set(rows.fieldnames or ()):
        raise InputError(
            f"{path}: the first line must name the columns image and label (and name and region "
            "where there are such)"
        )
    pairs = []
    for row in rows:
        image, label = row["image"], row["label"]
        if not image or not label:
            raise InputError(f"{path}: line {rows.line_num} lacks an image or a label; complete it")
        name = row.get("name") or _without_suffix(image).lstrip("/")
        region = row.get("region")
        pairs.append(Pair(root / image, root / label, name, root / region if region else None))
    return pairs


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8; save it as one") from None


def _without_suffix(path: str) -> str:
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and suffix.lower() in _SUFFIXES else path


def _unique(pairs: list[Pair], origin: Path) -> list[Pair]:
    repeated = [name for name, count in Counter(p.name for p in pairs).items() if count > 1]
    if repeated:
        raise InputError(f"{origin}: names {_some(repeated)} more than once; remove the repetition")
    return pairs


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _digest(pair: Pair) -> bytes:
    return hashlib.sha256(read_bytes(pair.image)).digest()


def _no_split(split: str, missing: Path, images: Path) -> InputError:
    """`images` is the template of an image, where {split} is still to be filled in."""
    before, marker, _ = str(images).partition("{split}")
    found = Path(before).glob("*/") if marker else missing.parent.glob("*.[tc][xs][tv]")
    choices = sorted({path.stem for path in found})
    hint = f"choose from {', '.join(choices)}" if choices else "check data.root"
    if not choices and missing.suffix and missing.parent.is_dir():
        hint = "write the names of its images there, one a line, or check data.root and data.names"
    return InputError(f"split {split!r}: {missing} is missing; {hint}")
