"""What TIFF and BMP files hold, from their headers: sizes are known before memory is taken."""

from __future__ import annotations

import os
import struct
from typing import Any, NamedTuple

from segalias_jax.errors import InputError

_TIFF_FORMS = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
# Width of each type of number that sizes and kinds are written in.
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _CHANNELS, _FORMAT = 256, 257, 258, 262, 277, 339
_KIND, _COMPRESSION, _ORIENTATION, _PLANES = 254, 259, 274, 284
_PAGES = 1 << 12
_SMALLER, _MASK = 1, 4  # bits of `_KIND`: pages that belong to another one


class RasterHeader(NamedTuple):
    """What is known of a raster image before it is decoded.

    Attributes:
      width: in pixels.
      height: in pixels.
      bits: of each channel.
      channels: numbers of a pixel.
      numbers: "unsigned", "signed" or "float".
      palette: whether pixels are indices of colors.
      least: bytes that it cannot do with less of, however well it is compressed.
      start: where pixels (BMP) or the number that says what gray means (TIFF) begin.
      upward: whether the lowest row is stored first.
      note: why it is no map, whatever it holds; empty where it may be one.
    """

    width: int
    height: int
    bits: int
    channels: int = 1
    numbers: str = "unsigned"
    palette: bool = False
    least: int = 0
    start: int = 0
    upward: bool = False
    note: str = ""


def tiff_header(file: Any) -> RasterHeader:
    """Reads the header of a TIFF or BigTIFF of one image.

    Smaller copies of the image that follow it (cloud-optimized GeoTIFF) are no further images.

    Args:
      file: the file, opened for reading bytes.

    Returns:
      The header of the first image.

    Raises:
      InputError: not a TIFF, or cut off.

    Example:
      >>> import cv2, io, numpy as np
      >>> data = cv2.imencode(".tif", np.zeros((2, 3), np.uint16))[1].tobytes()
      >>> tiff_header(io.BytesIO(data))[:4]
      (3, 2, 16, 1)
    """
    file.seek(0)
    start = file.read(16)
    if start[:4] not in _TIFF_FORMS:
        raise InputError("not a TIFF image, whatever its name says")
    order, big = _TIFF_FORMS[start[:4]]
    try:
        place = struct.unpack(order + "Q", start[8:16])[0] if big else (
            struct.unpack(order + "I", start[4:8])[0]
        )  # fmt: skip
        first, pages, seen = {}, 0, set()
        while place and place not in seen and len(seen) < _PAGES:
            seen.add(place)
            tags, place = _tiff_directory(file, place, order, big)
            first = first or tags
            pages += not tags.get(_KIND, (0,))[0] & (_SMALLER | _MASK)
    except (struct.error, OverflowError):
        raise InputError("the file is truncated; copy it again") from None
    return _tiff_image(first, pages)


def _tiff_directory(file: Any, place: int, order: str, big: bool) -> tuple[dict, int]:
    """The numbers of one image by tag, with the place where each is, and where the next begins."""
    head, entry, count = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    file.seek(place)
    number = struct.unpack(order + head, file.read(struct.calcsize(order + head)))[0]
    size = struct.calcsize(order + entry)
    if number > 1 << 12:
        raise struct.error("no directory has so many entries")
    content = file.read(size * number)
    following = struct.unpack(order + count, file.read(struct.calcsize(order + count)))[0]
    tags = {}
    for at in range(0, size * number, size):
        tag, kind, values, data = struct.unpack(order + entry, content[at : at + size])
        if kind not in _NUMBERS or not 0 < values < 1 << 10:
            continue
        form = f"{order}{values}{_NUMBERS[kind]}"
        where = place + struct.calcsize(order + head) + at + size - len(data)
        if struct.calcsize(form) > len(data):  # kept elsewhere
            if tag != _BITS:
                continue
            file.seek(struct.unpack(order + count, data)[0])
            data = file.read(struct.calcsize(form))
        tags[tag] = (*struct.unpack(form, data[: struct.calcsize(form)]), where)
    return tags, following


def _tiff_image(tags: dict, pages: int) -> RasterHeader:
    def number(tag: int, default: int) -> int:
        return tags[tag][0] if tag in tags else default

    channels, meaning = number(_CHANNELS, 1), number(_PHOTOMETRIC, 1)
    width, height, bits = number(_WIDTH, 0), number(_HEIGHT, 0), number(_BITS, 1)
    numbers = {1: "unsigned", 2: "signed", 3: "float"}.get(number(_FORMAT, 1), "unknown numbers")
    note = ""
    if pages > 1:
        note = f"holds {pages} images, and a map is one; save one file for each"
    elif number(_ORIENTATION, 1) != 1:
        note = "is to be turned before it is shown; save it upright"
    elif meaning == 0:
        note = "says that 0 is white, so that it is unclear what its ids are; save 0 as black"
    # What LZW and deflate make of equal bytes is 1/1400 of them; fax codes have no such limit.
    packed = {1: 1, 32773: 64}.get(number(_COMPRESSION, 1), 1500)
    least = 0 if number(_COMPRESSION, 1) in (2, 3, 4) else (
        width * height * channels * bits // (8 * packed)
    )  # fmt: skip
    return RasterHeader(
        width=width,
        height=height,
        bits=bits,
        channels=channels,
        numbers=numbers,
        palette=meaning == 3,
        least=least,
        start=tags[_PHOTOMETRIC][-1] if _PHOTOMETRIC in tags else 0,
        note=note,
    )


def bmp_header(file: Any) -> RasterHeader:
    """Reads the header of a BMP.

    Args:
      file: the file, opened for reading bytes.

    Returns:
      The header.

    Raises:
      InputError: not a BMP, or cut off.

    Example:
      >>> import cv2, io, numpy as np
      >>> data = cv2.imencode(".bmp", np.zeros((2, 3), np.uint8))[1].tobytes()
      >>> bmp_header(io.BytesIO(data))[:5]
      (3, 2, 8, 1, 'unsigned')
    """
    file.seek(0)
    start = file.read(54)
    if start[:2] != b"BM":
        raise InputError("not a BMP image, whatever its name says")
    if len(start) < 54:
        raise InputError("the file is truncated; copy it again")
    begin, size = struct.unpack("<II", start[10:18])
    width, height, _, bits, packed = struct.unpack("<iiHHI", start[18:34])
    note = ""
    if size < 40:
        note = "is a BMP of a form that no program has written for decades; save it again"
    elif packed and not (packed == 3 and bits == 32):
        note = "is a compressed BMP; save it without compression, or as PNG"
    elif bits not in (1, 4, 8, 24, 32):
        note = f"has {bits} bits a pixel; save class ids of 8 bits"
    return RasterHeader(
        width=max(0, width),
        height=abs(height),
        bits=min(bits, 8),
        channels=max(1, bits // 8),
        palette=bits <= 8,
        least=begin + abs(height) * bmp_pitch(width, bits),
        start=begin,
        upward=height > 0,
        note=note,
    )


def bmp_pitch(width: int, bits: int) -> int:
    """Bytes of a row of a BMP, which are multiples of four.

    Example:
      >>> bmp_pitch(5, 8)
      8
    """
    return (width * bits + 31) // 32 * 4


def file_size(file: Any) -> int:
    """Bytes of an open file.

    Example:
      >>> import io
      >>> file_size(io.BytesIO(b"abc"))
      3
    """
    return file.seek(0, os.SEEK_END)
