"""Scores of two classes for people: names that cannot be confused, and curves over thresholds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from segalias_jax.metrics import BinaryScores
from segalias_jax.metrics.binary import OVER_IMAGES, OVER_PIXELS, SCORES, image_scores
from segalias_jax.metrics.confusion import share
from segalias_jax.scoring.reports.tables import markdown_table, percent, write_whole

CURVES = ("thresholds.csv", "thresholds.png")
"""What `write_curves` writes."""

_TITLES = {"Dice": "F1 = Dice", "IoU": "IoU = CSI"}
_BLANK = "_without_foreground"
_AT_ONCE = 256  # images
_ORDER = ("Dice", "IoU", "precision", "recall", "accuracy")
_AVERAGES = {OVER_IMAGES: "mean over images", OVER_PIXELS: "pixels of all images"}

DRAWN = tuple(f"{score}_{average}" for score in _ORDER for average in _AVERAGES)
"""Names of what `drawn_scores` returns."""


def score_title(name: str) -> str:
    """Name of a score of two classes for people.

    Example:
      >>> score_title("Dice_mean_over_images"), score_title("ROC_AUC")
      ('F1 = Dice, mean over images', 'ROC AUC')
    """
    score, _, average = name.partition("_")
    if average in _AVERAGES:
        return f"{_TITLES.get(score, score)}, {_AVERAGES[average]}"
    return name.replace("_", " ")


def binary_rows(scores: Mapping[str, Any], foreground: str) -> list[list[str]]:
    """Table of the scores of two classes, in per cent.

    Args:
      scores: what `BinaryScores.compute` returns.
      foreground: name of class 1.

    Returns:
      Rows, the header first: score, at threshold 0.5, and where there are probabilities the
      best, its threshold, and the mean over all thresholds.

    Example:
      >>> label = np.asarray([[[0, 1]]])
      >>> rows = binary_rows(BinaryScores.empty().update(label, label).compute(), "polyp")
      >>> rows[0], rows[1]
      (['of polyp', 'at 0.5'], ['F1 = Dice, mean over images', '100.00'])
    """
    swept = "ROC_AUC" in scores
    more = ["best", "at threshold", "mean over thresholds"] if swept else []
    rows = [[f"of {foreground}", "at 0.5", *more]]
    for score in _ORDER:
        for average in _AVERAGES:
            name = f"{score}_{average}"
            row = [score_title(name), percent(scores[name])]
            if swept and f"{name}_best" in scores:
                best = scores[f"{name}_best"], scores[f"{name}_mean_of_thresholds"]
                at = f"{scores[f'{name}_best_threshold']:.3f}"
                row += [percent(best[0]), at, percent(best[1])]
            rows.append(row + ["-"] * (len(rows[0]) - len(row)))
    return rows


def binary_table(scores: Mapping[str, Any], foreground: str) -> str:
    """Writes `binary_rows` in Markdown, and the areas below curves where there are any.

    Args:
      scores: what `BinaryScores.compute` returns.
      foreground: name of class 1.

    Returns:
      Text that also reads well in a terminal.

    Example:
      >>> label = np.asarray([[[0, 1]]])
      >>> scores = BinaryScores.empty().update(np.asarray([[[0.2, 0.7]]]), label).compute()
      >>> print(binary_table(scores, "polyp").splitlines()[-1])
      Pixels of all images: average precision 100.00, area below the ROC curve 100.00.
    """
    text = markdown_table(binary_rows(scores, foreground), names=True)
    return "\n\n".join((text, areas_text(scores))).strip()


def areas_text(scores: Mapping[str, Any]) -> str:
    """Puts the areas below the curves into words; empty where there are none.

    Example:
      >>> areas_text({})
      ''
    """
    if "ROC_AUC" not in scores:
        return ""
    return (
        f"Pixels of all images: average precision {percent(scores['average_precision'])}, "
        f"area below the ROC curve {percent(scores['ROC_AUC'])}."
    )


def binary_rules(binary: BinaryScores) -> dict[str, str]:
    """What the scores of two classes follow, in words, by topic.

    Args:
      binary: the state.

    Returns:
      Sentences.

    Example:
      >>> list(binary_rules(BinaryScores.empty()))
      ['two classes', 'images without foreground']
    """
    count, blank = (int(n) for n in (binary.compute()[f"images{x}"] for x in ("", _BLANK)))
    rules = {
        "two classes": "class 1 is the foreground, predicted where its probability is above the "
        'threshold; "mean over images": every image is scored by itself, and all of them weigh '
        'the same; "pixels of all images": pixels are counted over all images first, so that '
        "large objects weigh more; Dice is F1, IoU the critical success index (CSI)",
        "images without foreground": f"{blank} of the {count} images; where the prediction has "
        "none either, the image scores 100 in everything; any other 0 / 0 is 0",
    }
    if binary.swept:
        rules["thresholds"] = (
            f"{len(binary.thresholds)}, from {binary.thresholds[0]:.4f} to "
            f"{binary.thresholds[-1]:.4f} in equal steps; the best one is chosen on these images, "
            "so it flatters; average precision is the area below precision over recall in steps"
        )
    return rules


def add_images(bins: Int[np.ndarray, "images 2 bins"]) -> BinaryScores:
    """Scores of images that were counted one by one.

    Args:
      bins: what `probabilities.count_probabilities` gives of each.

    Returns:
      The state.

    Example:
      >>> int(add_images(np.asarray([[[2, 0], [0, 1]]])).compute()["images"])
      1
    """
    state = BinaryScores.empty(bins.shape[-1])
    # Parts of one size compile once; images without a pixel count nowhere.
    for first in range(0, len(bins), _AT_ONCE):
        part = bins[first : first + _AT_ONCE]
        state = state.add(np.pad(part, [(0, _AT_ONCE - len(part)), (0, 0), (0, 0)]))
    return state


def foreground_scores(
    bins: Int[np.ndarray, "images 2 bins"],
) -> dict[str, Float[np.ndarray, " images"]]:
    """Scores of each image by itself, at threshold 0.5.

    Args:
      bins: what `probabilities.count_probabilities` gives of each.

    Returns:
      "foreground_Dice", "foreground_IoU" and so on; nan without any labeled pixel.

    Example:
      >>> foreground_scores(np.asarray([[[2, 0], [0, 1]]]))["foreground_Dice"].tolist()
      [1.0]
    """
    scores = np.where(bins.any((1, 2))[:, None], image_scores(_halves(bins))[..., 0], np.nan)
    return {f"foreground_{name}": scores[:, SCORES.index(name)] for name in _ORDER}


def drawn_scores(
    bins: Int[np.ndarray, "images 2 bins"], weights: Float[np.ndarray, "draws images"]
) -> dict[str, Float[np.ndarray, " draws"]]:
    """Scores at threshold 0.5 of draws of images.

    Args:
      bins: what `probabilities.count_probabilities` gives of each.
      weights: how often each image counts, of `bootstrap.image_weights`.

    Returns:
      Both averages of each score, by the rules of `BinaryScores`; nan where no image of a draw has
      a labeled pixel.

    Example:
      >>> bins, weights = np.asarray([[[2, 0], [0, 1]], [[1, 1], [0, 2]]]), np.asarray([[1.0, 3.0]])
      >>> scores = drawn_scores(bins, weights)
      >>> [round(float(scores[f"precision_{a}"][0]), 3) for a in (OVER_IMAGES, OVER_PIXELS)]
      [0.75, 0.7]
    """
    pairs = _halves(bins)
    labeled = pairs.any((1, 2))
    pooled = (weights @ pairs.reshape(len(pairs), -1)).reshape(-1, 2, 2).astype(np.int64)
    images = weights @ labeled
    over = {
        OVER_IMAGES: share(
            weights @ (image_scores(pairs)[..., 0] * labeled[:, None]), images[:, None]
        ),
        OVER_PIXELS: np.where(images[:, None] > 0, image_scores(pooled)[..., 0], np.nan),
    }
    return {f"{s}_{a}": over[a][:, SCORES.index(s)] for s in _ORDER for a in _AVERAGES}


def _halves(bins: np.ndarray) -> np.ndarray:
    """The bins up to threshold 0.5 added up, and those above it."""
    middle = bins.shape[-1] // 2
    return np.stack([bins[..., :middle].sum(-1), bins[..., middle:].sum(-1)], -1)


def report_parts(binary: BinaryScores, foreground: str) -> dict[str, Any]:
    """What `report.write_report` is told of two classes.

    Args:
      binary: the state.
      foreground: name of class 1.

    Returns:
      Its arguments "extra", "extra_rules" and "sections".

    Example:
      >>> sorted(report_parts(BinaryScores.empty(), "polyp"))
      ['extra', 'extra_rules', 'sections']
    """
    scores = binary.compute()
    return {
        "extra": scores,
        "extra_rules": binary_rules(binary),
        "sections": [binary_table(scores, foreground)],
    }


def write_curves(binary: BinaryScores, folder: Path) -> list[str]:
    """Writes the scores at all thresholds: `thresholds.csv`, and a picture of them.

    Args:
      binary: the state.
      folder: where to; exists.

    Returns:
      Name of the picture, for a report; nothing where predictions were classes.

    Example:
      >>> write_curves(BinaryScores.empty(), Path("missing"))
      []
    """
    if not binary.swept:
        return []
    curves = binary.curves()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["threshold", *curves])
    writer.writerows(zip(binary.thresholds, *curves.values(), strict=True))
    write_whole(folder / CURVES[0], text.getvalue())
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for score, color in (("Dice", "tab:blue"), ("IoU", "tab:orange")):
        for average, dashes in ((OVER_IMAGES, "-"), (OVER_PIXELS, "--")):
            name = f"{score}_{average}"
            left.plot(binary.thresholds, curves[name], dashes, color=color, label=score_title(name))
    left.set(xlabel="threshold", ylabel="share", xlim=(0, 1), ylim=(0, 1))
    left.legend(loc="lower center", fontsize=8)
    recall, precision = precision_over_recall(binary)
    right.plot(recall, precision, color="tab:blue")
    right.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01))
    right.set_title("pixels of all images", fontsize=10)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(folder / CURVES[1], dpi=120)
    return [CURVES[1]]


def precision_over_recall(binary: BinaryScores) -> tuple[np.ndarray, np.ndarray]:
    """The points of the curve of all pixels, from the lowest threshold that finds anything on.

    Args:
      binary: the state.

    Returns:
      Recall and precision.

    Example:
      >>> label = np.asarray([[[0, 1]]])
      >>> recall, _ = precision_over_recall(BinaryScores.empty(4).update(label / 2, label))
      >>> recall.tolist()
      [1.0]
    """
    curves = binary.curves()
    recall, precision = (curves[f"{name}_{OVER_PIXELS}"] for name in ("recall", "precision"))
    return recall[recall > 0], precision[recall > 0]
