"""Several models on the same labels: differences, and how sure they are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segalias_jax.errors import InputError
from segalias_jax.metrics.lookup import score_title
from segalias_jax.notebook import ShownInNotebooks
from segalias_jax.scoring.reports import bootstrap, significance
from segalias_jax.scoring.reports import tables as report
from segalias_jax.scoring.reports.comparison_page import comparison_page
from segalias_jax.scoring.reports.folder import FILES as MODEL_FILES
from segalias_jax.scoring.reports.folder import FolderReport
from segalias_jax.scoring.reports.paired import (
    ImageArrays,
    PairedModels,
    check_comparable,
    difference_cells,
)
from segalias_jax.scoring.reports.saving import save_files
from segalias_jax.scoring.reports.views.report_page import PICTURES

FILES = ("report.md", "report.json", "report.html")
"""What `Comparison.save` writes beside a folder for each model."""


@dataclasses.dataclass(frozen=True)
class Comparison(ShownInNotebooks):
    """Models side by side on the images that all of them were scored on, see `PairedModels`.

    Attributes:
      reports: one for each model, made with equal rules; the first is what others differ from.
      names: of the models.

    Raises:
      InputError: there are fewer than two models or more than eight, they were scored by different
        rules, have one name, or share no image.

    Example:
      >>> Comparison((), ())
      Traceback (most recent call last):
      segalias_jax.errors.InputError: reports: 0 models; 2 to 8 can be compared
    """

    reports: tuple[FolderReport, ...]
    names: tuple[str, ...]

    def __post_init__(self):
        """Raises `InputError` where there is nothing to compare."""
        if len(self.reports) > 1 and any(
            (one.plan, one.classes) != (self.reports[0].plan, self.reports[0].classes)
            for one in self.reports
        ):
            raise InputError("reports: the models were scored by different rules; score all alike")
        check_comparable(self.names, [set(one.whole.names) for one in self.reports])

    @functools.cached_property
    def models(self) -> PairedModels:
        """The numbers of all models on their common images."""
        first, images = self.reports[0], (ImageArrays.of(one.images) for one in self.reports)
        models = dict(zip(self.names, images, strict=True))
        return PairedModels.of(models, first.plan, first.classes)

    @property
    def images(self) -> list[str]:
        """Names of the images that all models were scored on."""
        return list(self.models.images[0].names)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each score and model, see `PairedModels.rows`."""
        return self.models.rows()

    def class_rows(self, score: str = "IoU") -> list[dict[str, Any]]:
        """One row for each class and model, see `PairedModels.class_rows`."""
        return self.models.class_rows(score)

    def cause_rows(self, measure: str = "delta_mIoU") -> list[dict[str, Any]]:
        """One row for each cause of errors and model, see `PairedModels.cause_rows`."""
        return self.models.cause_rows(measure)

    def ranking(self, score: str = "mIoU") -> list[dict[str, Any]]:
        """One row for each model, the best first, see `PairedModels.ranking`."""
        return self.models.ranking(score)

    def differing_images(self, count: int = 8) -> list[dict[str, Any]]:
        """The images on which models differ most, see `PairedModels.differing_images`."""
        return self.models.differing_images(count)

    def table(self) -> str:
        """The comparison in Markdown."""
        return report.markdown_table(self._cells(), names=True)

    def _cells(self) -> list[list[str]]:
        rows = self.rows()
        return difference_cells(
            self.names, rows, {row["score"]: score_title(row["score"]) for row in rows}
        )

    def save(self, folder: str | Path, *, worst: int = PICTURES, overwrite: bool = False) -> None:
        """Writes the comparison, and the report of each model into a folder of its name.

        Args:
          folder: where to; made when missing.
          worst: most images in each `report.html`; half as many, with the maps of all models, in
            that of the comparison.
          overwrite: replace reports that are there.

        Raises:
          InputError: one of these files is there already.
          OSError: the disk is full or cannot be written.
        """
        folder = Path(folder)
        check_unused_by(folder, self.names, overwrite=overwrite)
        for name, one in zip(self.names, self.reports, strict=True):
            one.save(folder / name, worst=worst, overwrite=overwrite)
        rules = self.rules()
        text = [f"# {self.title}", self.table(), "\n".join(f"- **{k}**: {v}" for k, v in rules)]
        files = {
            "report.md": "\n\n".join(text) + "\n",
            "report.html": comparison_page(self, rules, pictures=worst // 2),
            "report.json": report.json_text(self._content(rules)),
        }
        pieces = {name: functools.partial(_encoded, text) for name, text in files.items()}
        save_files(folder, pieces)

    def _content(self, rules: Sequence[tuple[str, str]]) -> dict[str, Any]:
        causes = self.reports[0].plan.causes is not None
        return {
            "title": self.title,
            "models": list(self.names),
            "images": self.images,
            "rows": self.rows(),
            "ranking": self.ranking(),
            "classes": self.class_rows(),
            "causes": self.cause_rows() if causes else [],
            "differing_images": self.differing_images(),
            "scoring": dict(rules),
        }

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


def check_unused_by(
    folder: Path,
    names: Sequence[str],
    *,
    overwrite: bool = False,
    model_files: Sequence[str] = MODEL_FILES,
) -> None:
    """Raises where a comparison cannot be written, or would replace one that is there.

    Args:
      folder: of the comparison.
      names: of the models.
      overwrite: replace it.
      model_files: of the report of each model.

    Raises:
      InputError: names the folder or the file.
    """
    report.check_unused(folder, () if overwrite else FILES)
    for name in names:
        report.check_unused(folder / name, () if overwrite else model_files)


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
