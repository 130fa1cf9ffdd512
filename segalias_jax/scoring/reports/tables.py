"""Score tables and the files `report.md` and `report.json`."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.files import write_text
from segalias_jax.metrics.lookup import rows_shown, smaller_is_better
from segalias_jax.metrics.rows import Score
from segalias_jax.metrics.scores import SCORES
from segalias_jax.metrics.totals import ClassState

_RULE_TEXTS = {
    "laplacian": "4-neighbor Laplacian of the class ids is not 0 (published rule)",
    "exact": "any of the 4 neighbors has another class",
    "reference": "ignored pixels make edges of their own, and are in no score (published rule)",
    "exclude": "ignored pixels make no edges, and are in no score",
}


_BARE = re.compile(r"(?<!\\)[|<]")


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
      further: fractions by name that stand in the summary, too.

    Returns:
      A table of the summary and a table with a row for each class, in per cent; "-" where a
      class has no value.

    Raises:
      InputError: the number of names is not that of the classes.

    Example:
      >>> from segalias_jax.metrics import ScoreRules, SegmentationTotals
      >>> regions = np.zeros((4, 2, 2), int)
      >>> regions[3] = np.diag([2, 2])
      >>> scores = SegmentationTotals.from_counts(regions, ScoreRules()).compute()
      >>> print(score_table(scores, ["sky", "road"]).splitlines()[2])
      | 100.00 | 100.00 | 100.00 | 100.00 | 100.00 | 0.00 | 0.00 | 0.00 |
    """
    columns = table_rows(scores)
    shown = {row.title: shown_value(row, scores[row.name]) for row in columns}
    for name, value in further.items():
        shown[SCORES[name].title if name in SCORES else name] = percent(value)
    summary = [list(shown), list(shown.values())]
    if len(classes) != len(scores["IoU"]):
        raise InputError(f"classes: {len(classes)} names for {len(scores['IoU'])} scored classes")
    areas = scores["class_pixels"] / max(1, scores["pixels"])
    per_class = [row for row in columns if row.per_class]
    header = ["class", "of pixels", *(row.class_title for row in per_class)]
    rows = [
        [
            escaped(name),
            percent(areas[i]),
            *(shown_value(row, scores[row.per_class][i]) for row in per_class),
        ]
        for i, name in enumerate(classes)
    ]
    return "\n\n".join((markdown_table(summary), markdown_table([header, *rows], names=True)))


def table_rows(scores: Mapping[str, Any]) -> list[Score]:
    """Returns the rows of the first table of a report, of the scores that there are.

    Args:
      scores: by name.

    Returns:
      Rows of `SCORES`.

    Example:
      >>> [row.name for row in table_rows({"mIoU": 1.0, "FErr": 0.0, "mRecall": 1.0})]
      ['mIoU', 'FErr']
    """
    return [row for row in rows_shown("table", source="classes") if row.name in scores]


def shown_value(row: Score, value: Any) -> str:
    """Writes a value of a score in its unit.

    Fractions are in per cent, distances have two digits, and numbers of things are as they are;
    "-" stands for nan.

    Example:
      >>> shown_value(SCORES["mIoU"], 0.5), shown_value(SCORES["pixels"], 12)
      ('50.00', '12')
    """
    if row.unit == "%" or math.isnan(value):
        return percent(value)
    return f"{value:.2f}" if row.unit == "px" else f"{value:.12g}"


