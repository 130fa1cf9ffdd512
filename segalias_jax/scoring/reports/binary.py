"""Scores of binary segmentation for people: their table, rules, and curves over thresholds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.files import write_text
from segalias_jax.metrics import formulas
from segalias_jax.metrics.lookup import rows_shown
from segalias_jax.metrics.rows import OVER_PIXELS, Score
from segalias_jax.metrics.scores import SCORES
from segalias_jax.metrics.totals import ForegroundState, image_scores
from segalias_jax.scoring.reports.tables import markdown_table, percent
from segalias_jax.typing import Float, Int

_CURVES = ("thresholds.csv", "thresholds.png")
"""What `write_curves` writes."""


def foreground_rows() -> list[Score]:
    """Returns the rows of the table of binary segmentation.

    Example:
      >>> [row.name for row in foreground_rows()][:2]
      ['Dice_mean_over_images', 'Dice_pixels_of_all_images']
    """
    return rows_shown("table", source="foreground")


def binary_rows(scores: Mapping[str, Any], foreground: str) -> list[list[str]]:
    """Table of the scores of binary segmentation, in per cent.

    Args:
      scores: what `BinaryTotals.compute` returns.
      foreground: name of class 1.

    Returns:
      Rows, the header first: score, at threshold 0.5, and where there are probabilities the
      best, its threshold, and the mean over all thresholds.

    Example:
      >>> from segalias_jax.metrics import BinaryTotals
      >>> scores = BinaryTotals.empty(2).add(np.asarray([[[1, 0], [0, 1]]])).compute()
      >>> rows = binary_rows(scores, "polyp")
      >>> rows[0], rows[1]
      (['of polyp', 'at 0.5'], ['F1 = Dice, mean over images', '100.00'])
    """
    swept = "ROC_AUC" in scores
    more = ["best", "at threshold", "mean over thresholds"] if swept else []
    rows = [[f"of {foreground}", "at 0.5", *more]]
    for score in foreground_rows():
        row = [score.title, percent(scores[score.name])]
        if swept and f"{score.name}_best" in scores:
            row += [
                percent(scores[f"{score.name}_best"]),
                f"{scores[f'{score.name}_best_threshold']:.3f}",
                percent(scores[f"{score.name}_mean_of_thresholds"]),
            ]
        rows.append(row + ["-"] * (len(rows[0]) - len(row)))
    return rows


def binary_table(scores: Mapping[str, Any], foreground: str) -> str:
    """Writes `binary_rows` in Markdown, and the areas under curves where there are any.

    Args:
      scores: what `BinaryTotals.compute` returns.
      foreground: name of class 1.

    Returns:
      Text that also reads well in a terminal.

    Example:
      >>> from segalias_jax.metrics import BinaryTotals
      >>> scores = BinaryTotals.empty(4).add(np.asarray([[[0, 1, 0, 0], [0, 0, 1, 0]]])).compute()
      >>> print(binary_table(scores, "polyp").splitlines()[-1])
      Pixels of all images: average precision 100.00, area below the ROC curve 100.00.
    """
    text = markdown_table(binary_rows(scores, foreground), names=True)
    return "\n\n".join((text, areas_text(scores))).strip()


def areas_text(scores: Mapping[str, Any]) -> str:
    """Puts the areas under the curves into words; empty where there are none.

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


def binary_rules(binary: ForegroundState) -> dict[str, str]:
    """What the scores of binary segmentation follow, in words, by topic.

    Args:
      binary: the state.

    Returns:
      Sentences.

    Example:
      >>> from segalias_jax.metrics import BinaryTotals
      >>> list(binary_rules(BinaryTotals.empty()))
      ['two classes', 'images without foreground']
    """
    scores = binary.compute()
    count, blank = int(scores["images"]), int(scores["images_without_foreground"])
    rules = {
        "two classes": "class 1 is the foreground, predicted where its probability is above the "
        'threshold; "mean over images": every image is scored by itself, and all of them weigh '
        'the same; "pixels of all images": pixels are counted over all images first, so that '
        "large objects weigh more; Dice is F1, IoU the critical success index (CSI); "
        '"of both classes": the mean of that score and of the same one of the background, as '
        "papers on polyps report it; accuracy is the same of either class",
        "images without foreground": f"{blank} of the {count} images; where the prediction has "
        "none either, the image scores 100 in everything; any other 0 / 0 is 0; of the background "
        "likewise, so that a score of both classes is there (100 + that of the background) / 2",
    }
    if binary.swept:
        rules["thresholds"] = (
            f"{len(binary.thresholds)}, from {binary.thresholds[0]:.4f} to "
            f"{binary.thresholds[-1]:.4f} in equal steps; the best one is chosen on these images, "
            "so it flatters; average precision is the area below precision over recall in steps"
        )
    return rules


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
    pairs, labeled = _halves(bins), bins.any((1, 2))
    return {
        row.per_image: np.where(labeled, image_scores(pairs, row)[:, 0], np.nan)
        for row in rows_shown("image", source="foreground")
    }


