"""What comes out of scoring folders: tables, files, and the pictures that went worst."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from segalias_jax.data.classes import CITYSCAPES
from segalias_jax.data.files import image_size, read_image
from segalias_jax.errors import InputError
from segalias_jax.files import write_text
from segalias_jax.metrics.counts import ClassCounts
from segalias_jax.metrics.lookup import rows_of, rows_shown, score_title, smaller_is_better
from segalias_jax.metrics.rows import Score
from segalias_jax.metrics.totals import BinaryTotals, SegmentationTotals
from segalias_jax.scoring import offsets, pair_scores
from segalias_jax.scoring.counting import CountSettings
from segalias_jax.scoring.matching import Pair
from segalias_jax.scoring.reports import binary as binary_report
from segalias_jax.scoring.reports import binary_page, overlays, page
from segalias_jax.scoring.reports import tables as report
from segalias_jax.scoring.reports.overlays import HIT_COLORS, KIND_COLORS, Sample

FILES = ("report.md", "report.json", "per_image.csv", "report.html")
"""What `FolderReport.save` writes."""

_LISTED = 20
_MATRIX = 40  # classes of the largest confusion matrix that is shown


@dataclasses.dataclass(frozen=True)
class FolderReport:
    """Scores of a folder of predictions.

    Attributes:
      state: the counts, mergeable with those of other folders.
      count_settings: rules and widths they were made with.
      pairs: the scored files, in the order of their names.
      sums: of each picture what `pair_scores.areas` gives.
      left_out: (file or name, reason) of what was not scored.
      classes: names of the classes.
      settings: what else a reader must know, by name.
      read: decodes the maps of a pair.
      bins: of binary segmentation, what `probabilities.count_probabilities` gives of each picture.
      offsets: distances of shifted predictions in pixels.
      offset_sums: of each picture what `offsets.count_offsets` gives.
    """

    state: SegmentationTotals
    count_settings: CountSettings
    pairs: tuple[Pair, ...]
    sums: Int[np.ndarray, "images rows classes"]
    left_out: tuple[tuple[str, str], ...]
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    read: Callable[[Pair], tuple[np.ndarray, np.ndarray]]
    bins: Int[np.ndarray, "images 2 bins"] | None = None
    offsets: tuple[int, ...] = ()
    offset_sums: Int[np.ndarray, "images offsets 3 classes"] | None = None

    @functools.cached_property
    def scores(self) -> dict[str, Any]:
        """All scores over all pictures: those of `SegmentationTotals.compute`, and `extra`."""
        return self.state.compute() | self.extra

    @property
    def has_inner(self) -> bool:
        """Whether Boundary IoU was counted."""
        return bool(self.count_settings.boundary_iou)

    def _counts(self, sums: Int[np.ndarray, "*images rows classes"]) -> ClassCounts:
        tolerances = self.count_settings.tolerances
        return pair_scores.class_counts(sums, tolerances, inner=self.has_inner)

    def extra_rows(self) -> list[Score]:
        """Returns the rows of the scores that have a distance of their own."""
        rows = [row for row in rows_of(self._counts(self.sums[:1])) if row.needs]
        return sorted(rows, key=lambda row: row.rank)

    def summary_rows(self) -> list[Score]:
        """Returns the rows of the scores that stand first."""
        return [*report.table_rows(self.state.compute()), *self.extra_rows()]

    @functools.cached_property
    def extra(self) -> dict[str, Any]:
        """Boundary IoU and boundary F-scores, means and per class."""
        total = self._counts(self.sums.sum(0, dtype=np.int64)[None])
        rows = self.extra_rows()
        means = {row.name: row.of_each(total)[0] for row in rows}
        return means | {r.per_class: r.of_classes(total)[0] for r in rows if r.per_class}

    @functools.cached_property
    def binary(self) -> BinaryTotals | None:
        """Scores of binary segmentation; None for other numbers of classes."""
        if self.bins is None:
            return None
        return BinaryTotals.empty(self.bins.shape[-1]).add(self.bins)

    @functools.cached_property
    def per_image(self) -> dict[str, np.ndarray]:
        """Mean scores of each picture by itself; classes that it lacks are in no mean."""
        counts = self._counts(self.sums)
        rows = [row for row in rows_of(counts) if "image" in row.shown]
        rows.sort(key=lambda row: row.average != "classes")  # means first
        found = {"pixels": counts.all.true.sum(-1)}
        found |= {row.per_image: row.of_each(counts) for row in rows}
        return found | ({} if self.bins is None else binary_report.foreground_scores(self.bins))

    def table(self) -> str:
        """The score tables in Markdown, which also read well in a terminal."""
        tables = (report.score_table(self.scores, self.classes), *self._sections())
        return "\n\n".join(tables)

    def _sections(self) -> list[str]:
        """What follows the first tables, in Markdown."""
        sections = [self._extra_table()] if self.extra else []
        if self.binary is not None:
            sections.append(binary_report.binary_table(self.binary.compute(), self.classes[1]))
        if self.offset_sums is not None:
            sections.append(offsets.offset_table(self.offsets, self.offset_sums))
        return sections

    def save(self, folder: str | Path, *, worst: int = 8) -> None:
        """Writes `report.md`, `report.json`, `per_image.csv` and `report.html`.

        Args:
          folder: where to; made when missing.
          worst: number of pictures in `report.html`.

        Raises:
          InputError: one of these files is there already.
        """
        folder = Path(folder)
        report.check_unused(folder, FILES)
        binary = self.binary.compute() if self.binary is not None else {}
        shifted = {}
        if self.offset_sums is not None:
            shifted = offsets.offset_numbers(self.offsets, self.offset_sums)
        report.write_report(
            folder,
            self.state,
            title=self.title,
            classes=self.classes,
            settings=self.settings,
            extra=self.extra | binary | shifted,
            extra_rules=self.rules(),
            sections=[*self._sections(), *self._left_out_section()],
        )
        write_text(folder / "per_image.csv", self._csv())
        write_text(folder / "report.html", _folder_page(self, worst=worst))

    @property
    def title(self) -> str:
        """Headline of the report."""
        return f"Scores of {self.settings['predictions']}"

    @property
    def palette(self) -> UInt8[np.ndarray, "classes 3"]:
        """RGB color of each class: those of Cityscapes for its classes, dark and bright for two."""
        if len(self.classes) == 2:
            return np.asarray([[40] * 3, [235] * 3], np.uint8)
        known = self.classes == CITYSCAPES[0]
        return CITYSCAPES[1] if known else overlays.spread_palette(len(self.classes))

    def rules(self) -> dict[str, str]:
        """What the further scores follow, in words, by topic."""
        settings = self.count_settings
        edges = "ignored pixels bound objects" if settings.rules.ignore == "reference" else (
            "ignored pixels bound nothing"
        )  # fmt: skip
        result = {
            "per image": "each picture is scored by itself over the classes in its two maps; "
            "these scores do not average to those of the whole"
        }
        if settings.boundary_iou:
            wide = f"{settings.boundary_iou:g} pixels"
            if settings.boundary_iou < 1:
                wide = f"{100 * settings.boundary_iou:g} % of the picture's diagonal"
            result["BoundaryIoU_Cheng"] = (
                "Boundary IoU of Cheng et al. 2021: per class, IoU of the parts of the predicted "
                f"and of the true area within {wide} (in a square) of their own boundary; the "
                f"picture's border bounds objects, {edges}, and the prediction is ignored where "
                "the label is; not the published BIoU"
            )
        if settings.tolerances:
            result["BoundaryF"] = (
                "per class, F of precision and recall of boundary pixels (any of the 4 neighbors "
                "has another class; the picture's border is none), met where the other map has a "
                f"boundary pixel of that class within so many pixels (Euclidean); {edges}, and "
                "the prediction is ignored where the label is; pixels are summed over all pictures "
                "first"
            )
        if self.binary is not None:
            result |= binary_report.binary_rules(self.binary)
        return result | (offsets.RULES if self.offsets else {})

    def worst(self, count: int) -> list[int]:
        """Indices of the pictures with the lowest mIoU of their own, the lowest first.

        Of binary segmentation it is the Dice of the foreground.
        """
        source = "classes" if self.bins is None else "foreground"
        name = rows_shown("caption", source=source)[0].per_image
        order = np.argsort(np.nan_to_num(self.per_image[name], nan=2), kind="stable")
        return order[:count].tolist()

    def sample(self, index: int) -> tuple[Sample, str]:
        """Reads one pair again, with its image where there is a fitting one, else a black one.

        Returns:
          The pictures, and why the image is missing, if it is.
        """
        pair = self.pairs[index]
        prediction, label = self.read(pair)
        image, remark = np.zeros((*label.shape, 3), np.uint8), ""
        if pair.image:
            try:
                height, width = image_size(pair.image)
                if (height, width) == label.shape:
                    image = read_image(pair.image)
                else:
                    remark = f"{pair.image} has {width}x{height} pixels, its label another size"
            except InputError as error:
                remark = str(error)
        return Sample(image, label, prediction, pair.name), remark

    def _extra_table(self) -> str:
        rows = self.extra_rows()
        cells = [
            ["class", *(row.class_title or row.title for row in rows)],
            ["mean", *(report.shown_value(row, self.extra[row.name]) for row in rows)],
        ]
        for i, title in enumerate(self.classes):
            values = (
                report.shown_value(row, self.extra[row.per_class][i]) if row.per_class else "-"
                for row in rows
            )
            cells.append([title, *values])
        return report.markdown_table(cells, names=True)

    def _left_out_section(self) -> list[str]:
        if not self.left_out:
            return []
        lines = [f"- {name}: {reason}" for name, reason in self.left_out]
        return [f"## Left out\n\n{len(lines)} not scored:\n\n" + "\n".join(lines)]

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["name", *self.per_image])
        for i, pair in enumerate(self.pairs):
            values = (column[i].item() for column in self.per_image.values())
            writer.writerow([pair.name, *("" if math.isnan(v) else repr(v) for v in values)])
        return text.getvalue()

    def left_out_text(self) -> str:
        """The files that were left out, for a terminal; empty when none was."""
        if not self.left_out:
            return ""
        lines = [f"  {name}: {reason}" for name, reason in self.left_out[:_LISTED]]
        rest = len(self.left_out) - _LISTED
        lines += [f"  and {rest} more, see report.md"] if rest > 0 else []
        return f"left out {len(self.left_out)}:\n" + "\n".join(lines)


def _folder_page(result: FolderReport, *, worst: int) -> str:
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
    special, left_out = [], []
    if result.binary is not None:
        special.append(binary_page.foreground_section(result.binary, result.classes[1]))
    if result.offset_sums is not None:
        special.append(binary_page.offset_section(result.offsets, result.offset_sums))
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
            page.section("Worst images first", *_pictures(result, worst)),
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
        if not result.pairs[index].image or remark:
            titled = titled[1:]
        remark = f" ({remark})" if remark else ""
        parts.append(page.four_pictures(f"{sample.name}: {caption}{remark}", titled))
    return parts


def _hex(color: Sequence[int] | np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
