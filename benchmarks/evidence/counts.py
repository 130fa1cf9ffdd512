"""What is kept of every image of a run, in a few kB: enough to draw images anew.

Counts are integers of 32 bits. Their bytes are put in order of significance, so that the many that
are 0 stand together, compressed, and written as text.
"""

from __future__ import annotations

import base64
import lzma
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segalias_jax.scoring import pair_scores
from segalias_jax.scoring.cause_counts import CAUSES, repaired_miou
from segalias_jax.scoring.counting import CountSettings
from segalias_jax.scoring.image_counts import CountPlan, ImageCounts
from segalias_jax.scoring.instances import object_causes

BAND_ROWS = 15
"""Of `pair_scores.areas`: right, true and predicted pixels in five bands; no other row is kept."""

SCORES = ("mIoU", "BIoU", "BAcc", "FErr", "MErr", "DErr")
"""Scores of all classes, by their names in `metrics.SCORES`."""

FOREGROUND = "foreground IoU"
"""IoU of class 1 of two."""

OBJECTS = ("PQ", "SQ", "RQ", "accuracy_50")
"""Scores of single objects."""

OBJECT_CAUSES = tuple(
    f"{name} objects" for name in object_causes.CAUSES if name != object_causes.CAUSES[-1]
)
"""Causes of errors of single objects, all but "found"."""

OBJECT_SUMS = (
    *("found", "false", "missed", "sum of IoU / 1e-6"),
    *(f"lost, {name}" for name in OBJECT_CAUSES),
    *(f"extra, {name}" for name in OBJECT_CAUSES),
)
"""What is counted of the objects of an image at an IoU above .5, true and predicted ones without a
match by cause among it."""

SMALLER = ("FErr", "MErr", "DErr", *CAUSES, *OBJECT_CAUSES)
"""Of these, less is better; of causes, what mIoU, or TP / (TP + FP + FN), loses to them."""


def pack(array: np.ndarray) -> dict[str, Any]:
    """Returns integers as something that JSON holds, see `unpack`.

    Example:
      >>> unpack(pack(np.asarray([[1, 70000]]))).tolist()
      [[1, 70000]]
    """
    whole = np.ascontiguousarray(array, "<u4")
    if not np.array_equal(whole, array):
        raise ValueError("counts are no integers of 32 bits from 0 on")
    planes = whole.reshape(-1).view(np.uint8).reshape(-1, 4).T
    data = lzma.compress(planes.tobytes(), format=lzma.FORMAT_ALONE, preset=6)
    return {"shape": list(array.shape), "data": base64.b85encode(data).decode("ascii")}


def unpack(content: Mapping[str, Any]) -> np.ndarray:
    """Returns the integers that `pack` was given."""
    planes = np.frombuffer(lzma.decompress(base64.b85decode(content["data"])), np.uint8)
    whole = np.ascontiguousarray(planes.reshape(4, -1).T).view("<u4")
    return whole.reshape(content["shape"]).astype(np.int64)


def count_plan(num_classes: int, rules: Any) -> CountPlan:
    """What is counted of an image: bands and causes; no distances.

    Args:
      num_classes: number of classes.
      rules: `metrics.ScoreRules` of the recipe.
    """
    return CountPlan(CountSettings(num_classes, rules, boundary_iou=0, tolerances=()))


def image_arrays(images: Sequence[ImageCounts]) -> tuple[np.ndarray, np.ndarray]:
    """Returns what is kept of images.

    Args:
      images: their counts, by `count_plan`.

    Returns:
      Pixels by band, [images, 15, classes], and wrong ones by cause, [images, causes, 2, classes].
    """
    bands = np.stack([one.sums[:BAND_ROWS] for one in images])
    causes = np.stack([one.causes.pixels for one in images if one.causes is not None])
    return bands, causes


def scores_of(bands: np.ndarray, causes: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of sums over images, as fractions.

    Args:
      bands: pixels by band, [batch, 15, classes].
      causes: wrong pixels, [batch, causes, 2, classes].

    Returns:
      By name `SCORES`, the IoU of the foreground of two classes, and what mIoU would gain from the
      repair of each cause.
    """
    found = pair_scores.mean_scores(bands, (), inner=False)
    result = {name: np.asarray(found[name]) for name in SCORES}
    if bands.shape[-1] == 2:
        result[FOREGROUND] = pair_scores.class_scores(bands, (), inner=False)["IoU"][..., 1]
    right, true, predicted = np.moveaxis(bands[..., :3, :].astype(np.int64), -2, 0)
    gains = repaired_miou(true, predicted, right, causes.astype(np.int64))
    return result | {name: gains[..., i] for i, name in enumerate(CAUSES)}


def object_scores(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of sums of `OBJECT_SUMS` of one class, [batch, 16], as fractions.

    A cause loses what TP / (TP + FP + FN) would gain if its true objects were found and its
    predictions were not there.
    """
    found, false, missed, overlap, *causes = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    whole = found + (false + missed) / 2
    quotient = lambda a, b: np.divide(a, b, out=np.full_like(b, np.nan), where=b > 0)  # noqa: E731
    overlap = overlap / 1e6
    every = found + false + missed
    scores = {
        "PQ": quotient(overlap, whole),
        "SQ": quotient(overlap, found),
        "RQ": quotient(found, whole),
        "accuracy_50": quotient(found, every),
    }
    lost, extra = causes[: len(OBJECT_CAUSES)], causes[len(OBJECT_CAUSES) :]
    for name, own, more in zip(OBJECT_CAUSES, lost, extra, strict=True):
        scores[name] = quotient(found + own, every - more) - scores["accuracy_50"]
    return scores


def statistic_of(content: Mapping[str, Any]) -> tuple[Any, list[np.ndarray]]:
    """Returns a result's function from sums to scores, and its numbers of each image.

    Args:
      content: of a result file.

    Returns:
      `scores_of` or `object_scores`, and the arrays that it takes the sums of.
    """
    packed = content["counts"]
    if "objects" in packed:
        return object_scores, [unpack(packed["objects"])]
    return scores_of, [unpack(packed["bands"]), unpack(packed["causes"])]