def foreground_sums(
    bins: Int[np.ndarray, "images 2 bins"],
) -> Float[np.ndarray, "images sums"]:
    """Numbers of each image whose sums over images `scores_of_sums` takes.

    Args:
      bins: what `probabilities.count_probabilities` gives of each.

    Returns:
      Pixels by true and predicted class, whether any pixel is labeled, and each score of the image
      by itself.

    Example:
      >>> foreground_sums(np.asarray([[[2, 0], [0, 1]]]))[0, :5].tolist()
      [2.0, 0.0, 0.0, 1.0, 1.0]
    """
    pairs = _halves(bins)
    labeled = np.asarray(pairs.any((1, 2)))
    rows = [row for row in SCORES.values() if row.source == "foreground"]
    averaged = [image_scores(pairs, row)[:, 0] for row in rows if row.average == "images"]
    own = np.stack(averaged, 1) * labeled[:, None]
    return np.concatenate([pairs.reshape(len(pairs), 4), labeled[:, None], own], 1)


def scores_of_sums(
    sums: Float[np.ndarray, "*batch sums"],
) -> dict[str, Float[np.ndarray, "*batch"]]:
    """Scores at threshold 0.5 of sets of images.

    Args:
      sums: of `foreground_sums`, added up over the images of each set.

    Returns:
      Both averages of each score, by the rules of `BinaryTotals`; nan where no image of a set has
      a labeled pixel.

    Example:
      >>> bins = np.asarray([[[2, 0], [0, 1]], [[1, 1], [0, 2]]])
      >>> scores = scores_of_sums(np.asarray([1.0, 3.0]) @ foreground_sums(bins))
      >>> [round(float(value), 3) for name, value in scores.items() if "precision" in name]
      [0.75, 0.875, 0.7, 0.85]
    """
    images = sums[..., 4]
    pooled = sums[..., :4].reshape(*images.shape, 2, 2)
    rows = [row for row in SCORES.values() if row.source == "foreground"]
    averaged = [row.name for row in rows if row.average == "images"]
    means = formulas.fraction(sums[..., 5:], images[..., None])
    result = {name: means[..., i] for i, name in enumerate(averaged)}
    for row in rows:
        if row.average == "pixels":
            value = image_scores(pooled.astype(np.int64), row)[..., 0]
            result[row.name] = np.where(images > 0, value, np.nan)
    return result


def _halves(bins: np.ndarray) -> np.ndarray:
    """The bins up to threshold 0.5 added up, and those above it."""
    middle = bins.shape[-1] // 2
    return np.stack([bins[..., :middle].sum(-1), bins[..., middle:].sum(-1)], -1)


def write_curves(binary: ForegroundState, folder: Path) -> list[str]:
    """Writes the scores at all thresholds: `thresholds.csv`, and a picture of them.

    Args:
      binary: the state.
      folder: where to; exists.

    Returns:
      Name of the picture, for a report; nothing where predictions were classes.

    Example:
      >>> from segalias_jax.metrics import BinaryTotals
      >>> write_curves(BinaryTotals.empty(), Path("missing"))
      []
    """
    if not binary.swept:
        return []
    curves = binary.curves()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["threshold", *curves])
    writer.writerows(zip(binary.thresholds, *curves.values(), strict=True))
    write_text(folder / _CURVES[0], text.getvalue())
    # Takes half a second, which nobody waits for who has no probabilities.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    drawn = rows_shown("curve", source="foreground")
    for i, row in enumerate(drawn):
        left.plot(
            binary.thresholds,
            curves[row.name],
            "-" if row.average == "images" else "--",
            color=f"C{i // 2}",
            label=row.title,
        )
    left.set(xlabel="threshold", ylabel="share", xlim=(0, 1), ylim=(0, 1))
    left.legend(loc="lower center", fontsize=8)
    recall, precision = precision_over_recall(binary)
    right.plot(recall, precision, color="tab:blue")
    right.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01))
    right.set_title("pixels of all images", fontsize=10)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(folder / _CURVES[1], dpi=120)
    return [_CURVES[1]]


def precision_over_recall(binary: ForegroundState) -> tuple[np.ndarray, np.ndarray]:
    """The points of the curve of all pixels, from the lowest threshold that finds anything on.

    Args:
      binary: the state.

    Returns:
      Recall and precision.

    Example:
      >>> from segalias_jax.metrics import BinaryTotals
      >>> bins = np.asarray([[[1, 0, 0, 0], [0, 1, 0, 0]]])
      >>> recall, _ = precision_over_recall(BinaryTotals.empty(4).add(bins))
      >>> recall.tolist()
      [1.0]
    """
    curves = binary.curves()
    recall, precision = (curves[f"{name}_{OVER_PIXELS}"] for name in ("recall", "precision"))
    return recall[recall > 0], precision[recall > 0]
