"""What a report says first: in one sentence, and in a table, where most is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from segalias_jax.scoring.reports.tables import escaped, markdown_table, percent

PLURALS = {
    "missed object": "missed objects",
    "false object": "false objects",
    "class confusion": "confusions of classes",
    "merge": "merges",
    "split": "splits",
    "displacement": "displaced boundaries",
    "interior hole": "interior holes",
}
"""What the causes are called in a sentence."""

_OF_PREDICTION = ("false object", "merge")
"""Causes that are told by the class that is predicted, not by the true one."""

_OBJECTS = {
    "missed object": "missed",
    "false object": "false",
    "class confusion": "confused",
    "merge": "merged",
    "split": "split",
}


def class_names(report: Mapping[str, Any]) -> list[str]:
    """Names of the classes.

    Example:
      >>> class_names({"classes": [{"name": "sky"}]})
      ['sky']
    """
    return [one["name"] for one in report["classes"]]


def leading_causes(report: Mapping[str, Any]) -> list[str]:
    """Causes that have pixels, that of the largest gain of mIoU first.

    Args:
      report: content of `report.json`.

    Returns:
      Names.
    """
    causes = report["causes"]
    found = [name for name in causes["names"] if causes["pixels"][name]]
    return sorted(
        found, key=lambda name: (-(causes["delta_mIoU"][name] or 0), -causes["pixels"][name])
    )


def class_of_cause(report: Mapping[str, Any], cause: str) -> tuple[int, float]:
    """The class that most pixels of a cause are of.

    Args:
      report: content of `report.json`.
      cause: one that has pixels.

    Returns:
      Its id, and the fraction of the pixels: of the true class, or of the predicted one where the
      cause is something that is not there.
    """
    side = "predicted" if cause in _OF_PREDICTION else "true"
    pixels = np.asarray(report["causes"]["by_class"][cause][side])
    return int(pixels.argmax()), float(pixels.max() / pixels.sum())


def headline(report: Mapping[str, Any]) -> str:
    """Says in one sentence where most is lost.

    Args:
      report: content of `report.json`.

    Returns:
      The sentence, of the cause whose repair would gain most mIoU.

    Example:
      >>> headline({"causes": {"names": [], "wrong_pixels": 0, "counted_pixels": 5}})
      'Every scored pixel is right.'
      >>> causes = {
      ...     "names": ["merge"],
      ...     "wrong_pixels": 8,
      ...     "counted_pixels": 9,
      ...     "pixels": {"merge": 4},
      ...     "delta_mIoU": {"merge": 0.04},
      ...     "by_class": {"merge": {"predicted": [1, 3]}},
      ... }
      >>> headline({"causes": causes, "classes": [{"name": "sky"}, {"name": "weed"}]})
      '50 % of wrong pixels are merges, mostly weed; without them mIoU would be +4.0.'
    """
    causes = report["causes"]
    if not causes["counted_pixels"]:
        return "No pixel is labeled."
    if not causes["wrong_pixels"]:
        return "Every scored pixel is right."
    name = leading_causes(report)[0]
    fraction = 100 * causes["pixels"][name] / causes["wrong_pixels"]
    index, share = class_of_cause(report, name)
    gain = 100 * (causes["delta_mIoU"][name] or 0)
    return (
        f"{fraction:.0f} % of wrong pixels are {PLURALS[name]}, "
        f"{'mostly' if share > 0.5 else 'most often'} {class_names(report)[index]}; without them "
        f"mIoU would be {gain:+.1f}."
    )


def cause_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The table of the causes that there are, that of the largest gain of mIoU first.

    Args:
      report: content of `report.json`.

    Returns:
      Rows, the header first: cause, mIoU gained without it, its part of the wrong pixels, number
      of objects, and the class that most of it is of.
    """
    causes, names = report["causes"], class_names(report)
    objects = {row: int(np.sum(counts)) for row, counts in causes["objects"].items()}
    rows = [["cause", "mIoU without it", "of wrong pixels", "objects", "most of it"]]
    for name in leading_causes(report):
        index, share = class_of_cause(report, name)
        rows.append(
            [
                name,
                f"{100 * (causes['delta_mIoU'][name] or 0):+.2f}",
                percent(causes["pixels"][name] / causes["wrong_pixels"]),
                str(objects[_OBJECTS[name]]) if name in _OBJECTS else "-",
                f"{escaped(names[index])} {100 * share:.0f} %",
            ]
        )
    return rows


def first_screen(report: Mapping[str, Any]) -> str:
    """The sentence and the table of causes in Markdown; empty where causes were not counted.

    Args:
      report: content of `report.json`.

    Returns:
      Text that also reads well in a terminal.
    """
    if report.get("causes") is None:
        return ""
    parts = [escaped(headline(report))]
    if report["causes"]["wrong_pixels"]:
        parts.append(markdown_table(cause_rows(report), names=True))
    return "\n\n".join(parts)
