"""Score tables and the files `report.md` and `report.json`."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics import ERROR_KINDS, SegmentationScores

SUMMARY = ("mIoU", "mAcc", "aAcc", "BIoU", "BAcc", "FErr", "MErr", "DErr")
"""Scores of the first table."""

CLASS_COLUMNS = {
    "IoU": "IoU",
    "Acc": "Acc",
    "boundary_IoU": "BIoU",
    "boundary_Acc": "BAcc",
    "class_FErr": "FErr",
    "class_MErr": "MErr",
    "class_DErr": "DErr",
}
"""Columns of the table of classes: key of the score, and heading."""

_RULE_TEXTS = {
    "laplacian": "4-neighbor Laplacian of the class ids is not 0 (published rule)",
    "exact": "any of the 4 neighbors has another class",
    "reference": "ignored pixels make edges of their own, and are in no score (published rule)",
    "exclude": "ignored pixels make no edges, and are in no score",
}


def score_table(
    scores: Mapping[str, Any],
    classes: Sequence[str],
    *,
    further: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """Writes scores as two Markdown tables that also read well in a terminal.

    Args:
      scores: what `SegmentationScores.compute` returns.
      classes: names of the classes.
      further: shares by name that stand in the summary, too.

    Returns:
      A table of the summary and a table with a row for each class, in per cent; "-" where a
      class has no value.

    Raises:
      InputError: the number of names is not that of the classes.

    Example:
      >>> label = np.asarray([[0, 0, 1, 1]])
      >>> scores = SegmentationScores.empty(2).update(label, label).compute()
      >>> print(score_table(scores, ["sky", "road"]).splitlines()[2])
      | 100.00 | 100.00 | 100.00 | 100.00 | 100.00 | 0.00 | 0.00 | 0.00 |
    """
    shown = {name: scores[name] for name in SUMMARY} | dict(further)
    summary = [list(shown), [percent(value) for value in shown.values()]]
    if len(classes) != len(scores["IoU"]):
        raise InputError(f"classes: {len(classes)} names for {len(scores['IoU'])} scored classes")
    share = scores["class_pixels"] / max(1, scores["pixels"])
    header = ["class", "of pixels", *CLASS_COLUMNS.values()]
    rows = [
        [name, percent(share[i]), *(percent(scores[key][i]) for key in CLASS_COLUMNS)]
        for i, name in enumerate(classes)
    ]
    return "\n\n".join((markdown_table(summary), markdown_table([header, *rows], names=True)))


def write_report(
    folder: Path,
    scores: SegmentationScores,
    *,
    title: str,
    classes: Sequence[str],
    settings: Mapping[str, Any],
    pictures: Sequence[str] = (),
    extra: Mapping[str, Any] = MappingProxyType({}),
    extra_rules: Mapping[str, str] = MappingProxyType({}),
    further: Mapping[str, float] = MappingProxyType({}),
    sections: Sequence[str] = (),
) -> None:
    """Writes `report.md` and `report.json`; each appears whole or not at all.

    Args:
      folder: where to; made when missing.
      scores: state of the scores.
      title: headline.
      classes: names of the classes.
      settings: what else a reader must know (recipe, step, data, ...), by name.
      pictures: files to show, relative to `folder`.
      extra: further scores by name, numbers or one for each class, for `report.json`.
      extra_rules: what they follow, by topic, and what `further` does.
      further: shares by name that stand in the first table, and in `report.json`.
      sections: further Markdown, behind the score tables.

    Raises:
      InputError: labels were met that are neither a class nor ignored, or names lack.

    Example:
      >>> import tempfile
      >>> label, folder = np.asarray([[0, 0, 1, 1]]), Path(tempfile.mkdtemp())
      >>> scores = SegmentationScores.empty(2).update(label, label)
      >>> write_report(folder, scores, title="Test", classes=["a", "b"], settings={"data": "none"})
      >>> json.loads((folder / "report.json").read_text())["summary"]["mIoU"]
      1.0
    """
    computed, rules = scores.compute(), scoring_rules(scores) | dict(extra_rules)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        f"# {title}",
        "Scores in per cent; of FErr, MErr and DErr, less is better.",
        score_table(computed, classes, further=further),
        _error_shares(computed),
        *sections,
        "## How it was scored\n\n" + bullets(rules),
        "## Settings\n\n" + bullets(settings),
        *(f"![{Path(picture).stem}]({picture})" for picture in pictures),
    ]
    write_whole(folder / "report.md", "\n\n".join(parts) + "\n")
    every = computed | dict(extra) | {k: np.float64(v) for k, v in further.items()}
    content = {
        "title": title,
        "settings": {k: v if isinstance(v, int | float) else str(v) for k, v in settings.items()},
        "scoring": rules,
        "summary": {k: _plain(v) for k, v in every.items() if np.ndim(v) == 0},
        "classes": [
            {"name": name} | {k: _plain(v[i]) for k, v in every.items() if np.ndim(v)}
            for i, name in enumerate(classes)
        ],
        "confusion": scores.totals().sum(0)[:-1].tolist(),
    }
    write_whole(folder / "report.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def scoring_rules(scores: SegmentationScores) -> dict[str, str]:
    """Puts the rules of a state into words.

    Args:
      scores: the state.

    Returns:
      Sentences on boundary, band, ignored pixels, averaging, absent classes and invalid
      predictions, by topic.

    Example:
      >>> scoring_rules(SegmentationScores.empty(2))["band"]
      'boundaries dilated with a 15x15 square'
    """
    rules = scores.rules
    shifted = "; label 0 is ignored too, and label k + 1 is class k" * rules.reduce_zero_label
    return {
        "boundary": f"{rules.boundary}: {_RULE_TEXTS[rules.boundary]}",
        "band": f"boundaries dilated with a {rules.width}x{rules.width} square",
        "ignore": f"{rules.ignore}: {_RULE_TEXTS[rules.ignore]}; ignored label "
        f"{rules.ignore_label}{shifted}",
        "averaging": "pixels are counted over the whole data set, scored per class, and averaged "
        "over classes without weights",
        "absent classes": "a class without the pixels that a score divides by has no value there "
        "and is left out of that mean",
        "invalid predictions": f"ids outside 0..{scores.num_classes - 1} are errors of the true "
        "class and area of none",
    }


def _error_shares(scores: Mapping[str, Any]) -> str:
    names = ["correct", *ERROR_KINDS[1:]]
    values = [scores["aAcc"], *(scores[name.replace(" ", "_")] for name in ERROR_KINDS[1:])]
    text = "Share of all pixels, in per cent:\n\n" + markdown_table(
        [names, list(map(percent, values))]
    )
    if scores["invalid_predictions"]:
        text += f"\n\n{scores['invalid_predictions']} predicted pixels are no class."
    return text


def percent(value: float) -> str:
    """Writes a share in per cent, "-" for nan.

    Example:
      >>> percent(0.5), percent(float("nan"))
      ('50.00', '-')
    """
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def markdown_table(rows: Sequence[Sequence[str]], *, names: bool = False) -> str:
    """Writes a Markdown table whose columns are aligned in the source too.

    Args:
      rows: the header first.
      names: the first column holds names, aligned to the left; all others are numbers.

    Returns:
      The table.

    Example:
      >>> print(markdown_table([["a", "b"], ["1", "22"]]))
      | a |  b |
      |--:|---:|
      | 1 | 22 |
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0]) if names else cells[0]
        lines.append(f"| {' | '.join(cells)} |")
    rules = ["-" * (width + 1) + ":" for width in widths]
    rules[0] = "-" * (widths[0] + 2) if names else rules[0]
    return "\n".join([lines[0], f"|{'|'.join(rules)}|", *lines[1:]])


