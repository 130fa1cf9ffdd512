"""Figures of an aliasing analysis as SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segalias_jax.evaluation.aliasing.kinds import DISJOINT, LEVELS, OVERLAPPING
from segalias_jax.metrics import find_score
from segalias_jax.scoring.reports import bootstrap, page

# A hundredth of a point is finer than any screen; what follows, and indents, are half of the file.
_DIGITS = re.compile(r"(\.\d\d)\d+|\n +")
_MARKERS = "os^Dvp"
# Displacements are the same pixels in both sets.
_CURVES = (
    ("displacement", DISJOINT),
    ("false response", DISJOINT),
    ("merging mistake", DISJOINT),
    ("false response", OVERLAPPING),
    ("merging mistake", OVERLAPPING),
)


def bins_figure(
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
      >>> from segalias_jax.evaluation.aliasing.analysis import AliasingAnalysis, Operator
      >>> nine, stage = np.arange(9) / 9, Operator("stage 2", 0.7071, 0.3536, "daf")
      >>> analysis = AliasingAnalysis(
      ...     (stage,),
      ...     ("a",),
      ...     np.ones((1, 1, 2)),
      ...     np.zeros(9, int),
      ...     nine[:, None],
      ...     np.stack([nine] * 3, 1),
      ...     np.zeros((9, 5), int),
      ...     np.zeros((9, 8), int),
      ... )
      >>> bins_figure(analysis.bins(), analysis.correlations())[:5]
      '<?xml'
    """
    figure, panels = _panels(bins, "error of the patches [%]")
    for operator, axes in panels.items():
        _draw_bins(
            axes,
            [row for row in bins if row["operator"] == operator],
            {row["error"]: row for row in correlations if row["operator"] == operator},
        )
    # From 0 on, and with room for the legends.
    first = next(iter(panels.values()))
    first.set_ylim(0, 1.3 * first.get_ylim()[1])
    return _svg(figure)


def distributions_figure(distributions: Sequence[Mapping[str, Any]]) -> str:
    """Draws how the scores of each kind of error are distributed, a panel for each operator.

    A curve says which fraction of the pixels of a kind stands in patches of at most that score:
    of two kinds, the one farther to the right sits at higher scores. Marks are at the medians,
    which the legend names.

    Args:
      distributions: of `kinds.score_distributions`.

    Returns:
      The figure as SVG.

    Example:
      >>> quantiles = {f"{level}%": float(level) for level in LEVELS}
      >>> row = {"operator": "stage 2", "set": "disjoint", "kind": "displacement"}
      >>> distributions_figure([row | {"pixels": 9, "quantiles": quantiles}])[:5]
      '<?xml'
    """
    figure, panels = _panels(distributions, "pixels of the kind below [%]")
    for row in distributions:
        if (row["kind"], row["set"]) in _CURVES and row["pixels"]:
            _draw_curve(panels[row["operator"]], row)
    for axes in panels.values():
        axes.set(xlabel="aliasing score of the patch [%]", ylim=(0, 100))
        axes.grid(alpha=0.3)
        # Below the panel: curves may lie anywhere in it.
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=7.5)
    return _svg(figure)


def _draw_curve(axes: Axes, row: Mapping[str, Any]) -> None:
    place = _CURVES.index((row["kind"], row["set"]))
    overlapping = row["set"] == OVERLAPPING
    color = place - 2 if overlapping else place  # that of the disjoint set
    # In the legend the overlapping set stands to the right of the disjoint one.
    name = OVERLAPPING if overlapping else row["kind"]
    axes.plot(
        list(row["quantiles"].values()),
        LEVELS,
        color=page.SERIES_COLORS[color],
        linestyle="--" if overlapping else "-",
        linewidth=1.2 if overlapping else 1.8,
        marker=_MARKERS[color],
        fillstyle="none" if overlapping else "full",
        markevery=[LEVELS.index(50)],
        label=f"{name} {row['quantiles']['50%']:.2f}",
    )


def _panels(rows: Sequence[Mapping[str, Any]], y_title: str) -> tuple[Figure, dict[str, Axes]]:
    """A panel for each operator that rows are of, in at most two lines."""
    operators = list(dict.fromkeys(row["operator"] for row in rows))
    columns = len(operators) if len(operators) < 4 else -(-len(operators) // 2)
    lines = -(-len(operators) // columns)
    figure = Figure(figsize=(0.3 + 3.8 * columns, 3.4 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes in panels.flat[len(operators) :]:
        axes.remove()
    for axes in panels[:, 0]:
        axes.set_ylabel(y_title)
    by_operator = dict(zip(operators, panels.flat, strict=False))
    for operator, axes in by_operator.items():
        axes.set_title(operator, fontsize=11)
    return figure, by_operator


def _svg(figure: Figure) -> str:
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


def _draw_bins(
    axes: Axes, bins: Sequence[Mapping[str, Any]], correlations: Mapping[str, Mapping[str, Any]]
) -> None:
    x = [row["score"] for row in bins]
    for i, (error, correlation) in enumerate(correlations.items()):
        values, low, high = (
            [100 * row[error][key] for row in bins] for key in ("value", "low", "high")
        )
        color = page.SERIES_COLORS[i % len(page.SERIES_COLORS)]
        label = f"{words_of(error)}, \N{GREEK SMALL LETTER RHO} {correlation_text(correlation)}"
        marker = _MARKERS[i % len(_MARKERS)]
        axes.plot(x, values, marker=marker, ms=4, color=color, label=label)
        axes.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
    axes.set(xlabel="aliasing score of the patch [%]")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize=8)


def words_of(error: str) -> str:
    """Says what an error's name stands for.

    Example:
      >>> words_of("DErr")
      'displacements'
    """
    return find_score(error).words or error


def correlation_text(row: Mapping[str, Any]) -> str:
    """Writes a correlation with its interval.

    Example:
      >>> correlation_text({"value": 0.5, "low": 0.25, "high": 0.75})
      '+0.50 [+0.25, +0.75]'
    """
    return bootstrap.with_interval(row["value"], row["low"], row["high"], sign="+")
