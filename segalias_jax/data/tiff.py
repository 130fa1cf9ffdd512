"""TIFF files: their directories, and their pixels without loss or repair.

OpenCV fills what it cannot decode of a damaged TIFF with zeros and goes on, which for a map of
class ids is a wrong answer. What is read here is whole or refused.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

from segalias_jax.typing import Shaped

KIND, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, ORIENTATION, CHANNELS, PLANES, PREDICTOR = 266, 274, 277, 284, 317
COLOR_MAP, FORMAT = 320, 339
_STRIPS, _ROWS, _STRIP_SIZES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 322, 323, 324, 325

STORED, LZW, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 8, 32946, 32773
PACKINGS = (STORED, LZW, DEFLATE, OLD_DEFLATE, PACKBITS)
"""Ways of compression that are read."""

_FORMS = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MOST_IMAGES = 1 << 12
_CLEAR, _END = 256, 257


class Entry(NamedTuple):
    """Where the numbers of a tag are, and how they are written."""

    form: str
    count: int
    place: int


class TiffImage(NamedTuple):
    """An image of a TIFF: its byte order and its tags."""

    order: str
    entries: dict[int, Entry]

    def numbers(self, file: Any, tag: int, default: int = 0) -> tuple[int, ...]:
        """The numbers of a tag, or a single default."""
        entry = self.entries.get(tag)
        if entry is None:
            return (default,)
        form = f"{self.order}{entry.count}{entry.form}"
        file.seek(entry.place)
        return struct.unpack(form, file.read(struct.calcsize(form)))

    def number(self, file: Any, tag: int, default: int = 0) -> int:
        """The first number of a tag."""
        return self.numbers(file, tag, default)[0]


def tiff_images(file: Any) -> list[TiffImage]:
    """Reads the directories of a TIFF or BigTIFF.

    Args:
      file: opened for reading bytes.

    Returns:
      All images; none where the file is no TIFF.

    Raises:
      struct.error: cut off.

    Example:
      >>> import io
      >>> tiff_images(io.BytesIO(b"text"))
      []
    """
    file.seek(0)
    start = file.read(16)
    if start[:4] not in _FORMS:
        return []
    order, big = _FORMS[start[:4]]
    count = order + ("Q" if big else "I")
    place = struct.unpack(count, start[8:16] if big else start[4:8])[0]
    images, seen = [], set()
    while place and place not in seen and len(images) < _MOST_IMAGES:
        seen.add(place)
        entries, place = _directory(file, place, order, big)
        images.append(TiffImage(order, entries))
    return images


def _directory(file: Any, place: int, order: str, big: bool) -> tuple[dict[int, Entry], int]:
    """The entries of an image by tag, and where the next one begins."""
    head, form, count = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    head, form, count = order + head, order + form, order + count
    file.seek(place)
    number = struct.unpack(head, file.read(struct.calcsize(head)))[0]
    size = struct.calcsize(form)
    if number > 1 << 12:
        raise struct.error("no directory has so many entries")
    content = file.read(size * number)
    following = struct.unpack(count, file.read(struct.calcsize(count)))[0]
    entries = {}
    for at in range(0, size * number, size):
        tag, kind, values, data = struct.unpack(form, content[at : at + size])
        if kind not in _NUMBERS or not values:
            continue
        where = place + struct.calcsize(head) + at + size - len(data)
        if values * struct.calcsize(order + _NUMBERS[kind]) > len(data):  # kept elsewhere
            where = struct.unpack(count, data)[0]
        entries[tag] = Entry(_NUMBERS[kind], values, where)
    return entries, following


def tiff_pixels(file: Any, image: TiffImage) -> Shaped[np.ndarray, "h w channels"]:
    """Decodes an image of integers, compressed in one of the `PACKINGS`.

    Args:
      file: opened for reading bytes.
      image: one of `tiff_images`.

    Returns:
      What is stored, of the stored type; uint8 of fewer than 8 bits.

    Raises:
      ValueError: damaged or cut off.

    Example:
      >>> import cv2, io
      >>> file = io.BytesIO(cv2.imencode(".tif", np.full((2, 3), 7, np.uint8))[1].tobytes())
      >>> tiff_pixels(file, tiff_images(file)[0])[..., 0].tolist()
      [[7, 7, 7], [7, 7, 7]]
    """
    width, height = image.number(file, WIDTH), image.number(file, HEIGHT)
    bits, channels = image.number(file, BITS, 1), image.number(file, CHANNELS, 1)
    tiled = _TILES in image.entries
    if tiled:
        size = image.number(file, _TILE_HEIGHT), image.number(file, _TILE_WIDTH)
        places, sizes = image.numbers(file, _TILES), image.numbers(file, _TILE_SIZES)
    else:
        size = min(image.number(file, _ROWS, height), height), width
        places, sizes = image.numbers(file, _STRIPS), image.numbers(file, _STRIP_SIZES)
    if min(size) < 1:
        raise ValueError("parts of no size")
    down, across = -(-height // size[0]), -(-width // size[1])
    planes = channels if image.number(file, PLANES, 1) == 2 else 1
    if not len(places) == len(sizes) == planes * down * across:
        raise ValueError("parts are missing")
    kind = "i" if image.number(file, FORMAT, 1) == 2 else "u"
    stored = np.dtype(f"{image.order}{kind}{max(1, bits // 8)}")
    result = np.empty((height, width, channels), stored.newbyteorder("="))
    packing = image.number(file, COMPRESSION, 1)
    # Other ways have no steps, whatever the tag says.
    stepped = packing in (LZW, DEFLATE, OLD_DEFLATE) and image.number(file, PREDICTOR, 1) == 2
    each = channels // planes
    for i, (place, length) in enumerate(zip(places, sizes, strict=True)):
        plane, part = divmod(i, down * across)
        top, left = part // across * size[0], part % across * size[1]
        rows = size[0] if tiled else min(size[0], height - top)
        pitch = (size[1] * each * bits + 7) // 8
        file.seek(place)
        data = _unpacked(file.read(length), packing, rows * pitch)
        pixels = _unfolded(data, rows, size[1], each, bits, stored)
        if stepped:
            pixels = np.add.accumulate(pixels, axis=1, dtype=pixels.dtype)
        crop = result[top : top + rows, left : left + size[1], plane * each : (plane + 1) * each]
        crop[:] = pixels[: crop.shape[0], : crop.shape[1]]
    return result


def _unfolded(
    data: bytes, rows: int, width: int, channels: int, bits: int, stored: np.dtype
) -> np.ndarray:
    """Numbers of a strip or tile, of which several may share a byte."""
    if bits >= 8:
        return (
            np.frombuffer(data, stored)
            .reshape(rows, width, channels)
            .astype(stored.newbyteorder("="))
        )
    spread = np.unpackbits(np.frombuffer(data, np.uint8).reshape(rows, -1), axis=1)
    spread = spread[:, : width * channels * bits].reshape(rows, width, channels, bits)
    return (spread * (1 << np.arange(bits, dtype=np.uint8)[::-1])).sum(-1, dtype=np.uint8)


def _unpacked(data: bytes, packing: int, size: int) -> bytes:
    """The bytes of a strip or tile, exactly as many as there must be."""
    if packing in (DEFLATE, OLD_DEFLATE):
        stream = zlib.decompressobj()
        try:
            # The sum at the end, of which no byte may be missing, comes after the last one.
            found = stream.decompress(data, size) + stream.decompress(stream.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if not stream.eof:
            raise ValueError("compressed data end too early, or never")
    elif packing == LZW:
        found = _without_lzw(data, size)
    elif packing == PACKBITS:
        found = _without_packbits(data, size)
    else:
        found = data[:size]
    if len(found) != size:
        raise ValueError(f"{len(found)} bytes where {size} are needed")
    return found


def _without_packbits(data: bytes, size: int) -> bytes:
    found, place = bytearray(), 0
    while len(found) < size and place < len(data):
        count = data[place]
        if count < 128:
            found += data[place + 1 : place + 2 + count]
            place += 2 + count
        elif count > 128:
            found += data[place + 1 : place + 2] * (257 - count)
            place += 2
        else:
            place += 1
    return bytes(found)


def _without_lzw(data: bytes, size: int) -> bytes:
    """LZW as TIFF has it: codes of 9 to 12 bits, the highest bit first, one longer a code early."""
    found, start = [], [bytes([i]) for i in range(256)] + [b"", b""]
    table, before, length = list(start), b"", 0
    held, count, width = 0, 0, 9
    for octet in data:
        held, count = held << 8 | octet, count + 8
        if count < width:
            continue
        count -= width
        code, held = held >> count, held & ((1 << count) - 1)
        if code == _CLEAR:
            table, before, width = list(start), b"", 9
            continue
        if code == _END:
            return b"".join(found)
        if code < len(table):
            piece = table[code]
            if before:
                table.append(before + piece[:1])
        elif code == len(table) and before:
            piece = before + before[:1]
            table.append(piece)
        else:
            raise ValueError("a code that stands for nothing")
        found.append(piece)
        before = piece
        length += len(piece)
        if length > size:
            raise ValueError("more bytes than there are pixels")
        # Codes get longer one before the table needs it.
        width = 9 if len(table) < 511 else 10 if len(table) < 1023 else 11
        width = width if len(table) < 2047 else 12
    return b"".join(found)
