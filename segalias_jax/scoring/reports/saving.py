"""Writes the files of a report: all of them, or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from segalias_jax.files import write_parts

_STAGING = ".writing-"


def save_files(folder: Path, files: Mapping[str, Callable[[], Iterable[bytes]]]) -> None:
    """Writes files into a folder, where they appear after the last one is written.

    They are written to a folder beside them first, so that a full disk leaves what was there.

    Args:
      folder: where to; made when missing.
      files: what makes the pieces of each, by name; the last one says that all are there.

    Raises:
      OSError: the disk is full or cannot be written; nothing is changed.

    Example:
      >>> folder = Path(tempfile.mkdtemp())
      >>> save_files(folder / "a", {"b.txt": lambda: [b"c"]})
      >>> (folder / "a" / "b.txt").read_text()
      'c'
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    staging = None
    try:
        for left in folder.glob(f"{_STAGING}*"):  # by a call that was killed
            shutil.rmtree(left)
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))
        for name, parts in files.items():
            write_parts(staging / name, parts())
        for name in files:
            os.replace(staging / name, folder / name)
    except BaseException:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()
        raise
    shutil.rmtree(staging, ignore_errors=True)
