"""The one evaluation loop: a predict function and batches in, scores and a few pictures out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Integer, UInt8
from tqdm import tqdm

from segalias_jax.metrics import SegmentationScores
from segalias_jax.typing import IGNORE_LABEL, Array

QUIET_SECONDS = 2.0
"""A pass that is over sooner shows no progress bar."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One picture kept for people to look at.

    Attributes:
      image: RGB, uint8 [h, w, 3].
      label: true labels, [h, w].
      prediction: predicted class ids, [h, w].
      name: of the image.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label: Integer[np.ndarray, "h w"]
    prediction: Integer[np.ndarray, "h w"]
    name: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one pass over a data set gives.

    Attributes:
      scores: mergeable state of all scores.
      samples: the pictures that were kept.
    """

    scores: SegmentationScores
    samples: tuple[Sample, ...] = ()


def evaluate(
    predict: Callable[[UInt8[np.ndarray, "b h w 3"]], Integer[Array | np.ndarray, "b h w"]],
    batches: Iterable[Mapping[str, Any]],
    *,
    num_classes: int,
    boundary: str = "laplacian",
    ignore: str = "reference",
    reduce_zero_label: bool = False,
    width: int = 15,
    keep: int = 0,
    total: int | None = None,
    progress: str | None = None,
) -> Evaluation:
    """Scores a predict function in one pass over batches.

    Counting runs on the device behind the predictions; nothing is waited for but the samples.

    Args:
      predict: images as bytes to class ids on the device.
      batches: dictionaries with "image", "label" (255 = ignored) and "valid"; rows whose "valid"
        is False count nowhere. "name", a list for the valid rows, names the samples.
      num_classes: number of classes C.
      boundary: see `metrics.ScoreRules`, as the next three.
      ignore: "reference" or "exclude".
      reduce_zero_label: labels hold k + 1 for class k, and 0 for ignored pixels.
      width: side of the square that dilates boundaries, in pixels.
      keep: number of samples kept, spread evenly over the data where `total` is given, else the
        first ones.
      total: number of images, for the progress bar and for `keep`.
      progress: title of the progress bar, which appears after two seconds; None: no bar.

    Returns:
      The scores and the samples.

    Raises:
      InputError: unknown rule.

    Example:
      >>> image = np.zeros((2, 4, 4, 3), np.uint8)
      >>> label = np.zeros((2, 4, 4), np.int32)
      >>> batch = {"image": image, "label": label, "valid": np.asarray([True, False])}
      >>> result = evaluate(lambda x: x[..., 0].astype(np.int32), [batch], num_classes=2, keep=1)
      >>> result.scores.compute()["pixels"], result.samples[0].name
      (np.int64(16), '0')
    """
    rules = {"boundary": boundary, "ignore": ignore, "width": width}
    scores = SegmentationScores.empty(num_classes, reduce_zero_label=reduce_zero_label, **rules)
    wanted = _spread(keep, total)
    samples: list[Sample] = []
    done = 0
    with progress_bar(progress, total) as bar:
        for batch in batches:
            prediction = predict(batch["image"])
            scores = _UPDATE(scores, prediction, _countable(batch))
            samples += _kept(batch, prediction, wanted, first=done)
            count = int(np.count_nonzero(batch["valid"]))
            done += count
            bar.update(count)
        jax.block_until_ready(scores)
    return Evaluation(scores, tuple(samples))


_UPDATE = jax.jit(SegmentationScores.update, donate_argnums=0)


def _countable(batch: Mapping[str, Any]) -> np.ndarray:
    valid = np.asarray(batch["valid"])
    if valid.all():
        return batch["label"]
    return np.where(valid[:, None, None], batch["label"], IGNORE_LABEL)


def _spread(keep: int, total: int | None) -> set[int]:
    if total is None:
        return set(range(keep))
    return set(np.linspace(0, total - 1, min(keep, total)).round().astype(int).tolist())


def _kept(
    batch: Mapping[str, Any], prediction: Array | np.ndarray, wanted: set[int], *, first: int
) -> list[Sample]:
    rows = np.flatnonzero(batch["valid"])
    names = batch.get("name", [str(first + n) for n in range(len(rows))])
    return [
        Sample(
            np.asarray(batch["image"][row]),
            np.asarray(batch["label"][row]),
            np.asarray(prediction[row]),
            names[n],
        )
        for n, row in enumerate(rows)
        if first + n in wanted
    ]


def progress_bar(title: str | None, total: int | None) -> tqdm:
    """Opens a bar on stderr with images/s, which appears after `QUIET_SECONDS`.

    Args:
      title: what is going on; None: no bar.
      total: number of images, where it is known.

    Returns:
      The bar.

    Example:
      >>> with progress_bar(None, 2) as bar:
      ...     bar.total
      2
    """
    options = {"unit": " images", "dynamic_ncols": True, "leave": False}
    return tqdm(desc=title, total=total, disable=title is None, delay=QUIET_SECONDS, **options)
