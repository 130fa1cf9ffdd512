"""From counts of pictures to scores: of one, of all, of any choice of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segalias_jax.metrics.counts import Band, ClassCounts
from segalias_jax.metrics.lookup import rows_of
from segalias_jax.scoring.counting import PairCounts
from segalias_jax.typing import Float, Int, Num

_BANDS = 6  # in the order of `areas`


def areas(counts: PairCounts) -> Int[np.ndarray, "rows classes"]:
    """The sums that all scores follow from, a few for each class, in one array.

    Args:
      counts: of one picture or more.

    Returns:
      Rows: right, true and predicted pixels in each of six bands (all pixels; the union of both
      boundary bands; the predicted one; the true one; their intersection; the inner bands of
      Boundary IoU), then true and predicted boundary pixels, and for each tolerance those of
      them that are met.

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings
      >>> areas(PairCounts.zeros(CountSettings(3))).shape
      (26, 3)
    """
    _, predicted, true, both = counts.regions
    bands = (counts.regions.sum(0), predicted + true + both, predicted + both, true + both, both)
    rows = [row for b in bands for row in (b.diagonal(), b.sum(1), b.sum(0))]
    contours = [counts.contour, *counts.hits]
    return np.concatenate([np.stack(rows), counts.inner, *contours])


def class_counts(
    sums: Num[np.ndarray, "*batch rows classes"], tolerances: Sequence[int], *, inner: bool = True
) -> ClassCounts:
    """Gives the rows of sums their names, for the formulas of scores.

    Args:
      sums: what `areas` returns, or sums of it.
      tolerances: of the boundary F-score.
      inner: whether inner bands were counted.

    Returns:
      The counts.

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings, count_pair
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> sums = areas(count_pair(ids, ids, CountSettings(2)))
      >>> class_counts(sums, (1, 3, 5)).all.true.tolist()
      [2, 2]
    """

    def band(index: int) -> Band:
        first = 3 * index
        return Band(sums[..., first, :], sums[..., first + 1, :], sums[..., first + 2, :])

    start = 3 * _BANDS
    hits = [sums[..., start + 2 * i : start + 2 * i + 2, :] for i in range(1, len(tolerances) + 1)]
    return ClassCounts(
        all=band(0),
        union=band(1),
        predicted=band(2),
        true=band(3),
        both=band(4),
        inner=band(5) if inner else None,
        contour=sums[..., start : start + 2, :] if hits else None,
        hits=np.stack(hits, -3) if hits else None,
        tolerances=tuple(tolerances),
    )


def class_scores(
    sums: Num[np.ndarray, "*batch rows classes"], tolerances: Sequence[int], *, inner: bool = True
) -> dict[str, Float[np.ndarray, "*batch classes"]]:
    """Scores of each class.

    Args:
      sums: what `areas` returns, or sums of it.
      tolerances: of the boundary F-score.
      inner: whether inner bands were counted.

    Returns:
      Fractions in [0, 1] by name; nan where a class has no value.

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings, count_pair
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> sums = areas(count_pair(ids, ids, CountSettings(2)))
      >>> class_scores(sums, (1, 3, 5))["BoundaryF_3px"].tolist()
      [1.0, 1.0]
    """
    counts = class_counts(sums, tolerances, inner=inner)
    return {row.per_class: row.of_classes(counts) for row in rows_of(counts) if row.per_class}


def mean_scores(
    sums: Num[np.ndarray, "*batch rows classes"], tolerances: Sequence[int], *, inner: bool = True
) -> dict[str, Any]:
    """Means over the classes that have a value, and what is pooled over them.

    Args:
      sums: what `areas` returns, or sums of it.
      tolerances: of the boundary F-score.
      inner: whether inner bands were counted.

    Returns:
      Scores by name, [*batch]; nan where no class has a value. Means come first.

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings, count_pair
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> sums = areas(count_pair(0 * ids, ids, CountSettings(2)))
      >>> {k: float(v) for k, v in mean_scores(sums, ()).items() if k in ("mIoU", "aAcc")}
      {'mIoU': 0.25, 'aAcc': 0.5}
    """
    counts = class_counts(sums, tolerances, inner=inner)
    rows = sorted(rows_of(counts), key=lambda row: row.average != "classes")
    return {row.name: row.of_each(counts) for row in rows}
