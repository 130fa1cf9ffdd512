"""Random transforms that change colors and leave pixels in place; see `transforms`."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from segalias_jax.data.geometry import Sample

_SAME = np.arange(256, dtype=np.uint8)


@dataclasses.dataclass(frozen=True)
class PhotometricDistortion:
    """Distorts brightness, contrast, saturation and hue, each with probability one half.

    Brightness adds b ~ U(-brightness, brightness); contrast and saturation multiply by
    c ~ U(contrast), s ~ U(saturation); hue turns by a whole h, -hue <= h < hue, of 180 steps.
    Contrast comes second or last, at random. Every step clips to 0..255 and drops the fraction.

    Needs: image. Changes: image.

    Args:
      brightness: largest change, in units of 0..255.
      contrast: smallest and largest factor.
      saturation: smallest and largest factor.
      hue: largest turn, in steps of two degrees.

    Example:
      >>> sample = {"image": np.full((2, 2, 3), 128, np.uint8)}
      >>> PhotometricDistortion()(sample, np.random.default_rng(0))["image"].dtype
      dtype('uint8')
    """

    brightness: float = 32.0
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: int = 18

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws the four changes and applies them."""
        image = sample["image"]
        first = _SAME
        if _coin(rng):
            first = _linear(1.0, rng.uniform(-self.brightness, self.brightness))
        contrast_last = _coin(rng)
        if not contrast_last and _coin(rng):
            first = _linear(rng.uniform(*self.contrast), 0.0)[first]  # both steps in one pass
        if first is not _SAME:
            image = cv2.LUT(image, first)
        # Two passes through HSV where both apply: its rounding between them is part of the recipe.
        if _coin(rng):
            image = _map_hsv(image, 1, _linear(rng.uniform(*self.saturation), 0.0))
        if _coin(rng):
            turned = (np.arange(256) + rng.integers(-self.hue, self.hue)) % 180
            image = _map_hsv(image, 0, turned.astype(np.uint8))
        if contrast_last and _coin(rng):
            image = cv2.LUT(image, _linear(rng.uniform(*self.contrast), 0.0))
        return sample | {"image": image}


@dataclasses.dataclass(frozen=True)
class GaussianBlur:
    """Blurs with a Gaussian of random width, sigma ~ U(sigma).

    The image is reflected at its borders.

    Needs: image. Changes: image.

    Args:
      sigma: smallest and largest standard deviation in pixels.

    Example:
      >>> sample = {"image": np.full((4, 4, 3), 7, np.uint8)}
      >>> GaussianBlur((1.0, 2.0))(sample, np.random.default_rng(0))["image"][0, 0].tolist()
      [7, 7, 7]
    """

    sigma: tuple[float, float]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws a width and blurs."""
        sigma = rng.uniform(*self.sigma)
        if not sigma:  # which OpenCV takes for "choose one yourself"
            return sample
        return sample | {"image": cv2.GaussianBlur(sample["image"], (0, 0), sigma)}


@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """Adds Gaussian noise of random strength, sigma ~ U(sigma), to every pixel and channel.

    y = clip(round(x + sigma n), 0, 255), n ~ N(0, 1); or the fraction is cut off instead.

    Needs: image. Changes: image.

    Args:
      sigma: smallest and largest standard deviation, in units of 0..255.
      truncate: whether fractions are cut off, which darkens by 1/2 in the mean.

    Example:
      >>> sample = {"image": np.full((64, 64, 3), 128, np.uint8)}
      >>> noisy = GaussianNoise((20.0, 20.0))(sample, np.random.default_rng(0))["image"]
      >>> bool(abs(noisy.std() - 20) < 0.5)
      True
    """

    sigma: tuple[float, float]
    truncate: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws a strength and the noise."""
        sigma = np.float32(rng.uniform(*self.sigma))
        noise = rng.standard_normal(sample["image"].shape, np.float32)
        noise *= sigma
        noise += sample["image"]
        if not self.truncate:
            np.rint(noise, noise)
        return sample | {"image": np.clip(noise, 0, 255, noise).astype(np.uint8)}


@dataclasses.dataclass(frozen=True)
class MedianFilter:
    """Replaces each value by the median of the square around it, in each channel.

    Border pixels count again where the square leaves the image.

    Needs: image. Changes: image.

    Args:
      size: side of the square in pixels, odd.

    Example:
      >>> image = np.zeros((3, 3, 3), np.uint8)
      >>> image[1, 1] = 255
      >>> MedianFilter(3)({"image": image}, np.random.default_rng(0))["image"].max()
      np.uint8(0)
    """

    size: int

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Filters; draws nothing."""
        return sample | {"image": cv2.medianBlur(np.ascontiguousarray(sample["image"]), self.size)}


def _coin(rng: np.random.Generator) -> bool:
    return bool(rng.integers(2))


def _linear(factor: float, offset: float) -> np.ndarray:
    """The table of `factor * value + offset` for all 256 values; no float image is made."""
    values = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    return np.clip(values, 0, 255).astype(np.uint8)


def _map_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    # A table for one channel alone is several times as fast as three tables at once.
    hsv = cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, channel), table), hsv, channel)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
