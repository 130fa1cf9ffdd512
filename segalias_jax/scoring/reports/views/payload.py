"""What the script of a page works with: the table of images, and those that the page embeds.

Numbers of images are integers, millionths, which takes a third of the room and is rounded again as
the number itself would be; of a hundred thousand images the page lists the worst, the files beside
it all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from segalias_jax.scoring.reports.views.embedded import hex_color
from segalias_jax.typing import UInt8

LISTED = 5000
"""Most images in the table of a page."""


class Column(NamedTuple):
    """A column of the table of images.

    Attributes:
      title: its name.
      kind: "score" or "cause".
      values: fractions, one for each image; None and nan where there is none.
      main: whether it is shown at first.
      color: of a cause.
    """

    title: str
    kind: str
    values: Sequence[float | int | None]
    main: bool = True
    color: str = ""


def millionths(values: Sequence[float | int | None]) -> list[int | None]:
    """Writes fractions as integers.

    Example:
      >>> millionths([0.5, None, float("nan")])
      [500000, None, None]
    """
    known = ((None if v is None or math.isnan(v) else v) for v in values)
    return [None if value is None else round(1_000_000 * value) for value in known]


def image_table(
    images: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    sort: int = 0,
    down: bool = False,
) -> dict[str, Any]:
    """Gives the table of images to the script.

    Args:
      images: name, height, width and classes of each, as in `report.json`.
      columns: their numbers.
      sort: column that it is sorted by at first.
      down: whether the largest come first.

    Returns:
      What JSON can hold.

    Example:
      >>> image = {"name": "a", "height": 2, "width": 3, "classes": [0]}
      >>> image_table([image], [Column("mIoU", "score", [0.5])])["columns"][0]["values"]
      [500000]
    """
    return {
        "names": [image["name"] for image in images],
        "sizes": [[image["height"], image["width"]] for image in images],
        "classes": [list(image["classes"]) for image in images],
        "columns": [
            {
                "title": column.title,
                "kind": column.kind,
                "main": column.main,
                "color": column.color,
                "values": millionths(column.values),
            }
            for column in columns
        ],
        "sort": f"c{sort}",
        "down": down,
    }


def listed(values: Sequence[float | int | None], keep: Sequence[int], most: int) -> list[int]:
    """Indices of the images in the table: all, or of too many those of lowest score.

    Args:
      values: score of each image.
      keep: indices that are listed in any case.
      most: number of images.

    Returns:
      Indices, in their order.

    Example:
      >>> listed([0.5, 0.1, 0.9], [2], 2)
      [1, 2]
    """
    known = [math.inf if v is None or math.isnan(v) else v for v in values]
    order = np.argsort(np.asarray(known, np.float64), kind="stable").tolist()
    return sorted(list(dict.fromkeys([*keep, *order]))[:most])


def color_names(
    names: Sequence[str], colors: UInt8[np.ndarray, "classes 3"] | Sequence[Sequence[int]]
) -> dict[str, str]:
    """Names by color, for what a pixel of an embedded map is.

    Example:
      >>> color_names(["a", "b"], [(0, 0, 0), (0, 0, 0)])
      {'#000000': 'a or b'}
    """
    found: dict[str, str] = {}
    for name, color in zip(names, colors, strict=True):
        key = hex_color(color)
        found[key] = f"{found[key]} or {name}" if key in found else name
    return found
