"""Reports of parts of a data set become that of the whole, bit by bit."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segalias_jax.errors import InputError
from segalias_jax.scoring.counts_file import CountsFile
from segalias_jax.scoring.image_counts import CountPlan, ImageCounts
from segalias_jax.scoring.reports.content import SCHEMA, read_content
from segalias_jax.scoring.reports.folder import FolderReport
from segalias_jax.scoring.sources import shown

_SHOWN = 3
_SUMS = ("images scored", "files left out", "images without a picture")
"""Settings that are numbers of the part's own files."""


def read_report(path: str | os.PathLike) -> FolderReport:
    """Reads a report that was written, with all its counts.

    Args:
      path: folder of the report, or its `report.json`.

    Returns:
      The report, which does not know its files: it shows no images.

    Raises:
      InputError: no such file, or one without counts.

    Example:
      >>> read_report("nowhere")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere/report.json: cannot be read (No such file or \
directory)
    """
    file = Path(path)
    if file.suffix.lower() != ".json":
        file /= "report.json"
    try:
        content, images = read_content(file)
        if content.get("schema") != SCHEMA or "counts" not in content:
            raise InputError(
                f"a report without the counts of its images (schema {content.get('schema')}, not "
                f"{SCHEMA}); score again with this version"
            )
        plan = CountPlan.from_json(content["counts"]["plan"])
        kept = CountsFile(plan)
        for image in images:
            # Not the line as it is: what is no count must be found here.
            kept.add(ImageCounts.from_json(image, plan))
        return FolderReport(
            images=kept,
            plan=plan,
            classes=tuple(one["name"] for one in content["classes"]),
            settings=content["settings"],
            left_out=tuple((name, reason) for name, reason in content["left_out"]),
            command=content["command"],
            date=content["date"],
        )
    except OSError as error:
        raise InputError(f"{shown(file)}: cannot be read ({error.strerror})") from None
    except InputError as error:
        raise InputError(f"{shown(file)}: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{shown(file)}: not a whole report ({error}); score again") from None


def merge_reports(paths: Sequence[str | os.PathLike]) -> FolderReport:
    """Makes the report of a data set of those of its parts.

    It is the report that scoring all parts at once would give, but for the date, the command and
    the names of the folders.

    Args:
      paths: folders of the reports, or their `report.json`.

    Returns:
      The report, of the images in the order of their names.

    Raises:
      InputError: a report without counts, reports with other classes or settings, or an image that
        two of them have.

    Example:
      >>> merge_reports([])
      Traceback (most recent call last):
      segalias_jax.errors.InputError: merge: give the reports of the parts
    """
    if not paths:
        raise InputError("merge: give the reports of the parts")
    parts = [(shown(path), read_report(path)) for path in paths]
    there, first = parts[0]
    kept = CountsFile(first.plan)
    names: dict[str, str] = {}
    for here, part in parts:
        _check_alike(first, there, part, here)
        for image, line in zip(part.images, part.lines(), strict=True):
            if image.name in names:
                raise InputError(
                    f"{here}: image {image.name!r} is in {names[image.name]}, too; leave it out of "
                    "one of them"
                )
            names[image.name] = here
            kept.add_line(line)
    every = list(names)
    kept.sort(sorted(range(len(every)), key=every.__getitem__))
    return FolderReport(
        images=kept,
        plan=first.plan,
        classes=first.classes,
        settings=_merged_settings([part.settings for _, part in parts]),
        left_out=tuple(sorted(left for _, part in parts for left in part.left_out)),
    )


def _check_alike(first: FolderReport, there: str, part: FolderReport, here: str) -> None:
    differences = [("classes", ", ".join(first.classes), ", ".join(part.classes))]
    differences = differences if first.classes != part.classes else []
    differences = [*first.plan.differences(part.plan), *differences]
    if differences:
        name, expected, found = differences[0]
        raise InputError(
            f"{here}: scored with {name} {found}, but {there} with {expected}; score all parts "
            "with the same settings"
        )


def _merged_settings(every: Sequence[Any]) -> dict[str, Any]:
    """Settings that are equal once, folders and notices of all, and sums of numbers."""
    result: dict[str, Any] = {}
    for name in dict.fromkeys(itertools.chain(*every)):
        values = [settings[name] for settings in every if name in settings]
        if name in _SUMS:
            result[name] = sum(values)
            continue
        unique = list(dict.fromkeys(map(str, values)))
        more = f" and {len(unique) - _SHOWN} more" if len(unique) > _SHOWN else ""
        result[name] = values[0] if len(unique) == 1 else ", ".join(unique[:_SHOWN]) + more
    return result
