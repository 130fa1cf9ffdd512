"""How an image is shown to a network: its size, scales, the flipped image, and windows."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Num

from segalias_jax.errors import InputError
from segalias_jax.settings import (
    check_settings,
    integer,
    number,
    numbers,
    one_of,
    read_settings,
    section_errors,
    setting,
    settings_of,
    size,
)

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
      flip: whether those of the flipped image are averaged with them.
      batch_size: windows computed at a time.

    Raises:
      InputError: an unknown mode, or a number out of range.

    Example:
      >>> ViewSettings("slide", window=(8, 8), stride=(9, 9))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: stride is (9, 9), which leaves gaps between windows of \
(8, 8); choose at most that
    """

    mode: str = setting(
        "whole",
        '"whole" images, or "slide": windows, averaged where they overlap',
        check=one_of(MODES),
    )
    window: tuple[int, ...] = setting(
        (512, 512), 'of windows, "slide" only', unit="pixels", check=size()
    )
    stride: tuple[int, ...] = setting(
        (341, 341), "from one window to the next", unit="pixels", check=size("(down, right)")
    )
    resize: tuple[int, ...] = setting(
        (),
        "sides to predict at; () for the image's own size",
        unit="pixels",
        check=size("(long, short)", optional=True),
    )
    multiple: int = setting(
        1, "sides are rounded up to a multiple of this", unit="pixels", check=integer(least=1)
    )
    scales: tuple[float, ...] = setting(
        (1.0,),
        "factors of that size, whose probabilities are averaged",
        check=numbers(number(above=0), "at least one positive factor", some=True),
    )
    flip: bool = setting(False, "average with the flipped image's probabilities")
    batch_size: int = setting(
        1, "windows at a time; bounds the memory", unit="windows", check=integer(least=1)
    )

    def __post_init__(self) -> None:
        """Checks every value."""
        check_settings(self)
        if self.mode == "slide" and any(map(operator.gt, self.stride, self.window)):
            raise InputError(
                f"stride is {self.stride}, which leaves gaps between windows of {self.window}; "
                "choose at most that"
            )

    @property
    def plain(self) -> bool:
        """Whether a network sees whole images as they are, once."""
        once = self.scales == (1.0,) and not self.flip
        return self.mode == "whole" and once and not self.resize and self.multiple == 1


def read_view_settings(section: Any, crop: Sequence[int], **changes: Any) -> ViewSettings:
    """Reads the keys of a recipe's section `eval` that say how images are shown.

    Args:
      section: a mapping or a dataclass; what it holds besides belongs to the scores.
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
    if dataclasses.is_dataclass(section):
        section = vars(section)
    known = settings_of(ViewSettings)
    own = {key: section[key] for key in section if key in known and key not in changes}
    values: dict[str, Any] = {"window": tuple(crop)}
    for given, name in ((own, "eval"), (changes, "")):
        empty = [key for key in ("window", "stride") if given.get(key) == ()]
        values |= read_settings(
            ViewSettings, {k: v for k, v in given.items() if k not in empty}, section=name
        )
    if values.get("mode", ViewSettings.mode) == "whole" and changes.get("batch_size") is None:
        values["batch_size"] = 1
    values.setdefault("stride", tuple(max(1, side * 2 // 3) for side in values["window"]))
    with section_errors("" if changes else "eval"):
        return ViewSettings(**values)


def view_images(
    image: Num[np.ndarray, "h w c"], settings: ViewSettings
) -> list[tuple[Num[np.ndarray, "_ _ c"], bool]]:
    """Makes all images that a network sees of one.

    Args:
      image: the image.
      settings: what it sees.

    Returns:
      The resized images, and whether each is flipped. Resizing is bilinear, as OpenCV does it.

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
