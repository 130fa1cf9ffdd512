"""The README's table: on real images, the baseline against the method, with intervals and cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.evidence.plan import BASELINE
from benchmarks.evidence.summary import Runs
from segalias_jax.files import write_text
from segalias_jax.scoring.reports.tables import markdown_table

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- evidence -->\n", "<!-- end of evidence -->\n"
METHOD = {"daf": "DAF", "daf+freqmix": "DAF + FreqMix"}
"""Variants that are shown, by their names there."""


def write(studies: Sequence[Runs]) -> None:
    """Puts the table in the README's place for it.

    Args:
      studies: finished runs of all studies.
    """
    before, rest = README.read_text().split(BEGIN)
    _, after = rest.split(END)
    write_text(README, before + section(studies) + after)


def section(studies: Sequence[Runs]) -> str:
    """Returns the table between its marks.

    Sets of real images, of which the baseline and a variant are finished with two seeds or more.

    Args:
      studies: finished runs of all studies.
    """
    head = ["real images", "seeds", "without"]
    rows = [[*head, *(f"{name}: difference, step time" for name in METHOD.values())]]
    for one in studies:
        compared = {BASELINE, *METHOD} <= one.runs.keys()
        if one.study.folder and compared and len(one.runs[BASELINE]) > 1:
            rows.append(_row(one))
    return f"{BEGIN}{markdown_table(rows)}\n{END}"


def _row(one: Runs) -> list[str]:
    score = one.main_score
    by_variant = {each.variant: each for each in one.differences("scores", score)}
    found = [by_variant[variant] for variant in METHOD]
    seeds = ", ".join(str(number) for number in sorted({each.seeds for each in found}))
    base = 100 * np.mean(one.values(BASELINE, "scores", score))
    cells = [one.study.title, seeds, f"{score} {base:.1f}"]
    for each in found:
        compared = f"{each.text} {each.verdict}, x{_time(one, each.variant):.2f}"
        cells.append(compared if each.seeds > 1 else "-")
    return cells


def _time(one: Runs, variant: str) -> float:
    """Quotient of mean processor times of a training step."""
    keys = "timing", "processor seconds per step"
    return float(np.mean(one.values(variant, *keys)) / np.mean(one.values(BASELINE, *keys)))
