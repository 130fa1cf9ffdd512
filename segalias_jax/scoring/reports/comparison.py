"""Several models on the same labels: differences, and how sure they are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from segalias_jax.errors import InputError
from segalias_jax.files import write_text
from segalias_jax.metrics.lookup import rows_shown, score_title, smaller_is_better
from segalias_jax.scoring import pair_scores
from segalias_jax.scoring.reports import binary as binary_report
from segalias_jax.scoring.reports import bootstrap, page
from segalias_jax.scoring.reports import tables as report
from segalias_jax.scoring.reports.folder import FolderReport

FILES = ("report.md", "report.json", "report.html")
"""What `Comparison.save` writes beside a folder for each model."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Models side by side on the images that all of them were scored on.

    With s(w) the score of the pooled counts when image i counts w_i times, an interval holds the
    middle 95 % of s(w) over 1000 draws of as many images as there are, with replacement. All
    models have the same draws, so that the interval of a difference is that of paired images.

    Attributes:
      reports: one for each model, made with equal rules; the first is what others differ from.
      names: of the models.

    Example:
      >>> Comparison((), ())
      Traceback (most recent call last):
      segalias_jax.errors.InputError: reports: there must be those of two models or more to compare
    """

    reports: tuple[FolderReport, ...]
    names: tuple[str, ...]

    def __post_init__(self):
        """Raises `InputError` where there is nothing to compare."""
        if len(self.reports) < 2:
            raise InputError("reports: there must be those of two models or more to compare")
        if len({(r.count_settings, r.classes) for r in self.reports}) > 1:
            raise InputError("reports: the models were scored by different rules; score all alike")
        if len(set(self.names)) < len(self.reports):
            raise InputError(
                f"names: two models have one name among {', '.join(self.names)}; name each one"
            )
        if not self.images:
            raise InputError(
                "reports: no image was scored for all models; give folders of one data set"
            )

    @functools.cached_property
    def images(self) -> list[str]:
        """Names of the images that all models were scored on."""
        named = [{pair.name for pair in r.pairs} for r in self.reports]
        return sorted(set.intersection(*named)) if named else []

    @functools.cached_property
    def scores(self) -> list[dict[str, Float[np.ndarray, " draws"]]]:
        """Of each model the scores by name: of all images first, then of each draw."""
        count = len(self.images)
        weights = bootstrap.image_weights(count)
        tolerances = self.reports[0].count_settings.tolerances
        result = []
        for one in self.reports:
            place = {pair.name: i for i, pair in enumerate(one.pairs)}
            chosen = [place[name] for name in self.images]
            sums = one.sums[chosen].astype(np.float64)
            drawn = (weights @ sums.reshape(count, -1)).reshape(-1, *sums.shape[1:])
            means = pair_scores.mean_scores(drawn, tolerances, inner=one.has_inner)
            if one.bins is not None:
                means |= binary_report.drawn_scores(one.bins[chosen], weights)
            result.append({name: means[name] for name in self._names()})
        return result

    def _names(self) -> list[str]:
        first = self.reports[0]
        two = [] if first.bins is None else binary_report.foreground_rows()
        return [row.name for row in (*first.summary_rows(), *two)]

    def rows(self) -> list[dict[str, Any]]:
        """One row for each score and model.

        Returns:
          score, model, value and its interval (low, high); but for the first model also the
          difference from it, its interval, and whether that leaves out 0.
        """
        rows = []
        for name in self._names():
            first = self.scores[0][name]
            for model, scores in zip(self.names, self.scores, strict=True):
                row: dict[str, Any] = {"score": name, "model": model}
                row |= _interval("", scores[name])
                if scores is not self.scores[0]:
                    row |= _interval("difference", scores[name] - first)
                    low, high = row["difference_low"], row["difference_high"]
                    row["clear"] = bool(low > 0 or high < 0)
                rows.append(row)
        return rows

    def table(self) -> str:
        """The comparison in Markdown."""
        return report.markdown_table(self._cells(), names=True)

    def _cells(self) -> list[list[str]]:
        first, *others = self.names
        header = ["score", first, *(x for n in others for x in (n, f"{n} - {first}"))]
        cells = [header]
        for row in self.rows():
            if row["model"] == first:
                cells.append([score_title(row["score"])])
            value, low, high = (100 * row[key] for key in ("value", "low", "high"))
            cells[-1].append(bootstrap.with_interval(value, low, high))
            if row["model"] != first:
                value, low, high = (100 * row[f"difference{end}"] for end in ("", "_low", "_high"))
                mark = " *" if row["clear"] else ""
                cells[-1].append(bootstrap.with_interval(value, low, high, sign="+") + mark)
        return cells

    def save(self, folder: str | Path) -> None:
        """Writes the comparison, and the report of each model into a folder of its name.

        Args:
          folder: where to; made when missing.

        Raises:
          InputError: one of these files or folders is there already.
        """
        folder = Path(folder)
        report.check_unused(folder, (*FILES, *self.names))
        for name, one in zip(self.names, self.reports, strict=True):
            one.save(folder / name)
        rules = self.rules()
        text = [f"# {self.title}", self.table(), "\n".join(f"- **{k}**: {v}" for k, v in rules)]
        write_text(folder / "report.md", "\n\n".join(text) + "\n")
        content = {"title": self.title, "rows": self.rows(), "scoring": dict(rules)}
        write_text(folder / "report.json", report.json_text(content))
        write_text(folder / "report.html", self._page(rules))

    @property
    def title(self) -> str:
        """Headline of the comparison."""
        return f"{', '.join(self.names[1:])} against {self.names[0]}"

    def rules(self) -> list[tuple[str, str]]:
        """What the numbers follow, by topic."""
        first = self.reports[0]
        rules = report.scoring_rules(first.state) | first.rules()
        return [
            ("images", f"the {len(self.images)} that all models were scored on"),
            (
                "intervals",
                f"in brackets, {bootstrap.describe()}, the same draws for all models; * marks "
                "differences whose interval leaves out 0",
            ),
            *rules.items(),
        ]

    def _page(self, rules: Sequence[tuple[str, str]]) -> str:
        first = self.reports[0]
        links = [(name, f"{name}/report.html") for name in self.names]
        parts = [
            page.paragraph(f"All numbers in per cent; of {smaller_is_better()}, less is better."),
            page.section("Scores with intervals", page.table(self._cells())),
        ]
        for row in rows_shown("bars", source="classes"):
            if row.needs:  # its distance would have to be named
                continue
            series = [
                (name, one.scores[row.per_class].tolist())
                for name, one in zip(self.names, self.reports, strict=True)
            ]
            title = f"{row.class_title} of each class"
            parts.append(page.section(title, page.bars(first.classes, series)))
        parts.append(page.section("Report of each model", page.links(links)))
        parts.append(page.section("How it was scored", page.definitions(rules)))
        return page.whole_page(self.title, parts)


def model_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Names models by their folders, with as much of the path as tells them apart.

    Args:
      folders: of their predictions.

    Returns:
      Names that may be names of folders.

    Raises:
      InputError: a folder is given twice.

    Example:
      >>> model_names([Path("runs/a/pred"), Path("runs/b/pred")])
      ('a_pred', 'b_pred')
    """
    paths = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        names = tuple("_".join(parts[-length:]).strip("/_") for parts in paths)
        if len(set(names)) == len(names):
            return names
    every = ", ".join(map(str, folders))
    raise InputError(f"folders: one is given twice among {every}; give each model's once")


def _interval(prefix: str, values: np.ndarray) -> dict[str, float]:
    low, high = bootstrap.interval(values)
    names = (prefix or "value", f"{prefix}_low".strip("_"), f"{prefix}_high".strip("_"))
    return dict(zip(names, (float(values[0]), float(low), float(high)), strict=True))
