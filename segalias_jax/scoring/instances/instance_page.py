"""The page on scored objects: which cause costs most, all images, and the objects in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.instance_content import (
    ACCURACY,
    cause_table,
    class_table,
    headline,
    leading_causes,
    offsets_said,
    precision_table,
    score_rows,
    tide_table,
)
from segalias_jax.scoring.instances.instance_pictures import CAUSE_PALETTE, object_palette
from segalias_jax.scoring.instances.object_causes import CAUSES, DISPLACED, FALSE, FOUND
from segalias_jax.scoring.reports import charts, page
from segalias_jax.scoring.reports.views import browser
from segalias_jax.scoring.reports.views.embedded import Panels, embed, hex_color
from segalias_jax.scoring.reports.views.payload import (
    LISTED,
    Column,
    color_names,
    image_table,
    listed,
)

_MINUS = "\N{MINUS SIGN}"


def instance_page(
    content: Mapping[str, Any],
    panels: Callable[[int], Panels],
    *,
    pictures: int,
) -> str:
    """Makes the page: one file, nothing fetched.

    Args:
      content: of `report.json`.
      panels: gives the panels of an image by its index in the report.
      pictures: most images in the page.

    Returns:
      The file.

    Raises:
      InputError: `pictures` is negative, or an image cannot be read.
    """
    chosen = chosen_images(content, pictures)
    classes = [one["name"] for one in content["classes"]]
    palette = object_palette(len(classes))
    found = {}
    for index in chosen:
        maps: dict[str, Any] = dict(embed(panels(index), palette, CAUSE_PALETTE))
        maps["models"] = [{name: maps.pop(name) for name in ("prediction", "causes")}]
        found[index] = maps
    causes = [(name, hex_color(color)) for name, color in zip(CAUSES, CAUSE_PALETTE, strict=True)]
    table, place = _table(content, chosen, causes)
    names = ["background", *classes, "outline of an object"]
    left = len(content["images"]) - len(table["names"])
    parts = [
        page.tiles(_tiles(content)),
        *(page.paragraph(f"Note: {one}.") for one in content["notices"]),
        f'<div class="first">{_causes(content, causes)}{_sizes(content)}</div>',
        browser.images_section(table, classes, pictures=len(found), left=left),
        page.section("Classes", page.table(class_table(content), sortable=True), name="classes"),
        *_precision(content),
        page.section("Distributions", _distributions(content), name="distributions"),
        *_tide(content),
        page.section(
            "How it was scored", page.definitions(list(content["scoring"].items())), name="scoring"
        ),
        page.section(
            "Settings", page.definitions([(k, str(v)) for k, v in content["settings"].items()])
        ),
        browser.viewer(
            list(zip(names, map(hex_color, palette), strict=True)), causes, several=False
        ),
    ]
    data = {
        "table": table,
        "models": [""],
        "pictures": {place[index]: picture for index, picture in found.items()},
        "palette": color_names(names, palette),
        "causes": color_names(CAUSES, CAUSE_PALETTE),
    }
    return page.whole_page(content["title"], parts, head=_head(content), data=data)


def chosen_images(content: Mapping[str, Any], count: int) -> list[int]:
    """Indices of the images that a page embeds: in turns the worst, and those of each cause.

    Args:
      content: of `report.json`.
      count: most images.

    Returns:
      Distinct indices.

    Raises:
      InputError: `count` is negative.

    Example:
      >>> scores = dict.fromkeys(CAUSES, 0)
      >>> causes = {"names": CAUSES, "gains": dict.fromkeys(CAUSES, 0.0)}
      >>> images = [{"accuracy_50": 0.5}, {"accuracy_50": 0.25}]
      >>> chosen_images({"scores": scores, "causes": causes, "images": images}, 1)
      [1]
    """
    if count < 0:
        raise InputError(f"pictures: {count} is no number of images; give 0 or more")
    images = content["images"]
    worst = np.nan_to_num(np.asarray([one["accuracy_50"] for one in images], float), nan=2)
    queues = [np.argsort(worst, kind="stable").tolist()]
    for name in leading_causes(content):
        numbers = np.asarray([one["causes"][name] for one in images])
        order = np.argsort(-numbers, kind="stable")
        queues.append(order[numbers[order] > 0].tolist())
    # Those with most of the leading cause come before the worst, which may be empty images.
    queues.append(queues.pop(0))
    chosen: dict[int, None] = {}
    for turn in range(len(images)):
        for queue in queues:
            if turn < len(queue) and len(chosen) < count:
                chosen.setdefault(queue[turn])
    return list(chosen)


def _head(content: Mapping[str, Any]) -> str:
    count = len(content["images"])
    objects = sum(one["true"] for one in content["classes"])
    made = [f"{count} image{'s' * (count != 1)}", f"{objects:,} true objects", content["date"][:10]]
    made.append(content["library"])
    jumps = (("images", "All images"), ("classes", "Classes"), ("distributions", "Distributions"))
    jumps = (*jumps, ("scoring", "How it was scored"))
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in jumps)
    command = content["command"]
    return (
        f'<h1>{escape(content["title"])}</h1><p class="lead">{escape(headline(content))}</p>'
        f'<p class="meta">{escape(" · ".join(filter(None, made)))}</p>'
        + (f'<p class="command"><code>{escape(command)}</code></p>' if command else "")
        + f'<nav aria-label="parts of this page"><ul class="jump">{links}</ul></nav>'
    )


def _tiles(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = precision_table(content)
    # AP, AP50 and AP75; what is left of a row stands in the table of average precision.
    found = [
        (f"{row[0]} {title}", value)
        for row in rows[1:]
        for title, value in zip(rows[0][1:4], row[1:4], strict=True)
    ]
    return [one for one in (*score_rows(content), *found) if one[1] != "-"]


def _precision(content: Mapping[str, Any]) -> list[str]:
    rows = precision_table(content)
    return [page.section("Average precision and recall", page.table(rows))] if rows else []


def _causes(content: Mapping[str, Any], causes: Sequence[tuple[str, str]]) -> str:
    gains, scores = content["causes"]["gains"], content["scores"]
    names = leading_causes(content)
    most = max([*gains.values(), 1e-9])
    true = max(1, sum(one["true"] for one in content["classes"]))
    shown = [name for name in CAUSES if name != CAUSES[FOUND]]
    rows = []
    for name in names:
        color = dict(causes)[name]
        false = name == CAUSES[FALSE]
        said = "predictions" if false else f"objects, {100 * scores[name] / true:.0f} % of the true"
        button = browser.shows(name, cause=str(shown.index(name)))
        rows.append(
            f'<div class="entry"><div class="name"><i class="swatch" style="background:{color}">'
            f'</i>{button}</div><div class="track">'
            f'<i style="width:{100 * gains[name] / most:.2f}%;background:{color}"></i></div>'
            f'<div class="value">{100 * gains[name]:+.1f}</div>'
            f'<div class="soft note">{scores[name]:,} {said}</div></div>'
        )
    words = f"Points of {ACCURACY} at IoU .5, each cause repaired by itself. Select a cause to see "
    return (
        "<section><h2>What repairing a cause would add</h2>"
        f'<div class="rank">{"".join(rows)}</div>{page.paragraph(words + "its images.")}</section>'
    )


def _sizes(content: Mapping[str, Any]) -> str:
    rows = cause_table(content)
    kept = [0, 2, *range(4, len(rows[0]))]
    cells = [[row[k] for k in kept] for row in rows]
    words = "COCO's sizes: small is below 32² pixels, medium below 96²."
    return f"<section><h2>Objects by size</h2>{page.table(cells)}{page.paragraph(words)}</section>"


def _table(
    content: Mapping[str, Any], chosen: Sequence[int], causes: Sequence[tuple[str, str]]
) -> tuple[dict[str, Any], dict[int, int]]:
    """The table of images, and the row of each index in it."""
    kept = listed([one["accuracy_50"] for one in content["images"]], chosen, LISTED)
    images = [content["images"][i] for i in kept]
    columns = [
        Column(title, "score", [one[name] for one in images])
        for title, name in ((ACCURACY, "accuracy_50"), ("PQ", "PQ"))
    ]
    for name, color in causes:
        if name != CAUSES[FOUND]:
            whole = [max(1, one["true"] + one["causes"][CAUSES[FALSE]]) for one in images]
            parts = [one["causes"][name] / n for one, n in zip(images, whole, strict=True)]
            columns.append(Column(name, "cause", parts, color=color))
    table = {**image_table(images, columns), "of": "objects"}
    return table, {index: row for row, index in enumerate(kept)}


def _distributions(content: Mapping[str, Any]) -> str:
    reach = content["causes"]["reach"]
    hints = [f"{d:+d}".replace("-", _MINUS) if d else "0" for d in range(-reach, reach + 1)]
    hints[0], hints[-1] = f"≤{hints[0]}", f"≥{hints[-1]}"
    pieces = []
    for name in (CAUSES[FOUND], CAUSES[DISPLACED]):
        bins = np.asarray(content["causes"]["offsets"][name])
        if bins.any():
            chart = charts.columns(
                bins,
                [text if (k - reach) % 5 == 0 else "" for k, text in enumerate(hints)],
                x_title="pixels from the true boundary, + too far",
                y_title="objects",
                hints=hints,
            )
            pieces.append(f"<div><h3>Boundaries of {name} objects</h3>{chart}</div>")
    return f'<div class="charts">{"".join(pieces)}</div>{page.paragraph(offsets_said(content))}'


def _tide(content: Mapping[str, Any]) -> list[str]:
    if not content["ranked"]:
        return []
    words = "What AP at IoU .5 gains without each kind of error, in per cent."
    return [page.section("TIDE", page.table(tide_table(content)), page.paragraph(words))]
