"""Procedural scenes: every class but the plain ones differs only by texture near Nyquist.

Discs, boxes and stars are shaded smoothly; the same outlines filled with fine stripes, wide
stripes or a checker are classes of their own, so outline and color say nothing about them. Fine
stripes (2.2 to 3.2 pixels a period) that are subsampled without a filter alias into what wide
stripes look like: a network that removes aliases has an advantage it can show in seconds.
"""

from __future__ import annotations

import math
import zlib

import cv2
import numpy as np

from segalias_jax.data.classes import SYNTHETIC
from segalias_jax.data.settings import DataSettings
from segalias_jax.data.transforms import Sample
from segalias_jax.errors import InputError
from segalias_jax.typing import IGNORE_LABEL

CLASSES, PALETTE = SYNTHETIC
DISC, BOX, STAR, POLE, FINE, WIDE, CHECKER = range(1, len(CLASSES))

_SMALLEST = 16
"""Least side of a scene in pixels; on smaller ones, objects fall between the pixels."""

_SPLITS = ("train", "val", "test")
_SHIFT = 4  # OpenCV draws polygons at sixteenths of a pixel


class SyntheticScenes:
    """Scenes drawn from the split's name and the index alone; no file is read.

    Args:
      settings: reads `image_size`, `num_train` and `num_eval`.
      split: "train", "val" or "test", which have no scene in common.

    Raises:
      InputError: another split, or an image size below `_SMALLEST`.

    Example:
      >>> scenes = SyntheticScenes(DataSettings("synthetic", num_train=10), "train")
      >>> len(scenes), scenes[3]["label"].shape
      (10, (128, 128))
    """

    def __init__(self, settings: DataSettings, split: str):
        if split not in _SPLITS:
            raise InputError(f"split {split!r}: unknown; choose from {', '.join(_SPLITS)}")
        if min(settings.image_size) < _SMALLEST:
            raise InputError(
                f"data.image_size: {settings.image_size} is too small for a scene; give at least "
                f"{_SMALLEST} pixels each"
            )
        count = settings.num_train if split == "train" else settings.num_eval
        self.names = [f"{split}_{index:05d}" for index in range(count)]
        self.classes = CLASSES
        self.palette = PALETTE
        self._size = settings.image_size
        self._split = zlib.crc32(split.encode())

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):  # what ends a plain `for` loop over the source
            raise IndexError(index)
        return _draw_scene(np.random.default_rng([self._split, index]), self._size)

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of a scene in pixels."""
        return self._size

    def check(self, index: int) -> None:
        """Returns: a drawn scene is always usable."""


def _draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> Sample:
    """Draws objects over one another, then light, glare and sensor noise.

    Args:
      rng: where all randomness comes from.
      size: (height, width) in pixels, `_SMALLEST` or more each.

    Returns:
      `{"image": uint8[h, w, 3], "label": uint8[h, w]}`; pixels in glare are ignored (255).

    Example:
      >>> _draw_scene(np.random.default_rng(0), (64, 64))["image"].shape
      (64, 64, 3)
    """
    base = rng.uniform(60, 190, 3)
    image = _shading(rng, size, base, 0.25)
    label = np.zeros(size, np.uint8)
    kinds = np.concatenate([np.arange(1, len(CLASSES)), rng.integers(1, len(CLASSES), 3)])
    for kind in rng.permutation(kinds[rng.random(len(kinds)) < 0.8]).tolist():
        alpha = _outline(rng, kind, size)
        window = _window(alpha)
        surface = _fill(rng, kind, alpha[window].shape, _contrasting(rng, base))
        _paint(image[window], alpha[window], surface)
        label[alpha > 0.5] = kind
    image *= _illumination(rng, size)
    if rng.random() < 0.5:
        glare = _ellipse(rng, size, rng.uniform(0.05, 0.11) * min(size))
        _paint(image, cv2.GaussianBlur(glare, (0, 0), 1.5), np.full(3, 250, np.float32))
        label[glare > 0.5] = IGNORE_LABEL
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 6))
    return {"image": np.clip(image + noise, 0, 255).astype(np.uint8), "label": label}


def _outline(rng: np.random.Generator, kind: int, size: tuple[int, int]) -> np.ndarray:
    """The coverage of an object in [0, 1], float32[h, w]."""
    if kind == POLE:
        return _pole(rng, size)
    radius = rng.uniform(0.13, 0.24) * min(size)
    shapes = {DISC: _ellipse, BOX: _box, STAR: _star}
    drawn = shapes.get(kind) or list(shapes.values())[rng.integers(3)]
    return drawn(rng, size, radius)


def _ellipse(rng: np.random.Generator, size: tuple[int, int], radius: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    flat = rng.uniform(0.7, 1.0)
    return _polygon(rng, size, radius * np.stack([np.cos(angle), flat * np.sin(angle)], -1))


def _box(rng: np.random.Generator, size: tuple[int, int], radius: float) -> np.ndarray:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    return _polygon(rng, size, radius * corners * rng.uniform(0.6, 0.95, 2))


def _star(rng: np.random.Generator, size: tuple[int, int], radius: float) -> np.ndarray:
    spikes = int(rng.integers(4, 7))
    angle = np.arange(2 * spikes) * np.pi / spikes
    reach = np.where(np.arange(2 * spikes) % 2, 0.45, 1.25)[:, None]
    return _polygon(rng, size, radius * reach * np.stack([np.cos(angle), np.sin(angle)], -1))


def _pole(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    length, half = rng.uniform(0.6, 1.3) * max(size), rng.uniform(1.0, 2.2)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [length / 2, half]
    return _polygon(rng, size, corners)


def _polygon(rng: np.random.Generator, size: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """Turns and places a polygon given around the origin; edges are antialiased."""
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    center = rng.uniform(0.08, 0.92, 2) * size[::-1]
    fixed = np.round((points @ rotation + center) * 2**_SHIFT).astype(np.int32)
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SHIFT)
    return mask.astype(np.float32) / 255


def _fill(
    rng: np.random.Generator, kind: int, size: tuple[int, int], color: np.ndarray
) -> np.ndarray:
    """The surface of an object, float32[h, w, 3]: smooth, or a texture of two colors."""
    if kind in (DISC, BOX, STAR, POLE):
        return _shading(rng, size, color, 0.35)
    period = {FINE: (2.2, 3.2), WIDE: (6.0, 10.0), CHECKER: (4.0, 6.0)}[kind]
    wave = _wave(rng, size, rng.uniform(*period), crossed=kind == CHECKER)
    other = _contrasting(rng, color)
    return color + (0.5 + 0.5 * wave[..., None]) * (other - color)


def _wave(
    rng: np.random.Generator, size: tuple[int, int], period: float, *, crossed: bool
) -> np.ndarray:
    """A grating of a period in pixels, or the product of two at right angles, in [-1, 1]."""
    y, x = np.ogrid[: size[0], : size[1]]
    turn, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    step = np.float32(2 * np.pi / period)
    u, v = np.float32(math.cos(turn)) * step, np.float32(math.sin(turn)) * step
    wave = np.sin(u * x + v * y + np.float32(phase))
    if crossed:
        wave = wave * np.sin(u * y - v * x)
    return np.clip(2 * wave, -1, 1).astype(np.float32)


def _shading(
    rng: np.random.Generator, size: tuple[int, int], color: np.ndarray, depth: float
) -> np.ndarray:
    """A color with a smooth, slow relief, float32[h, w, 3]."""
    coarse = 1 + depth * rng.uniform(-1, 1, (4, 4)).astype(np.float32)
    relief = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return relief[..., None] * color.astype(np.float32)


def _illumination(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Light that falls off to one side, tinted, float32[h, w, 3]."""
    corners = rng.uniform(0.75, 1.15, (2, 2)).astype(np.float32)
    light = cv2.resize(corners, size[::-1], interpolation=cv2.INTER_LINEAR)
    return light[..., None] * rng.uniform(0.9, 1.1, 3).astype(np.float32)


def _contrasting(rng: np.random.Generator, color: np.ndarray) -> np.ndarray:
    """A random color that is 50 to 110 gray levels brighter or darker on average."""
    mean = color.mean()
    sign = 1 if rng.uniform(0, 255) > mean else -1
    tint = rng.uniform(-90, 90, 3)
    candidate = mean + sign * rng.uniform(50, 110) + tint - tint.mean()
    return np.clip(candidate, 10, 245).astype(np.float32)


def _window(alpha: np.ndarray) -> tuple[slice, slice]:
    """The smallest window around an object, outside of which nothing needs to be drawn."""
    left, top, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def _paint(image: np.ndarray, alpha: np.ndarray, fill: np.ndarray) -> None:
    image += alpha[..., None] * (fill - image)
