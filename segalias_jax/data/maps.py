"""Maps of class ids of any origin: gray and palette PNG and npy, sized before they are decoded.

Label maps are decoded by their runs: PNGs whose rows are stored as they are (palette) or as steps
(OpenCV's way) are inflated and summed run by run, the others go to OpenCV.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Integer, UInt8

from segalias_jax.errors import InputError

try:  # inflates label maps four times as fast as zlib
    from isal import isal_zlib as inflater  # pyright: ignore[reportMissingImports]  # an extra
except ImportError:
    inflater = zlib

MAP_SUFFIXES = (".png", ".npy")
"""Kinds of files that hold a map."""

MAX_PIXELS = 1 << 28
"""No map of more pixels is decoded: a file of a few kilobytes may claim gigabytes."""

_PNG = b"\x89PNG\r\n\x1a\n"
_GRAY, _PALETTE = 0, 3
_COLOR_TYPES = {2: "RGB", 4: "gray with alpha", 6: "RGBA"}
_AS_IDS = "save one 8-bit channel of class ids (gray or palette PNG, or npy)"


class _Header(NamedTuple):
    width: int
    height: int
    depth: int
    color: int
    compression: int
    filters: int
    interlace: int


def map_size(path: Path) -> tuple[int, int]:
    """Reads the size of a map, and whether it is one, from its header alone.

    Args:
      path: PNG or npy file.

    Returns:
      (height, width) in pixels.

    Raises:
      InputError: unreadable, not such a map (color, 16 bits, numbers with a fraction), no
        pixel, or more than `MAX_PIXELS`.

    Example:
      >>> map_size(Path("missing.png"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.png: cannot be read (No such file or directory)
    """
    try:
        if path.suffix.lower() == ".npy":
            height, width = _open_npy(path).shape
        else:
            with open(path, "rb") as file:
                header = _png_header(path, file.read(33))
            height, width = header.height, header.width
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not height * width:
        raise InputError(
            f"{path}: has {width}x{height} pixels, which is nothing to score; save it again"
        )
    if height * width > MAX_PIXELS:
        raise InputError(
            f"{path}: claims {width}x{height} pixels, more than the {MAX_PIXELS} that are "
            "decoded; replace the file"
        )
    return height, width


def read_map(path: Path) -> Integer[np.ndarray, "h w"]:
    """Decodes a map of class ids; of a palette image the indices, never the colors.

    Args:
      path: PNG or npy file.

    Returns:
      The stored ids, uint8 from PNG and the stored integer type from npy.

    Raises:
      InputError: as in `map_size`, or truncated.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "ids.npy"
      >>> np.save(path, np.asarray([[0, 300]]))
      >>> read_map(path).tolist()
      [[0, 300]]
    """
    map_size(path)  # refuses what is no map or too large
    if path.suffix.lower() == ".npy":
        ids = np.array(_open_npy(path))
        native = ids.dtype.newbyteorder("=")  # what compiled code reads, whoever wrote the file
        return ids.astype(np.uint8) if ids.dtype == bool else ids.astype(native, copy=False)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if b"IEND" not in data[-4096:]:
        raise InputError(f"{path}: the file is truncated; copy it again")
    return decode_png_map(data, path)


def decode_png_map(data: bytes, path: Path) -> UInt8[np.ndarray, "h w"]:
    """Decodes a gray or palette PNG of at most 8 bits; of the latter the indices.

    Args:
      data: the whole file.
      path: where it comes from, named in errors.

    Returns:
      The stored ids.

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
    except cv2.error:  # more pixels than OpenCV decodes
        ids = None
    if ids is None or ids.shape != (header.height, header.width):
        raise InputError(f"{path}: the file is damaged and cannot be decoded; copy it again")
    # The decoder spreads fewer than 8 bits over 0..255; this takes it back.
    return ids if header.depth == 8 else ids // np.uint8(255 // (2**header.depth - 1))


def _open_npy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a whole npy file ({reason}); save it again") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        shape = getattr(array, "shape", "no")
        raise InputError(
            f"{path}: a map has two axes, height and width, this array has shape {shape}; "
            "save the class of each pixel (argmax of the logits)"
        )
    if array.dtype.kind not in "bui":
        raise InputError(f"{path}: a map holds integers, this array {array.dtype}; save class ids")
    return array


def _png_header(path: Path, data: bytes) -> _Header:
    if not data:
        raise InputError(f"{path}: the file is empty; copy it again")
    if not data.startswith(_PNG):
        raise InputError(f"{path}: not a PNG image, whatever its name says; {_AS_IDS}")
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise InputError(f"{path}: the file is truncated; copy it again")
    header = _Header(*struct.unpack(">IIBBBBB", data[16:29]))
    if header.color not in (_GRAY, _PALETTE):
        kind = _COLOR_TYPES.get(header.color, "of an unknown kind")
        raise InputError(f"{path}: the image is {kind}, not a map of class ids; {_AS_IDS}")
    if header.depth > 8:
        raise InputError(f"{path}: the image has {header.depth} bits a pixel; {_AS_IDS}")
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
    try:
        stream = inflater.decompressobj()
        lines = stream.decompress(stored, min(size, 32 * pitch))
        if len(set(lines[::pitch])) > 1 or lines[:1] > b"\1":
            return None
        lines += stream.decompress(stream.unconsumed_tail, size + 1 - len(lines))
    except inflater.error:
        return None
    if len(lines) != size or not stream.eof:
        return None
    rows = np.frombuffer(lines, np.uint8).reshape(header.height, pitch)
    if not rows[:, 0].any():
        return rows[:, 1:].copy()
    return _summed(rows) if (rows[:, 0] == 1).all() else None


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
    runs = np.repeat(sums, np.diff(starts, append=steps.size))
    return runs.reshape(rows.shape)[:, 1:].copy()


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
