"""Images inside a page: small files as data URIs, of which the browser makes the overlays.

A page holds dozens of images four times. Photographs are JPEG; maps are palette PNG, which is
exact and ten times smaller; causes are a PNG that is clear where the prediction is right, so that
the page lays it over the photograph and needs no second copy of that.
"""

from __future__ import annotations

import base64
import dataclasses
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np

from segalias_jax.scoring.causes import cause_thumbnail
from segalias_jax.typing import Integer, UInt8

IGNORED = 255
"""Code of ignored pixels in a map of causes; 0 is right, 1, 2, ... are causes in their order."""

LONGEST = 1280
"""Longest side of an embedded image in pixels: maps of common cameras stay readable, and 32 of
them take a few megabytes."""

_QUALITY = 82
# Ignored pixels are striped: no class and no cause has a pattern.
_STRIPES = ((58, 58, 58, 255), (128, 128, 128, 255))
_CAUSE_STRIPES = ((0, 0, 0, 170), (150, 150, 150, 200))
_CLEAR = (0, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Panels:
    """What a page shows of one image.

    Attributes:
      image: RGB; None where there is none.
      truth: true class ids; anything but a class is ignored.
      prediction: predicted class ids.
      causes: 0 where right, 1, 2, ... the causes, 255 ignored.
      remark: what a reader must know, such as why the image is missing.

    Example:
      >>> ids = np.zeros((2, 3), np.uint8)
      >>> Panels(None, ids, ids, ids).remark
      ''
    """

    image: UInt8[np.ndarray, "h w 3"] | None
    truth: Integer[np.ndarray, "h w"]
    prediction: Integer[np.ndarray, "h w"]
    causes: UInt8[np.ndarray, "h w"]
    remark: str = ""


PanelSource = Callable[[int], Panels]
"""Gives the panels of an image by its index in the report."""


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Blocks of pixels, each of which is a pixel of what a page shows.

    Attributes:
      height: of the maps in pixels.
      width: of the maps in pixels.
      step: side of the blocks; those at the far borders may be cut.

    Example:
      >>> Blocks.of((1000, 3000)).remark
      'shown at 1/3 of its 3000 x 1000 pixels'
    """

    height: int
    width: int
    step: int

    @classmethod
    def of(cls, shape: tuple[int, ...], longest: int = LONGEST) -> Blocks:
        """Returns the smallest ones with which no side is longer than so many pixels."""
        height, width = shape
        return cls(height, width, -(-max(shape) // longest))

    @property
    def remark(self) -> str:
        """What a reader must know of the size; empty where it is that of the maps."""
        if self.step == 1:
            return ""
        return f"shown at 1/{self.step} of its {self.width} x {self.height} pixels"

    def photograph(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "a b 3"]:
        """Returns the mean of each block."""
        if self.step == 1:
            return image
        size = (-(-self.width // self.step), -(-self.height // self.step))
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    def ids(self, ids: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "a b"]:
        """Returns the ids in the middle of each block."""
        if self.step == 1:
            return ids
        rows, columns = (
            np.minimum(np.arange(0, n, self.step) + self.step // 2, n - 1)
            for n in (self.height, self.width)
        )
        return ids[np.ix_(rows, columns)]

    def causes(
        self, painted: Iterable[tuple[slice, UInt8[np.ndarray, "_ w"]]]
    ) -> UInt8[np.ndarray, "a b"]:
        """Returns the cause of each block, see `causes.cause_thumbnail`."""
        starts = (np.arange(0, n, self.step) for n in (self.height, self.width))
        return cause_thumbnail(painted, *starts)


def embed(
    panels: Panels,
    palette: UInt8[np.ndarray, "classes 3"],
    cause_colors: Sequence[tuple[int, int, int]],
    *,
    longest: int = LONGEST,
) -> dict[str, str]:
    """Encodes the panels of one image for a page.

    Larger ones are reduced by an integer: photographs by area, class ids to one pixel of each
    block. A block of causes shows the cause of one of its wrong pixels where it has any, so that
    thin errors stay visible and look thicker than they are.

    Args:
      panels: what to show.
      palette: RGB color of each class.
      cause_colors: RGB of the causes in their order.
      longest: bound of the longer side in pixels.

    Returns:
      Data URIs by "image" (where there is one), "truth", "prediction" and "causes", and under
      "remark" what is to be said of them.

    Example:
      >>> ids = np.zeros((2, 3), np.uint8)
      >>> found = embed(Panels(None, ids, ids, ids), np.zeros((2, 3), np.uint8), [(255, 0, 0)])
      >>> list(found), found["truth"][:22]
      (['truth', 'prediction', 'causes', 'remark'], 'data:image/png;base64,')
    """
    blocks = Blocks.of(panels.truth.shape, longest)
    found: dict[str, str] = {}
    if panels.image is not None:
        found["image"] = _jpeg(blocks.photograph(panels.image))
    for name, ids in (("truth", panels.truth), ("prediction", panels.prediction)):
        found[name] = _ids_png(blocks.ids(ids), palette)
    causes = blocks.causes([(slice(0, blocks.height), panels.causes)])
    striped = _striped(causes, causes == IGNORED, 1 + len(cause_colors))
    colors = [_CLEAR, *((*color, 255) for color in cause_colors), *_CAUSE_STRIPES]
    found["causes"] = _uri("png", palette_png(striped, np.asarray(colors, np.uint8)))
    found["remark"] = "; ".join(text for text in (panels.remark, blocks.remark) if text)
    return found


def _ids_png(ids: np.ndarray, palette: np.ndarray) -> str:
    known = (ids >= 0) & (ids < len(palette))
    if len(palette) + len(_STRIPES) > 256:  # more than a palette holds
        colors = np.concatenate([palette, np.asarray(_STRIPES, np.uint8)[:, :3]])
        painted = colors[_striped(ids, ~known, len(palette))]
        return _uri("png", cv2.imencode(".png", painted[..., ::-1])[1].tobytes())
    opaque = np.full((len(palette), 1), 255, np.uint8)
    colors = np.concatenate([np.hstack([palette, opaque]), np.asarray(_STRIPES, np.uint8)])
    return _uri("png", palette_png(_striped(ids, ~known, len(palette)), colors))


def _striped(codes: np.ndarray, mask: np.ndarray, first: int) -> np.ndarray:
    """Puts two codes from `first` on in turns where a mask is set, along diagonals."""
    i, j = np.ogrid[: mask.shape[0], : mask.shape[1]]
    return np.where(mask, first + ((i + j) % 8 < 2), codes).astype(np.intp)


def palette_png(codes: Integer[np.ndarray, "h w"], colors: UInt8[np.ndarray, "codes 4"]) -> bytes:
    """Writes a PNG of 8 bits a pixel, which OpenCV cannot.

    Args:
      codes: index into the colors.
      colors: RGBA of each code, at most 256.

    Returns:
      The file.

    Example:
      >>> colors = np.asarray([[0, 0, 0, 0], [1, 2, 3, 255]], np.uint8)
      >>> data = palette_png(np.asarray([[1]]), colors)
      >>> cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).tolist()
      [[[3, 2, 1]]]

    Reference:
      ISO/IEC 15948, Portable Network Graphics.
    """
    height, width = codes.shape
    # Runs of equal ids pack best without any filter: each line starts with filter type 0.
    lines = np.concatenate([np.zeros((height, 1), np.uint8), codes.astype(np.uint8)], 1)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", np.ascontiguousarray(colors[:, :3]).tobytes()),
        (b"tRNS", np.ascontiguousarray(colors[:, 3]).tobytes()),
        # Level 9 takes seven times as long for a tenth less: stripes are its worst case.
        (b"IDAT", zlib.compress(lines.tobytes(), 7)),
        (b"IEND", b""),
    )
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        parts += [struct.pack(">I", len(data)), kind, data, checksum]
    return b"".join(parts)


def _jpeg(image: np.ndarray) -> str:
    flags = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    return _uri("jpeg", cv2.imencode(".jpg", image[..., ::-1], flags)[1].tobytes())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def hex_color(color: Sequence[int] | np.ndarray) -> str:
    """Writes an RGB color as HTML does.

    Example:
      >>> hex_color((255, 0, 16))
      '#ff0010'
    """
    return "#{:02x}{:02x}{:02x}".format(*map(int, color))
