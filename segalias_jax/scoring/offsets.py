"""How scores fall when predictions are shifted: a map that is right but a few pixels off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

from segalias_jax.errors import InputError
from segalias_jax.metrics import ScoreRules
from segalias_jax.metrics.binary import OVER_IMAGES, OVER_PIXELS
from segalias_jax.metrics.confusion import share
from segalias_jax.scoring import host_bands
from segalias_jax.scoring.reports.binary import score_title
from segalias_jax.scoring.reports.tables import markdown_table, percent

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Steps (down, right) of the shifts whose pixels are added up."""

RULES = {
    "offsets": "predictions are shifted to the right, left, down and up, and the pixels of these "
    "four added up; only those that the shifted prediction still covers count"
}
"""What these scores follow, in words, by topic."""


def check_offsets(offsets: Sequence[int]) -> None:
    """Raises unless offsets are pixels from 1 on, in ascending order.

    Example:
      >>> check_offsets((1, 2, 5))
    """
    if any(offset < 1 for offset in offsets) or list(offsets) != sorted(set(offsets)):
        raise InputError(f"offsets: {tuple(offsets)} must be pixels from 1 on in ascending order")


def count_offsets(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, "h w"],
    offsets: Sequence[int],
    *,
    num_classes: int,
    rules: ScoreRules,
) -> Int[np.ndarray, "offsets 3 classes"]:
    """Counts an image with its prediction shifted to the right, left, down and up.

    Only pixels that the shifted prediction still covers count; the four shifts of an offset are
    added up. Offset 0 comes first.

    Args:
      prediction: predicted class ids.
      label: true labels of the same shape.
      offsets: distances in pixels.
      num_classes: C.
      rules: which labels are ignored, and how class 0 is written.

    Returns:
      For offset 0 and each of `offsets`: right, true and predicted pixels of each class.

    Example:
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> count_offsets(ids, ids, (1,), num_classes=2, rules=ScoreRules())[1].tolist()
      [[2, 2], [3, 3], [3, 3]]
    """
    true = label.astype(np.int32) - int(rules.reduce_zero_label)
    true[host_bands.ignored_pixels(label, rules)] = num_classes  # in no count
    predicted = prediction.astype(np.int32)
    result = np.zeros((1 + len(offsets), 3, num_classes), np.int64)
    height, width = label.shape
    for row, offset in enumerate((0, *offsets)):
        for down, right in DIRECTIONS if offset else ((0, 0),):
            y, x = down * offset, right * offset
            target = true[max(0, y) : max(0, height + y), max(0, x) : max(0, width + x)]
            moved = predicted[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
            cells = np.bincount(
                (target * num_classes + moved).ravel(), minlength=(num_classes + 1) * num_classes
            )
            counts = cells.reshape(-1, num_classes)[:num_classes]
            result[row] += counts.diagonal(), counts.sum(1), counts.sum(0)
    return result


def offset_scores(sums: Int[np.ndarray, "images offsets 3 classes"]) -> dict[str, Any]:
    """Scores at each offset.

    Args:
      sums: what `count_offsets` returns of each image.

    Returns:
      By name, one number an offset: "mIoU" and, of two classes, IoU and Dice of class 1 over
      pixels and as means over images, by the rules of `metrics.BinaryScores`; "IoU" with one for
      each offset and class. nan where a class has no value.

    Example:
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> sums = count_offsets(ids, ids, (1,), num_classes=2, rules=ScoreRules())
      >>> offset_scores(sums[None])["mIoU"].tolist()
      [1.0, 0.5]
    """
    right, true, predicted = np.moveaxis(sums.sum(0), 1, 0)
    iou = share(right, true + predicted - right)
    present = ~np.isnan(iou)
    result = {"mIoU": share(np.where(present, iou, 0).sum(-1), present.sum(-1)), "IoU": iou}
    if sums.shape[-1] == 2:
        hits, true, predicted = np.moveaxis(sums[..., 1], 2, 0)
        labeled = sums[:, :, 1].sum(-1) > 0
        for name, times, whole in (
            ("IoU", 1, lambda h, t, p: t + p - h),
            ("Dice", 2, lambda h, t, p: t + p),
        ):
            over = share(times * hits, whole(hits, true, predicted))
            over = np.where(labeled, np.where(np.isnan(over), 1.0, over), 0)
            result[f"{name}_{OVER_IMAGES}"] = share(over.sum(0), labeled.sum(0))
            pixels = hits.sum(0), true.sum(0), predicted.sum(0)
            over = share(times * pixels[0], whole(*pixels))
            result[f"{name}_{OVER_PIXELS}"] = np.where(np.isnan(over) & labeled.any(0), 1.0, over)
    return result


def offset_columns(names: Iterable[str]) -> list[str]:
    """Scores that tables and curves show, of all that `offset_scores` gives.

    Example:
      >>> offset_columns(["mIoU", "IoU"])
      ['mIoU']
    """
    two = [f"{n}_{a}" for n in ("Dice", "IoU") for a in (OVER_IMAGES, OVER_PIXELS)]
    return two if two[0] in names else ["mIoU"]


def offset_table(offsets: Sequence[int], sums: Int[np.ndarray, "images offsets 3 classes"]) -> str:
    """Writes scores at each offset as a Markdown table, in per cent.

    Args:
      offsets: in pixels.
      sums: what `count_offsets` returns of each image.

    Returns:
      The table.

    Example:
      >>> ids = np.asarray([[0, 1, 2, 2]])
      >>> sums = count_offsets(ids, ids, (1,), num_classes=3, rules=ScoreRules())
      >>> print(offset_table((1,), sums[None]).splitlines()[-1])
      | shifted by 1 px |  16.67 |
    """
    scores = offset_scores(sums)
    names = offset_columns(scores)
    rows = [["prediction", *map(score_title, names)]]
    for i, offset in enumerate((0, *offsets)):
        first = f"shifted by {offset} px" if offset else "as it is"
        rows.append([first, *(percent(scores[name][i]) for name in names)])
    return markdown_table(rows, names=True)


def offset_numbers(
    offsets: Sequence[int], sums: Int[np.ndarray, "images offsets 3 classes"]
) -> dict[str, Any]:
    """Scores at each offset for `report.json`.

    Args:
      offsets: in pixels.
      sums: what `count_offsets` returns of each image.

    Returns:
      Numbers by names such as "mIoU_shifted_5px", IoU for each class.

    Example:
      >>> ids = np.asarray([[0, 1, 2, 2]])
      >>> sums = count_offsets(ids, ids, (1,), num_classes=3, rules=ScoreRules())
      >>> list(offset_numbers((1,), sums[None]))
      ['mIoU_shifted_1px', 'IoU_shifted_1px']
    """
    return {
        f"{name}_shifted_{offset}px": values[i]
        for name, values in offset_scores(sums).items()
        for i, offset in enumerate(offsets, start=1)
    }
