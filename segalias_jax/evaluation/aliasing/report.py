"""Tables, figure and page of an aliasing analysis."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segalias_jax.evaluation.aliasing.analysis import BINS, PATCH, AliasingAnalysis
from segalias_jax.files import write_text
from segalias_jax.metrics import find_score
from segalias_jax.notebook import ShownInNotebooks
from segalias_jax.scoring.reports import bootstrap, page
from segalias_jax.scoring.reports import tables as report

FILES = (
    "aliasing.md",
    "aliasing.json",
    "aliasing_per_image.csv",
    "aliasing.svg",
    "aliasing.html",
)
"""What `AliasingReport.save` writes."""

# A hundredth of a point is finer than any screen; what follows, and indents, are half of the file.
_DIGITS = re.compile(r"(\.\d\d)\d+|\n +")
_MARKERS = "os^Dvp"


@dataclasses.dataclass(frozen=True)
class AliasingReport(ShownInNotebooks):
    """An analysis with what a reader must know.

    Attributes:
      analysis: the numbers.
      title: headline.
      settings: of network and data, by name.
    """

    analysis: AliasingAnalysis
    title: str
    settings: Mapping[str, Any]

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

    def table(self) -> str:
        """Scores and correlations in Markdown, which also reads well in a terminal."""
        cells = self._score_cells(), self._correlation_cells()
        return "\n\n".join(report.markdown_table(rows, names=True) for rows in cells)

    def save(self, folder: Path) -> None:
        """Writes `FILES`.

        Args:
          folder: where to; made when missing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        figure = _bins_figure(self.bins, self.correlations)
        contents = (self._markdown(), self._json(), self._csv(), figure, self._page())
        for name, text in zip(FILES, contents, strict=True):
            write_text(folder / name, text)

    def rules(self) -> dict[str, str]:
        """What the numbers mean, by topic."""
        patches, images = len(self.analysis.image), len(self.analysis.names)
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
        titles = (f"{_words(error)} ({error})" for error in self.analysis.errors)
        rows = [["correlation with", *titles]]
        for operator in self.analysis.operators:
            own = [row for row in self.correlations if row["operator"] == operator.name]
            rows.append([f"score, {operator.name}", *map(_correlation, own)])
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
            *tables,
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
        panels = []
        for operator in self.analysis.operators:
            figure = _bins_figure(
                [row for row in self.bins if row["operator"] == operator.name],
                [row for row in self.correlations if row["operator"] == operator.name],
            )
            panels.append((f"errors by aliasing score, {operator.name}", figure))
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
            page.section("All bins", *tables),
            page.section("What the numbers mean", page.definitions(list(self.rules().items()))),
            page.section("Settings", page.definitions(about)),
        ]
        return page.whole_page(self.title, sections)


def _bins_figure(
    bins: Sequence[Mapping[str, Any]], correlations: Sequence[Mapping[str, Any]]
) -> str:
    """Draws the errors over the aliasing score, a panel for each operator.

    Args:
      bins: of `AliasingAnalysis.bins`.
      correlations: of `AliasingAnalysis.correlations`, of the same operators.

    Returns:
      The figure as SVG.

    Example:
      >>> import numpy as np
      >>> from segalias_jax.evaluation.aliasing.analysis import Operator
      >>> nine, stage = np.arange(9) / 9, Operator("stage 2", 0.7071, 0.3536, "daf")
      >>> analysis = AliasingAnalysis(
      ...     (stage,),
      ...     ("a",),
      ...     np.ones((1, 1, 2)),
      ...     np.zeros(9, int),
      ...     nine[:, None],
      ...     np.stack([nine] * 3, 1),
      ... )
      >>> _bins_figure(analysis.bins(), analysis.correlations())[:5]
      '<?xml'
    """
    operators = list(dict.fromkeys(row["operator"] for row in bins))
    columns = len(operators) if len(operators) < 4 else -(-len(operators) // 2)
    rows = -(-len(operators) // columns)
    figure = Figure(figsize=(0.3 + 3.8 * columns, 3.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in panels.flat[len(operators) :]:
        axes.remove()
    for axes, operator in zip(panels.flat, operators, strict=False):
        _draw_panel(
            axes,
            [row for row in bins if row["operator"] == operator],
            {row["error"]: row for row in correlations if row["operator"] == operator},
        )
        axes.set_title(operator, fontsize=11)
    # From 0 on, and with room for the legends.
    panels[0, 0].set_ylim(0, 1.3 * panels[0, 0].get_ylim()[1])
    for axes in panels[:, 0]:
        axes.set_ylabel("error of the patches [%]")
    text = io.StringIO()
    # Texts stay texts, which is smaller; nothing in the file depends on the day.
    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "segalias_jax",
            "font.sans-serif": ["DejaVu Sans", "sans-serif"],
        }
    ):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return _DIGITS.sub(lambda found: found[1] or "\n", text.getvalue())


def _draw_panel(
    axes: Axes, bins: Sequence[Mapping[str, Any]], correlations: Mapping[str, Mapping[str, Any]]
) -> None:
    x = [row["score"] for row in bins]
    for i, (error, correlation) in enumerate(correlations.items()):
        values, low, high = (
            [100 * row[error][key] for row in bins] for key in ("value", "low", "high")
        )
        color = page.SERIES_COLORS[i % len(page.SERIES_COLORS)]
        label = f"{_words(error)}, \N{GREEK SMALL LETTER RHO} {_correlation(correlation)}"
        marker = _MARKERS[i % len(_MARKERS)]
        axes.plot(x, values, marker=marker, ms=4, color=color, label=label)
        axes.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
    axes.set(xlabel="aliasing score of the patch [%]")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize=8)


def _words(error: str) -> str:
    return find_score(error).words or error


def _correlation(row: Mapping[str, Any]) -> str:
    return bootstrap.with_interval(row["value"], row["low"], row["high"], sign="+")
