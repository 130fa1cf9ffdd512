"""What comes out of scoring images: tables, files, and the images that went worst."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.data.classes import CITYSCAPES
from segalias_jax.data.files import image_size, read_image
from segalias_jax.errors import InputError
from segalias_jax.metrics.lookup import rows_of, rows_shown, smaller_is_better
from segalias_jax.metrics.rows import Score
from segalias_jax.metrics.totals import BinaryTotals, SegmentationTotals
from segalias_jax.notebook import ShownInNotebooks
from segalias_jax.scoring import offsets
from segalias_jax.scoring.counting import CountSettings
from segalias_jax.scoring.counts_file import CountsFile
from segalias_jax.scoring.distance_report import curve_table, distance_rules, distance_table
from segalias_jax.scoring.image_counts import CountPlan, ImageCounts
from segalias_jax.scoring.image_set import ImageSet, plan_counts
from segalias_jax.scoring.matching import Pair
from segalias_jax.scoring.reports import binary as binary_report
from segalias_jax.scoring.reports import content, csv_files, overlays
from segalias_jax.scoring.reports import tables as report
from segalias_jax.scoring.reports.folder_page import folder_page
from segalias_jax.scoring.reports.overlays import Sample
from segalias_jax.scoring.reports.saving import save_files
from segalias_jax.scoring.reports.summary import first_screen
from segalias_jax.scoring.reports.views.report_page import PICTURES
from segalias_jax.typing import Int, Num, UInt8

FILES = (
    "report.md",
    "per_image.csv",
    "per_image_class.csv",
    "objects.csv",
    "report.html",
    "report.json",
)
"""What `FolderReport.save` writes; `report.json` comes last."""

_LISTED = 20


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclasses.dataclass(frozen=True)
class FolderReport(ShownInNotebooks):
    """Scores of images, all of which follow from the counts of each.

    Attributes:
      images: counts of the images, in the order of their names.
      plan: what was counted.
      classes: names of the classes.
      settings: what else a reader must know, by name.
      left_out: (file or name, reason) of what was not scored.
      files: the scored files, in the order of the images; empty where they are not known.
      read: decodes the maps of a pair; None: nothing is shown of images.
      command: the command line that made this report; empty: there was none.
      date: when it was made, in ISO 8601.
    """

    images: Sequence[ImageCounts]
    plan: CountPlan
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    left_out: tuple[tuple[str, str], ...] = ()
    files: Sequence[Pair] = ()
    read: Callable[[Pair], tuple[np.ndarray, np.ndarray]] | None = None
    command: str = ""
    date: str = dataclasses.field(default_factory=_now)

    @functools.cached_property
    def whole(self) -> ImageSet:
        """Sums over all images, and a few numbers of each."""
        return ImageSet.of(self.images, self.plan)

    @property
    def pairs(self) -> Sequence[Pair]:
        """The scored files, or where they are not known, the names of the images."""
        return self.files or [Pair(name, Path(name), Path(name)) for name in self.whole.names]

    @property
    def shows_images(self) -> bool:
        """Whether images can be read again; those of merged reports cannot."""
        return self.read is not None

    @property
    def state(self) -> SegmentationTotals:
        """The pixels of all images by region and class, mergeable with those of other folders."""
        return self.whole.state

    @property
    def count_settings(self) -> CountSettings:
        """Rules and widths of the scores."""
        return self.plan.settings

    @property
    def binary(self) -> BinaryTotals | None:
        """Scores of binary segmentation; None for other numbers of classes."""
        return self.whole.binary

    @property
    def per_image(self) -> dict[str, Num[np.ndarray, " images"]]:
        """Mean scores of each image by itself; classes that it lacks are in no mean."""
        return self.whole.scores

    @functools.cached_property
    def sums(self) -> Int[np.ndarray, "images rows classes"]:
        """What `pair_scores.areas` gives of each image."""
        return np.stack([one.sums for one in self.images])

    @functools.cached_property
    def bins(self) -> Int[np.ndarray, "images 2 bins"] | None:
        """Of binary segmentation, pixels of each image by true class and bin of probability."""
        if not self.plan.bins:
            return None
        return np.stack([one.bins for one in self.images if one.bins is not None])

    def lines(self) -> Iterator[bytes]:
        """Yields what `ImageCounts.to_json` writes of each image."""
        if isinstance(self.images, CountsFile):
            return self.images.lines()
        return (one.to_json().encode("ascii") for one in self.images)

    @functools.cached_property
    def scores(self) -> dict[str, Any]:
        """All scores over all images: those of `SegmentationTotals.compute`, and `extra`."""
        return self.state.compute() | self.extra

    @functools.cached_property
    def further(self) -> dict[str, Any]:
        """Scores of binary segmentation, of shifted predictions, and of distances."""
        return content.further_scores(self)

    def extra_rows(self) -> list[Score]:
        """Returns the rows of the scores that have a distance of their own."""
        rows = [row for row in rows_of(plan_counts(self.whole.sums, self.plan)) if row.needs]
        return sorted(rows, key=lambda row: row.rank)

    @functools.cached_property
    def extra(self) -> dict[str, Any]:
        """Boundary IoU and boundary F-scores, means and per class."""
        total = plan_counts(self.whole.sums[None], self.plan)
        rows = self.extra_rows()
        means = {row.name: row.of_each(total)[0] for row in rows}
        return means | {r.per_class: r.of_classes(total)[0] for r in rows if r.per_class}

    def content(self, *, most_images: int | None = None) -> dict[str, Any]:
        """Returns the content of `report.json`, but for the counts of each image.

        Args:
          most_images: of more images, only the worst are listed; None: all are.

        Returns:
          See `reports.content`.
        """
        listed = None
        if most_images is not None and most_images < len(self.images):
            listed = sorted(self.worst(most_images))
        return content.report_content(self, images=listed)

    def table(self) -> str:
        """The sentence and the tables in Markdown, which also read well in a terminal."""
        tables = (report.score_table(self.scores, self.classes), *self._sections())
        return "\n\n".join(filter(None, (self.first_screen(), *tables)))

    def first_screen(self) -> str:
        """What causes most errors, in a sentence and a table; empty where it was not counted."""
        return first_screen(content.report_content(self, images=()))

    def _sections(self) -> list[str]:
        """What follows the first tables, in Markdown."""
        sections = [self._extra_table()] if self.extra else []
        if self.binary is not None:
            sections.append(binary_report.binary_table(self.binary.compute(), self.classes[1]))
        if self.whole.offsets is not None:
            sections.append(
                offsets.offset_table(
                    self.plan.offsets, self.whole.offsets, direction=self.plan.offset_direction
                )
            )
        apart, settings = self.whole.distances, self.plan.distances
        if apart is not None and settings is not None:
            names = [report.escaped(name) for name in self.classes]
            sections.append(distance_table(apart, settings, names))
            if settings.widths:
                sections.append(curve_table(apart, settings))
        return sections

    def save(self, folder: str | Path, *, worst: int = PICTURES, overwrite: bool = False) -> None:
        """Writes the files of `FILES`; all appear, or none.

        Args:
          folder: where to; made when missing.
          worst: most images in `report.html`: the worst, and those with most of each cause.
          overwrite: replace a report that is there.

        Raises:
          InputError: one of these files is there already.
          OSError: the disk is full or cannot be written; nothing is changed.
        """
        folder = Path(folder)
        report.check_unused(folder, () if overwrite else FILES)
        files = {
            "report.md": lambda: [self._markdown().encode("utf-8")],
            "per_image.csv": lambda: csv_files.image_csv(self),
            "per_image_class.csv": lambda: csv_files.class_csv(self),
            "objects.csv": lambda: csv_files.object_csv(self),
            "report.html": lambda: [folder_page(self, pictures=worst).encode("utf-8")],
            "report.json": lambda: content.written_content(self),
        }
        save_files(folder, files)

    def _markdown(self) -> str:
        rules = report.scoring_rules(self.state) | self.rules()
        made = [f"{len(self.images)} images", self.date, content.library()]
        made += [f"`{self.command.replace('`', '')}`"] if self.command else []
        parts = [
            f"# {report.escaped(self.title)}",
            self.first_screen(),
            f"{', '.join(made)}.",
            f"Scores in per cent; of {smaller_is_better()}, less is better.",
            report.score_table(self.scores, self.classes),
            report.error_fractions(self.scores),
            *self._sections(),
            *self._left_out_section(),
            "## How it was scored\n\n" + report.bullets(rules),
            "## Settings\n\n" + report.bullets(self.settings),
        ]
        return "\n\n".join(filter(None, parts)) + "\n"

    @property
    def title(self) -> str:
        """Headline of the report."""
        return f"Scores of {self.settings.get('predictions', 'images')}"

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
        if self.plan.distances is not None:
            result |= distance_rules(self.plan.distances)
        if self.plan.offsets:
            result["offsets"] = offsets.offset_rules(
                self.plan.offset_direction, self.plan.offset_edge
            )
        return result

    def worst(self, count: int) -> list[int]:
        """Indices of the pictures with the lowest mIoU of their own, the lowest first.

        Of binary segmentation it is the Dice of the foreground.
        """
        source = "foreground" if self.plan.bins else "classes"
        name = rows_shown("caption", source=source)[0].per_image
        order = np.argsort(np.nan_to_num(self.per_image[name], nan=2), kind="stable")
        return order[:count].tolist()

    def sample(self, index: int) -> tuple[Sample, str]:
        """Reads one pair again, with its image where there is a fitting one, else a black one.

        Returns:
          The pictures, and why the image is missing, if it is.

        Raises:
          InputError: files are not known, as of a merged report, or cannot be read any more.
        """
        if self.read is None:
            raise InputError(f"{self.whole.names[index]}: the files of this image are not known")
        pair = self.files[index]
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
            cells.append([report.escaped(title), *values])
        return report.markdown_table(cells, names=True)

    def _left_out_section(self) -> list[str]:
        if not self.left_out:
            return []
        lines = [f"- {report.escaped(n)}: {report.escaped(reason)}" for n, reason in self.left_out]
        return [f"## Left out\n\n{len(lines)} not scored:\n\n" + "\n".join(lines)]

    def left_out_text(self) -> str:
        """The files that were left out, for a terminal; empty when none was."""
        return left_out_text(self.left_out)


def left_out_text(left_out: Sequence[tuple[str, str]]) -> str:
    """Says what was not scored, for a terminal; "" where all was.

    Args:
      left_out: (file or name, reason) of each.

    Example:
      >>> print(left_out_text([("a.png", "no label")]))
      left out 1:
        a.png: no label
    """
    if not left_out:
        return ""
    lines = [f"  {name}: {reason}" for name, reason in left_out[:_LISTED]]
    rest = len(left_out) - _LISTED
    lines += [f"  and {rest} more, see report.md"] if rest > 0 else []
    return f"left out {len(left_out)}:\n" + "\n".join(lines)
