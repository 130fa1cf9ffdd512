"""Random transforms that move pixels, as the published recipes apply them; see `transforms`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from segalias_jax.typing import IGNORE_LABEL

Sample = dict[str, np.ndarray]
Transform = Callable[[Sample, np.random.Generator], Sample]
_Window = tuple[slice, slice]

# Published recipes pad with 0 after normalization. Pixels travel as bytes here, so crops are padded
# with the mean color, which is 0 there to half a gray level.
MEAN_COLOR = (124, 116, 104)


@dataclasses.dataclass(frozen=True)
class RandomResize:
    """Resizes by a random factor and keeps the aspect, or nearly so.

    With r ~ U(ratio_range), the image is fitted into `floor(r * base)`, long side and short side,
    each side is multiplied by a factor of its own ~ U(1 - jitter, 1 + jitter), and the new sides
    are rounded. The image is bilinear, the label nearest, both as OpenCV does it.

    Needs: image, label. Changes: image, label.

    Args:
      ratio_range: smallest and largest factor.
      base: (long, short) side at factor 1 in pixels; () takes the image's own.
      jitter: largest fraction by which a side may deviate from the aspect, in [0, 1).

    Example:
      >>> sample = {"image": np.zeros((10, 20, 3), np.uint8), "label": np.zeros((10, 20), np.uint8)}
      >>> RandomResize((2.0, 2.0))(sample, np.random.default_rng(0))["label"].shape
      (20, 40)
    """

    ratio_range: tuple[float, float] = (0.5, 2.0)
    base: tuple[int, ...] = ()
    jitter: float = 0.0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws a size and resizes."""
        size = self.draw_size(sample["label"].shape, rng)
        image = cv2.resize(sample["image"], size[::-1], interpolation=cv2.INTER_LINEAR)
        label = cv2.resize(sample["label"], size[::-1], interpolation=cv2.INTER_NEAREST)
        return sample | {"image": image, "label": label}

    def draw_size(self, size: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
        """Draws the (height, width) that an image of (height, width) `size` gets."""
        ratio = rng.uniform(*self.ratio_range)
        if not self.jitter:
            return self.scaled_size(size, ratio)
        own = [rng.uniform(1 - self.jitter, 1 + self.jitter) for _ in size]
        return self.scaled_size(size, ratio, own)

    def smallest_size(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Returns the least (height, width) that an image of (height, width) `size` can get."""
        return self.scaled_size(size, self.ratio_range[0], (1 - self.jitter, 1 - self.jitter))

    def scaled_size(
        self, size: tuple[int, ...], ratio: float, own: tuple[float, ...] | list[float] = (1.0, 1.0)
    ) -> tuple[int, int]:
        """Returns the (height, width) at a factor `ratio` and the sides' own factors."""
        long, short = self.base or (max(size), min(size))
        scale = min(int(long * ratio) / max(size), int(short * ratio) / min(size))
        height, width = (
            max(1, int(side * scale * factor + 0.5)) for side, factor in zip(size, own, strict=True)
        )
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
      cat_max_ratio: largest fraction of one class; 1 accepts the first window.
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
        label = sample["label"]
        window, cut = self.draw_window(label.shape, lambda window: label[window], rng)
        return sample | {"image": sample["image"][window], "label": cut}

    def draw_window(
        self,
        shape: tuple[int, ...],
        look: Callable[[_Window], np.ndarray],
        rng: np.random.Generator,
    ) -> tuple[_Window, np.ndarray]:
        """Draws windows of an image and returns one with its label.

        Args:
          shape: (height, width) of the image in pixels.
          look: gives the label in a window.
          rng: where the windows come from.
        """
        window = self._draw(shape, rng)
        label = look(window)
        if self.cat_max_ratio < 1:
            for _ in range(self.tries):
                if self._is_mixed(label):
                    break
                window = self._draw(shape, rng)
                label = look(window)
        return window, label

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> _Window:
        (top, bottom), (left, right) = (
            (start := int(rng.integers(max(have - want, 0) + 1)), min(start + want, have))
            for have, want in zip(shape, self.size, strict=True)
        )
        return slice(top, bottom), slice(left, right)

    def _is_mixed(self, label: np.ndarray) -> bool:
        # OpenCV counts bytes without widening them; its float32 counts are exact below 2^24.
        counts = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel()[:IGNORE_LABEL]
        several = np.count_nonzero(counts) > 1
        return bool(several and counts.max() < self.cat_max_ratio * counts.sum(dtype=np.float64))


@dataclasses.dataclass(frozen=True)
class ResizedCrop:
    """`RandomResize` and then `RandomCrop`, without the pixels that the crop drops.

    Same draws, same bytes. OpenCV interpolates at positions that count from the first pixel, so
    what lies beyond the window's end is cut off before resizing and the rest afterwards; labels
    are gathered for the window alone.

    Needs: image, label. Changes: image, label.

    Args:
      resize: the first step.
      crop: the second step.

    Example:
      >>> sample = {"image": np.zeros((9, 9, 3), np.uint8), "label": np.zeros((9, 9), np.uint8)}
      >>> step = ResizedCrop(RandomResize((2.0, 2.0)), RandomCrop((4, 20)))
      >>> step(sample, np.random.default_rng(0))["image"].shape
      (4, 18, 3)
    """

    resize: RandomResize
    crop: RandomCrop

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws a size and windows, and makes the pixels of one."""
        image, label = sample["image"], sample["label"]
        size = self.resize.draw_size(label.shape, rng)
        rows, columns = (_nearest(*sides) for sides in zip(label.shape, size, strict=True))

        def look(window: _Window) -> np.ndarray:
            # Whole rows first: they are copied as blocks.
            return np.take(np.take(label, rows[window[0]], 0), columns[window[1]], 1)

        window, cut = self.crop.draw_window(size, look, rng)
        return sample | {"image": resized_window(image, size, window), "label": cut}


@dataclasses.dataclass(frozen=True)
class RandomRotation:
    """Turns about the center by a random angle ~ U(-degrees, degrees).

    The image is bilinear, the label nearest. What comes in from outside has the mean color and
    label 255.

    Needs: image, label. Changes: image, label.

    Args:
      degrees: largest angle, either way.

    Example:
      >>> sample = {"image": np.zeros((9, 9, 3), np.uint8), "label": np.zeros((9, 9), np.uint8)}
      >>> RandomRotation(45.0)(sample, np.random.default_rng(0))["label"][[0, 4], [0, 4]].tolist()
      [255, 0]
    """

    degrees: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws an angle and turns."""
        height, width = sample["label"].shape
        center = ((width - 1) / 2, (height - 1) / 2)
        turn = cv2.getRotationMatrix2D(center, rng.uniform(-self.degrees, self.degrees), 1.0)
        turned = {
            key: cv2.warpAffine(sample[key], turn, (width, height), flags=how, borderValue=outside)
            for key, how, outside in (
                ("image", cv2.INTER_LINEAR, MEAN_COLOR),
                ("label", cv2.INTER_NEAREST, IGNORE_LABEL),
            )
        }
        return sample | turned


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Flips left and right with a probability.

    Needs: image, label. Changes: image, label.

    Args:
      probability: how often a sample is flipped.

    Example:
      >>> sample = {"image": np.zeros((1, 2, 3), np.uint8), "label": np.array([[1, 2]], np.uint8)}
      >>> RandomFlip(1.0)(sample, np.random.default_rng(0))["label"].tolist()
      [[2, 1]]
    """

    probability: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Flips or does not."""
        if rng.random() >= self.probability:
            return sample
        return sample | {key: cv2.flip(sample[key], 1) for key in ("image", "label")}


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


def _nearest(old: int, new: int) -> np.ndarray:
    """Which of `old` pixels each of `new` ones shows: OpenCV's own choice, rounding and all."""
    positions = np.arange(old, dtype=np.float32)[None]
    return cv2.resize(positions, (new, 1), interpolation=cv2.INTER_NEAREST)[0].astype(np.intp)


def resized_window(image: np.ndarray, size: tuple[int, int], window: _Window) -> np.ndarray:
    """Returns a window of a resized image, without resizing what lies far beyond it.

    Args:
      image: of any number of channels.
      size: (height, width) that the whole would be resized to, bilinear as OpenCV does it.
      window: rows and columns of the resized image.

    Example:
      >>> resized_window(np.zeros((4, 4), np.uint8), (8, 8), (slice(0, 3), slice(2, 8))).shape
      (3, 6)
    """
    if size == image.shape[:2]:
        return image[window]
    scales = [new / old for new, old in zip(size, image.shape[:2], strict=True)]
    # One more output pixel than the window has, and the two pixels that it is mixed from.
    height, width = (
        min(old, math.ceil((part.stop + 1) / scale) + 2)
        for old, part, scale in zip(image.shape[:2], window, scales, strict=True)
    )
    # Given by factors, the scale is that of the whole image, to the last bit.
    start = cv2.resize(
        image[:height, :width], None, fx=scales[1], fy=scales[0], interpolation=cv2.INTER_LINEAR
    )
    return start[window]
