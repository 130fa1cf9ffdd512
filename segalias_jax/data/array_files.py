"""Arrays in npy and npz files: what they are from their headers, and their numbers."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segalias_jax.data.raster_headers import file_size
from segalias_jax.errors import InputError
from segalias_jax.typing import Shaped

ARRAY_SUFFIXES = (".npy", ".npz")
"""Kinds of files that hold arrays."""

_SHOWN = 5
_DEFLATED = 1032  # bytes that one byte of deflated data can stand for


class ArrayHeader(NamedTuple):
    """Shape and type of a stored array."""

    shape: tuple[int, ...]
    dtype: np.dtype


def array_header(path: Path, key: str | None = None) -> ArrayHeader:
    """Reads shape and type of an array, and checks that the file is long enough to hold it.

    Args:
      path: npy or npz file.
      key: name of the array in an npz; None where there is one only.

    Returns:
      The header.

    Raises:
      InputError: not such a file, cut off, or several arrays and no key.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.npz"
      >>> np.savez(path, ids=np.zeros((2, 3), np.uint8))
      >>> array_header(path).shape
      (2, 3)
    """
    with _array(path, key) as (file, stored):
        return _read_header(file, stored)


def read_array(path: Path, key: str | None = None) -> Shaped[np.ndarray, " ..."]:
    """Reads an array of an npy or npz file; never objects, which would run code.

    Args:
      path: npy or npz file.
      key: as in `array_header`.

    Returns:
      The array.

    Raises:
      InputError: as in `array_header`.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.npy"
      >>> np.save(path, np.asarray([1, 2]))
      >>> read_array(path).tolist()
      [1, 2]
    """
    with _array(path, key) as (file, stored):
        _read_header(file, stored)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


@contextlib.contextmanager
def _array(path: Path, key: str | None) -> Iterator[tuple[Any, int]]:
    """The stored form of an array, opened, and the bytes that it can have at most."""
    kind = path.suffix.lower().removeprefix(".")
    try:
        with path.open("rb") as file:
            if kind == "npy":
                size = file_size(file)
                file.seek(0)
                yield file, size
                return
            with zipfile.ZipFile(file) as archive:  # pyright: ignore[reportArgumentType]
                entry = archive.getinfo(_chosen(path, archive.namelist(), key))
                with archive.open(entry) as member:
                    yield member, min(entry.file_size, _DEFLATED * (entry.compress_size + 1))
    except InputError:
        raise
    except (
        *(ValueError, EOFError, KeyError, NotImplementedError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        reason = " ".join(str(error).split()) or "truncated"
        raise InputError(f"{path}: not a whole {kind} file ({reason}); save it again") from None


def _chosen(path: Path, names: list[str], key: str | None) -> str:
    arrays = {name.removesuffix(".npy"): name for name in names}
    shown = ", ".join(list(arrays)[:_SHOWN]) + ", ..." * (len(arrays) > _SHOWN)
    if key is not None:
        if key not in arrays:
            raise InputError(f"{path}: has no array {key!r}; it holds {shown or 'none'}")
        return arrays[key]
    if len(arrays) != 1:
        raise InputError(
            f"{path}: holds {len(arrays)} arrays ({shown or 'none'}); say which one is the map, "
            "by its key"
        )
    return names[0]


def _read_header(file: Any, stored: int) -> ArrayHeader:
    version = np.lib.format.read_magic(file)
    # Version 3 differs from 2 in the encoding of field names, which maps do not have.
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    count = 1
    for length in shape:
        count *= length
    if count * dtype.itemsize > stored and not dtype.hasobject:
        raise ValueError(f"{stored} bytes cannot hold {dtype} of shape {shape}")
    return ArrayHeader(shape, dtype)
