"""What a person sees while a run is going on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

HEADLINES = ("mIoU", "mAcc", "aAcc", "BIoU", "BAcc", "FErr", "MErr", "DErr")
HEADLINES += ("Dice_mean_over_images", "Dice_pixels_of_all_images")
"""Scores on the line of a validation."""


def progress_bar(title: str, *, start: int, total: int, shown: bool = True) -> tqdm:
    """Opens a bar on stderr that shows the time left.

    Args:
      title: what is going on.
      start: steps done before.
      total: steps in all.
      shown: False for a bar that nobody sees.

    Returns:
      The bar; where stderr is no terminal it writes only twice a minute.

    Example:
      >>> with progress_bar("training", start=0, total=2) as bar:
      ...     bar.total
      2
    """
    seconds = 0.2 if sys.stderr.isatty() else 30.0
    options = {"unit": "step", "mininterval": seconds, "dynamic_ncols": True}
    return tqdm(desc=title, initial=start, total=total, disable=not shown, **options)


def describe_step(line: Mapping[str, Any]) -> str:
    """Puts the numbers of some steps into words.

    Args:
      line: record with "loss", "rate" and "images_per_second".

    Returns:
      Text for the bar.

    Example:
      >>> describe_step({"loss": 1.23456, "rate": 0.0123, "images_per_second": 41.26})
      'loss 1.235, rate 1.23e-02, 41.3 images/s'
    """
    speed = f"{line['images_per_second']:.1f} images/s"
    return f"loss {line['loss']:.3f}, rate {line['rate']:.2e}, {speed}"


def describe_scores(scores: Mapping[str, Any]) -> str:
    """Puts the scores of a validation into words.

    Args:
      scores: shares by name.

    Returns:
      The headline scores that there are, in per cent.

    Example:
      >>> describe_scores({"mIoU": 0.5, "BIoU": 0.25, "IoU": [0.1, 0.9]})
      'mIoU 50.0, BIoU 25.0'
    """
    named = ((key.replace("_", " "), scores[key]) for key in HEADLINES if key in scores)
    return ", ".join(f"{name} {100 * value:.1f}" for name, value in named)


def plain_numbers(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Turns arrays into what JSON can hold.

    Args:
      scores: numpy numbers and arrays by name.

    Returns:
      Numbers and lists by name.

    Example:
      >>> plain_numbers({"mIoU": np.float64(0.5), "IoU": np.array([0.25, 0.75])})
      {'mIoU': 0.5, 'IoU': [0.25, 0.75]}
    """
    return {key: np.asarray(value).tolist() for key, value in scores.items()}
