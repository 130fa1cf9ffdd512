"""From counts of pictures to scores: of one, of all, of any choice of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Num

from segalias_jax.metrics.confusion import share
from segalias_jax.scoring.counting import PairCounts

_BANDS = ("all", "union", "predicted", "true", "both", "inner")


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


def class_scores(
    sums: Num[np.ndarray, "*batch rows classes"], tolerances: Sequence[int]
) -> dict[str, Float[np.ndarray, "*batch classes"]]:
    """Scores of each class.

    With t, L and P the right, true and predicted pixels of a class in a band:
    IoU = t / (L + P - t), Acc = t / L, Dice = 2 t / (L + P), Precision = t / P. Of boundary
    pixels, precision p is the share of predicted ones that are met and recall r that of the true
    ones; F = 2 p r / (p + r), and 0 when a class has boundaries in one of the two maps only.

    Args:
      sums: what `areas` returns, or sums of it.
      tolerances: of the boundary F-score.

    Returns:
      Shares in [0, 1] by name; nan where a class has no value.

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings, count_pair
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> sums = areas(count_pair(ids, ids, CountSettings(2)))
      >>> class_scores(sums, (1, 3, 5))["BoundaryF_3px"].tolist()
      [1.0, 1.0]
    """
    bands = {name: [sums[..., 3 * i + k, :] for k in range(3)] for i, name in enumerate(_BANDS)}
    right, true, predicted = bands["all"]
    result = {
        "IoU": _iou(*bands["all"]),
        "Acc": share(right, true),
        "Dice": share(2 * right, true + predicted),
        "Precision": share(right, predicted),
        "boundary_IoU": _iou(*bands["union"]),
        "boundary_Acc": share(*bands["union"][:2]),
        "class_FErr": 1 - share(*bands["predicted"][:2]),
        "class_MErr": 1 - share(*bands["true"][:2]),
        "class_DErr": 1 - share(*bands["both"][:2]),
        "BoundaryIoU_Cheng": _iou(*bands["inner"]),
    }
    start = 3 * len(_BANDS)
    sizes = sums[..., start : start + 2, :]
    for i, tolerance in enumerate(tolerances, start=1):
        met = sums[..., start + 2 * i : start + 2 * i + 2, :]
        result[f"BoundaryF_{tolerance}px"] = _f_score(met, sizes)
    return result


def mean_scores(
    sums: Num[np.ndarray, "*batch rows classes"], tolerances: Sequence[int]
) -> dict[str, Float[np.ndarray, "*batch"]]:
    """Means over the classes that have a value, and the share of right pixels.

    Args:
      sums: what `areas` returns, or sums of it.
      tolerances: of the boundary F-score.

    Returns:
      Shares in [0, 1] by name; nan where no class has a value.

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings, count_pair
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> sums = areas(count_pair(0 * ids, ids, CountSettings(2)))
      >>> {k: float(v) for k, v in mean_scores(sums, ()).items() if k in ("mIoU", "aAcc")}
      {'mIoU': 0.25, 'aAcc': 0.5}
    """
    names = {
        "boundary_IoU": "BIoU",
        "boundary_Acc": "BAcc",
        "class_FErr": "FErr",
        "class_MErr": "MErr",
        "class_DErr": "DErr",
    }
    per_class = class_scores(sums, tolerances)
    result = {names.get(key, f"m{key}"): _mean(value) for key, value in per_class.items()}
    return result | {"aAcc": share(sums[..., 0, :].sum(-1), sums[..., 1, :].sum(-1))}


def _iou(right: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return share(right, true + predicted - right)


def _f_score(met: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    recall, precision = np.moveaxis(np.nan_to_num(share(met, sizes)), -2, 0)
    score = np.nan_to_num(share(2 * precision * recall, precision + recall))
    return np.where(sizes.sum(-2) > 0, score, np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    present = ~np.isnan(values)
    return share(np.where(present, values, 0).sum(-1), present.sum(-1))
