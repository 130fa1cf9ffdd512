"""Writing files whole or not at all, refusing what is no file, and doing work ahead in threads."""

from __future__ import annotations

import collections
import glob
import os
import stat
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from segalias_jax.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def write_bytes(path: Path | str, content: bytes) -> None:
    """Writes a file that a reader finds old or new, never half, whatever ends the process.

    The content goes to the disk under another name in the same folder first, which then replaces
    the file.

    Args:
      path: the file; its folder exists.
      content: all of it.

    Raises:
      OSError: the disk is full or cannot be written; the old file is as it was.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.bin"
      >>> write_bytes(path, b"new")
      >>> path.read_bytes()
      b'new'
    """
    write_parts(path, (content,))


def write_parts(path: Path | str, parts: Iterable[bytes | memoryview]) -> None:
    """Writes a file as `write_bytes` does, of content that need not be in memory at once.

    Args:
      path: the file; its folder exists.
      parts: all of the content, one after the other.

    Raises:
      OSError: as for `write_bytes`.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.bin"
      >>> write_parts(path, (b"n", b"ew"))
      >>> path.read_bytes()
      b'new'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path | str, text: str) -> None:
    """Writes a UTF-8 text file as `write_bytes` does.

    Args:
      path: the file; its folder exists.
      text: all of it.

    Raises:
      OSError: as for `write_bytes`.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.txt"
      >>> write_text(path, "new")
      >>> path.read_text()
      'new'
    """
    write_bytes(path, text.encode("utf-8"))


def remove_left(folder: Path, name: str | None = None) -> None:
    """Removes what killed processes have left of files that they were writing.

    Files that a process of this machine may still be writing stay.

    Args:
      folder: of files of `write_bytes`; may be missing.
      name: of the file in it; None for all files below the folder.

    Example:
      >>> remove_left(Path("missing"))
    """
    one = "" if name is None else f".{glob.escape(name)}.*.tmp"
    for path in folder.glob(one) if one else folder.rglob(".*.tmp"):
        *_, process, _ = path.name.split(".")
        if process.isdecimal() and not _runs(int(process)):
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def check_regular(path: Path) -> None:
    """Raises where something that is no regular file would be read: a pipe or a device never ends.

    Args:
      path: file, or folder, which is left to whoever opens it.

    Raises:
      InputError: a pipe, a device or a socket.
      OSError: nothing is there.

    Example:
      >>> check_regular(Path("/dev/zero"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: /dev/zero: is a pipe or a device, no file; give a file
    """
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise InputError(f"{path}: is a pipe or a device, no file; give a file")


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int | None = None,
) -> Generator[tuple[Item, Result], None, None]:
    """Applies a function in threads and yields its results in order, a bounded number ahead.

    `items` is read in the calling thread, no further ahead than results are kept, so that a stream
    of any length needs a fixed amount of memory.

    Args:
      function: called once for each item; what it raises is raised here, at its turn.
      items: what it is called with.
      threads: calls at a time.
      ahead: results and running calls kept at most; None for twice `threads`.

    Yields:
      Each item with its result. Closing the generator cancels what has not begun.

    Example:
      >>> list(map_ahead(abs, [-1, 2], threads=2))
      [(-1, 1), (2, 2)]
    """
    most = 2 * threads if ahead is None else ahead
    waiting: collections.deque = collections.deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) >= most:
                first, running = waiting.popleft()
                yield first, running.result()
        while waiting:
            first, running = waiting.popleft()
            yield first, running.result()
    finally:
        pool.shutdown(cancel_futures=True)
