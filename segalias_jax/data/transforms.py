"""Random transforms of training samples, as the published recipes apply them.

A sample is `{"image": uint8[h, w, 3] RGB, "label": uint8[h, w]}`. A transform is a small frozen
dataclass; calling it with a sample and a generator returns a new sample and leaves the given
arrays as they were. "Needs" and "Changes" say which entries it reads and which it replaces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from segalias_jax.data.settings import DataSettings
from segalias_jax.typing import IGNORE_LABEL

Sample = dict[str, np.ndarray]
Transform = Callable[[Sample, np.random.Generator], Sample]

# Published recipes pad with 0 after normalization, which is this color before it.
MEAN_COLOR = (124, 116, 104)


@dataclasses.dataclass(frozen=True)
class RandomResize:
    """Resizes by a random factor and keeps the aspect.

    With r ~ U(ratio_range), the image is fitted into `floor(r * base)`, long side and short side,
    and its new sides are rounded. The image is bilinear, the label nearest, both as OpenCV does it.

    Needs: image, label. Changes: image, label.

    Args:
      ratio_range: smallest and largest factor.
      base: (long, short) side at factor 1 in pixels; () takes the image's own.

    Example:
      >>> sample = {"image": np.zeros((10, 20, 3), np.uint8), "label": np.zeros((10, 20), np.uint8)}
      >>> RandomResize((2.0, 2.0))(sample, np.random.default_rng(0))["label"].shape
      (20, 40)
    """

    ratio_range: tuple[float, float] = (0.5, 2.0)
    base: tuple[int, ...] = ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws a factor and resizes."""
        size = self.scaled_size(sample["label"].shape, rng.uniform(*self.ratio_range))
        image = cv2.resize(sample["image"], size[::-1], interpolation=cv2.INTER_LINEAR)
        label = cv2.resize(sample["label"], size[::-1], interpolation=cv2.INTER_NEAREST)
        return sample | {"image": image, "label": label}

    def scaled_size(self, size: tuple[int, ...], ratio: float) -> tuple[int, int]:
        """Returns the (height, width) that an image of (height, width) `size` gets."""
        long, short = self.base or (max(size), min(size))
        scale = min(int(long * ratio) / max(size), int(short * ratio) / min(size))
        height, width = (max(1, int(side * scale + 0.5)) for side in size)
        return height, width


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Cuts out a random window that no class fills alone.

    Up to `tries` windows are drawn until one shows at least two classes of which none exceeds
    `cat_max_ratio` of the pixels that are not ignored; then the next one is taken as it is.
    An image smaller than the window is kept along that side.

    Needs: image, label. Changes: image, label.

    Args:
      size: (height, width) of the window in pixels.
      cat_max_ratio: largest share of one class; 1 accepts the first window.
      tries: windows judged.

    Example:
      >>> sample = {"image": np.zeros((9, 9, 3), np.uint8), "label": np.zeros((9, 9), np.uint8)}
      >>> RandomCrop((4, 20))(sample, np.random.default_rng(0))["image"].shape
      (4, 9, 3)
    """

    size: tuple[int, int]
    cat_max_ratio: float = 0.75
    tries: int = 10

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws windows and cuts one out."""
        window = self._draw(sample["label"].shape, rng)
        if self.cat_max_ratio < 1:
            for _ in range(self.tries):
                if self._is_mixed(sample["label"][window]):
                    break
                window = self._draw(sample["label"].shape, rng)
        return sample | {"image": sample["image"][window], "label": sample["label"][window]}

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, slice]:
        top, left = (
            int(rng.integers(max(have - want, 0) + 1))
            for have, want in zip(shape, self.size, strict=True)
        )
        return slice(top, top + self.size[0]), slice(left, left + self.size[1])

    def _is_mixed(self, label: np.ndarray) -> bool:
        counts = np.bincount(label.ravel(), minlength=IGNORE_LABEL + 1)[:IGNORE_LABEL]
        several = np.count_nonzero(counts) > 1
        return bool(several and counts.max() < self.cat_max_ratio * counts.sum())


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Mirrors left and right with a probability.

    Needs: image, label. Changes: image, label.

    Args:
      probability: how often a sample is mirrored.

    Example:
      >>> sample = {"image": np.zeros((1, 2, 3), np.uint8), "label": np.array([[1, 2]], np.uint8)}
      >>> RandomFlip(1.0)(sample, np.random.default_rng(0))["label"].tolist()
      [[2, 1]]
    """

    probability: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Mirrors or does not."""
        if rng.random() >= self.probability:
            return sample
        return sample | {key: cv2.flip(sample[key], 1) for key in ("image", "label")}


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
        if _coin(rng):
            image = cv2.LUT(image, _linear(1.0, rng.uniform(-self.brightness, self.brightness)))
        contrast_last = _coin(rng)
        if not contrast_last and _coin(rng):
            image = cv2.LUT(image, _linear(rng.uniform(*self.contrast), 0.0))
        # Two passes through HSV where both apply: its rounding between them is part of the recipe.
        if _coin(rng):
            image = _map_hsv(image, saturation=_linear(rng.uniform(*self.saturation), 0.0))
        if _coin(rng):
            turned = (np.arange(256) + rng.integers(-self.hue, self.hue)) % 180
            image = _map_hsv(image, hue=turned.astype(np.uint8))
        if contrast_last and _coin(rng):
            image = cv2.LUT(image, _linear(rng.uniform(*self.contrast), 0.0))
        return sample | {"image": image}


