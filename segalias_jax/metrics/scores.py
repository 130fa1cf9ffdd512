"""The one home of scores: a formula and a row of `SCORES` for each.

Two engines count, the device (`SegmentationScores`, `BinaryScores`) and the host (`scoring`); both
end in the numbers of pixels that formulas here take, in NumPy. Every table, report, plot, tracker,
progress line and rule for the best checkpoint reads the rows, so a score is added by its formula,
its row and its test, or from outside by `register_score`. Those of distances are written in
`distance_scores`, and stand in the same table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from segalias_jax.errors import InputError, check_choice
from segalias_jax.metrics import formulas
from segalias_jax.metrics.counts import Band, ClassCounts
from segalias_jax.metrics.distance_scores import DISTANCE_ROWS
from segalias_jax.metrics.rows import OVER_IMAGES, OVER_PIXELS, Score

_DAF = 'Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024'
_CHENG = (
    'Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", 2021'
)
_RATIO = "tables of a frequency-ratio curriculum for polyps, see runs.published_ratios"


def _over_classes(
    name: str,
    formula: Callable[[ClassCounts], Any],
    per_class: str,
    *,
    rule: str,
    shown: tuple[str, ...],
    class_title: str = "",
    reference: str = "",
) -> Score:
    """A mean over classes of which more is better."""
    return Score(
        name,
        formula,
        average="classes",
        per_class=per_class,
        class_title=class_title,
        rule=rule,
        reference=reference,
        shown=shown,
    )


def _published_error(
    name: str, formula: Callable[[ClassCounts], Any], *, words: str, rule: str
) -> Score:
    return Score(
        name,
        formula,
        average="classes",
        complement=True,
        direction="smaller",
        per_class=f"class_{name}",
        class_title=name,
        words=words,
        rule=f"1 - mean accuracy of the classes {rule}",
        reference=_DAF,
        shown=("table", "line", "image", "caption", "corruption", "patches"),
    )


def _pooled_error(name: str, formula: Callable[[ClassCounts], Any], rule: str) -> Score:
    return Score(name, formula, complement=True, direction="smaller", rule=rule, shown=())


def _kind(title: str, formula: Callable[[ClassCounts], Any], *, rule: str, rank: int = 0) -> Score:
    return Score(
        title.replace(" ", "_"),
        formula,
        direction="smaller",
        title=title,
        rule=f"wrong pixels near {rule}, as a fraction of all pixels",
        reference=_DAF,
        shown=("kinds",),
        rank=rank,
    )


def _foreground(
    base: str, formula: Callable[..., Any], *, title: str, shown: tuple[str, ...] = (), rank: int
) -> list[Score]:
    """Both averages of a score of binary segmentation."""
    return [
        Score(
            f"{base}_{OVER_IMAGES}",
            formula,
            source="foreground",
            average="images",
            title=f"{title}, mean over images",
            per_image=f"foreground_{base}",
            rule="every image is scored by itself, and all of them weigh the same",
            shown=("table", "image", *shown),
            rank=rank,
        ),
        Score(
            f"{base}_{OVER_PIXELS}",
            formula,
            source="foreground",
            average="pixels",
            title=f"{title}, pixels of all images",
            rule="pixels are counted over all images first, so that large objects weigh more",
            shown=("table", *(place for place in shown if place != "caption")),
            rank=rank,
        ),
    ]


def _both_classes(base: str, formula: Callable[..., Any], *, title: str) -> list[Score]:
    """Both averages of a score that is itself the mean over foreground and background.

    Accuracy has none: it is the same of either class.
    """
    rule = (
        "mean of the score of the foreground and of the background; where an image has a class in "
        "neither map, that class scores 1"
    )
    words = {OVER_IMAGES: "mean over images", OVER_PIXELS: "pixels of all images"}
    return [
        Score(
            f"{base}_of_both_classes_{average}",
            formula,
            source="foreground",
            average="images" if average == OVER_IMAGES else "pixels",
            both=True,
            title=f"{title} of both classes, {words[average]}",
            rule=rule,
            reference=_RATIO,
            shown=("table",),
            rank=3,
        )
        for average in (OVER_IMAGES, OVER_PIXELS)
    ]


# Order matters twice: states list their scores in it, and so do the files of reports, which are
# compared byte by byte. Where tables have another order, `rank` gives it.
_ROWS = [
    # Over all pixels.
    _over_classes(
        "mIoU",
        lambda counts: formulas.intersection_over_union(counts.all),
        "IoU",
        rule="mean over classes of right / (true + predicted - right) pixels",
        shown=("table", "line", "image", "caption", "bars", "corruption", "offset", "course"),
    ),
    _over_classes(
        "mAcc",
        lambda counts: formulas.class_accuracy(counts.all),
        "Acc",
        rule="mean over classes of right / true pixels",
        shown=("table", "line", "image"),
    ),
    _over_classes(
        "mDice",
        lambda counts: formulas.dice(counts.all),
        "Dice",
        rule="mean over classes of 2 right / (true + predicted) pixels",
        shown=("image",),
    ),
    _over_classes(
        "mPrecision",
        lambda counts: formulas.precision(counts.all),
        "Precision",
        rule="mean over classes of right / predicted pixels",
        shown=("image",),
    ),
    _over_classes(
        "mRecall",
        lambda counts: formulas.class_accuracy(counts.all),
        "Recall",
        rule="mAcc by another name",
        shown=(),
    ),
    Score(
        "aAcc",
        lambda counts: formulas.pixel_accuracy(counts.all),
        rule="fraction of right pixels",
        shown=("table", "line", "image", "caption"),
    ),
    Score(
        "fwIoU",
        lambda counts: formulas.frequency_weighted_iou(counts.all),
        rule="mean of IoU over classes, weighted by the true pixels of each",
        reference="Long, Shelhamer and Darrell, arXiv:1411.4038 (2015)",
        shown=(),
    ),
    # Over boundary bands.
    _over_classes(
        "BIoU",
        lambda counts: formulas.intersection_over_union(counts.union),
        "boundary_IoU",
        class_title="BIoU",
        rule="mIoU of the pixels in the true or the predicted boundary band",
        reference=_DAF,
        shown=("table", "line", "image", "caption", "bars", "corruption", "course"),
    ),
    _over_classes(
        "BAcc",
        lambda counts: formulas.class_accuracy(counts.union),
        "boundary_Acc",
        class_title="BAcc",
        rule="mAcc of the pixels in the true or the predicted boundary band",
        reference=_DAF,
        shown=("table", "line", "image", "corruption"),
    ),
    Score(
        "boundary_aAcc",
        lambda counts: formulas.pixel_accuracy(counts.union),
        rule="fraction of right pixels in the true or the predicted boundary band",
        shown=(),
    ),
    # The three published errors are one number on real sets (correlations .96 to .99): they say how
    # much is wrong near boundaries, not where. The kinds of error below are disjoint.
    _published_error(
        "FErr",
        lambda counts: formulas.class_accuracy(counts.predicted),
        words="false responses",
        rule="in the predicted boundary band",
    ),
    _pooled_error(
        "aFErr",
        lambda counts: formulas.pixel_accuracy(counts.predicted),
        "fraction of wrong pixels in the predicted boundary band",
    ),
    _published_error(
        "MErr",
        lambda counts: formulas.class_accuracy(counts.true),
        words="merging mistakes",
        rule="in the true boundary band",
    ),
    _pooled_error(
        "aMErr",
        lambda counts: formulas.pixel_accuracy(counts.true),
        "fraction of wrong pixels in the true boundary band",
    ),
    _published_error(
        "DErr",
        lambda counts: formulas.class_accuracy(counts.both),
        words="displacements",
        rule="where both boundary bands overlap",
    ),
    _pooled_error(
        "aDErr",
        lambda counts: formulas.pixel_accuracy(counts.both),
        "fraction of wrong pixels where both boundary bands overlap",
    ),
    # Disjoint errors, which add up to 1 - aAcc: wrong pixels of the four regions that the bands
    # make, as differences of bands.
    _kind(
        "interior error",
        lambda counts: formulas.fraction_of_pixels(
            formulas.errors(counts.all) - formulas.errors(counts.union), counts
        ),
        rule="no boundary",
        rank=1,
    ),
    _kind(
        "false response",
        lambda counts: formulas.fraction_of_pixels(
            formulas.errors(counts.union) - formulas.errors(counts.true), counts
        ),
        rule="predicted boundaries only",
    ),
    _kind(
        "merging mistake",
        lambda counts: formulas.fraction_of_pixels(
            formulas.errors(counts.union) - formulas.errors(counts.predicted), counts
        ),
        rule="true boundaries only",
    ),
    _kind(
        "displacement",
        lambda counts: formulas.fraction_of_pixels(formulas.errors(counts.both), counts),
        rule="predicted and true boundaries",
    ),
    Score(
        "pixels",
        lambda counts: counts.all.true,
        average="sum",
        unit="pixels",
        direction="",
        per_class="class_pixels",
        rule="labeled pixels",
        shown=(),
    ),
    Score(
        "invalid_predictions",
        lambda counts: counts.all.true.sum(-1) - counts.all.predicted.sum(-1),
        unit="pixels",
        direction="smaller",
        rule="labeled pixels whose predicted id is no class",
        shown=(),
    ),
    Score(
        "mBoundaryIoU_Cheng",
        lambda counts: formulas.intersection_over_union(counts.inner),
        average="classes",
        title="mean Boundary IoU (Cheng)",
        per_class="BoundaryIoU_Cheng",
        class_title="Boundary IoU (Cheng)",
        rule="mean IoU of the true and predicted areas near their own boundaries",
        reference=_CHENG,
        needs=("inner",),
        shown=("image", "bars"),
        rank=1,
    ),
    Score(
        "mBoundaryF_{}px",
        formulas.boundary_f,
        average="classes",
        title="mean boundary F {} px",
        per_class="BoundaryF_{}px",
        class_title="boundary F {} px",
        rule="F of precision and recall of boundary pixels, met within so many pixels",
        needs=("contour", "hits"),
        shown=("image",),
    ),
    # Binary segmentation: what papers on it report first comes first in tables.
    *_foreground(
        "accuracy", formulas.foreground_accuracy, title="accuracy", shown=("best",), rank=2
    ),
    *_foreground(
        "precision", formulas.foreground_precision, title="precision", shown=("caption",), rank=1
    ),
    *_foreground("recall", formulas.foreground_recall, title="recall", shown=("caption",), rank=1),
    *_foreground(
        "Dice",
        formulas.foreground_dice,
        title="F1 = Dice",
        shown=("best", "caption", "curve", "line", "offset"),
        rank=0,
    ),
    *_foreground(
        "IoU",
        formulas.foreground_iou,
        title="IoU = CSI",
        shown=("best", "caption", "curve", "offset"),
        rank=0,
    ),
    # Means over both classes, which papers on polyps report under the names of those above.
    *_both_classes("precision", formulas.foreground_precision, title="precision"),
    *_both_classes("recall", formulas.foreground_recall, title="recall"),
    *_both_classes("Dice", formulas.foreground_dice, title="F1 = Dice"),
    *_both_classes("IoU", formulas.foreground_iou, title="IoU"),
    Score(
        "images",
        lambda images: images[0],
        source="images",
        unit="images",
        direction="",
        rule="images with a labeled pixel",
        shown=(),
    ),
    Score(
        "images_without_foreground",
        lambda images: images[1],
        source="images",
        unit="images",
        direction="",
        title="images without foreground",
        rule="images whose label has no foreground",
        shown=(),
    ),
    Score(
        "average_precision",
        formulas.average_precision,
        source="bins",
        title="average precision",
        rule="area under precision over recall of all pixels, in steps",
        shown=(),
    ),
    Score(
        "ROC_AUC",
        formulas.roc_area,
        source="bins",
        title="ROC AUC",
        rule="area under recall over false alarms of all pixels",
        shown=(),
    ),
    Score(
        "shift_consistency",
        lambda fractions: float(np.mean(fractions)),
        source="network",
        rule="share of pixels that keep their class when the image moves by one pixel (right, "
        "down, and both; its edge is repeated), mean over images",
        shown=(),
    ),
    *DISTANCE_ROWS,
]

SCORES: dict[str, Score] = {row.name: row for row in _ROWS}
"""All rows by name. States list their scores in this order, tables by `Score.rank` first."""


def register_score(row: Score) -> Score:
    """Adds a score to `SCORES`; it is in all that is counted from now on, and in its reports.

    Args:
      row: the row.

    Returns:
      The row.

    Raises:
      InputError: a name of the row is taken, or its formula returns another shape than its average
        asks for.

    Example:
      >>> row = Score("worst", lambda counts: formulas.class_accuracy(counts.all).min(-1), shown=())
      >>> register_score(row).name, "worst" in SCORES
      ('worst', True)
      >>> unregister_score("worst")
    """
    taken = set(SCORES) | {name for each in SCORES.values() for name in each.names}
    for name in row.names:
        if name in taken:
            raise InputError(
                f"score {name!r} is there already; choose another name, or call "
                "sa.metrics.unregister_score first"
            )
    _check_shape(row)
    SCORES[row.name] = row
    return row


def _check_shape(row: Score) -> None:
    """Tries a formula of classes; a wrong shape would come up after all images are counted only."""
    if row.source != "classes" or row.needs or "{}" in row.name:
        return
    images, classes = 2, 3
    band = Band(*(np.full((images, classes), pixels) for pixels in (1, 2, 2)))
    shape = np.shape(row.formula(ClassCounts(band, band, band, band, band)))
    per_class = row.average in ("classes", "sum")
    expected = (images, classes) if per_class else (images,)
    if shape != expected:
        wanted = "a number for each class" if per_class else "one number for each image"
        raise InputError(
            f"the formula of score {row.name!r} returns {list(shape)} for counts "
            f"[{images} images, {classes} classes]; with average={row.average!r} it has to return "
            f"{wanted}, {list(expected)}"
        )


def unregister_score(name: str) -> None:
    """Removes a score from `SCORES`.

    Args:
      name: of the row.

    Raises:
      InputError: there is none of this name.
    """
    check_choice("score", name, SCORES)
    del SCORES[name]
