"""Several models on the same labels: differences, and how sure they are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.errors import InputError, check_choice
from segalias_jax.metrics.counts import ClassCounts
from segalias_jax.metrics.lookup import (
    find_score,
    rows_of,
    rows_shown,
    score_title,
    smaller_is_better,
)
from segalias_jax.metrics.rows import Score
from segalias_jax.scoring import pair_scores
from segalias_jax.scoring.reports import binary as binary_report
from segalias_jax.scoring.reports import bootstrap, page, significance
from segalias_jax.scoring.reports import tables as report
from segalias_jax.scoring.reports.folder import FILES as MODEL_FILES
from segalias_jax.scoring.reports.folder import FolderReport
from segalias_jax.scoring.reports.saving import save_files

FILES = ("report.md", "report.json", "report.html")
"""What `Comparison.save` writes beside a folder for each model."""

MODELS = 8
"""Most models of a comparison: of more, neither colors nor columns can be told apart."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Models side by side on the images that all of them were scored on.

    Intervals are those of `bootstrap.bca`, with the same draws of images for all models, so that
    the interval of a difference is that of paired images. Differences are tested by exchanging
    images between models (`significance.permutation_test`), and p is corrected for the number of
    models, and of classes or causes, that are tested together; below 0.05 a difference is clear.

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
        if len(self.reports) > MODELS:
            raise InputError(
                f"reports: {len(self.reports)} models; a comparison has at most {MODELS}"
            )
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

    def rows(self) -> list[dict[str, Any]]:
        """One row for each score and model.

        Returns:
          score, model, value and its interval (low, high); but for the first model also the
          difference from it, its interval, its p, p corrected for the number of models, and
          whether that is below 0.05.
        """
        names, found = self._scores
        corrected = np.stack([significance.holm(p) for p in found.p.T], 1)
        return [
            {"score": name, **row}
            for i, name in enumerate(names)
            for row in self._model_rows(found, corrected, (i,))
        ]

    def class_rows(self, score: str = "IoU") -> list[dict[str, Any]]:
        """One row for each class and model.

        Args:
          score: name of a score that classes have, of either form ("mIoU" or "IoU").

        Returns:
          class, and what `rows` has; p is corrected for the number of classes and models.

        Raises:
          InputError: no such score, or classes do not have it.
        """
        rows = {name: row for row in self._class_scores() for name in (row.per_class, row.name)}
        check_choice("score", score, rows)
        row, first = rows[score], self.reports[0]
        read = _rows_read(row, self._class_counts, first.sums.shape[1:])

        def statistic(sums: np.ndarray) -> np.ndarray:
            every = np.zeros((len(sums), *first.sums.shape[1:]))
            every[:, read] = sums
            return row.of_classes(self._class_counts(every))

        models = [(one.sums[chosen][:, read],) for one, chosen in self._chosen()]
        found = significance.paired_differences(statistic, models)
        corrected = significance.holm(found.p)
        return [
            {"class": name, **line}
            for i, name in enumerate(first.classes)
            for line in self._model_rows(found, corrected, (i,))
        ]

    def ranking(self, score: str = "mIoU") -> list[dict[str, Any]]:
        """One row for each model, the best first.

        Args:
          score: one of those of `rows`.

        Returns:
          rank, from 1 on, and what `rows` has, but differences are those from the best model;
          models of equal value have equal ranks, those without a value come last.

        Raises:
          InputError: no such score.
        """
        names, found = self._scores
        check_choice("score", score, names)
        index, sign = names.index(score), 1 if find_score(score).direction == "smaller" else -1
        values = found.values.value[:, index]
        order = np.argsort(sign * values, kind="stable").tolist()

        def statistic(*sums: np.ndarray) -> np.ndarray:
            return self._mean_scores(*sums)[score]

        from_best = significance.paired_differences(statistic, self._sums(), base=order[0])
        corrected = significance.holm(from_best.p)
        rows = self._model_rows(from_best, corrected, (), base=order[0])
        better = sign * (values[:, None] - values) > 0
        return [{"rank": 1 + int(better[i].sum()), **rows[i]} for i in order]

    def differing_images(self, count: int = 8) -> list[dict[str, Any]]:
        """The images on whose own score models differ most, the largest difference first.

        Args:
          count: number of images.

        Returns:
          name; score, which is mIoU, or Dice of the foreground of two classes; values, one for each
          model (nan where an image has none); difference of the largest and the smallest.
        """
        source = "classes" if self.reports[0].bins is None else "foreground"
        score = rows_shown("caption", source=source)[0].per_image
        values = np.stack([one.per_image[score][chosen] for one, chosen in self._chosen()])
        known = np.where(np.isnan(values).any(0), 0, values)
        difference = known.max(0) - known.min(0)
        return [
            {
                "name": self.images[i],
                "score": score,
                "values": values[:, i].tolist(),
                "difference": float(difference[i]),
            }
            for i in np.argsort(-difference, kind="stable")[:count]
        ]

    @functools.cached_property
    def _scores(self) -> tuple[list[str], significance.Differences]:
        """Names of the compared scores, and their numbers."""
        first = self.reports[0]
        two = [] if first.bins is None else binary_report.foreground_rows()
        names = [row.name for row in (*first.summary_rows(), *two)]

        def statistic(*sums: np.ndarray) -> np.ndarray:
            scores = self._mean_scores(*sums)
            return np.stack([scores[name] for name in names], -1)

        return names, significance.paired_differences(statistic, self._sums())

    def _chosen(self) -> list[tuple[FolderReport, list[int]]]:
        """Each report with the indices of the common images in it."""
        places = ({pair.name: i for i, pair in enumerate(one.pairs)} for one in self.reports)
        chosen = [[place[name] for name in self.images] for place in places]
        return list(zip(self.reports, chosen, strict=True))

    def _sums(self) -> list[tuple[np.ndarray, ...]]:
        """Of each model what `_mean_scores` takes, of each common image."""
        result = []
        for one, chosen in self._chosen():
            two = () if one.bins is None else (binary_report.foreground_sums(one.bins[chosen]),)
            result.append((one.sums[chosen], *two))
        return result

    def _mean_scores(self, sums: np.ndarray, *foreground: np.ndarray) -> dict[str, Any]:
        first = self.reports[0]
        tolerances = first.count_settings.tolerances
        means = pair_scores.mean_scores(sums, tolerances, inner=first.has_inner)
        for each in foreground:
            means |= binary_report.scores_of_sums(each)
        return means

    def _class_counts(self, sums: np.ndarray) -> ClassCounts:
        first = self.reports[0]
        tolerances = first.count_settings.tolerances
        return pair_scores.class_counts(sums, tolerances, inner=first.has_inner)

    def _class_scores(self) -> list[Score]:
        """Rows of the scores that classes have."""
        counts = self._class_counts(self.reports[0].sums[:1])
        return [row for row in rows_of(counts) if row.per_class and row.unit == "%"]

    def _model_rows(
        self,
        found: significance.Differences,
        corrected: np.ndarray,
        index: tuple[int, ...],
        *,
        base: int = 0,
    ) -> list[dict[str, Any]]:
        """Numbers of one statistic, a row for each model."""
        rows = []
        for i, model in enumerate(self.names):
            value, low, high = (float(array[(i, *index)]) for array in found.values.arrays)
            row: dict[str, Any] = {"model": model, "value": value, "low": low, "high": high}
            if i != base:
                place = (i - (i > base), *index)
                for end, array in zip(("", "_low", "_high"), found.differences.arrays, strict=True):
                    row[f"difference{end}"] = float(array[place])
                row["p"], row["p_corrected"] = float(found.p[place]), float(corrected[place])
                row["clear"] = row["p_corrected"] < significance.LEVEL
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
                text = bootstrap.with_interval(value, low, high, sign="+")
                cells[-1].append(text + significance.with_p(row["p_corrected"]))
        return cells

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Writes the comparison, and the report of each model into a folder of its name.

        Args:
          folder: where to; made when missing.
          overwrite: replace reports that are there.

        Raises:
          InputError: one of these files is there already.
          OSError: the disk is full or cannot be written.
        """
        folder = Path(folder)
        check_unused_by(folder, self.names, overwrite=overwrite)
        for name, one in zip(self.names, self.reports, strict=True):
            one.save(folder / name, overwrite=overwrite)
        rules = self.rules()
        text = [f"# {self.title}", self.table(), "\n".join(f"- **{k}**: {v}" for k, v in rules)]
        content = {"title": self.title, "rows": self.rows(), "scoring": dict(rules)}
        files = {
            "report.md": "\n\n".join(text) + "\n",
            "report.html": self._page(rules),
            "report.json": report.json_text(content),
        }
        pieces = {name: functools.partial(_encoded, text) for name, text in files.items()}
        save_files(folder, pieces)

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
                f"in brackets, {bootstrap.describe()}, the same draws for all models",
            ),
            (
                "differences",
                f"p of {significance.describe()} over the models, for each score by itself; * "
                f"marks p below {significance.LEVEL}",
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


def check_unused_by(folder: Path, names: Sequence[str], *, overwrite: bool = False) -> None:
    """Raises where a comparison cannot be written, or would replace one that is there.

    Args:
      folder: of the comparison.
      names: of the models.
      overwrite: replace it.

    Raises:
      InputError: names the folder or the file.
    """
    report.check_unused(folder, () if overwrite else FILES)
    for name in names:
        report.check_unused(folder / name, () if overwrite else MODEL_FILES)


def _encoded(text: str) -> list[bytes]:
    return [text.encode("utf-8")]


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


def _rows_read(
    row: Score, counts: Callable[[np.ndarray], ClassCounts], shape: tuple[int, ...]
) -> list[int]:
    """The rows of `pair_scores.areas` that a score follows from, found by changing each.

    Most scores follow from a few of some thirty, and tests take their time for each of them.
    """
    sums = np.random.default_rng(0).integers(1, 1 << 20, shape).astype(np.float64)
    read, before = [], row.of_classes(counts(sums))
    for i in range(shape[0]):
        changed = sums.copy()
        changed[i] += 1
        if not np.array_equal(row.of_classes(counts(changed)), before, equal_nan=True):
            read.append(i)
    return read
