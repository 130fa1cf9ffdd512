"""The plot of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def plot_curves(lines: Sequence[Mapping[str, Any]], scores: Mapping[str, str], path: Path) -> None:
    """Draws the loss, and some scores of every validation, over the steps.

    Args:
      lines: records of `metrics.jsonl`; each has "step" and some of "loss" and the scores.
      scores: titles of the scores by name.
      path: PNG file to write.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "curves.png"
      >>> plot_curves([{"step": 1, "loss": 2.0}, {"step": 1, "PQ": 0.5}], {"PQ": "PQ"}, path)
      >>> path.stat().st_size > 0
      True
    """
    from matplotlib.figure import Figure  # takes a second, which no start needs to wait for

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*_series(lines, "loss"), color="tab:blue")
    left.set(xlabel="step", ylabel="loss", ylim=(0, None))
    for name, title in scores.items():
        right.plot(*_series(lines, name), marker="o", label=title)
    right.set(xlabel="step", ylabel="fraction", ylim=(0, 1))
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _series(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[list[Any], list[Any]]:
    points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
    return [step for step, _ in points], [value for _, value in points]