@dataclasses.dataclass(frozen=True)
class Pad:
    """Fills up to a size at the bottom and at the right: the mean color, label 255.

    The mean color is what is 0 after normalization, to half a gray level.

    Needs: image, label. Changes: image, label.

    Args:
      size: (height, width) to reach in pixels; larger samples stay as they are.

    Example:
      >>> sample = {"image": np.zeros((1, 1, 3), np.uint8), "label": np.zeros((1, 1), np.uint8)}
      >>> Pad((1, 2))(sample, np.random.default_rng(0))["label"].tolist()
      [[0, 255]]
    """

    size: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Fills up; draws nothing."""
        height, width = sample["label"].shape
        bottom, right = max(self.size[0] - height, 0), max(self.size[1] - width, 0)
        if not bottom and not right:
            return sample
        filled = {
            key: cv2.copyMakeBorder(sample[key], 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=v)
            for key, v in (("image", MEAN_COLOR), ("label", IGNORE_LABEL))
        }
        return sample | filled


def training_transforms(settings: DataSettings) -> tuple[Transform, ...]:
    """Returns a recipe's training transforms in the published order.

    Args:
      settings: the recipe's `data` section.

    Returns:
      Resize, crop, flip, photometric distortion, pad; without those that are switched off.

    Example:
      >>> [type(t).__name__ for t in training_transforms(DataSettings("synthetic", flip=0.0))]
      ['RandomResize', 'RandomCrop', 'PhotometricDistortion', 'Pad']
    """
    steps: list[Transform] = [
        RandomResize(settings.ratio_range, settings.resize),
        RandomCrop(settings.crop, settings.cat_max_ratio),
    ]
    if settings.flip:
        steps.append(RandomFlip(settings.flip))
    if settings.photometric:
        steps.append(PhotometricDistortion())
    if settings.pad:
        steps.append(Pad(settings.crop))
    return tuple(steps)


def apply_transforms(
    transforms: Sequence[Transform], sample: Sample, rng: np.random.Generator
) -> Sample:
    """Applies transforms one after the other.

    Args:
      transforms: in order.
      sample: what the first one gets.
      rng: the generator all draw from.

    Returns:
      What the last one returns.

    Example:
      >>> apply_transforms((), {"label": np.zeros((1, 1), np.uint8)}, np.random.default_rng(0))
      {'label': array([[0]], dtype=uint8)}
    """
    for transform in transforms:
        sample = transform(sample, rng)
    return sample


def _coin(rng: np.random.Generator) -> bool:
    return bool(rng.integers(2))


def _linear(factor: float, offset: float) -> np.ndarray:
    """The table of `factor * value + offset` for all 256 values; no float image is made."""
    values = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    return np.clip(values, 0, 255).astype(np.uint8)


def _map_hsv(
    image: np.ndarray, *, hue: np.ndarray | None = None, saturation: np.ndarray | None = None
) -> np.ndarray:
    same = np.arange(256, dtype=np.uint8)
    tables = [same if table is None else table for table in (hue, saturation, None)]
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.stack(tables, -1)[None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
