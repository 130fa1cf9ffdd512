"""Image and label files: decoding by OpenCV, with errors that name the file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np

from segalias_jax.data.headers import MAX_IMAGE_PIXELS, check_pixels, jpeg_frame
from segalias_jax.data.maps import decode_png_map
from segalias_jax.errors import InputError
from segalias_jax.files import check_regular
from segalias_jax.typing import UInt8

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_HEAD = _TAIL = 4096  # some writers leave a few bytes after the end marker


def read_bytes(path: Path) -> bytes:
    """Reads a file as it is stored.

    Args:
      path: any file.

    Returns:
      Its bytes.

    Raises:
      InputError: missing or unreadable, or no regular file: a pipe or a device may never end.

    Example:
      >>> read_bytes(Path("missing.png"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.png: cannot be read (No such file or directory)
    """
    try:
        check_regular(path)
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    except MemoryError:
        raise InputError(f"{path}: is larger than the memory; replace the file") from None


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Reads and decodes a color image, see `decode_image`.

    Example:
      >>> read_image(Path("missing.png"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.png: cannot be read (No such file or directory)
    """
    return decode_image(read_bytes(path), path)


def decode_image(data: bytes, path: Path, *, exif: bool = True) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes a color image of 8 bits a channel; gray ones get three equal channels.

    Args:
      data: an encoded image of any format OpenCV reads.
      path: the file it comes from, named in errors.
      exif: turn the image as its EXIF orientation says; False keeps the stored rows and columns.
        TIFF files are always turned, WebP files as the version of OpenCV does.

    Returns:
      Its pixels in the order red, green, blue.

    Raises:
      InputError: truncated, not an image, 16 bits a channel, CMYK, or with transparent pixels.

    Example:
      >>> data = cv2.imencode(".png", np.full((1, 1), 7, np.uint8))[1].tobytes()
      >>> decode_image(data, Path("a.png")).tolist()
      [[[7, 7, 7]]]
    """
    turned = 0 if exif else cv2.IMREAD_IGNORE_ORIENTATION
    image = _decode(data, path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH | turned)
    if image.dtype != np.uint8:
        raise InputError(
            f"{path}: the image has {8 * image.itemsize} bits a channel; which of them matter is "
            "not known here, so save it with 8"
        )
    if _is_cmyk(data):
        raise InputError(f"{path}: the image is CMYK, whose colors depend on a printer; save RGB")
    if _may_be_transparent(data):
        stored = _decode(data, path, cv2.IMREAD_UNCHANGED)
        if stored.ndim == 3 and stored.shape[2] == 4 and stored[..., 3].min() < 255:
            raise InputError(
                f"{path}: the image has transparent pixels, whose color is arbitrary; "
                "save it without alpha"
            )
    return image


def decode_ids(data: bytes, path: Path) -> UInt8[np.ndarray, "h w"]:
    """Decodes a label map of ids; of a palette image the indices, never the colors.

    Args:
      data: an encoded image with one channel of at most 8 bits.
      path: the file it comes from, named in errors.

    Returns:
      The stored values.

    Raises:
      InputError: truncated, not an image, or of another kind.

    Example:
      >>> data = cv2.imencode(".png", np.full((1, 1), 7, np.uint8))[1].tobytes()
      >>> decode_ids(data, Path("a.png")).tolist()
      [[7]]
    """
    if data.startswith(_PNG) and len(data) > 25 and data[24] <= 8 and data[25] in (0, 3):
        _check_complete(path, data[:8], data[-_TAIL:])
        check_pixels(data, path)
        return decode_png_map(data, path)
    label = _decode(data, path, cv2.IMREAD_UNCHANGED)
    if label.ndim != 2 or label.dtype != np.uint8:
        channels = 1 if label.ndim == 2 else label.shape[2]
        raise InputError(
            f"{path}: a label needs one 8-bit channel of class ids, this one has {channels} of "
            f"{8 * label.itemsize} bits; save it as gray PNG, or say what its colors mean by "
            "data.colors"
        )
    return label


def decode_gray(data: bytes, path: Path) -> UInt8[np.ndarray, "h w"]:
    """Decodes a mask of two shades, however it was saved, as gray values.

    Args:
      data: an encoded image.
      path: the file it comes from, named in errors.

    Returns:
      The gray values.

    Raises:
      InputError: truncated or not an image.

    Example:
      >>> data = cv2.imencode(".png", np.full((1, 1, 3), 255, np.uint8))[1].tobytes()
      >>> decode_gray(data, Path("a.png")).tolist()
      [[255]]
    """
    return _decode(data, path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)


def decode_colors(data: bytes, path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes a label map whose colors mean classes.

    Args:
      data: an encoded image.
      path: the file it comes from, named in errors.

    Returns:
      The colors, in the order red, green, blue.

    Raises:
      InputError: truncated or not an image.

    Example:
      >>> data = cv2.imencode(".png", np.full((1, 1, 3), 255, np.uint8))[1].tobytes()
      >>> decode_colors(data, Path("a.png")).tolist()
      [[[255, 255, 255]]]
    """
    return _decode(data, path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def image_size(path: Path, *, exif: bool = True) -> tuple[int, int]:
    """Reads an image's size, from the header alone in most JPEG and PNG files.

    Args:
      path: a file of any format OpenCV reads.
      exif: as in `decode_image`.

    Returns:
      (height, width) in pixels.

    Raises:
      InputError: missing, truncated, or not an image; all that `decode_image` refuses is refused.

    Example:
      >>> image_size(Path("missing.png"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.png: cannot be read (No such file or directory)
    """
    start = tail = b""
    size = None
    try:
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(_HEAD)
            file.seek(max(0, path.stat().st_size - _TAIL))
            tail = file.read()
            if start.startswith(_PNG):
                size = _png_size(start, may_turn=exif and b"eXIf" in start + tail)
            elif start.startswith(_JPEG):
                size = _jpeg_size(file, may_turn=exif)
    except OSError as error:
        raise _unreadable(path, error) from None
    except struct.error:  # cut off, or segments that only the decoder makes sense of
        size = None
    if size is None:
        height, width, _ = decode_image(read_bytes(path), path, exif=exif).shape
        return height, width
    _check_complete(path, start, tail)
    if size[0] * size[1] > MAX_IMAGE_PIXELS:
        check_pixels(read_bytes(path), path)
    return size


def _decode(data: bytes, path: Path, flags: int) -> np.ndarray:
    # imdecode on bytes rather than imread: OpenCV prints warnings of its own about missing files,
    # and it fills the rest of a truncated file with gray instead of failing.
    _check_complete(path, data[:8], data[-_TAIL:])
    check_pixels(data, path)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except MemoryError:
        raise _too_large(path) from None
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise _too_large(path) from None
        image = None  # sizes that OpenCV does not decode
    if image is None:
        raise InputError(f"{path}: not an image that can be decoded; replace the file")
    return image


def _too_large(path: Path) -> InputError:
    return InputError(f"{path}: the image does not fit into the memory; make it smaller")


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read ({error.strerror or error})")


def _check_complete(path: Path, start: bytes, tail: bytes) -> None:
    cut_png = start.startswith(_PNG) and b"IEND" not in tail
    cut_jpeg = start.startswith(_JPEG) and b"\xff\xd9" not in tail
    if cut_png or cut_jpeg:
        raise InputError(f"{path}: the file is truncated; copy it again")


def _may_be_transparent(data: bytes) -> bool:
    if data.startswith(_PNG):
        return data[25] in (4, 6) or b"tRNS" in data[:_HEAD]
    return not data.startswith(_JPEG)


def _png_size(start: bytes, *, may_turn: bool) -> tuple[int, int] | None:
    """None where only decoding shows the size, or whether the image is usable."""
    width, height, depth, _ = struct.unpack(">IIBB", start[16:26])
    if depth == 16 or may_turn or _may_be_transparent(start):
        return None
    return height, width


def _jpeg_size(file: io.BufferedIOBase, *, may_turn: bool) -> tuple[int, int] | None:
    """None where only decoding shows the size, or whether the image is usable."""
    height, width, channels, described = jpeg_frame(file)
    if channels == 4 or (described and may_turn):
        return None
    return height, width


def _is_cmyk(data: bytes) -> bool:
    try:
        return data.startswith(_JPEG) and jpeg_frame(io.BytesIO(data))[2] == 4
    except struct.error:  # segments that only the decoder makes sense of
        return False
