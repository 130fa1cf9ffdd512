"""Tables of a report as CSV: of images, of their classes, and of objects.

Cells that a spreadsheet would take for a formula begin with an apostrophe.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segalias_jax.metrics.distance_scores import Distances, distance_rows
from segalias_jax.metrics.lookup import rows_of
from segalias_jax.metrics.rows import Score
from segalias_jax.scoring.image_set import plan_counts

if TYPE_CHECKING:
    from segalias_jax.scoring.reports.folder import FolderReport

_FORMULAS = ("=", "+", "-", "@", "\t")


def image_csv(report: FolderReport) -> Iterator[bytes]:
    """Writes a row for each image with its scores.

    Args:
      report: of a folder.

    Yields:
      Pieces of the file.
    """
    scores = report.per_image
    names = report.whole.names
    rows = ([name, *(v[i] for v in scores.values())] for i, name in enumerate(names))
    return written_rows(["name", *scores], rows)


def class_csv(report: FolderReport) -> Iterator[bytes]:
    """Writes a row for each image and each class that one of its maps has, with its scores.

    Args:
      report: of a folder.

    Yields:
      Pieces of the file.
    """
    shown = [row for row in rows_of(plan_counts(report.whole.sums, report.plan)) if row.per_class]
    far: list[Score] = []
    if report.plan.distances is not None:
        far = distance_rows(report.plan.distances, place="image")

    def rows() -> Iterator[list[Any]]:
        for image in report.images:
            sums = image.sums
            counts = plan_counts(sums, report.plan)
            values = [row.of_classes(counts) for row in shown]
            if image.distances is not None and report.plan.distances is not None:
                apart = Distances(image.distances, report.plan.distances)
                values += [row.formula(apart) for row in far]
            for c in np.flatnonzero(sums[1] + sums[2]):
                yield [image.name, report.classes[c], *(value[c] for value in values)]

    return written_rows(["name", "class", *(row.per_class for row in (*shown, *far))], rows())


def object_csv(report: FolderReport) -> Iterator[bytes]:
    """Writes a row for each object that is missed, false, confused, merged or split.

    Args:
      report: of a folder.

    Yields:
      Pieces of the file.
    """
    header = ["name", "cause", "true class", "predicted class"]
    header += ["x", "y", "width", "height", "pixels"]

    def rows() -> Iterator[list[Any]]:
        for image in report.images:
            for one in image.causes.records if image.causes is not None else ():
                classes = (report.classes[one.true_class], report.classes[one.predicted_class])
                box = (one.x, one.y, one.width, one.height)
                yield [image.name, one.cause, *classes, *box, one.pixels]

    return written_rows(header, rows())


def written_rows(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    r"""Writes rows as CSV.

    Args:
      header: names of the columns.
      rows: texts and numbers, nan where there is none.

    Yields:
      A line at a time.

    Example:
      >>> list(written_rows(["name", "x"], [["=a", 0.5], ["b", float("nan")]]))
      [b'name,x\n', b"'=a,0.5\n", b'b,\n']
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(value) for value in header])
    for row in rows:
        yield text.getvalue().encode("utf-8")
        text.seek(0)
        text.truncate()
        writer.writerow([_cell(value) for value in row])
    yield text.getvalue().encode("utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, str):
        value = value.replace("\r", " ")  # would end the line for many readers
        return f"'{value}" if value.startswith(_FORMULAS) else value
    number = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return "" if isinstance(number, float) and math.isnan(number) else repr(number)
