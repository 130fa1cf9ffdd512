"""Maps of class ids in TIFF and BMP files."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Integer

from segalias_jax.data.palettes import Palette
from segalias_jax.data.raster_headers import (
    RasterHeader,
    bmp_header,
    bmp_pitch,
    file_size,
    tiff_header,
)
from segalias_jax.errors import InputError

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
      >>> import tempfile
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
    if header.bits not in (1, 2, 4, 8, 16, 32):
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
      >>> data = cv2.imencode(".bmp", np.full((1, 1), 7, np.uint8))[1].tobytes()
      >>> read_raster(data, Path("a.bmp")).tolist()
      [[7]]
    """
    header = _header(io.BytesIO(data), path)
    by_color = colors is not None and (header.palette or header.channels > 1)
    if path.suffix.lower() == ".bmp":
        stored = _bmp(data, header)
        if header.palette:
            palette, plain = _bmp_palette(data)
            # Every BMP of 8 bits has a palette; one of plain gray holds ids.
            return stored if colors is None or plain else colors.ids(palette[stored], path)
        return stored if colors is None else colors.ids(stored, path)
    if header.palette and not by_color:
        # Declared to be gray values, which decoders do not replace.
        order = "<" if data[:2] == b"II" else ">"
        place = header.start
        data = data[:place] + struct.pack(order + "H", 1) + data[place + 2 :]
    way = cv2.IMREAD_COLOR_RGB if by_color else cv2.IMREAD_UNCHANGED
    try:
        ids = cv2.imdecode(np.frombuffer(data, np.uint8), way)
    except cv2.error:
        ids = None
    if ids is None or ids.shape[:2] != (header.height, header.width):
        raise InputError(f"{path}: the file is damaged and cannot be decoded; copy it again")
    if colors is not None and by_color:
        return colors.ids(ids, path)
    if ids.ndim != 2 or ids.dtype.kind not in "ui":
        raise InputError(f"{path}: OpenCV does not decode such a TIFF as ids; save it as PNG")
    # The decoder spreads fewer than 8 bits over 0..255; this takes it back.
    return ids if header.bits >= 8 else ids // np.uint8(255 // (2**header.bits - 1))


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
    return np.ascontiguousarray(rows[:, : header.width])


def _bmp_palette(data: bytes) -> tuple[np.ndarray, bool]:
    """Colors of all 256 indices, and whether each is the gray of its own number."""
    begin, size = struct.unpack("<II", data[10:18])
    entries = np.frombuffer(data[14 + size : begin], np.uint8)
    entries = entries[: len(entries) // 4 * 4].reshape(-1, 4)[:256, 2::-1]
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(entries)] = entries
    return colors, bool((entries == np.arange(len(entries), dtype=np.uint8)[:, None]).all())
