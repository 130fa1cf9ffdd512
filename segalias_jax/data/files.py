"""Image and label files: decoding by OpenCV, with errors that name the file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.typing import UInt8

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_TAIL = 4096  # some writers leave a few bytes behind the end marker


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes a color image.

    Args:
      path: a file of any format OpenCV reads.

    Returns:
      Its pixels in the order red, green, blue.

    Raises:
      InputError: missing, truncated, or not an image.

    Example:
      >>> read_image(Path("missing.png"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.png: cannot be read (No such file or directory)
    """
    return _decode(path, cv2.IMREAD_COLOR_RGB)


def read_label(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Decodes a label map as it is stored, before any mapping of its values.

    Args:
      path: a single-channel 8-bit file.

    Returns:
      The stored values.

    Raises:
      InputError: missing, truncated, not an image, or not single-channel 8-bit.

    Example:
      >>> read_label(Path("missing.png"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.png: cannot be read (No such file or directory)
    """
    label = _decode(path, cv2.IMREAD_UNCHANGED)
    if label.ndim != 2 or label.dtype != np.uint8:
        channels = 1 if label.ndim == 2 else label.shape[2]
        raise InputError(
            f"{path}: a label needs one 8-bit channel of class ids, "
            f"this one has {channels} of {8 * label.itemsize} bits; save it as gray PNG"
        )
    return label


def image_size(path: Path) -> tuple[int, int]:
    """Reads an image's size, from the header alone in most JPEG and PNG files.

    Args:
      path: a file of any format OpenCV reads.

    Returns:
      (height, width) in pixels.

    Raises:
      InputError: missing, truncated, or not an image.

    Example:
      >>> image_size(Path("missing.png"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.png: cannot be read (No such file or directory)
    """
    try:
        with open(path, "rb") as file:
            start = file.read(24)
            if start.startswith(_PNG):
                width, height = struct.unpack(">II", start[16:24].ljust(8, b"\0"))
            elif start.startswith(_JPEG) and (size := _jpeg_size(file)):
                height, width = size
            else:
                return _decode(path, cv2.IMREAD_COLOR).shape[:2]
            file.seek(max(0, path.stat().st_size - _TAIL))
            _check_complete(path, start, file.read())
    except OSError as error:
        raise _unreadable(path, error) from None
    except struct.error:
        raise InputError(f"{path}: the file is truncated; copy it again") from None
    return height, width


def _decode(path: Path, flags: int) -> np.ndarray:
    # imdecode on bytes rather than imread: OpenCV prints warnings of its own about missing files,
    # and it fills the rest of a truncated file with gray instead of failing.
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise _unreadable(path, error) from None
    _check_complete(path, data[:8].tobytes(), data[-_TAIL:].tobytes())
    image = cv2.imdecode(data, flags) if data.size else None
    if image is None:
        raise InputError(f"{path}: not an image that can be decoded; replace the file")
    return image


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read ({error.strerror})")


def _check_complete(path: Path, start: bytes, tail: bytes) -> None:
    cut_png = start.startswith(_PNG) and b"IEND" not in tail
    cut_jpeg = start.startswith(_JPEG) and b"\xff\xd9" not in tail
    if cut_png or cut_jpeg:
        raise InputError(f"{path}: the file is truncated; copy it again")


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Walks a JPEG's segments to its frame header (markers C0 to CF without C4, C8, CC).

    None where EXIF data (E1) comes first: it may turn the image, which the decoder knows best.
    """
    position = 2
    while True:
        file.seek(position)
        prefix, marker, length = struct.unpack(">BBH", file.read(4))
        if prefix != 0xFF:
            raise struct.error("not at a marker")
        if marker == 0xE1:
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            _, height, width = struct.unpack(">BHH", file.read(5))
            return height, width
        position += 2 + length
