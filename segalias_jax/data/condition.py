"""The condition of a data set's files, so that a resumed run notices what was changed meanwhile.

Reading all images again at each start would take as long as an epoch. Of every file its size and a
checksum of its last bytes are kept: a PNG ends in a checksum of all its pixels, and a JPEG that was
edited rarely has the old length. Files of the same size and date are not opened again; files whose
date alone differs, as those of a copied data set, are.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segalias_jax.files import map_ahead

_TAIL = 4096
_THREADS = 8
_NAMED = 3

Files = Mapping[str, Sequence[Any]]


def data_condition(source: Any, before: Files | None = None) -> dict[str, list[Any]]:
    """Returns the condition of each image of a data set.

    Args:
      source: the data set; what is not made of files has no condition.
      before: an earlier condition, of which unchanged files need not be opened.

    Returns:
      By name of the image, for each of its files: size in bytes, time of the last change in
      nanoseconds, and checksum; None for a file that cannot be read.

    Example:
      >>> from segalias_jax.data.settings import DataSettings
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> data_condition(SyntheticScenes(DataSettings("synthetic"), "val"))
      {}
    """
    if hasattr(source, "files"):  # of a prepared set, which says so itself
        return {name: [list(one)] for name, one in source.files.items()}
    known = before or {}

    def look(pair: Any) -> list[Any]:
        paths = [path for path in (pair.image, pair.label, pair.region) if path is not None]
        old = known.get(pair.name, ())
        padded = [*old, *[None] * (len(paths) - len(old))]
        return [_look(path, one) for path, one in zip(paths, padded, strict=False)]

    pairs = getattr(source, "pairs", ())
    return {pair.name: found for pair, found in map_ahead(look, pairs, threads=_THREADS)}


def describe_changes(before: Files, now: Files, *, missing: bool = False) -> str:
    """Says which images were added, removed or changed.

    Args:
      before: an earlier condition.
      now: the present one.
      missing: whether files that cannot be read, or could not, are passed over.

    Returns:
      Numbers and some names, or "" where nothing has changed but dates.

    Example:
      >>> describe_changes({"a": [[5, 0, 1]], "b": [[5, 0, 1]]}, {"a": [[5, 9, 1]]})
      '1 image is gone (b)'
    """
    gone = [name for name in before if name not in now]
    new = [name for name in now if name not in before]
    changed = [
        name
        for name in before
        if name in now and not _same(before[name], now[name], missing=missing)
    ]
    told = ((gone, "gone"), (new, "new"), (changed, "changed"))
    return ", ".join(_told(names, what) for names, what in told if names)


def _look(path: Path, known: Sequence[Any] | None) -> list[int] | None:
    try:
        there = os.stat(path)
        if known is not None and list(known[:2]) == [there.st_size, there.st_mtime_ns]:
            return list(known)
        with open(path, "rb") as file:
            file.seek(max(0, there.st_size - _TAIL))
            return [there.st_size, there.st_mtime_ns, zlib.crc32(file.read(_TAIL))]
    except OSError:
        return None


def _same(one: Sequence[Any], other: Sequence[Any], *, missing: bool) -> bool:
    if len(one) != len(other):
        return False
    pairs = zip(one, other, strict=True)
    return all(
        a[::2] == b[::2] if a and b else missing or a == b for a, b in pairs
    )  # size and checksum


def _told(names: Sequence[str], what: str) -> str:
    some = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    count = "1 image is" if len(names) == 1 else f"{len(names)} images are"
    return f"{count} {what} ({some})"
