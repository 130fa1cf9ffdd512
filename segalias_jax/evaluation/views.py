"""How an image is shown to a network: its size, scales, the mirrored image, and windows."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Num

from segalias_jax.errors import InputError

MODES = ("whole", "slide")


@dataclasses.dataclass(frozen=True)
class ViewSettings:
    """What of an image a network gets to see, and in which pieces.

    Args:
      mode: "whole" images, or "slide" for windows whose logits are averaged where they overlap.
      window: (height, width) of the windows in pixels.
      stride: pixels from one window to the next, (down, right).
      resize: (long, short) side that an image is fitted into first; () keeps its own size.
      multiple: both sides are then rounded up to a multiple of this, in pixels.
      scales: factors of that size; the probabilities of all are averaged.
      flip: whether those of the mirrored image are averaged with them.
      batch_size: windows computed at a time.

    Raises:
      InputError: an unknown mode, or a number out of range, by its key in the section `eval`.

    Example:
      >>> ViewSettings("slide", window=(8, 8), stride=(9, 9))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: eval.stride is (9, 9), which leaves gaps between windows of \
(8, 8); choose at most that
    """

    mode: str = "whole"
    window: tuple[int, ...] = (512, 512)
    stride: tuple[int, ...] = (341, 341)
    resize: tuple[int, ...] = ()
    multiple: int = 1
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    batch_size: int = 1

    def __post_init__(self):
        """Checks every number."""
        if self.mode not in MODES:
            raise InputError(f"eval.mode is {self.mode!r}; choose one of {', '.join(MODES)}")
        for key, lengths in (("window", (2,)), ("stride", (2,)), ("resize", (0, 2))):
            sides = getattr(self, key)
            if len(sides) not in lengths or any(side < 1 for side in sides):
                raise InputError(f"eval.{key} is {sides}; give two sides in pixels, from 1 on")
        if self.mode == "slide" and any(map(operator.gt, self.stride, self.window)):
            raise InputError(
                f"eval.stride is {self.stride}, which leaves gaps between windows of "
                f"{self.window}; choose at most that"
            )
        if not self.scales or any(scale <= 0 for scale in self.scales):
            raise InputError(f"eval.scales is {self.scales}; give at least one positive factor")
        for key in ("multiple", "batch_size"):
            if getattr(self, key) < 1:
                raise InputError(f"eval.{key} is {getattr(self, key)}; it must be at least 1")

    @property
    def plain(self) -> bool:
        """Whether a network sees whole images as they are, once."""
        once = self.scales == (1.0,) and not self.flip
        return self.mode == "whole" and once and not self.resize and self.multiple == 1


def read_view_settings(section: Any, crop: Sequence[int], **changes: Any) -> ViewSettings:
    """Reads the keys of a recipe's section `eval` that say how images are shown.

    Args:
      section: an `ml_collections.ConfigDict` or a dict; its other keys belong to the scores.
      crop: (height, width) that the network was trained with, the window where none is given.
      **changes: values by key that go before those of the section.

    Returns:
      The settings; the stride is two thirds of the window where none is given. A whole image is
      one window: the section's `batch_size`, of images whose sizes are equal, is none of it.

    Raises:
      InputError: a number out of range, or a value of another type.

    Example:
      >>> settings = read_view_settings({"mode": "slide"}, (768, 768))
      >>> settings.window, settings.stride
      ((768, 768), (512, 512))
    """
    values = {key: section[key] for key in section if key in _READERS} | changes
    given = {key: value for key, value in values.items() if value is not None}
    for key, value in given.items():
        try:
            given[key] = _READERS[key](value)
        except (TypeError, ValueError):
            raise InputError(f"eval.{key}: {value!r} is of another type; see the recipe") from None
    window = given.get("window") or tuple(crop)
    stride = given.get("stride") or tuple(max(1, side * 2 // 3) for side in window)
    settings = ViewSettings(**given | {"window": window, "stride": stride})
    if settings.mode == "whole" and changes.get("batch_size") is None:
        return dataclasses.replace(settings, batch_size=1)
    return settings


def _sides(value: Any) -> tuple[int, ...]:
    return tuple(operator.index(side) for side in value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "mode": str,
    "window": _sides,
    "stride": _sides,
    "resize": _sides,
    "multiple": operator.index,
    "scales": lambda value: tuple(float(scale) for scale in value),
    "flip": bool,
    "batch_size": operator.index,
}


def view_images(
    image: Num[np.ndarray, "h w c"], settings: ViewSettings
) -> list[tuple[Num[np.ndarray, "_ _ c"], bool]]:
    """Makes all images that a network sees of one.

    Args:
      image: the image.
      settings: what it sees.

    Returns:
      The resized images, and whether each is mirrored. Resizing is bilinear, as OpenCV does it.

    Example:
      >>> settings = ViewSettings(scales=(1.0, 0.5), flip=True)
      >>> [(x.shape[:2], flip) for x, flip in view_images(np.zeros((6, 8, 3)), settings)]
      [((6, 8), False), ((6, 8), True), ((3, 4), False), ((3, 4), True)]
    """
    views = []
    for scale in settings.scales:
        view = _resized(image, _fitted(image.shape[:2], settings.resize, scale))
        # A second resizing, as published, not one to the final size.
        divisor = settings.multiple
        view = _resized(view, tuple(-(-side // divisor) * divisor for side in view.shape[:2]))
        views.append((view, False))
        if settings.flip:
            views.append((np.ascontiguousarray(view[:, ::-1]), True))
    return views


def _fitted(size: tuple[int, ...], resize: tuple[int, ...], scale: float) -> tuple[int, ...]:
    """As large as fits into `floor(scale * resize)`, (long, short), with the aspect kept."""
    long, short = resize or (max(size), min(size))
    ratio = min(int(long * scale) / max(size), int(short * scale) / min(size))
    return tuple(max(1, int(side * ratio + 0.5)) for side in size)


def _resized(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Places windows along one axis; the last one is shifted back to end where the axis ends.

    start_i = min(i stride, length - window), from 0 on until one reaches the end.

    Args:
      length: of the axis.
      window: length of a window; at most `length`.
      stride: from one to the next.

    Returns:
      First pixel of each window.

    Example:
      >>> window_starts(129, 96, 64), window_starts(96, 96, 64)
      ([0, 33], [0])
    """
    count = -(-(length - window) // stride) + 1
    return [min(i * stride, length - window) for i in range(count)]
