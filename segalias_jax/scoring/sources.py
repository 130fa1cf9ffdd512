"""Which files a folder or an archive holds: links followed, and nothing passed over in silence."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from segalias_jax.data.archives import ARCHIVES, archived_files, is_archive
from segalias_jax.errors import InputError

_SHOWN = 3
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Listing(NamedTuple):
    """Files of a folder or archive in the order of their paths, and what cannot be used."""

    files: list[Path]
    unusable: list[tuple[str, str]]


def shown(text: object) -> str:
    r"""A name or message as any file and terminal can hold it: bytes that are no UTF-8 as \xNN.

    Example:
      >>> shown("a\udcff.png")
      'a\\xff.png'
    """
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def list_files(root: Path, suffixes: Sequence[str]) -> Listing:
    """Lists the files of some kinds in a folder, subfolders included, or in an archive.

    Links to folders are followed, but for those to a folder that they are in.

    Args:
      root: folder, or zip, tar or tar.gz file.
      suffixes: of the files, in lower case. Hidden files are left out.

    Returns:
      The files. Unusable are folders that cannot be read and what has the name of a file of these
      kinds and is none.

    Raises:
      InputError: no such folder, or none of its files is of these kinds.

    Example:
      >>> list_files(Path("nowhere"), (".png",))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere: no such folder
    """
    unusable: list[tuple[str, str]] = []
    if root.is_dir():
        every = sorted(_walked(root, suffixes, unusable))
    elif not root.exists():
        raise InputError(f"{shown(root)}: no such folder")
    elif root.is_file() and is_archive(root):
        every = list(archived_files(root))
    else:
        raise InputError(f"{shown(root)}: neither a folder nor a {', '.join(ARCHIVES)} archive")
    chosen = [p for p in every if _chosen(p.name, suffixes)]
    if not chosen:
        if unusable:
            raise InputError(": ".join(unusable[0]))
        kinds = sorted({path.suffix or path.name for path in every})
        holds = f"it holds {', '.join(kinds[:_SHOWN])} files" if kinds else "it is empty"
        raise InputError(shown(f"{root}: no {' or '.join(suffixes)} file is in there; {holds}"))
    return Listing(chosen, unusable)


def _chosen(name: str, suffixes: Sequence[str]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")


def _walked(root: Path, suffixes: Sequence[str], unusable: list[tuple[str, str]]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        reason = f"cannot be read ({error.strerror or error})"
        unusable.append((shown(error.filename or root), reason))

    # Of every folder on the way to another one; a link back to one of them leads in a circle.
    above = {str(root): tuple(_identity(folder) for folder in root.resolve().parents)}
    for folder, subfolders, names in os.walk(root, onerror=refuse, followlinks=True):
        on_the_way = (*above.pop(folder), _identity(folder))
        for name in list(subfolders):
            path = os.path.join(folder, name)
            if _identity(path) in on_the_way:
                subfolders.remove(name)
                continue
            above[path] = on_the_way
            if _chosen(name, suffixes):
                unusable.append((shown(path), "a folder, though it has the name of a map"))
        for name in names:
            path = os.path.join(folder, name)
            reason = _no_file(path)
            if not reason:
                yield Path(path)
            elif _chosen(name, suffixes):
                unusable.append((shown(path), reason))


def _identity(folder: str | Path) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _no_file(path: str) -> str:
    """Why a path is no file that can be read; empty for a file."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if os.path.islink(path):
            return f"a link that leads nowhere ({error.strerror})"
        return f"cannot be read ({error.strerror})"
    if stat.S_ISREG(mode):
        return ""
    kind = next((name for test, name in _KINDS if test(mode)), "no file")
    return f"{kind}, not a file that holds a map"
