"""How scores fall when predictions are shifted: a map that is right but a few pixels off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from segalias_jax.errors import InputError, check_choice
from segalias_jax.metrics import formulas
from segalias_jax.metrics.counts import Band, ForegroundCounts
from segalias_jax.metrics.lookup import rows_shown, score_title
from segalias_jax.metrics.rows import Score
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring import host_bands
from segalias_jax.scoring.reports.tables import markdown_table, percent
from segalias_jax.typing import Int, Integer

DIRECTIONS = {
    "all": ((0, 1), (0, -1), (1, 0), (-1, 0)),
    "up": ((-1, 0),),
    "down": ((1, 0),),
    "left": ((0, -1),),
    "right": ((0, 1),),
}
"""Steps (down, right) of the shifts whose pixels are added up, by name."""

EDGES = {
    "ignore": "only pixels that the shifted prediction still covers count",
    "keep": "pixels that the shifted prediction no longer covers keep what was predicted there",
    "replicate": "pixels that the shifted prediction no longer covers repeat its edge",
    "wrap": "what leaves the image on one side comes in on the other",
}
"""What becomes of pixels that a shift leaves, by name, in words."""


def offset_rules(direction: str, edge: str) -> str:
    """Returns in words what the scores of shifted predictions follow.

    Example:
      >>> offset_rules("up", "wrap")
      'predictions are shifted up; what leaves the image on one side comes in on the other'
    """
    words = f"predictions are shifted {direction}"
    if direction == "all":
        words = (
            "predictions are shifted to the right, left, down and up, and the pixels of these four "
            "added up"
        )
    return f"{words}; {EDGES[edge]}"


def check_offsets(offsets: Sequence[int], *, direction: str = "all", edge: str = "ignore") -> None:
    """Raises unless offsets are pixels from 1 on, in ascending order, and all else has a name.

    Args:
      offsets: distances in pixels.
      direction: must be one of `DIRECTIONS`, and "all" where there are no offsets.
      edge: must be one of `EDGES`, and "ignore" where there are no offsets.

    Raises:
      InputError: one of them is not so.

    Example:
      >>> check_offsets((1, 2, 5), direction="up")
    """
    if any(offset < 1 for offset in offsets) or list(offsets) != sorted(set(offsets)):
        raise InputError(f"offsets: {tuple(offsets)} must be pixels from 1 on in ascending order")
    check_choice("offset_direction", direction, DIRECTIONS)
    check_choice("offset_edge", edge, EDGES)
    for name, is_set in (
        ("offset_direction", direction != "all"),
        ("offset_edge", edge != "ignore"),
    ):
        if is_set and not offsets:
            raise InputError(f"{name} is set, but there are no offsets; give offsets such as 1,2,5")


def count_offsets(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, "h w"],
    offsets: Sequence[int],
    *,
    num_classes: int,
    rules: ScoreRules,
    direction: str = "all",
    edge: str = "ignore",
) -> Int[np.ndarray, "offsets 3 classes"]:
    """Counts an image with its prediction shifted, by default to the right, left, down and up.

    The pixels of all shifts of an offset are added up. Offset 0 comes first. By default only those
    that the shifted prediction still covers count.

    Args:
      prediction: predicted class ids.
      label: true labels of the same shape.
      offsets: distances in pixels.
      num_classes: C.
      rules: which labels are ignored, and how class 0 is written.
      direction: "all" four, "up", "down", "left" or "right".
      edge: of pixels that the shifted prediction no longer covers: "ignore" leaves them out, "keep"
        leaves there what was predicted, "replicate" repeats the prediction's edge, "wrap" takes
        what left on the other side.

    Returns:
      For offset 0 and each of `offsets`: right, true and predicted pixels of each class.

    Example:
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> count_offsets(ids, ids, (1,), num_classes=2, rules=ScoreRules())[1].tolist()
      [[2, 2], [3, 3], [3, 3]]
    """
    result = np.zeros((1 + len(offsets), 3, num_classes), np.int64)
    height, width = label.shape
    for row, offset in enumerate((0, *offsets)):
        for down, right in DIRECTIONS[direction] if offset else ((0, 0),):
            to_rows, from_rows = _shifted(height, down * offset, edge)
            to_columns, from_columns = _shifted(width, right * offset, edge)
            target = label[to_rows, to_columns]
            moved = prediction[from_rows][:, from_columns]
            for rows in host_bands.strips(*target.shape):
                true = target[rows].astype(np.int32) - int(rules.reduce_zero_label)
                true[host_bands.ignored_pixels(target[rows], rules)] = num_classes  # in no count
                cells = np.bincount(
                    (true * num_classes + moved[rows]).ravel(),
                    minlength=(num_classes + 1) * num_classes,
                )
                counts = cells.reshape(-1, num_classes)[:num_classes]
                result[row] += counts.diagonal(), counts.sum(1), counts.sum(0)
    return result


def _shifted(length: int, step: int, edge: str) -> tuple[slice, slice | np.ndarray]:
    """Places along an axis that count, and the places that a shift by `step` brings there."""
    if edge == "ignore" or not step:
        inside = slice(max(0, step), max(0, length + step))
        return inside, slice(max(0, -step), max(0, length - step))
    places = np.arange(length)
    source = places - step
    if edge == "wrap":
        source %= length
    elif edge == "replicate":
        source = source.clip(0, length - 1)
    else:
        source = np.where((source < 0) | (source >= length), places, source)
    return slice(None), source


def offset_scores(sums: Int[np.ndarray, "images offsets 3 classes"]) -> dict[str, Any]:
    """Scores at each offset.

    Args:
      sums: what `count_offsets` returns of each image.

    Returns:
      By name, one number an offset: "mIoU" and, of binary segmentation, IoU and Dice of class 1
      over pixels and as means over images, by the rules of `metrics.BinaryScores`; "IoU" with one
      for each offset and class. nan where a class has no value.

    Example:
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> sums = count_offsets(ids, ids, (1,), num_classes=2, rules=ScoreRules())
      >>> offset_scores(sums[None])["mIoU"].tolist()
      [1.0, 0.5]
    """
    right, true, predicted = np.moveaxis(sums.sum(0), 1, 0)
    iou = formulas.intersection_over_union(Band(right, true, predicted))
    result = {"mIoU": formulas.each_mean_over_classes(iou), "IoU": iou}
    if sums.shape[-1] == 2:
        labeled = sums[:, :, 1].sum(-1) > 0
        each = _foreground_counts(sums)
        whole = _foreground_counts(sums.sum(0))
        # IoU before Dice, as these numbers were always listed.
        for row in sorted(_foreground_rows(), key=lambda row: row.name.split("_")[0], reverse=True):
            if row.average == "images":
                values = np.where(labeled, row.of_pixels(each), 0)
                result[row.name] = formulas.fraction(values.sum(0), labeled.sum(0))
            else:
                values = row.of_pixels(whole)
                result[row.name] = np.where(labeled.any(0), values, np.nan)
    return result


def _foreground_rows() -> list[Score]:
    return rows_shown("offset", source="foreground")


def _foreground_counts(sums: Int[np.ndarray, "*images offsets 3 classes"]) -> ForegroundCounts:
    hits, true, predicted = np.moveaxis(sums[..., 1], -1, 0)
    pixels = sums[..., 1, :].sum(-1)
    return ForegroundCounts(hits, predicted - hits, true - hits, pixels - true - predicted + hits)


def offset_columns(names: Iterable[str]) -> list[str]:
    """Scores that tables and curves show, of all that `offset_scores` gives.

    Example:
      >>> offset_columns(["mIoU", "IoU"])
      ['mIoU']
    """
    names, two = set(names), [row.name for row in _foreground_rows()]
    if two[0] in names:
        return two
    return [row.name for row in rows_shown("offset", source="classes") if row.name in names]


def offset_table(
    offsets: Sequence[int],
    sums: Int[np.ndarray, "images offsets 3 classes"],
    *,
    direction: str = "all",
) -> str:
    """Writes scores at each offset as a Markdown table, in per cent.

    Args:
      offsets: in pixels.
      sums: what `count_offsets` returns of each image.
      direction: that they were counted with.

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
    shifted = "shifted" if direction == "all" else f"shifted {direction}"
    rows = [["prediction", *map(score_title, names)]]
    for i, offset in enumerate((0, *offsets)):
        first = f"{shifted} by {offset} px" if offset else "as it is"
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
