"""Sizes that image files claim in their headers, before a decoder takes memory for them.

A file of a few kilobytes may claim gigabytes. Decoders believe it, and the process dies with all
that it was doing, so every file is asked first.
"""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

from segalias_jax.data.raster_headers import bmp_header, tiff_header
from segalias_jax.errors import InputError

MAX_IMAGE_PIXELS = 1 << 28
"""No image of more pixels is decoded for a network: its three channels alone take 0.8 GB."""

_PNM = re.compile(rb"P[1-6]\s(?:\s*#[^\n]*\n)*\s*(\d+)\s+(?:#[^\n]*\n\s*)*(\d+)\s")


def check_pixels(data: bytes, path: Path) -> None:
    """Refuses an encoded image of more than `MAX_IMAGE_PIXELS`, or of none.

    Args:
      data: the whole file.
      path: where it comes from, named in errors.

    Raises:
      InputError: so many pixels that decoding them could end the process.

    Example:
      >>> check_pixels(b"P5 100000 100000 255 ", Path("a.pgm"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: a.pgm: claims 100000x100000 pixels, more than the 268435456 \
that are decoded; replace the file
    """
    size = claimed_size(data)
    if size is not None and size[0] * size[1] > MAX_IMAGE_PIXELS:
        raise InputError(
            f"{path}: claims {size[1]}x{size[0]} pixels, more than the {MAX_IMAGE_PIXELS} that are "
            "decoded; replace the file"
        )


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """Reads the size from the header of a PNG, JPEG, BMP, GIF, TIFF, WebP or PNM file.

    Args:
      data: the whole file.

    Returns:
      (height, width) in pixels; None for other and for damaged files, which decoders report.

    Example:
      >>> claimed_size(b"GIF89a" + struct.pack("<HH", 3, 2))
      (2, 3)
    """
    try:
        if data.startswith(b"\x89PNG"):
            width, height = struct.unpack(">II", data[16:24])
        elif data.startswith(b"\xff\xd8"):
            height, width, _, _ = jpeg_frame(io.BytesIO(data))
        elif data.startswith(b"BM"):
            header = bmp_header(io.BytesIO(data))
            height, width = header.height, header.width
        elif data.startswith(b"GIF8"):
            width, height = struct.unpack("<HH", data[6:10])
        elif data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X":  # others have at most 2^14 a side
            width = int.from_bytes(data[24:27], "little") + 1
            height = int.from_bytes(data[27:30], "little") + 1
        elif data[:2] in (b"II", b"MM"):
            header = tiff_header(io.BytesIO(data))
            height, width = header.height, header.width
        elif match := _PNM.match(data[:4096]):
            width, height = int(match[1]), int(match[2])
        else:
            return None
    except (struct.error, IndexError, InputError):
        return None
    return height, width


def jpeg_frame(file: io.BufferedIOBase) -> tuple[int, int, int, bool]:
    """Walks a JPEG's segments to its frame header (markers C0 to CF without C4, C8, CC).

    Args:
      file: open for reading.

    Returns:
      Height, width, channels, and whether EXIF data (E1) came first: it may turn the image.

    Raises:
      struct.error: there is none that could be read.
    """
    position, described = 2, False
    while True:
        file.seek(position)
        prefix, marker, length = struct.unpack(">BBH", file.read(4))
        if prefix != 0xFF:
            raise struct.error("not at a marker")
        if marker == 0xFF:  # bytes of filling may come first
            position += 1
            continue
        described |= marker == 0xE1
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            _, height, width, channels = struct.unpack(">BHHB", file.read(6))
            return height, width, channels, described
        position += 2 + length