def bullets(items: Mapping[str, Any]) -> str:
    """Lists topics with what is said of them, in Markdown.

    Example:
      >>> bullets({"a": "b"})
      '- **a**: b'
    """
    return "\n".join(f"- **{name}**: {value}" for name, value in items.items())


def _plain(value: np.generic) -> int | float | None:
    number = value.item()
    return None if isinstance(number, float) and math.isnan(number) else number


def json_text(content: Any) -> str:
    r"""Writes what JSON can hold, and null for nan, which JSON does not have.

    Example:
      >>> json_text({"score": float("nan")})
      '{\n "score": null\n}\n'
    """
    return json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n"


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def check_unused(folder: Path, files: Sequence[str]) -> None:
    """Raises where a report cannot be written, or would replace one that is there.

    Args:
      folder: where the report goes.
      files: names of its files.

    Raises:
      InputError: names the folder or the file.

    Example:
      >>> check_unused(Path("nowhere"), ["report.md"])
    """
    try:
        for name in files:
            if (folder / name).exists():
                raise InputError(
                    f"{folder / name}: is there already; choose another folder or remove it"
                )
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise InputError(f"{there}: not a folder; choose another one for the report")
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); choose another folder"
        ) from None


def write_whole(path: Path, text: str) -> None:
    """Writes a text file so that it appears whole or not at all.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.txt"
      >>> write_whole(path, "all")
      >>> path.read_text()
      'all'
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
