"""What TIFF and BMP files hold, from their headers: sizes are known before memory is taken."""

from __future__ import annotations

import os
import struct
from typing import Any, NamedTuple

from segalias_jax.data import tiff
from segalias_jax.errors import InputError

_SMALLER, _MASK = 1, 4  # bits of `tiff.KIND`: images that belong to another one


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
      start: where the pixels of a BMP begin.
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
    try:
        images = tiff.tiff_images(file)
        if not images:
            raise InputError("not a TIFF image, whatever its name says")
        pages = [not image.number(file, tiff.KIND) & (_SMALLER | _MASK) for image in images]
        return _tiff_image(file, images[0], sum(pages))
    except (struct.error, OverflowError, MemoryError):
        raise InputError("the file is truncated; copy it again") from None


def _tiff_image(file: Any, image: tiff.TiffImage, pages: int) -> RasterHeader:
    width, height = image.number(file, tiff.WIDTH), image.number(file, tiff.HEIGHT)
    bits, channels = image.number(file, tiff.BITS, 1), image.number(file, tiff.CHANNELS, 1)
    packing = image.number(file, tiff.COMPRESSION, 1)
    note = ""
    if pages > 1:
        note = f"holds {pages} images, and a map is one; save one file for each"
    elif image.number(file, tiff.ORIENTATION, 1) != 1:
        note = "is to be turned before it is shown; save it upright"
    elif image.number(file, tiff.PHOTOMETRIC, 1) == 0:
        note = "says that 0 is white, so that it is unclear what its ids are; save 0 as black"
    elif packing not in tiff.PACKINGS or image.number(file, tiff.FILL_ORDER, 1) != 1:
        note = f"is compressed in a way ({packing}) that is not read; save it with LZW or deflate"
    elif image.number(file, tiff.PREDICTOR, 1) not in (1, 2):
        note = "has steps of numbers with a fraction; save class ids"
    elif len(set(image.numbers(file, tiff.BITS, 1))) > 1:
        note = "has channels of several depths; save class ids"
    numbers = {1: "unsigned", 2: "signed", 3: "float"}
    # What LZW and deflate make of equal bytes is 1/1400 of them.
    packed = {tiff.STORED: 1, tiff.PACKBITS: 64}.get(packing, 1500)
    return RasterHeader(
        width=width,
        height=height,
        bits=bits,
        channels=channels,
        numbers=numbers.get(image.number(file, tiff.FORMAT, 1), "unknown numbers"),
        palette=image.number(file, tiff.PHOTOMETRIC, 1) == 3,
        least=width * height * channels * bits // (8 * packed),
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
