"""What changed since an earlier report: `--baseline report.json`.

The earlier report holds the counts of each of its images, so that both are compared on the images
that they share, with intervals and tests, and nothing is scored twice.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segalias_jax.errors import InputError
from segalias_jax.files import write_text
from segalias_jax.metrics.lookup import score_title
from segalias_jax.scoring.image_counts import CountPlan
from segalias_jax.scoring.merging import read_report
from segalias_jax.scoring.reports import bootstrap, significance, tables
from segalias_jax.scoring.reports.paired import ImageArrays, PairedModels

FILES = ("baseline.md", "baseline.json")
"""What `Changes.save` writes."""

_BEFORE, _NOW = "before", "now"


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An earlier report.

    Attributes:
      path: its `report.json`.
      plan: what was counted.
      classes: names of the classes.
      images: what is compared of its images.
      date: when it was made.
    """

    path: Path
    plan: CountPlan
    classes: tuple[str, ...]
    images: ImageArrays
    date: str = ""

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Reads a `report.json`.

        Args:
          path: the file, or its folder.

        Returns:
          The report.

        Raises:
          InputError: there is none, or it has no counts of images.

        Example:
          >>> Baseline.read(Path("missing.json"))
          Traceback (most recent call last):
          segalias_jax.errors.InputError: missing.json: cannot be read (No such file or directory)
        """
        report = read_report(path)
        images = ImageArrays.of(report.images)
        return cls(path, report.plan, report.classes, images, report.date)

    def check(self, plan: CountPlan, classes: Sequence[str] | None) -> None:
        """Raises where differences would be those of the rules.

        Args:
          plan: what is counted now.
          classes: names of the classes; None: not known yet.

        Raises:
          InputError: something else was counted, or other classes.
        """
        for name, before, now in self.plan.differences(plan):
            raise InputError(
                f"{self.path}: was scored with {name} {before}, not {now}; score both alike"
            )
        if classes is not None and tuple(classes) != self.classes:
            before, now = next(
                pair for pair in zip(self.classes, classes, strict=True) if len(set(pair)) == 2
            )
            raise InputError(
                f"{self.path}: has a class {before!r} where there is {now!r} now; score both alike"
            )


@dataclasses.dataclass(frozen=True)
class Changes:
    """What is different from an earlier report, on the images of both.

    Attributes:
      baseline: the earlier report.
      images: what is compared of the images of this one.

    Raises:
      InputError: the reports share no image.
    """

    baseline: Baseline
    images: ImageArrays

    def __post_init__(self):
        """Finds the common images."""
        if not set(self.baseline.images.names) & set(self.images.names):
            raise InputError(
                f"{self.baseline.path}: has none of the images that were scored; give a report of "
                "the same images"
            )

    @functools.cached_property
    def models(self) -> PairedModels:
        """Both reports, on the images that they share."""
        before = self.baseline
        reports = {_BEFORE: before.images, _NOW: self.images}
        return PairedModels.of(reports, before.plan, before.classes)

    @property
    def about(self) -> str:
        """What is compared, in a sentence."""
        before, now = set(self.baseline.images.names), set(self.images.names)
        dated = f" of {self.baseline.date}" if self.baseline.date else ""
        text = f"Against {self.baseline.path}{dated}, on the {len(before & now)} images of both"
        if before != now:
            text += f"; {len(now - before)} are new, {len(before - now)} are gone"
        return text + "."

    def table(self) -> str:
        """All scores, and the classes that changed clearly, in Markdown."""
        text = [self.about, _table("score", self.models.rows(), score_title)]
        classes = self.models.class_rows()
        changed = {row["class"] for row in classes if row.get("clear")}
        if changed:
            rows = [row for row in classes if row["class"] in changed]
            text += ["IoU of the classes that changed clearly:", _table("class", rows, str)]
        text.append(
            f"In brackets {bootstrap.describe()}; p of {significance.describe()} over classes; "
            f"* marks p below {significance.LEVEL}."
        )
        return "\n\n".join(text)

    def save(self, folder: Path) -> None:
        """Writes `baseline.md` and `baseline.json`.

        Args:
          folder: where to; exists.

        Raises:
          OSError: the disk is full or cannot be written.
        """
        before, now = set(self.baseline.images.names), set(self.images.names)
        content = {
            "baseline": str(self.baseline.path),
            "date": self.baseline.date,
            "images": len(before & now),
            "new_images": sorted(now - before),
            "gone_images": sorted(before - now),
            "scores": self.models.rows(),
            "classes": self.models.class_rows(),
            "causes": self.models.cause_rows() if self.images.causes is not None else [],
            "images_that_changed_most": self.models.differing_images(20),
        }
        write_text(folder / FILES[0], f"# Changes\n\n{self.table()}\n")
        write_text(folder / FILES[1], tables.json_text(content))


def _table(kind: str, rows: Sequence[dict[str, Any]], title: Any) -> str:
    cells = [[kind, _BEFORE, _NOW, "difference"]]
    for before, now in zip(rows[::2], rows[1::2], strict=True):
        ends = (100 * now[f"difference{end}"] for end in ("", "_low", "_high"))
        difference = bootstrap.with_interval(*ends, sign="+")
        cells.append(
            [
                title(before[kind]),
                tables.percent(before["value"]),
                tables.percent(now["value"]),
                difference + significance.with_p(now["p_corrected"]),
            ]
        )
    return tables.markdown_table(cells, names=True)
