"""Maps of class ids of any origin: PNG, TIFF, BMP, npy and npz, sized before they are decoded.

Label maps are decoded by their runs: PNGs whose rows are stored as they are (palette) or as steps
(OpenCV's way) are inflated and summed run by run, the others go to OpenCV.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segalias_jax.data.array_files import ARRAY_SUFFIXES, array_header, read_array
from segalias_jax.data.palettes import Palette
from segalias_jax.data.rasters import RASTER_SUFFIXES, raster_size, read_raster
from segalias_jax.errors import InputError
from segalias_jax.typing import Integer

try:  # inflates label maps four times as fast as zlib
    from isal import isal_zlib as inflater  # pyright: ignore[reportMissingImports]  # an extra
except ImportError:
    inflater = zlib

MAP_SUFFIXES = (".png", *ARRAY_SUFFIXES, *RASTER_SUFFIXES)
"""Kinds of files that hold a map."""

MAX_PIXELS = 1 << 30
"""No map of more pixels is decoded unless it is asked for: a small file may claim gigabytes."""

_PNG = b"\x89PNG\r\n\x1a\n"
_GRAY, _PALETTE = 0, 3
_COLOR_TYPES = {2: "RGB", 4: "gray with alpha", 6: "RGBA"}
_CHANNELS = {2: 3, 4: 2, 6: 4}
_AS_IDS = "save one channel of class ids (gray or palette PNG, TIFF, BMP or npy)"
_OR_COLORS = f"say which colors stand for which classes (--colors), or {_AS_IDS}"
# Bytes that one byte of deflated data can stand for.
_DEFLATED = 1032
# Bytes that a file may have beside its pixels, and of each of them: in an archive, a file of a few
# kilobytes may claim gigabytes.
_BESIDE, _STORED = 1 << 26, 16
_STRIP = 1 << 22  # bytes that are inflated at a time


class _Header(NamedTuple):
    width: int
    height: int
    depth: int
    color: int
    compression: int
    filters: int
    interlace: int

    @property
    def least(self) -> int:
        """Bytes that these pixels cannot do with less of."""
        bits = self.height * self.width * self.depth * _CHANNELS.get(self.color, 1)
        return bits // (8 * _DEFLATED)


def map_size(
    path: Path,
    *,
    max_pixels: int = MAX_PIXELS,
    colors: Palette | None = None,
    key: str | None = None,
) -> tuple[int, int]:
    """Reads the size of a map, and whether it is one, from its header alone.

    Args:
      path: file of one of the `MAP_SUFFIXES`.
      max_pixels: that a map may have.
      colors: what the colors of color images stand for; None: such images are no maps.
      key: name of the array in an npz; None where there is one only.

    Returns:
      (height, width) in pixels.

    Raises:
      InputError: unreadable, not such a map (color, numbers with a fraction), no pixel, more than
        `max_pixels`, or more than so short a file can hold.

    Example:
      >>> map_size(Path("missing.png"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.png: cannot be read (No such file or directory)
    """
    kind = path.suffix.lower()
    try:
        size = stored_size(path)
        if kind in ARRAY_SUFFIXES:
            height, width = _array_size(path, key)
        elif kind in RASTER_SUFFIXES:
            height, width = raster_size(path, colored=colors is not None)
        else:
            with path.open("rb") as file:
                header = _png_header(path, file.read(33), colored=colors is not None)
            height, width = header.height, header.width
            if header.least > size and height * width <= max_pixels:
                raise InputError(
                    f"{path}: the file is truncated, {size} bytes cannot hold "
                    f"{width}x{height} pixels; copy it again"
                )
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    _check_pixels(path, height, width, max_pixels)
    return height, width


def read_map(
    path: Path,
    *,
    max_pixels: int = MAX_PIXELS,
    colors: Palette | None = None,
    key: str | None = None,
) -> Integer[np.ndarray, "h w"]:
    """Decodes a map of class ids; of a palette image the indices, unless colors are asked for.

    Args:
      path: file of one of the `MAP_SUFFIXES`.
      max_pixels: as in `map_size`.
      colors: as in `map_size`; then palette images are read by their colors, too. Gray images
        and arrays hold ids at any rate.
      key: as in `map_size`.

    Returns:
      The stored ids: uint8 of images of at most 8 bits, otherwise the stored integer type.

    Raises:
      InputError: as in `map_size`, truncated, or a color that stands for no class.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "ids.npy"
      >>> np.save(path, np.asarray([[0, 300]]))
      >>> read_map(path).tolist()
      [[0, 300]]
    """
    # Refuses what is no map or too large.
    height, width = map_size(path, max_pixels=max_pixels, colors=colors, key=key)
    kind = path.suffix.lower()
    try:
        if kind in ARRAY_SUFFIXES:
            ids = read_array(path, key)
            native = ids.dtype.newbyteorder("=")  # what compiled code reads, whoever wrote the file
            return ids.astype(np.uint8) if ids.dtype == bool else ids.astype(native, copy=False)
        if stored_size(path) > _BESIDE + _STORED * height * width:
            raise InputError(
                f"{path}: has far more bytes than {width}x{height} pixels take; save it again"
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if kind in RASTER_SUFFIXES:
        return read_raster(data, path, colors)
    if b"IEND" not in data[-4096:]:
        raise InputError(f"{path}: the file is truncated; copy it again")
    if colors is not None and data[25] != _GRAY:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise InputError(f"{path}: the file is damaged and cannot be decoded; copy it again")
        return colors.ids(image, path)
    return decode_png_map(data, path)


def _check_pixels(path: Path, height: int, width: int, max_pixels: int) -> None:
    if not height * width:
        raise InputError(
            f"{path}: has {width}x{height} pixels, which is nothing to score; save it again"
        )
    if height * width > max_pixels:
        raise InputError(
            f"{path}: claims {width}x{height} pixels, more than the {max_pixels} that are "
            "decoded; replace the file, or allow as many (--max-pixels)"
        )


def _array_size(path: Path, key: str | None) -> tuple[int, int]:
    shape, dtype = array_header(path, key)
    if len(shape) != 2:
        raise InputError(
            f"{path}: a map has two axes, height and width, this array has shape {shape}; "
            "save the class of each pixel (argmax of the logits)"
        )
    if dtype.kind not in "bui":
        raise InputError(f"{path}: a map holds integers, this array {dtype}; save class ids")
    return shape[0], shape[1]


def stored_size(path: Path) -> int:
    """Bytes of a file, and that it is one: opening a pipe would wait for who writes to it.

    Args:
      path: the file.

    Returns:
      Its size.

    Raises:
      InputError: missing, or no regular file.

    Example:
      >>> stored_size(Path("."))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: .: not a regular file; give files that hold maps
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: not a regular file; give files that hold maps")
    return found.st_size


def decode_png_map(data: bytes, path: Path) -> Integer[np.ndarray, "h w"]:
    """Decodes a gray or palette PNG; of the latter the indices.

    Args:
      data: the whole file.
      path: where it comes from, named in errors.

    Returns:
      The stored ids, uint16 of 16 bits.

    Raises:
      InputError: not such a PNG, or damaged.

    Example:
      >>> data = cv2.imencode(".png", np.full((1, 1), 7, np.uint8))[1].tobytes()
      >>> decode_png_map(data, Path("a.png")).tolist()
      [[7]]
    """
    header = _png_header(path, data)
    ids = _decoded(data, header)
    if ids is not None:
        return ids
    if header.color == _PALETTE:
        data = _indices_as_gray(data)
    try:
        ids = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        # Its limit is read from OPENCV_IO_MAX_IMAGE_PIXELS when it is loaded.
        if header.height * header.width > MAX_PIXELS and header.least <= len(data):
            raise InputError(
                f"{path}: OpenCV decodes no PNG of {header.width}x{header.height} pixels whose "
                "rows are stored this way; save the map as npy, or set OPENCV_IO_MAX_IMAGE_PIXELS"
            ) from None
        ids = None
    if ids is None or ids.shape != (header.height, header.width):
        raise InputError(f"{path}: the file is damaged and cannot be decoded; copy it again")
    # The decoder spreads fewer than 8 bits over 0..255; this takes it back.
    return ids if header.depth >= 8 else ids // np.uint8(255 // (2**header.depth - 1))


def _png_header(path: Path, data: bytes, *, colored: bool = False) -> _Header:
    if not data:
        raise InputError(f"{path}: the file is empty; copy it again")
    if not data.startswith(_PNG):
        raise InputError(f"{path}: not a PNG image, whatever its name says; {_AS_IDS}")
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise InputError(f"{path}: the file is truncated; copy it again")
    header = _Header(*struct.unpack(">IIBBBBB", data[16:29]))
    if header.color == _GRAY or (header.color in (_PALETTE, *_COLOR_TYPES) and colored):
        return header
    if header.color != _PALETTE:
        kind = _COLOR_TYPES.get(header.color, "of an unknown kind")
        raise InputError(f"{path}: the image is {kind}, not a map of class ids; {_OR_COLORS}")
    return header


def _decoded(data: bytes, header: _Header) -> np.ndarray | None:
    """The map of a PNG that keeps rows as they are or as steps, as most programs write maps.

    Runs of equal pixels make this far faster than a decoder for pictures. None for other files,
    and for damaged ones, which that decoder reports.
    """
    if header.depth != 8 or header.interlace or header.compression:
        return None
    stored = b"".join(data[a:b] for kind, a, b in _chunks(data) if kind == b"IDAT")
    pitch = header.width + 1
    size = header.height * pitch
    if len(stored) > size // 8:  # noise, which has no runs
        return None
    at_once = max(32, _STRIP // pitch)
    ids = np.empty((header.height, header.width), np.uint8)
    try:
        stream = inflater.decompressobj()
        lines = stream.decompress(stored, min(size, 32 * pitch))
        kind = lines[:1]
        if len(set(lines[::pitch])) > 1 or kind > b"\1":
            return None
        for top in range(0, header.height, at_once):
            wanted = pitch * min(at_once, header.height - top)
            last = top + at_once >= header.height  # when one byte more would be too many
            if wanted + last > len(lines):  # 0 would be all there is
                lines += stream.decompress(stream.unconsumed_tail, wanted + last - len(lines))
            rows = np.frombuffer(lines, np.uint8)
            if len(rows) != wanted or (rows[::pitch] != kind[0]).any():
                return None
            rows = rows.reshape(-1, pitch)
            ids[top : top + at_once] = (_summed(rows) if kind == b"\1" else rows)[:, 1:]
            lines = b""
    except inflater.error:
        return None
    return ids if stream.eof else None


def _summed(rows: np.ndarray) -> np.ndarray:
    """Running sums along rows of steps, of which the first is in column 1."""
    # The 1 in column 0 makes every row start a run of its own.
    steps = rows.reshape(-1)
    octets = np.packbits(steps != 0)
    taken = np.flatnonzero(octets != 0)
    bits = np.flatnonzero(np.unpackbits(octets[taken]).view(bool))
    starts = 8 * taken[bits >> 3] + (bits & 7)
    values = steps[starts]
    first = np.flatnonzero(starts % rows.shape[1] == 0)
    values[first] = 0
    sums = np.add.accumulate(values, dtype=np.uint8)
    sums -= np.repeat(sums[first], np.diff(first, append=len(sums)))
    return np.repeat(sums, np.diff(starts, append=steps.size)).reshape(rows.shape)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each whole part of a PNG after the header, and where its content lies."""
    position = 33
    while position + 12 <= len(data):
        length = struct.unpack(">I", data[position : position + 4])[0]
        yield data[position + 4 : position + 8], position + 8, position + 8 + length
        position += 12 + length


def _indices_as_gray(data: bytes) -> bytes:
    """The same PNG with its indices declared to be gray values, which decoders do not replace."""
    header = data[12:25] + bytes([_GRAY]) + data[26:29]
    parts = [_PNG, data[8:12], header, struct.pack(">I", zlib.crc32(header))]
    parts += [data[a - 8 : b + 4] for kind, a, b in _chunks(data) if kind in (b"IDAT", b"IEND")]
    return b"".join(parts)
