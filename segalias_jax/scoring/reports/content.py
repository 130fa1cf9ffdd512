"""The content of `report.json`: scores, causes, and all counts, from which it can be made again.

    {"schema": 2, "library": "segalias_jax 0.2.0", "command": ..., "date": ..., "title": ...,
     "settings": {name: value}, "scoring": {topic: words},
     "summary": {score: number}, "classes": [{"name": ..., score: number, ...}, ...],
     "scores": as "summary", "per_class": {score: [number of each class]}, "confusion": [[pixels]],
     "causes": {...}, "left_out": [[name, reason]],
     "images": [{"name", "height", "width", "scores", "causes", "classes"}, ...],
     "counts": {"plan": what was counted, "form": words, "images": [counts of each image]}}

Numbers that do not exist are null.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import segalias_jax
from segalias_jax.scoring import offsets
from segalias_jax.scoring.cause_counts import CAUSES, OBJECT_ROWS, SIZES
from segalias_jax.scoring.distance_report import distance_numbers
from segalias_jax.scoring.image_set import ImageSet
from segalias_jax.scoring.reports import tables

if TYPE_CHECKING:
    from segalias_jax.scoring.reports.folder import FolderReport

SCHEMA = 2
"""Version of the form of `report.json`; 1 had neither images nor counts."""

_IMAGES, _COUNTS = b' "images": [', b' "counts": '
_FORM = (
    "the arrays of each image, flattened, as gap, number, gap, number and so on: each number that "
    "is not 0, after its distance from the one before it; segalias score merge reads them"
)


def library() -> str:
    """Name and version of this library.

    Example:
      >>> library().split()[0]
      'segalias_jax'
    """
    return f"segalias_jax {segalias_jax.__version__}"


def report_content(report: FolderReport, *, images: Sequence[int] | None = None) -> dict[str, Any]:
    """Puts together all of `report.json` but the counts.

    Args:
      report: of a folder.
      images: indices of the images to list; None: all.

    Returns:
      What JSON can hold, nan as null.
    """
    scores, found = report.scores | report.further, report.whole
    summary = {k: _plain(v) for k, v in scores.items() if np.ndim(v) == 0}
    per_class = {k: _plain_list(v) for k, v in scores.items() if np.ndim(v)}
    chosen = range(len(found.names)) if images is None else images
    return {
        "schema": SCHEMA,
        "library": library(),
        "command": report.command,
        "date": report.date,
        "title": report.title,
        "settings": {
            k: v if isinstance(v, int | float) else str(v) for k, v in report.settings.items()
        },
        "scoring": tables.scoring_rules(report.state) | report.rules(),
        "summary": summary,
        "classes": [
            {"name": name} | {k: values[i] for k, values in per_class.items()}
            for i, name in enumerate(report.classes)
        ],
        "scores": summary,
        "per_class": per_class,
        "confusion": report.state.totals().sum(0)[:-1].tolist(),
        "causes": _causes(report),
        "left_out": [list(one) for one in report.left_out],
        "images": list(_images(found, chosen)),
    }


def written_content(report: FolderReport) -> Iterator[bytes]:
    """Writes `report.json`, of any number of images in constant memory.

    Args:
      report: of a folder.

    Yields:
      Pieces of the file.
    """
    head = report_content(report, images=())
    head.pop("images")
    yield json.dumps(head, indent=1, allow_nan=False).removesuffix("\n}").encode("ascii")
    yield b',\n "images": ['
    images = _images(report.whole, range(len(report.whole.names)))
    yield from _listed(_line(image) for image in images)
    about = {"plan": report.plan.to_json(), "form": _FORM}
    yield b"\n ],\n" + _COUNTS + _line(about).removesuffix(b"}") + b',"images":['
    yield from _listed(report.lines())
    yield b"\n ]}\n}\n"


def read_content(path: Path) -> tuple[dict[str, Any], Iterator[bytes | dict[str, Any]]]:
    """Reads `report.json`, of any number of images in constant memory.

    Args:
      path: the file.

    Returns:
      The content without "images", "counts" without its images; and these, one after the other, as
      `ImageCounts.from_json` takes them.

    Raises:
      OSError: it cannot be read.
      ValueError: it is no JSON, or is cut off.
    """
    with path.open("rb") as file:
        head = list(itertools.takewhile(lambda line: not line.startswith(_IMAGES), file))
        counts = next((line for line in file if line.startswith(_COUNTS)), b"")
        place = file.tell() if counts else 0
    if not place:  # not as it was written, such as by a program that indents it
        content = json.loads(path.read_bytes())
        content.pop("images", None)
        found = content.get("counts") or {}
        return content, iter(found.pop("images", ()))
    content = json.loads(b"".join(head).rstrip().removesuffix(b",") + b"}")
    about = json.loads(counts.removeprefix(_COUNTS).rstrip().removesuffix(b',"images":[') + b"}")
    return content | {"counts": about}, _read_lines(path, place)


def _read_lines(path: Path, place: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(place)
        for line in file:
            if line.startswith(b" ]"):
                return
            if not line.endswith((b"}\n", b"},\n")):
                break
            yield line.rstrip().removesuffix(b",")
    raise ValueError("cut off")


def _listed(lines: Iterator[bytes]) -> Iterator[bytes]:
    comma = b"\n  "
    for line in lines:
        yield comma + line
        comma = b",\n  "


def _line(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def _causes(report: FolderReport) -> dict[str, Any] | None:
    found = report.whole
    if found.causes is None or report.plan.causes is None:
        return None
    counts, scores = found.causes, report.scores
    return {
        "names": list(CAUSES),
        "coverage": report.plan.causes.coverage,
        "pixels": counts.totals,
        "wrong_pixels": sum(counts.totals.values()),
        "counted_pixels": int(scores["pixels"]),
        "delta_mIoU": {name: _finite(gain) for name, gain in found.repaired().items()},
        "by_class": {
            name: dict(zip(("true", "predicted"), pixels.tolist(), strict=True))
            for name, pixels in zip(CAUSES, counts.pixels, strict=True)
        },
        "objects": dict(zip(OBJECT_ROWS, counts.objects.tolist(), strict=True)),
        "sizes": list(SIZES),
        "displacement": counts.displacement.tolist(),
    }


def _images(found: ImageSet, chosen: Sequence[int]) -> Iterator[dict[str, Any]]:
    for i in chosen:
        height, width = found.sizes[i].tolist()
        image: dict[str, Any] = {"name": found.names[i], "height": height, "width": width}
        image["scores"] = {name: _plain(values[i]) for name, values in found.scores.items()}
        if found.causes is not None:
            image["causes"] = dict(zip(CAUSES, found.image_causes[i].tolist(), strict=True))
        yield image | {"classes": np.flatnonzero(found.present[i]).tolist()}


def further_scores(report: FolderReport) -> dict[str, Any]:
    """Scores of binary segmentation, of shifted predictions, and of distances.

    Args:
      report: of a folder.

    Returns:
      Numbers by name, and numbers of each class.
    """
    found = report.whole
    result: dict[str, Any] = dict(found.binary.compute()) if found.binary is not None else {}
    if found.offsets is not None:
        result |= offsets.offset_numbers(report.plan.offsets, found.offsets)
    if found.distances is not None and report.plan.distances is not None:
        result |= distance_numbers(found.distances, report.plan.distances)
    return result


def _plain(value: Any) -> int | float | None:
    return _finite(np.asarray(value).item())


def _finite(value: int | float) -> int | float | None:
    return None if isinstance(value, float) and math.isnan(value) else value


def _plain_list(values: Any) -> list[int | float | None]:
    return [_finite(value) for value in np.asarray(values).tolist()]
