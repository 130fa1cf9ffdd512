"""Random transforms of training samples: which ones a recipe applies, and in which order.

A sample is `{"image": uint8[h, w, 3] RGB, "label": uint8[h, w]}`. A transform is a small frozen
dataclass; calling it with a sample and a generator returns a new sample and leaves the given
arrays as they were. "Needs" and "Changes" say which entries it reads and which it replaces.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segalias_jax.data.appearance import (
    GaussianBlur,
    GaussianNoise,
    MedianFilter,
    PhotometricDistortion,
)
from segalias_jax.data.geometry import (
    Pad,
    RandomCrop,
    RandomFlip,
    RandomResize,
    RandomRotation,
    ResizedCrop,
    Sample,
    Transform,
)
from segalias_jax.data.settings import DataSettings


def training_transforms(settings: DataSettings) -> tuple[Transform, ...]:
    """Returns a recipe's training transforms in the published order.

    Args:
      settings: the recipe's `data` section.

    Returns:
      Resize and crop, rotation, flip, photometric distortion, blur, noise, median, pad; without
      those that are switched off. Published recipes have no rotation, blur, noise and median.

    Example:
      >>> [type(t).__name__ for t in training_transforms(DataSettings("synthetic", flip=0.0))]
      ['ResizedCrop', 'PhotometricDistortion', 'Pad']
    """
    steps: list[Transform] = [
        ResizedCrop(random_resize(settings), RandomCrop(settings.crop, settings.cat_max_ratio))
    ]
    if settings.rotation:
        steps.append(RandomRotation(settings.rotation))
    if settings.flip:
        steps.append(RandomFlip(settings.flip))
    if settings.photometric:
        steps.append(PhotometricDistortion())
    if settings.blur[1]:
        steps.append(GaussianBlur(settings.blur))
    if settings.noise[1]:
        steps.append(GaussianNoise(settings.noise))
    if settings.median:
        steps.append(MedianFilter(settings.median))
    if settings.pad:
        steps.append(Pad(settings.crop))
    return tuple(steps)


def random_resize(settings: DataSettings) -> RandomResize:
    """Returns a recipe's random resizing.

    Args:
      settings: the recipe's `data` section.

    Returns:
      The transform.

    Example:
      >>> random_resize(DataSettings("synthetic", ratio_range=(0.5, 1.5))).smallest_size((40, 60))
      (20, 30)
    """
    return RandomResize(settings.ratio_range, settings.resize, settings.scale_jitter)


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
