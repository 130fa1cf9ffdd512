"""Sheets of pictures with captions, and the files that `segalias browse` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from segalias_jax.data.geometry import Sample, Transform
from segalias_jax.data.transforms import apply_transforms
from segalias_jax.errors import InputError
from segalias_jax.files import write_bytes
from segalias_jax.typing import UInt8

COLUMNS = 4  # samples beside each other
MARGIN, CAPTION = 14, 24
_FONT = 10.0  # points at 100 dots an inch


def picture_sheet(
    pictures: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"]]], *, cell: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Puts pictures with their names into rows of four.

    Args:
      pictures: names and RGB pictures, no wider than `cell`.
      cell: width of a column in pixels.

    Returns:
      RGB picture.

    Example:
      >>> picture_sheet([("a", np.zeros((9, 16, 3), np.uint8))], cell=16).shape
      (61, 134, 3)
    """
    width = MARGIN + COLUMNS * (cell + MARGIN)
    parts, texts, top = [], [], MARGIN
    for start in range(0, len(pictures), COLUMNS):
        row = pictures[start : start + COLUMNS]
        for column, (name, picture) in enumerate(row):
            left = MARGIN + column * (cell + MARGIN)
            texts.append((left, top + CAPTION // 2, shortened(name, cell)))
            parts.append((left, top + CAPTION, picture))
        top += CAPTION + max(picture.shape[0] for _, picture in row) + MARGIN
    canvas = np.full((top, width, 3), 255, np.uint8)
    for left, above, picture in parts:
        height, across = picture.shape[:2]
        canvas[above : above + height, left : left + across] = picture
    return with_texts(canvas, texts)


def spread(total: int, count: int) -> list[int]:
    """Returns `count` of `total` indices, spread evenly, or all of them.

    Example:
      >>> spread(9, 3)
      [0, 4, 8]
    """
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


def chosen_samples(
    source: Any, split: str, transforms: Sequence[Transform], *, count: int, seed: int
) -> list[tuple[str, Sample]]:
    """Reads samples of a data set, spread evenly, as training sees them.

    Args:
      source: the data set; unusable samples are left out, the statistics list them.
      split: its name, which an error says.
      transforms: of training; () shows samples as they are.
      count: how many.
      seed: of the transforms.

    Returns:
      Names and samples.

    Raises:
      InputError: none can be used; the reason is that of the first one.

    Example:
      >>> from segalias_jax.data.settings import DataSettings
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> scenes = SyntheticScenes(DataSettings("synthetic", num_eval=3), "val")
      >>> [name for name, _ in chosen_samples(scenes, "val", (), count=2, seed=0)]
      ['val_00000', 'val_00002']
    """
    samples, reasons = [], []
    for index in spread(len(source), count):
        try:
            sample = source[index]
        except InputError as error:
            reasons.append(error)
            continue
        rng = np.random.default_rng([seed, index])
        samples.append((source.names[index], apply_transforms(transforms, sample, rng)))
    if not samples:
        raise InputError(f"split {split!r}: {reasons[0]}")
    return samples


def shortened(name: str, width: int) -> str:
    """Returns the end of a name that a caption of `width` pixels holds.

    Example:
      >>> shortened("a/long/name.png", 80)
      '...ame.png'
    """
    most = width // 8  # characters are about 8 pixels wide
    return name if len(name) <= most else f"...{name[3 - most :]}"


def with_texts(
    canvas: UInt8[np.ndarray, "h w 3"], texts: Sequence[tuple[int, int, str]]
) -> UInt8[np.ndarray, "h w 3"]:
    """Writes texts on a picture.

    Args:
      canvas: RGB.
      texts: (left, middle, text), in pixels.

    Returns:
      RGB picture.

    Example:
      >>> with_texts(np.zeros((20, 30, 3), np.uint8), [(2, 10, "a")]).shape
      (20, 30, 3)
    """
    height, width = canvas.shape[:2]
    # A hundredth of a pixel more, since older versions of matplotlib round sizes down.
    figure = Figure(figsize=((width + 0.01) / 100, (height + 0.01) / 100), dpi=100)
    figure.figimage(canvas)
    for x, y, text in texts:
        figure.text(
            x / width,
            1 - y / height,
            text,
            ha="left",
            va="center",
            fontsize=_FONT,
            parse_math=False,  # it would take a $ in a file's name for a formula
        )
    painter = FigureCanvasAgg(figure)
    painter.draw()
    return np.asarray(painter.buffer_rgba())[..., :3].copy()


def write(path: Path, content: bytes) -> None:
    """Writes a file, and the folder that it is in.

    Args:
      path: the file.
      content: all of it.

    Raises:
      InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
