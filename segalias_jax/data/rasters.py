"""Maps of class ids in TIFF and BMP files."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.data import tiff
from segalias_jax.data.palettes import Palette
from segalias_jax.data.raster_headers import (
    RasterHeader,
    bmp_header,
    bmp_pitch,
    file_size,
    tiff_header,
)
from segalias_jax.errors import InputError
from segalias_jax.typing import Integer

RASTER_SUFFIXES = (".tif", ".tiff", ".bmp")
"""Kinds of files that are read here."""

_AS_IDS = "save one channel of class ids"


def raster_size(path: Path, *, colored: bool = False) -> tuple[int, int]:
    """Reads the size of a TIFF or BMP, and whether it may be a map, from its header alone.

    Args:
      path: the file.
      colored: whether the colors of an image may stand for classes.

    Returns:
      (height, width) in pixels.

    Raises:
      InputError: not such a file, cut off, several images, color, or numbers with a fraction.
      OSError: unreadable.

    Example:
      >>> import cv2, tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.tif"
      >>> _ = cv2.imwrite(str(path), np.zeros((2, 3), np.uint8))
      >>> raster_size(path)
      (2, 3)
    """
    with path.open("rb") as file:
        header = _header(file, path)
        size = file_size(file)
    if header.note:
        raise InputError(f"{path}: the image {header.note}")
    if header.numbers not in ("unsigned", "signed"):
        raise InputError(f"{path}: a map holds integers, this image {header.numbers}; {_AS_IDS}")
    if header.channels > 1 and not (colored and header.bits == 8 and header.channels in (3, 4)):
        raise InputError(
            f"{path}: the image has {header.channels} channels, not one of class ids; say which "
            f"colors stand for which classes (--colors), or {_AS_IDS}"
        )
    if header.bits not in (1, 2, 4, 8, 16, 32, 64):
        raise InputError(f"{path}: the image has {header.bits} bits a pixel; {_AS_IDS}")
    if size < header.least:
        raise InputError(
            f"{path}: the file is truncated, {size} bytes cannot hold "
            f"{header.width}x{header.height} pixels; copy it again"
        )
    return header.height, header.width


def read_raster(
    data: bytes, path: Path, colors: Palette | None = None
) -> Integer[np.ndarray, "h w"]:
    """Decodes a TIFF or BMP that `raster_size` takes; of a palette the indices.

    Args:
      data: the whole file.
      path: where it comes from, named in errors.
      colors: what colors stand for, of color and palette images; None: there are none.

    Returns:
      The stored ids, or those of the colors.

    Raises:
      InputError: damaged, or a color that stands for no class.

    Example:
      >>> import cv2
      >>> data = cv2.imencode(".bmp", np.full((1, 1), 7, np.uint8))[1].tobytes()
      >>> read_raster(data, Path("a.bmp")).tolist()
      [[7]]
    """
    file = io.BytesIO(data)
    header = _header(file, path)
    plain = False
    try:
        if path.suffix.lower() == ".bmp":
            stored = _bmp(data, header)
            # Every BMP of 8 bits has a palette; one of plain gray holds ids.
            palette, plain = _bmp_palette(data) if header.palette else (None, False)
        else:
            image = tiff.tiff_images(file)[0]
            stored = tiff.tiff_pixels(file, image)
            palette = _tiff_palette(file, image) if header.palette else None
    except (ValueError, struct.error) as error:
        raise InputError(
            f"{path}: the file is damaged and cannot be decoded ({error}); copy it again"
        ) from None
    if header.channels > 1:
        return (colors or Palette(())).ids(stored[..., :3], path)
    ids = stored[..., 0]
    if colors is None or palette is None or plain:
        return ids
    return colors.ids(palette[ids], path)


def _header(file: Any, path: Path) -> RasterHeader:
    try:
        return bmp_header(file) if path.suffix.lower() == ".bmp" else tiff_header(file)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _bmp(data: bytes, header: RasterHeader) -> np.ndarray:
    """Indices, or red, green and blue, as they are stored without compression."""
    bits = header.bits * header.channels
    pitch = bmp_pitch(header.width, bits)
    rows = np.frombuffer(data, np.uint8, header.height * pitch, header.start)
    rows = rows.reshape(header.height, pitch)[:: -1 if header.upward else 1]
    if header.channels > 1:
        pixels = rows[:, : header.width * header.channels]
        return pixels.reshape(header.height, header.width, header.channels)[..., 2::-1]
    if bits < 8:
        spread = np.unpackbits(rows, axis=1).reshape(header.height, -1, bits)
        weights = 1 << np.arange(bits, dtype=np.uint8)[::-1]
        rows = (spread * weights).sum(-1, dtype=np.uint8)
    return np.ascontiguousarray(rows[:, : header.width])[..., None]


def _bmp_palette(data: bytes) -> tuple[np.ndarray, bool]:
    """Colors of all 256 indices, and whether each is the gray of its own number."""
    begin, size = struct.unpack("<II", data[10:18])
    entries = np.frombuffer(data[14 + size : begin], np.uint8)
    entries = entries[: len(entries) // 4 * 4].reshape(-1, 4)[:256, 2::-1]
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(entries)] = entries
    return colors, bool((entries == np.arange(len(entries), dtype=np.uint8)[:, None]).all())


def _tiff_palette(file: Any, image: tiff.TiffImage) -> np.ndarray:
    """Colors of all indices: of 16 bits in the file, as palettes of 8 bits are written."""
    stored = np.asarray(image.numbers(file, tiff.COLOR_MAP)).reshape(3, -1).T
    return (stored >> 8).astype(np.uint8)