def write_report(
    folder: Path,
    scores: ClassState,
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
      scores: state of the scores, on the host or on a device.
      title: headline.
      classes: names of the classes.
      settings: what else a reader must know (recipe, step, data, ...), by name.
      pictures: files to show, relative to `folder`.
      extra: further scores by name, numbers or one for each class, for `report.json`.
      extra_rules: what they follow, by topic, and what `further` does.
      further: fractions by name that stand in the first table, and in `report.json`.
      sections: further Markdown, after the score tables.

    Raises:
      InputError: labels were met that are neither a class nor ignored, or names lack.

    Example:
      >>> import tempfile
      >>> from segalias_jax.metrics import ScoreRules, SegmentationTotals
      >>> folder, regions = Path(tempfile.mkdtemp()), np.zeros((4, 2, 2), int)
      >>> regions[3] = np.diag([2, 2])
      >>> scores = SegmentationTotals.from_counts(regions, ScoreRules())
      >>> write_report(folder, scores, title="Test", classes=["a", "b"], settings={"data": "none"})
      >>> json.loads((folder / "report.json").read_text())["summary"]["mIoU"]
      1.0
    """
    computed, rules = scores.compute(), scoring_rules(scores) | dict(extra_rules)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        f"# {title}",
        f"Scores in per cent; of {smaller_is_better()}, less is better.",
        score_table(computed, classes, further=further),
        error_fractions(computed),
        *sections,
        "## How it was scored\n\n" + bullets(rules),
        "## Settings\n\n" + bullets(settings),
        *(f"![{Path(picture).stem}]({picture})" for picture in pictures),
    ]
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")
    every: dict[str, Any] = computed | dict(extra) | {k: np.float64(v) for k, v in further.items()}
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
    write_text(folder / "report.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def scoring_rules(scores: ClassState) -> dict[str, str]:
    """Puts the rules of a state into words.

    Args:
      scores: the state.

    Returns:
      Sentences on boundary, band, ignored pixels, averaging, absent classes and invalid
      predictions, by topic.

    Example:
      >>> from segalias_jax.metrics import ScoreRules, SegmentationTotals
      >>> state = SegmentationTotals.from_counts(np.zeros((4, 2, 2), int), ScoreRules())
      >>> scoring_rules(state)["band"]
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


def error_fractions(scores: Mapping[str, Any]) -> str:
    """Writes the fractions of all pixels that are right, and wrong in each published way.

    Args:
      scores: by name.

    Returns:
      A Markdown table.
    """
    rows = rows_shown("kinds", source="classes")
    names = ["correct", *(row.title for row in rows)]
    values = [scores["aAcc"], *(scores[row.name] for row in rows)]
    text = "Share of all pixels, in per cent:\n\n" + markdown_table(
        [names, list(map(percent, values))]
    )
    if scores["invalid_predictions"]:
        text += f"\n\n{scores['invalid_predictions']} predicted pixels are no class."
    return text


def percent(value: float) -> str:
    """Writes a fraction in per cent, "-" for nan.

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
    # A bar would end the cell, and a tag be a tag.
    rows = [[_BARE.sub(r"\\\g<0>", " ".join(cell.split("\n"))) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0]) if names else cells[0]
        lines.append(f"| {' | '.join(cells)} |")
    rules = ["-" * (width + 1) + ":" for width in widths]
    rules[0] = "-" * (widths[0] + 2) if names else rules[0]
    return "\n".join([lines[0], f"|{'|'.join(rules)}|", *lines[1:]])


def escaped(name: str) -> str:
    r"""Writes a name from outside so that Markdown shows it as it is.

    Example:
      >>> print(escaped("a|b *c* <d>"))
      a\|b \*c\* \<d>
    """
    return re.sub(r"[\\`*<|\[\]]", r"\\\g<0>", " ".join(name.split("\n")))


def bullets(items: Mapping[str, Any]) -> str:
    """Lists topics with what is said of them, in Markdown.

    Example:
      >>> bullets({"a": "b"})
      '- **a**: b'
    """
    return "\n".join(f"- **{name}**: {_told(value)}" for name, value in items.items())


def _told(value: Any) -> str:
    return re.sub(r"[<`]", r"\\\g<0>", " ".join(str(value).split("\n")))


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
                    f"{folder / name}: is there already; choose another folder or remove it "
                    "(segalias score: --overwrite)"
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
