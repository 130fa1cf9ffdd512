"""Which files a folder or an archive holds: links followed, and nothing passed over in silence."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, overload

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


_PLAIN = type(Path())


class PathList(Sequence[Path]):
    """Paths that are kept as text, in less memory, and made when they are asked for.

    Args:
      paths: what it holds.

    Attributes:
      kept: what `unpacked` makes each of the paths of.

    Example:
      >>> PathList([Path("p/a.png")])[0].name
      'a.png'
    """

    def __init__(self, paths: Iterable[Path] = ()):
        self.kept: list[str | Path] = [packed(path) for path in paths]

    def __len__(self) -> int:
        return len(self.kept)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        if isinstance(index, slice):
            return [unpacked(kept) for kept in self.kept[index]]
        return unpacked(self.kept[index])

    def only(self, wanted: Callable[[Path], object]) -> PathList:
        """Returns the paths for which a function is true, in the memory of these."""
        found = PathList()
        found.kept = [kept for kept in self.kept if wanted(unpacked(kept))]
        return found


def packed(path: Path) -> str | Path:
    """Returns what takes least memory: the text of a path, unless it is in an archive."""
    return str(path) if type(path) is _PLAIN else path


def unpacked(kept: str | Path) -> Path:
    """Returns the path that `packed` got."""
    return Path(kept) if isinstance(kept, str) else kept


class Listing(NamedTuple):
    """Files of a folder or archive in the order of their paths, and what cannot be used."""

    files: PathList
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
        every = PathList(_walked(root, suffixes, unusable))
        # As paths are ordered, part by part: no name holds what takes the place of the slash.
        every.kept.sort(key=lambda path: str(path).replace("/", "\0"))
    elif not root.exists():
        raise InputError(f"{shown(root)}: no such folder")
    elif root.is_file() and is_archive(root):
        every = PathList(archived_files(root))
    else:
        raise InputError(f"{shown(root)}: neither a folder nor a {', '.join(ARCHIVES)} archive")
    chosen = every.only(lambda path: _chosen(path.name, suffixes))
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
