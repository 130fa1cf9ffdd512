"""Radar reflectivity: drawn fields as a data set of binary segmentation, and files of SVRIMG.

A field holds dBZ from 0, no echo, to 80. What is to be found is where a field has 40 dBZ or more,
which is where weather turns severe; a few per cent of the pixels. Drawn fields come to a network
dithered to five levels, so that no threshold finds it.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np

from segalias_jax.data.classes import RADAR
from segalias_jax.data.files import decode_ids, read_bytes
from segalias_jax.data.settings import DataSettings
from segalias_jax.data.tools.dithering import dither
from segalias_jax.data.transforms import Sample
from segalias_jax.errors import InputError
from segalias_jax.typing import UInt8

LEVELS = (0, 20, 40, 60, 80)
"""What drawn fields are dithered to, in dBZ."""
STRONG = 40
"""Pixels of so many dBZ or more are class 1."""
GRAY_PER_DBZ = 3
"""Gray values of an image for each dBZ, as the palette of SVRIMG has it."""

_MOST = 80
_WEAKEST = 5  # what is below is no echo
_SMALLEST = 32
_SPLITS = ("train", "val", "test")


class RadarFields:
    """Fields drawn from the split's name and the index alone, dithered, and where they are strong.

    `source[i]["image"]` is three equal channels of `GRAY_PER_DBZ` times the dithered field,
    `source[i]["label"]` is 1 where the field itself has `STRONG` dBZ or more, else 0.

    Args:
      settings: reads `image_size`, `num_train` and `num_eval`.
      split: "train", "val" or "test", which have no field in common.

    Raises:
      InputError: another split, or an image size below 32.

    Example:
      >>> fields = RadarFields(DataSettings("radar", num_train=10, image_size=(136, 136)), "train")
      >>> sample = fields[3]
      >>> len(fields), np.unique(sample["image"]).tolist(), np.unique(sample["label"]).tolist()
      (10, [0, 60, 120, 180, 240], [0, 1])
    """

    def __init__(self, settings: DataSettings, split: str):
        if split not in _SPLITS:
            raise InputError(f"split {split!r}: unknown; choose from {', '.join(_SPLITS)}")
        if min(settings.image_size) < _SMALLEST:
            raise InputError(
                f"data.image_size: {settings.image_size} is too small for a storm; give at least "
                f"{_SMALLEST} pixels each"
            )
        count = settings.num_train if split == "train" else settings.num_eval
        self.names = [f"{split}_{index:05d}" for index in range(count)]
        self.classes, self.palette = RADAR
        self._size = settings.image_size
        self._split = zlib.crc32(f"radar {split}".encode())

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        field = self.field(index)
        gray = (GRAY_PER_DBZ * dither(field, LEVELS)).astype(np.uint8)
        label = (field >= STRONG).astype(np.uint8)
        return {"image": np.repeat(gray[..., None], 3, axis=-1), "label": label}

    def field(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """Returns the field of a sample before it is dithered, in dBZ."""
        if not 0 <= index < len(self):  # what ends a plain `for` loop over the source
            raise IndexError(index)
        return draw_reflectivity(np.random.default_rng([self._split, index]), self._size)

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of a field in pixels."""
        return self._size

    def check(self, index: int) -> None:
        """Returns: a drawn field is always usable."""


def draw_reflectivity(
    rng: np.random.Generator, size: tuple[int, int] = (136, 136)
) -> UInt8[np.ndarray, "h w"]:
    """Draws a storm: a band of rain, often with a line of strong echo, and single cells.

    Args:
      rng: where all randomness comes from.
      size: (height, width) in pixels; those of SVRIMG are 3.75 km wide.

    Returns:
      Reflectivity in dBZ, from 5 to 80, and 0 for no echo.

    Example:
      >>> field = draw_reflectivity(np.random.default_rng(0))
      >>> field.shape, bool(field.max() <= 80), bool((field >= 40).any())
      ((136, 136), True, True)
    """
    height, width = size
    y, x = (axis.astype(np.float32) for axis in np.ogrid[:height, :width])
    center_x, center_y = rng.uniform(0.3, 0.7, 2) * (width, height)
    along, across = _turned((x - center_x) / width, (y - center_y) / height, rng)
    across = across + rng.uniform(-0.8, 0.8) * along**2 + 0.03 * _noise(rng, size, 20)
    rain = 32 - rng.uniform(50, 90) * np.abs(across - rng.uniform(0.05, 0.2))
    rain -= rng.uniform(10, 40) * along**2
    field = rain + 5 * _noise(rng, size, 12) + 2.5 * _noise(rng, size, 4)
    if rng.random() < 0.7:
        line = rng.uniform(40, 55) - 300 * np.abs(across) - rng.uniform(20, 60) * along**2
        field = np.maximum(field, line + 8 * _noise(rng, size, 6))
    rough = _noise(rng, size, 3)
    for _ in range(rng.integers(3, 14)):
        center_x, center_y = rng.uniform(0, 1, 2) * (width, height)
        radius = rng.uniform(2.5, 7) * min(size) / 136
        a, b = _turned((x - center_x) / radius, (y - center_y) / radius, rng)
        distance = np.sqrt(a**2 + (b * rng.uniform(1, 2)) ** 2)
        field = np.maximum(field, rng.uniform(42, 68) - 9 * distance**1.1 + 3 * rough)
    field += _noise(rng, size, 2)
    return np.where(field < _WEAKEST, 0, np.clip(field, 0, _MOST)).astype(np.uint8)


def read_svrimg(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Reads a reflectivity field of SVRIMG, north up.

    Its PNG files have a palette whose indices are the dBZ, column maxima as integers, 0 for no
    echo, and whose colors, about three times that, only make it look gray. They are 136 x 136
    pixels of 3.75 km around a report of severe weather, and the first row is the southern end.

    Args:
      path: the PNG.

    Returns:
      Reflectivity in dBZ, the northern end first.

    Raises:
      InputError: unreadable, or colors instead of values.

    Example:
      >>> read_svrimg(Path("missing.png"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.png: cannot be read (No such file or directory)

    Reference:
      Haberlie, Ashley and Karpinski, "Mean storms: Composites of radar reflectivity images during
      two decades of severe thunderstorm events", International Journal of Climatology 41, 2021.
    """
    return np.ascontiguousarray(decode_ids(read_bytes(path), path)[::-1])


def _turned(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    turn = rng.uniform(0, np.pi)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return cosine * x + sine * y, cosine * y - sine * x


def _noise(rng: np.random.Generator, size: tuple[int, int], scale: int) -> np.ndarray:
    """Smooth noise of about unit variance that changes over `scale` pixels, float32."""
    coarse = rng.standard_normal([n // scale + 3 for n in size], np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
