"""`report.html` of a folder of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segalias_jax.metrics.lookup import rows_shown, score_title, smaller_is_better
from segalias_jax.scoring.reports import binary_page, overlays, page
from segalias_jax.scoring.reports import tables as report
from segalias_jax.scoring.reports.overlays import HIT_COLORS, KIND_COLORS

if TYPE_CHECKING:
    from segalias_jax.scoring.reports.folder import FolderReport

_MATRIX = 40  # classes of the largest confusion matrix that is shown


def folder_page(result: FolderReport, *, worst: int) -> str:
    """Writes `report.html`.

    Args:
      result: what to report.
      worst: number of pictures.

    Returns:
      The file's text.
    """
    scores, rows = result.scores, result.summary_rows()
    per_class = [row for row in rows if row.per_class]
    table = [["class", *(row.class_title for row in per_class)]]
    for i, name in enumerate(result.classes):
        values = (report.shown_value(row, scores[row.per_class][i]) for row in per_class)
        table.append([name, *values])
    bars = [
        (row.class_title, scores[row.per_class].tolist())
        for row in per_class
        if "bars" in row.shown
    ]
    rules = report.scoring_rules(result.state) | result.rules()
    special, left_out, pictures = [], [], []
    if result.shows_images:
        pictures = [page.section("Worst images first", *_pictures(result, worst))]
    if result.binary is not None:
        special.append(binary_page.foreground_section(result.binary, result.classes[1]))
    if result.whole.offsets is not None:
        special.append(binary_page.offset_section(result.plan.offsets, result.whole.offsets))
    if result.left_out:
        left_out = [page.section("Left out", page.definitions(result.left_out))]
    return page.whole_page(
        result.title,
        [
            page.paragraph(f"All numbers in per cent; of {smaller_is_better()}, less is better."),
            page.tiles([(row.title, report.shown_value(row, scores[row.name])) for row in rows]),
            *special,
            page.section("Share of all pixels", _error_bar(scores)),
            page.section("Classes", page.bars(result.classes, bars)),
            page.section("All scores by class", page.table(table)),
            page.section("What is taken for what", *_confusions(result)),
            *pictures,
            *left_out,
            page.section("How it was scored", page.definitions(list(rules.items()))),
            page.section(
                "Settings", page.definitions([(k, str(v)) for k, v in result.settings.items()])
            ),
        ],
    )


def _error_bar(scores: Mapping[str, Any]) -> str:
    rows = rows_shown("kinds", source="classes")
    kinds = [(row.title, scores[row.name], _hex(KIND_COLORS[row.title])) for row in rows]
    return "\n".join(
        (
            page.stacked([("correct", scores["aAcc"], "#464646"), *kinds]),
            page.paragraph(
                "A wrong pixel near predicted boundaries only is a false response, near true ones "
                "only a merging mistake, near both a displacement, near none an interior error."
            ),
        )
    )


def _confusions(result: FolderReport) -> list[str]:
    counts, names = result.state.totals().sum(0)[:-1, :-1], result.classes
    present = np.flatnonzero(counts.sum(0) + counts.sum(1))
    wrong = counts * (1 - np.eye(len(names), dtype=np.int64))
    order = [i for i in np.argsort(-wrong, axis=None, kind="stable")[:10] if wrong.flat[i]]
    header = ["true class", "predicted as", "of the class", "of all errors"]
    rows = []
    for i in order:
        true, predicted = np.unravel_index(i, wrong.shape)
        of_class, of_errors = wrong.flat[i] / counts[true].sum(), wrong.flat[i] / wrong.sum()
        fractions = report.percent(of_class), report.percent(of_errors)
        rows.append([names[true], names[predicted], *fractions])
    parts = [page.table([header, *rows])] if rows else []
    if len(present) > _MATRIX:
        return [*parts, page.paragraph(f"report.json has the matrix of all {len(names)} classes.")]
    matrix = page.confusion([names[i] for i in present], counts[np.ix_(present, present)])
    return [*parts, page.paragraph("Per cent of the true pixels of each class (rows):"), matrix]


def _pictures(result: FolderReport, count: int) -> list[str]:
    kinds, source = {"correct": (70, 70, 70)} | KIND_COLORS, "classes"
    if result.binary is not None:
        kinds, source = HIT_COLORS, "foreground"
    names = [row.per_image for row in rows_shown("caption", source=source)]
    parts = [page.legend([*((name, _hex(c)) for name, c in kinds.items()), ("ignored", "hatch")])]
    if len(result.classes) <= _MATRIX:
        parts.append(page.legend(list(zip(result.classes, map(_hex, result.palette), strict=True))))
    for index in result.worst(count):
        sample, remark = result.sample(index)
        rules = result.state.rules
        painted = overlays.panels(sample, result.palette, rules)
        if result.binary is not None:
            painted[-1] = overlays.hit_overlay(
                sample.image, sample.label, sample.prediction, rules=rules
            )
        caption = ", ".join(
            f"{score_title(name)} {report.percent(result.per_image[name][index])}" for name in names
        )
        titled = list(zip(overlays.TITLES, painted, strict=True))
        if not result.files[index].image or remark:
            titled = titled[1:]
        remark = f" ({remark})" if remark else ""
        parts.append(page.four_pictures(f"{sample.name}: {caption}{remark}", titled))
    return parts


def _hex(color: Sequence[int] | np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
