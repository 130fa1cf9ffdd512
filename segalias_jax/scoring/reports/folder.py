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
from segalias_jax.metrics import BinaryScores, SegmentationScores
from segalias_jax.scoring import offsets, pair_scores
from segalias_jax.scoring.counting import CountSettings
from segalias_jax.scoring.matching import Pair
from segalias_jax.scoring.reports import binary as binary_report
from segalias_jax.scoring.reports import binary_page, overlays, page
from segalias_jax.scoring.reports import tables as report
from segalias_jax.scoring.reports.overlays import HIT_COLORS, KIND_COLORS, Sample

FILES = ("report.md", "report.json", "per_image.csv", "report.html")
"""What `FolderReport.save` writes."""

_CAPTION = ("mIoU", "aAcc", "BIoU", "FErr", "MErr", "DErr")
_TWO_CAPTION = ("Dice", "IoU", "precision", "recall")
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
      bins: of two classes, what `probabilities.count_probabilities` gives of each picture.
      offsets: distances of shifted predictions in pixels.
      offset_sums: of each picture what `offsets.count_offsets` gives.
    """

    state: SegmentationScores
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
        """All scores over all pictures: those of `SegmentationScores.compute`, and `extra`."""
        return self.state.compute() | self.extra

    @functools.cached_property
    def extra(self) -> dict[str, Any]:
        """Boundary IoU and boundary F-scores, means and per class."""
        total, tolerances = self.sums.sum(0, dtype=np.int64), self.count_settings.tolerances
        means = pair_scores.mean_scores(total, tolerances)
        per_class = pair_scores.class_scores(total, tolerances)
        names = [f"BoundaryF_{t}px" for t in tolerances]
        names += ["BoundaryIoU_Cheng"] if self.count_settings.inner_width else []
        return {f"m{n}": means[f"m{n}"][()] for n in names} | {n: per_class[n] for n in names}

    @functools.cached_property
    def binary(self) -> BinaryScores | None:
        """Scores of two classes; None for other numbers of them."""
        return None if self.bins is None else binary_report.add_images(self.bins)

    @functools.cached_property
    def per_image(self) -> dict[str, np.ndarray]:
        """Mean scores of each picture by itself; classes that it lacks are in no mean."""
        means = pair_scores.mean_scores(self.sums, self.count_settings.tolerances)
        dropped = set() if self.count_settings.inner_width else {"mBoundaryIoU_Cheng"}
        found = {"pixels": self.sums[:, 1].sum(-1)} | {
            name: values for name, values in means.items() if name not in dropped
        }
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
        report.write_whole(folder / "per_image.csv", self._csv())
        report.write_whole(folder / "report.html", folder_page(self, worst=worst))

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
        if settings.inner_width:
            wide = f"{settings.inner_width:g} pixels"
            if settings.inner_width < 1:
                wide = f"{100 * settings.inner_width:g} % of the picture's diagonal"
            result["BoundaryIoU_Cheng"] = (
                "Boundary IoU of Cheng et al. 2021: per class, IoU of the parts of the predicted "
                f"and of the true area within {wide} (in a square) of their own boundary; the "
                f"picture's border bounds objects, {edges}; not the published BIoU"
            )
        if settings.tolerances:
            result["BoundaryF"] = (
                "per class, F of precision and recall of boundary pixels (any of the 4 neighbors "
                "has another class; the picture's border is none), met where the other map has a "
                f"boundary pixel of that class within so many pixels (Euclidean); {edges}; "
                "predicted boundaries under ignored pixels are not counted, but may be met; pixels "
                "are summed over all pictures first"
            )
        if self.binary is not None:
            result |= binary_report.binary_rules(self.binary)
        return result | (offsets.RULES if self.offsets else {})

    def worst(self, count: int) -> list[int]:
        """Indices of the pictures with the lowest mIoU of their own, the lowest first.

        Of two classes it is the Dice of the foreground.
        """
        name = "mIoU" if self.bins is None else "foreground_Dice"
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
        names = [name for name, value in self.extra.items() if np.ndim(value)]
        header = ["class", *(heading(name) for name in names)]
        mean = ["mean", *(report.percent(self.extra[f"m{name}"]) for name in names)]
        rows = [
            [title, *(report.percent(self.extra[name][i]) for name in names)]
            for i, title in enumerate(self.classes)
        ]
        return report.markdown_table([header, mean, *rows], names=True) if names else ""

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


def folder_page(result: FolderReport, *, worst: int) -> str:
    """Writes `report.html`.

    Args:
      result: what to report.
      worst: number of pictures.

    Returns:
      The file's text.
    """
    scores, names = result.scores, report.SUMMARY + tuple(
        key for key, value in result.extra.items() if np.ndim(value) == 0
    )  # fmt: skip
    columns = report.CLASS_COLUMNS | {
        key: heading(key) for key, value in result.extra.items() if np.ndim(value)
    }
    rows = [
        [name, *(report.percent(scores[key][i]) for key in columns)]
        for i, name in enumerate(result.classes)
    ]
    chosen = [key for key in ("IoU", "boundary_IoU", "BoundaryIoU_Cheng") if key in columns]
    rules = report.scoring_rules(result.state) | result.rules()
    return page.whole_page(
        result.title,
        [
            page.paragraph("All numbers in per cent; of FErr, MErr and DErr, less is better."),
            page.tiles([(heading(name), report.percent(scores[name])) for name in names]),
            *binary_page.sections(result),
            page.section("Share of all pixels", _error_bar(scores)),
            page.section(
                "Classes",
                page.bars(result.classes, [(columns[k], scores[k].tolist()) for k in chosen]),
            ),
            page.section("All scores by class", page.table([["class", *columns.values()], *rows])),
            page.section("What is taken for what", *_confusions(result)),
            page.section("Worst images first", *_pictures(result, worst)),
            *_left_out_page(result.left_out),
            page.section("How it was scored", page.definitions(list(rules.items()))),
            page.section(
                "Settings", page.definitions([(k, str(v)) for k, v in result.settings.items()])
            ),
        ],
    )


def _error_bar(scores: Mapping[str, Any]) -> str:
    kinds = [(name, scores[name.replace(" ", "_")], _hex(c)) for name, c in KIND_COLORS.items()]
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
        shares = wrong.flat[i] / counts[true].sum(), wrong.flat[i] / wrong.sum()
        rows.append([names[true], names[predicted], *map(report.percent, shares)])
    parts = [page.table([header, *rows])] if rows else []
    if len(present) > _MATRIX:
        return [*parts, page.paragraph(f"report.json has the matrix of all {len(names)} classes.")]
    matrix = page.confusion([names[i] for i in present], counts[np.ix_(present, present)])
    return [*parts, page.paragraph("Per cent of the true pixels of each class (rows):"), matrix]


def _pictures(result: FolderReport, count: int) -> list[str]:
    kinds, names = {"correct": (70, 70, 70)} | KIND_COLORS, _CAPTION
    if result.binary is not None:
        kinds, names = HIT_COLORS, tuple(f"foreground_{name}" for name in _TWO_CAPTION)
    parts = [page.legend([*((name, _hex(c)) for name, c in kinds.items()), ("ignored", "hatch")])]
    if len(result.classes) <= _MATRIX:
        parts.append(page.legend(list(zip(result.classes, map(_hex, result.palette), strict=True))))
    for index in result.worst(count):
        sample, remark = result.sample(index)
        rules = result.state.rules
        painted = overlays.panels(sample, result.palette, rules)
        if result.binary is not None:
            maps = sample.image, sample.label, sample.prediction
            painted[-1] = overlays.hit_overlay(*maps, rules=rules)
        caption = ", ".join(
            f"{heading(name)} {report.percent(result.per_image[name][index])}" for name in names
        )
        titled = list(zip(overlays.TITLES, painted, strict=True))
        if not result.pairs[index].image or remark:
            titled = titled[1:]
        remark = f" ({remark})" if remark else ""
        parts.append(page.four_pictures(f"{sample.name}: {caption}{remark}", titled))
    return parts


def _left_out_page(left_out: Sequence[tuple[str, str]]) -> list[str]:
    return [page.section("Left out", page.definitions(left_out))] if left_out else []


def _hex(color: Sequence[int] | np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def heading(name: str) -> str:
    """Name of a score for people.

    Example:
      >>> heading("mBoundaryF_3px")
      'mean boundary F 3 px'
    """
    for key, text in (("BoundaryIoU_Cheng", "Boundary IoU (Cheng)"), ("BoundaryF_", "boundary F ")):
        if key in name:
            mean = "mean " * name.startswith("m")
            return mean + name.removeprefix("m").replace(key, text).replace("px", " px")
    return name.removeprefix("foreground_")
