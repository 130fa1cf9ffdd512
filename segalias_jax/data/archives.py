"""Files inside of zip and tar archives, read in place: nothing is extracted to a disk.

A file of an archive is a path, `data.zip/val/a.png`, that opens and reads as other paths do, so
that whatever reads files reads archives. Threads may read at the same time.
"""

from __future__ import annotations

import bisect
import io
import os
import stat
import tarfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from segalias_jax.errors import InputError

if os.name == "nt":
    from pathlib import WindowsPath as _Path
else:
    from pathlib import PosixPath as _Path

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
"""Ends of the names of archives that are read."""

_CHUNK = 1 << 14  # compressed bytes at a time, of which 16 MB come out at most
_SPACING = 1 << 20
_KEPT = 1 << 23
_POINTS = 2048  # each keeps the 32 KB that inflating looks back to
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)


class _Content(Protocol):
    size: int

    def open(self) -> Any: ...


class ArchivedFile(_Path):
    """The path of a file inside of an archive, which opens what is stored there.

    Made by `archived_files`. Paths derived from it (`parent`, ...) are mere names.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.zip"
      >>> with zipfile.ZipFile(path, "w") as file:
      ...     file.writestr("b/c.txt", "text")
      >>> (found,) = archived_files(path)
      >>> found.name, found.read_bytes()
      ('c.txt', b'text')
    """

    content: _Content

    def open(self, *args: Any, **kwargs: Any) -> io.RawIOBase:
        """Opens the stored file for reading bytes, whatever mode is asked for.

        Raises:
          OSError: encrypted, damaged, or of a compression that is not known here.
        """
        return _Member(self.content.open)

    def read_bytes(self) -> bytes:
        """Reads the stored file whole.

        Raises:
          OSError: as for `open`.
        """
        with self.open() as file:
            return file.read() or b""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Kind (a regular file) and size; all else is 0."""
        return os.stat_result((stat.S_IFREG, 0, 0, 0, 0, 0, self.content.size, 0, 0, 0))


def is_archive(path: Path) -> bool:
    """Whether a path has the name of an archive.

    Example:
      >>> is_archive(Path("a.tar.gz")), is_archive(Path("a.gz"))
      (True, False)
    """
    return path.name.lower().endswith(ARCHIVES)


def archived_files(path: Path) -> list[ArchivedFile]:
    """Lists the files of a zip, tar or tar.gz archive, folders left out.

    Args:
      path: the archive. It is held open as long as one of its files is.

    Returns:
      Their paths, in the order of their names; of two of one name the later, which replaced the
      other.

    Raises:
      InputError: no archive, damaged, or one that names files outside of itself or links.

    Example:
      >>> archived_files(Path("missing.zip"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.zip: cannot be read (No such file or directory)
    """
    try:
        listed = _zipped(path) if path.name.lower().endswith(".zip") else _tarred(path)
        contents = dict(listed)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except _BROKEN as error:
        raise InputError(
            f"{path}: not a whole {'zip' if path.suffix.lower() == '.zip' else 'tar'} archive "
            f"({' '.join(str(error).split()) or 'truncated'}); copy it again"
        ) from None
    files = []
    for name in sorted(contents):
        inside = PurePosixPath(name)
        # Nothing is ever written by these names; yet whoever made them meant no good.
        if inside.is_absolute() or ".." in inside.parts:
            raise InputError(f"{path}: names the file {name!r}, outside of itself; pack it again")
        file = ArchivedFile(path, *inside.parts)
        file.content = contents[name]
        files.append(file)
    return files


class _Member(io.RawIOBase):
    """A stored file; whatever an archive's library finds wrong with it is an `OSError`."""

    def __init__(self, opened: Callable[[], Any]):
        super().__init__()
        self._stream = self._tried(opened)

    @staticmethod
    def _tried(work: Callable[..., Any], *args: Any) -> Any:
        try:
            return work(*args)
        except (*_BROKEN, RuntimeError, ValueError) as error:  # RuntimeError: a password is needed
            raise OSError(" ".join(str(error).split()) or "truncated") from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._tried(self._stream.read, size)

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._tried(self._stream.seek, offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


class _Zipped:
    """A file of a zip, whose library lets threads open and read at the same time."""

    def __init__(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo):
        self.archive, self.entry, self.size = archive, entry, entry.file_size

    def open(self) -> Any:
        return self.archive.open(self.entry)


def _zipped(path: Path) -> Iterator[tuple[str, _Content]]:
    archive = zipfile.ZipFile(path)
    for entry in archive.infolist():
        if not entry.is_dir():
            yield entry.filename, _Zipped(archive, entry)


def _tarred(path: Path) -> Iterator[tuple[str, _Content]]:
    stored = _Stored(path)
    if stored.read_at(0, 2) == b"\x1f\x8b":
        stored = _Inflated(stored)
    # Read as a stream, which notes the places of all files for later.
    sequence: Any = _Sequence(stored)
    with tarfile.open(fileobj=sequence, mode="r|") as archive:
        for entry in archive:
            name = PurePosixPath(entry.name).as_posix()
            if entry.issym() or entry.islnk() or entry.issparse():
                yield name, _Unreadable("a link or a file with holes; pack the file itself")
            elif entry.isfile():
                yield name, _Span(stored, entry.offset_data, entry.size)


class _Stored:
    """Bytes of a file at any place."""

    def __init__(self, path: Path):
        self._file = open(path, "rb")
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def read_at(self, place: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(place)
            return self._file.read(size)


class _Inflated:
    """Bytes at any place of what a gzip file holds.

    Inflating starts at the last of the points before that place whose state is kept. There are a
    bounded number of them, about 1 MB apart or more.
    """

    def __init__(self, stored: _Stored):
        self._stored = stored
        self._points = [(0, 0, zlib.decompressobj(31))]
        self._spacing = _SPACING
        # What a thread inflated last: files are read nearly in their order, each more than once.
        self._last = threading.local()

    def parts(self, point: int) -> Iterator[tuple[int, bytes]]:
        """What is held from a point on, and where it lies."""
        place, taken, stream = self._points[point]
        stream = stream.copy()
        while chunk := self._stored.read_at(taken, _CHUNK):
            if stream.eof:  # one gzip file after another, or a filling of zeros
                if not chunk.strip(b"\0"):
                    return
                stream = zlib.decompressobj(31)
            data = stream.decompress(chunk)
            taken += len(chunk) - len(stream.unused_data)
            yield place, data
            place += len(data)
            if place - self._points[-1][0] >= self._spacing and not stream.eof:
                self._keep(place, taken, stream)
        if not stream.eof:
            raise EOFError("the compressed data end too early")

    def _keep(self, place: int, taken: int, stream: Any) -> None:
        # Only while the archive is listed, by one thread, is anything new met.
        self._points.append((place, taken, stream.copy()))
        if len(self._points) > _POINTS:
            del self._points[1::2]
            self._spacing *= 2

    def read_at(self, place: int, size: int) -> bytes:
        start, held = getattr(self._last, "held", (0, b""))
        if not start <= place <= place + size <= start + len(held):
            start, held = self._held_around(place, size)
            if len(held) <= _KEPT:
                self._last.held = start, held
        return held[place - start : place - start + size]

    def _held_around(self, place: int, size: int) -> tuple[int, bytes]:
        """Where what is held begins, and what there is up to the next point or the end asked for.

        Of files that are longer than that, only what is asked for is kept.
        """
        point = bisect.bisect_right(self._points, place, key=lambda one: one[0]) - 1
        begin = self._points[point][0]
        following = self._points[point + 1][0] if point + 1 < len(self._points) else begin
        first = begin if max(following, place + size) - begin <= _KEPT else place
        found = []
        for start, data in self.parts(point):
            if start + len(data) > first:
                found.append(data[max(0, first - start) :])
            if start + len(data) >= max(place + size, following if first == begin else 0):
                break
        return first, b"".join(found)


class _Sequence:
    """What a tar's library reads from front to back."""

    def __init__(self, stored: _Stored | _Inflated):
        self._place, self._kept, self._used = 0, b"", 0
        self._stored = stored
        self._parts = stored.parts(0) if isinstance(stored, _Inflated) else None

    def read(self, size: int) -> bytes:
        if self._parts is None:
            data = self._stored.read_at(self._place, size)
            self._place += len(data)
            return data
        while len(self._kept) - self._used < size:
            part = next(self._parts, None)
            if part is None:
                break
            self._kept, self._used = self._kept[self._used :] + part[1], 0
        data = self._kept[self._used : self._used + size]
        self._used += len(data)
        return data


class _Unreadable:
    """What an archive refers to or shortens in a way that is not followed here."""

    size = 0

    def __init__(self, reason: str):
        self.reason = reason

    def open(self) -> Any:
        raise EOFError(self.reason)


class _Span:
    """A file of a tar: its place and length."""

    def __init__(self, stored: _Stored | _Inflated, place: int, size: int):
        self.stored, self.place, self.size = stored, place, size

    def open(self) -> Any:
        return _SpanReader(self)


class _SpanReader:
    def __init__(self, span: _Span):
        self._span, self._place = span, 0

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._span.size - self._place)
        size = left if size < 0 else min(size, left)
        data = self._span.stored.read_at(self._span.place + self._place, size) if size else b""
        if len(data) < size:
            raise EOFError("the archive ends too early")
        self._place += size
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (0, self._place, self._span.size)[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place
