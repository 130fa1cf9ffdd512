"""Tables, figure and page of an aliasing analysis."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from segalias_jax.evaluation.aliasing import kinds
from segalias_jax.evaluation.aliasing.analysis import BINS, PATCH, AliasingAnalysis
from segalias_jax.evaluation.aliasing.figures import (
    bins_figure,
    correlation_text,
    distributions_figure,
    words_of,
)
from segalias_jax.files import write_bytes, write_text
from segalias_jax.notebook import ShownInNotebooks
from segalias_jax.scoring.reports import bootstrap, page
from segalias_jax.scoring.reports import tables as report

FILES = (
    "aliasing.md",
    "aliasing.json",
    "aliasing_per_image.csv",
    "aliasing.svg",
    "aliasing_kinds.svg",
    "aliasing.html",
)
"""What `AliasingReport.save` writes."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture beside a report.

    Attributes:
      path: of its file, from the report's folder.
      title: what it is of.
      caption: what is seen.
      data: the file.

    Example:
      >>> Picture("aliasing_pictures/a_gates.png", "gates, a", "Bright is 1.", b"").title
      'gates, a'
    """

    path: str
    title: str
    caption: str
    data: bytes


@dataclasses.dataclass(frozen=True)
class AliasingReport(ShownInNotebooks):
    """An analysis with what a reader must know.

    Attributes:
      analysis: the numbers.
      title: headline.
      settings: of network and data, by name.
      pictures: of some images.
    """

    analysis: AliasingAnalysis
    title: str
    settings: Mapping[str, Any]
    pictures: tuple[Picture, ...] = ()

    @functools.cached_property
    def scores(self) -> list[dict[str, Any]]:
        """Scores of each operator."""
        return self.analysis.score_rows()

    @functools.cached_property
    def correlations(self) -> list[dict[str, Any]]:
        """Correlation of scores and errors for each operator and error."""
        return self.analysis.correlations()

    @functools.cached_property
    def bins(self) -> list[dict[str, Any]]:
        """Errors of each bin of patches."""
        return self.analysis.bins()

    @functools.cached_property
    def distributions(self) -> list[dict[str, Any]]:
        """Scores of the pixels of each kind of error."""
        return kinds.score_distributions(self.analysis)

    @functools.cached_property
    def differences(self) -> list[dict[str, Any]]:
        """Median scores of displacements less those of the other kinds."""
        return kinds.median_differences(self.analysis)

    def table(self) -> str:
        """Scores, correlations and where displacements sit, in Markdown.

        It also reads well in a terminal.
        """
        cells = self._score_cells(), self._correlation_cells(), self._difference_cells()
        tables = [report.markdown_table(rows, names=True) for rows in cells]
        return "\n\n".join([*tables, kinds.answer(self.differences)])

    def save(self, folder: Path) -> None:
        """Writes `FILES`, and the pictures.

        Args:
          folder: where to; made when missing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        figures = (
            bins_figure(self.bins, self.correlations),
            distributions_figure(self.distributions),
        )
        contents = (self._markdown(), self._json(), self._csv(), *figures, self._page())
        for name, text in zip(FILES, contents, strict=True):
            write_text(folder / name, text)
        for picture in self.pictures:
            (folder / picture.path).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / picture.path, picture.data)

    def rules(self) -> dict[str, str]:
        """What the numbers mean, by topic."""
        patches, images = int(self.analysis.near.sum()), len(self.analysis.names)
        return {
            "aliasing score": "power above the operator's Nyquist frequency (outside the square of "
            "that half width in the spectrum) over all power, summed over channels, in per cent; "
            "constants count in the total",
            "before, after": "of the feature map that enters the operator's filter, and of the one "
            "that leaves it and is sampled; the same where there is no filter",
            "patches": f"{images} images cut into patches of about {PATCH}x{PATCH} pixels, of "
            f"which {patches} have a boundary near; a patch's score is that share of its own "
            "pixels, before the filter, frequencies being those of the whole map",
            "errors": "FErr, MErr and DErr by their definition on the pixels of one patch: one "
            "minus the mean accuracy of its classes near predicted boundaries, near true ones, "
            "and near both; patches without such pixels have no value",
            "bins": f"{BINS} with equal numbers of patches, in the order of their scores; an error "
            "is the mean over the patches of a bin",
            "correlation": "Spearman's, of score and error over all patches",
            "kinds of error": "disjoint: a wrong pixel is near a predicted boundary only (false "
            "response), near a true one only (merging mistake), near both (displacement) or near "
            "none (interior error), as overlays paint it; overlapping: wrong near a predicted "
            "boundary, and near a true one, displacements being in both, as FErr and MErr count; "
            "cause: that of error types, of which each wrong pixel has one",
            "scores of pixels": "each pixel has the score of its patch, so a patch counts as often "
            "as it has pixels of the kind; a quantile is the lowest score that so many pixels do "
            "not exceed",
            "difference of medians": "median score of displaced pixels less that of the others, "
            "all as disjoint sets, in per cent points of the score",
            "intervals": f"in brackets, {bootstrap.describe()}",
        }

    def _score_cells(self) -> list[list[str]]:
        rows = [["operator", "sampling rate", "Nyquist", "filter", "score before", "after"]]
        for row in self.scores:
            cells = [row["name"], f"{row['sampling_rate']:.4f}", f"{row['nyquist_frequency']:.4f}"]
            cells.append(row["filter"])
            for moment in ("before", "after"):
                score = row[moment]
                cells.append(bootstrap.with_interval(score["mean"], score["low"], score["high"]))
            rows.append(cells)
        return rows

    def _correlation_cells(self) -> list[list[str]]:
        titles = (f"{words_of(error)} ({error})" for error in self.analysis.errors)
        rows = [["correlation with", *titles]]
        for operator in self.analysis.operators:
            own = [row for row in self.correlations if row["operator"] == operator.name]
            rows.append([f"score, {operator.name}", *map(correlation_text, own)])
        return rows

    def _bin_cells(self, operator: str) -> list[list[str]]:
        rows = [["bin", "scores", "patches", *self.analysis.errors]]
        for row in self.bins:
            if row["operator"] == operator:
                span = f"{row['from']:.2f} to {row['to']:.2f}"
                cells = [str(row["bin"]), span, str(row["patches"])]
                for error in self.analysis.errors:
                    value, low, high = (100 * row[error][key] for key in ("value", "low", "high"))
                    cells.append(bootstrap.with_interval(value, low, high))
                rows.append(cells)
        return rows

    def _difference_cells(self) -> list[list[str]]:
        than = dict.fromkeys(row["than"] for row in self.differences)
        rows = [["median of displacements less that of", *than]]
        for operator in self.analysis.operators:
            own = [row for row in self.differences if row["operator"] == operator.name]
            rows.append([f"score, {operator.name}", *map(correlation_text, own)])
        return rows

    def _distribution_cells(self, operator: str) -> list[list[str]]:
        shown = ("5%", "25%", "50%", "75%", "95%")
        rows = [["pixels", "set", "number", *(f"{level[:-1]} %" for level in shown), "mean"]]
        for row in self.distributions:
            if row["operator"] == operator:
                values = [row["quantiles"][level] for level in shown] + [row["mean"]]
                numbers = ("-" if math.isnan(value) else f"{value:.2f}" for value in values)
                rows.append([row["kind"], row["set"], f"{row['pixels']:,}", *numbers])
        return rows

    def _markdown(self) -> str:
        tables = [
            f"## Errors by score, {o.name}\n\n" + report.markdown_table(self._bin_cells(o.name))
            for o in self.analysis.operators
        ]
        parts = [
            f"# {self.title}",
            "Scores and errors in per cent.",
            self.table(),
            f"![errors by aliasing score]({FILES[3]})",
            f"![aliasing scores by kind of error]({FILES[4]})",
            *tables,
            *(
                f"## Scores by kind of error, {o.name}\n\n"
                + report.markdown_table(self._distribution_cells(o.name))
                for o in self.analysis.operators
            ),
            *(
                f"## {report.escaped(p.title)}\n\n{p.caption}\n\n![{p.title}]({quote(p.path)})"
                for p in self.pictures
            ),
            "## What the numbers mean\n\n" + report.bullets(self.rules()),
            "## Settings\n\n" + report.bullets(self.settings),
        ]
        return "\n\n".join(parts) + "\n"

    def _json(self) -> str:
        content = {
            "title": self.title,
            "settings": {key: str(value) for key, value in self.settings.items()},
            "rules": self.rules(),
            "operators": self.scores,
            "correlations": self.correlations,
            "bins": self.bins,
            "kinds": self.distributions,
            "median_differences": self.differences,
            "answer": kinds.answer(self.differences),
        }
        return report.json_text(content)

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [o.name for o in self.analysis.operators]
        columns = [f"{name} {moment}" for name in names for moment in ("before", "after")]
        writer.writerow(["name", *columns])
        for name, scores in zip(self.analysis.names, self.analysis.scores, strict=True):
            writer.writerow([name, *(f"{score:.6g}" for score in scores.ravel())])
        return text.getvalue()

    def _page(self) -> str:
        panels, curves = [], []
        for name in (operator.name for operator in self.analysis.operators):
            figure = bins_figure(
                [row for row in self.bins if row["operator"] == name],
                [row for row in self.correlations if row["operator"] == name],
            )
            panels.append((f"errors by aliasing score, {name}", figure))
            own = [row for row in self.distributions if row["operator"] == name]
            curves.append((f"scores by kind of error, {name}", distributions_figure(own)))
        by_kind = [
            part
            for o in self.analysis.operators
            for part in (
                page.paragraph(f"{o.name}:"),
                page.table(self._distribution_cells(o.name), words=2),
            )
        ]
        tables = [
            part
            for o in self.analysis.operators
            for part in (page.paragraph(f"{o.name}:"), page.table(self._bin_cells(o.name)))
        ]
        about = [(key, str(value)) for key, value in self.settings.items()]
        sections = [
            page.paragraph("Scores and errors in per cent; intervals in brackets."),
            page.section("Aliasing scores", page.table(self._score_cells())),
            page.section("Errors of patches by their aliasing score", page.drawings(panels)),
            page.section("Correlation over patches", page.table(self._correlation_cells())),
            page.section(
                "Scores by kind of error",
                page.paragraph(kinds.answer(self.differences)),
                page.drawings(curves),
                page.table(self._difference_cells()),
                *by_kind,
            ),
            page.section("All bins", *tables),
            *(
                page.section(p.title, page.paragraph(p.caption), page.links([(p.path, p.path)]))
                for p in self.pictures
            ),
            page.section("What the numbers mean", page.definitions(list(self.rules().items()))),
            page.section("Settings", page.definitions(about)),
        ]
        return page.whole_page(self.title, sections)
