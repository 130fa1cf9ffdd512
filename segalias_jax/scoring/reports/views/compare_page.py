"""The page of a comparison: who is best and how surely, in what, and on which images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import numpy as np

from segalias_jax.metrics.lookup import score_title, smaller_is_better
from segalias_jax.scoring.reports import charts, page
from segalias_jax.scoring.reports.summary import class_names
from segalias_jax.scoring.reports.views import browser, shown
from segalias_jax.scoring.reports.views.embedded import Panels, embed, hex_color
from segalias_jax.scoring.reports.views.payload import (
    LISTED,
    Column,
    color_names,
    image_table,
    listed,
)
from segalias_jax.typing import UInt8

PICTURES = 12
"""Number of images in the page of a comparison, each with the maps of all models."""

_CARDS = 3
_ABREAST = 4  # models of two tables side by side

ModelPanels = Callable[[int, str], Panels]
"""Gives the panels of a model, by its place, of an image, by its name."""

Rows = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Compared:
    """What the page of a comparison shows; rows are those of `Comparison`.

    Attributes:
      title: headline.
      names: of the models; others are compared with the first.
      reports: of each model the content of its `report.json`.
      images: names of the images that all models were scored on; of very many, of those on which
        they differ most.
      scores: score, model, value, low, high, and but for the first model difference,
        difference_low, difference_high, p_corrected and clear.
      ranking: the same and rank, for one score, the best first; differences from the best.
      classes: the same and class, for one score.
      causes: the same and cause, of gains of mIoU; empty where causes were not counted.
      rules: what the numbers follow, by topic.
      ranked: name of the score of `ranking`.
      count: number of images that all models were scored on; 0: that of `images`.

    Example:
      >>> Compared("t", ("a", "b"), (), ("x",), (), (), (), (), ()).ranked
      'mIoU'
    """

    title: str
    names: Sequence[str]
    reports: Sequence[Mapping[str, Any]]
    images: Sequence[str]
    scores: Rows
    ranking: Rows
    classes: Rows
    causes: Rows
    rules: Sequence[tuple[str, str]]
    ranked: str = "mIoU"
    count: int = 0


def compare_page(
    compared: Compared,
    panels: ModelPanels,
    *,
    palette: UInt8[np.ndarray, "classes 3"],
    cause_colors: Sequence[tuple[int, int, int]],
    pictures: int = PICTURES,
) -> str:
    """Makes the page of a comparison: one file, nothing fetched.

    Args:
      compared: what to show.
      panels: gives the panels of a model, by its place, of an image, by its name.
      palette: RGB color of each class.
      cause_colors: RGB of the causes in their order.
      pictures: most images in the page: those on whose score models differ most.

    Returns:
      The file.

    Raises:
      InputError: an image cannot be read.
    """
    first = compared.reports[0]
    classes, causes = class_names(first), shown.causes_of(first)["names"]
    colors = list(zip(causes, map(hex_color, cause_colors), strict=False))
    values = _image_values(compared)
    spread = np.nanmax(values, 0, initial=-1.0) - np.nanmin(values, 0, initial=2.0)
    spread = np.where(np.isnan(values).all(0), 0.0, spread)
    order = [int(i) for i in np.argsort(-spread, kind="stable") if spread[i] > 0]
    chosen = order[:pictures]
    found = {i: _picture(compared, panels, i, palette, cause_colors) for i in chosen}
    table, place = _table(compared, values, spread, chosen)
    cards = "".join(
        _card(compared, number, i, found[i], place[i], values[:, i])
        for number, i in enumerate(chosen[:_CARDS])
    )
    for number, i in enumerate(chosen[:_CARDS]):
        _refer(found[i], f"t{number}")
    sections = [
        page.section("Ranking", _ranking(compared), name="ranking"),
        _parts(compared),
        page.section("Where models differ most", f'<div class="cards">{cards}</div>'),
        browser.images_section(
            table,
            classes,
            pictures=len(found),
            left=(compared.count or len(compared.images)) - len(table["names"]),
        ),
        page.section("All scores", *_scores(compared), name="scores"),
        page.section("How it was scored", page.definitions(list(compared.rules)), name="scoring"),
        browser.viewer(
            list(zip(classes, map(hex_color, palette), strict=True)), colors, several=True
        ),
    ]
    data = {
        "table": table,
        "models": list(compared.names),
        "pictures": {place[i]: picture for i, picture in found.items()},
        "palette": color_names(classes, palette),
        "causes": color_names(causes, cause_colors[: len(causes)]),
    }
    return page.whole_page(compared.title, sections, head=_head(compared), data=data)


def verdict(ranking: Rows, score: str) -> str:
    """Says in one sentence which model is best, and whether that is sure.

    Args:
      ranking: as in `Compared`.
      score: name of the score.

    Returns:
      The sentence.

    Example:
      >>> first = {"model": "a", "value": 0.5, "rank": 1}
      >>> second = {"model": "b", "value": 0.4, "rank": 2, "difference": -0.1, "clear": True}
      >>> verdict([first, second], "mIoU")
      'a is best: mIoU 50.0, 10.0 points ahead of b, which is clear.'
    """
    best, second = ranking[:2]
    if math.isnan(best["value"]) or math.isnan(second["value"]):
        return f"Not every model has a value of {score_title(score)}."
    ahead = abs(100 * second["difference"])
    text = f"{best['model']} is best: {score_title(score)} {100 * best['value']:.1f}, "
    if not ahead:
        return f"{best['model']} and {second['model']} are level: {text.split(': ')[1][:-2]}."
    sure = "which is clear" if second.get("clear") else "which may be chance"
    return f"{text}{ahead:.1f} points ahead of {second['model']}, {sure}."


def _head(compared: Compared) -> str:
    count, first = compared.count or len(compared.images), compared.reports[0]
    made = [
        f"{len(compared.names)} models",
        f"{count} image{'s' * (count != 1)} that all were scored on",
        (first.get("date") or "")[:10],
        first.get("library") or "",
    ]
    jumps = (("parts", "Causes and classes"), ("images", "All images"), ("scores", "All scores"))
    jumps = (*jumps, ("scoring", "How it was scored"))
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in jumps)
    return (
        f"<h1>{escape(compared.title)}</h1>"
        f'<p class="lead">{escape(verdict(compared.ranking, compared.ranked))}</p>'
        f'<p class="meta">{escape(" · ".join(filter(None, made)))}</p>'
        f'<nav aria-label="parts of this page"><ul class="jump">{links}</ul></nav>'
    )


def _interval(row: Mapping[str, Any], name: str, sign: str = "") -> str:
    """Writes a value with its interval below it."""
    keys = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    value, low, high = (100 * row[key] for key in (name, *keys))
    if math.isnan(value):
        return "-"
    if low == high == value == 0:
        return "0.00"
    mark = "*" if sign and row.get("clear") else ""
    return f"{value:{sign}.2f}{mark}<small>{low:{sign}.2f} to {high:{sign}.2f}</small>"


def _ranking(compared: Compared) -> str:
    rows = []
    for row in compared.ranking:
        link = f'<a href="{quote(row["model"])}/report.html">{escape(row["model"])}</a>'
        difference = _interval(row, "difference", "+") if "difference" in row else "-"
        p = f"{row['p_corrected']:.4f}" if "p_corrected" in row else "-"
        rows.append(
            f"<tr><td>{row['rank']}. {link}</td><td>{_interval(row, 'value')}</td>"
            f"<td>{difference}</td><td>{p}</td></tr>"
        )
    title = score_title(compared.ranked)
    head = f"<th>model</th><th>{title}</th><th>difference from the best</th><th>corrected p</th>"
    marks = [
        (row["model"], *(100 * row[key] for key in ("value", "low", "high")))
        for row in compared.ranking
    ]
    chart = charts.intervals(marks, x_title=f"{title} in per cent, with 95 % intervals")
    return (
        f'<div class="charts"><div class="scroll" tabindex="0"><table class="spread"><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{chart}</div>"
        + page.paragraph("* marks differences that are clear: corrected p below 0.05.")
    )


def _differences(compared: Compared, rows: Rows, key: str, *, better: int = 0) -> str:
    """A row for each class, cause or score: the first model's value, and how the others differ.

    `better` is the sign of better differences, which are tinted; 0: none is.
    """
    sizes = (abs(row["difference"]) for row in rows if "difference" in row)
    deepest = max((size for size in sizes if not math.isnan(size)), default=0.0) * abs(better)
    lines: dict[str, list[str]] = {}
    for row in rows:
        if "difference" not in row:
            name = escape(str(row[key]))
            lines[row[key]] = [f"<td>{name}</td>", f"<td>{_interval(row, 'value')}</td>"]
        else:
            lines[row[key]].append(_tinted(row, deepest, better))
    heads = "".join(f"<th>{escape(name)}</th>" for name in compared.names)
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in lines.values())
    return (
        f'<div class="scroll" tabindex="0"><table class="spread"><thead><tr><th>{key}</th>{heads}'
        f"</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _tinted(row: Mapping[str, Any], deepest: float, better: int) -> str:
    value = row["difference"]
    if math.isnan(value) or not deepest:
        return f"<td>{_interval(row, 'difference', '+')}</td>"
    depth = 0.5 * math.sqrt(abs(value) / deepest)
    color = "--right" if value * better > 0 else "--wrong"
    strong = ' class="clear"' if row.get("clear") else ""
    return (
        f'<td{strong} style="background:rgba(var({color}),{depth:.2f})">'
        f"{_interval(row, 'difference', '+')}</td>"
    )


def _parts(compared: Compared) -> str:
    """Causes and classes, side by side while there is room."""
    first, pieces = compared.names[0], []
    if compared.causes:
        note = "What mIoU would gain if the wrong pixels of a cause were right. Less is better."
        table = _differences(compared, compared.causes, "cause", better=-1)
        pieces.append(f"<div><h3>Causes</h3>{page.paragraph(note)}{table}</div>")
    table = _differences(compared, compared.classes, "class", better=1)
    note = page.paragraph("IoU of each class. More is better.")
    pieces.append(f"<div><h3>Classes</h3>{note}{table}</div>")
    wide = "wide" if len(compared.names) > _ABREAST else "charts"
    return page.section(
        "In what models differ",
        page.paragraph(
            f"{first} in points, and by how much the others differ from it: blue is better, orange "
            "worse. Small: the 95 % interval. * marks clear differences, corrected for the number "
            "of rows and models."
        ),
        f'<div class="{wide}">{"".join(pieces)}</div>',
        name="parts",
    )


def _scores(compared: Compared) -> list[str]:
    note = (
        f"In per cent: {compared.names[0]}, and by how much the others differ from it; of "
        f"{smaller_is_better()}, less is better."
    )
    rows = [{**row, "score": score_title(row["score"])} for row in compared.scores]
    return [page.paragraph(note), _differences(compared, rows, "score")]


def _image_values(compared: Compared) -> np.ndarray:
    """The score that images are ranked by, of each model and common image; nan without one."""
    score = shown.first_score(compared.reports[0])
    result = []
    for report in compared.reports:
        values = {image["name"]: image["scores"].get(score) for image in report["images"]}
        found = [values[name] for name in compared.images]
        result.append([math.nan if value is None else value for value in found])
    return np.asarray(result, np.float64).reshape(len(compared.reports), -1)


def _picture(
    compared: Compared,
    panels: ModelPanels,
    index: int,
    palette: np.ndarray,
    cause_colors: Sequence[tuple[int, int, int]],
) -> dict[str, Any]:
    maps = [
        embed(panels(model, compared.images[index]), palette, cause_colors)
        for model in range(len(compared.names))
    ]
    picture: dict[str, Any] = {
        k: v for k, v in maps[0].items() if k in ("image", "truth", "remark")
    }
    picture["models"] = [{k: one[k] for k in ("prediction", "causes")} for one in maps]
    return picture


def _refer(picture: dict[str, Any], name: str) -> None:
    for view in ("image", "truth"):
        if view in picture:
            picture[view] = f"#{name}-{view}"
    for k, model in enumerate(picture["models"]):
        model["causes"] = f"#{name}-{k}"


def _card(
    compared: Compared,
    number: int,
    index: int,
    picture: Mapping[str, Any],
    place: int,
    values: np.ndarray,
) -> str:
    name = compared.images[index]
    pieces = []
    for view in ("image", "truth"):
        if view in picture:
            pieces.append(
                f'<button type="button" data-picture="{place}" data-of="{view}">'
                f'<span class="layer"><img id="t{number}-{view}" alt="{view} of {escape(name)}" '
                f'src="{picture[view]}"></span>{view}</button>'
            )
    for k, model in enumerate(compared.names):
        value = "-" if math.isnan(values[k]) else f"{100 * values[k]:.1f}"
        pieces.append(
            f'<button type="button" data-picture="{place}" data-of="causes"><span class="layer">'
            f'<img class="base" alt="" data-src="#t{number}-image"><img class="over" '
            f'id="t{number}-{k}" alt="causes of {escape(model)} in {escape(name)}" '
            f'src="{picture["models"][k]["causes"]}"></span>{escape(model)} {value}</button>'
        )
    score = score_title(shown.first_score(compared.reports[0]))
    gap = 100 * (np.nanmax(values) - np.nanmin(values))
    return (
        f'<figure class="card"><figcaption><b>{escape(name)}</b><span class="soft">{score} differs '
        f'by {gap:.1f} points</span></figcaption><div class="quad">{"".join(pieces)}</div></figure>'
    )


def _table(
    compared: Compared, values: np.ndarray, spread: np.ndarray, chosen: Sequence[int]
) -> tuple[dict[str, Any], dict[int, int]]:
    kept = listed((-spread).tolist(), chosen, LISTED)
    rows = {image["name"]: image for image in compared.reports[0]["images"]}
    columns = [
        Column("difference", "score", spread[kept].tolist()),
        *(Column(name, "score", values[k, kept].tolist()) for k, name in enumerate(compared.names)),
    ]
    images = [rows[compared.images[i]] for i in kept]
    table = image_table(images, columns, sort=0, down=True)
    return table, {index: row for row, index in enumerate(kept)}
