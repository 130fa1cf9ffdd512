"""The page of one report: where a segmentation fails, then every image, then all numbers."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from segalias_jax.metrics.lookup import rows_shown, score_title, smaller_is_better
from segalias_jax.metrics.rows import Score
from segalias_jax.scoring.reports import charts, page
from segalias_jax.scoring.reports.summary import PLURALS, class_names, headline
from segalias_jax.scoring.reports.tables import shown_value
from segalias_jax.scoring.reports.views import browser, shown
from segalias_jax.scoring.reports.views.embedded import PanelSource, embed, hex_color
from segalias_jax.scoring.reports.views.payload import (
    LISTED,
    Column,
    color_names,
    image_table,
    listed,
)
from segalias_jax.typing import UInt8

PICTURES = 24
"""Number of images in a page: a few megabytes of street scenes."""

_WORST = 5
_MATRIX = 40  # classes of the largest confusion matrix that is shown
_BINS = 20
_MINUS = "\N{MINUS SIGN}"
_SIZE_WORDS = {"small": "below 32² px", "medium": "below 96² px", "large": "larger"}


def report_page(
    report: Mapping[str, Any],
    panels: PanelSource,
    *,
    palette: UInt8[np.ndarray, "classes 3"],
    cause_colors: Sequence[tuple[int, int, int]],
    count: int | None = None,
    pictures: int = PICTURES,
    special: Sequence[str] = (),
) -> str:
    """Makes the page of a report: one file, nothing fetched.

    Args:
      report: content of `report.json`.
      panels: gives the panels of an image by its index in the report.
      palette: RGB color of each class.
      cause_colors: RGB of the causes in their order.
      count: number of images, where the report lists the worst alone; None: of those listed.
      pictures: most images in the page: those of lowest score, and those with most of each cause.
      special: further pieces, such as of binary segmentation.

    Returns:
      The file.

    Raises:
      InputError: `pictures` is negative, or an image cannot be read.
    """
    count = len(report["images"]) if count is None else count
    chosen = shown.pictured(report, pictures)
    telling = [one for one in shown.telling_images(report) if one.index in chosen]
    found = {index: _picture(panels, index, palette, cause_colors) for index in chosen}
    names, classes = shown.causes_of(report)["names"], class_names(report)
    cause_colors = cause_colors[: len(names)]
    causes = list(zip(names, map(hex_color, cause_colors), strict=True))
    table, place = _table(report, chosen, causes)
    cards = _telling(report, telling, found, place)
    for number, one in enumerate(telling):
        _refer(found[one.index], f"t{number}")
    sections = [
        page.tiles(_tiles(report)),
        f'<div class="first">{_causes(report, causes)}{_worst(report, causes)}</div>',
        cards,
        browser.images_section(
            table,
            classes,
            pictures=len(found),
            left=count - len(table["names"]),
        ),
        page.section("Classes", _classes(report), name="classes"),
        page.section("What is taken for what", *_confusions(report), name="confusions"),
        page.section("Distributions", _distributions(report), name="distributions"),
        *special,
        *_about(report),
        browser.viewer(_class_colors(classes, palette), causes, several=False),
    ]
    data = {
        "table": table,
        "models": [""],
        "pictures": {place[index]: picture for index, picture in found.items()},
        "palette": color_names(classes, palette),
        "causes": color_names(names, cause_colors),
    }
    return page.whole_page(report["title"], sections, head=_head(report, count), data=data)


def _picture(
    panels: PanelSource,
    index: int,
    palette: np.ndarray,
    cause_colors: Sequence[tuple[int, int, int]],
) -> dict[str, Any]:
    maps: dict[str, Any] = dict(embed(panels(index), palette, cause_colors))
    maps["models"] = [{name: maps.pop(name) for name in ("prediction", "causes")}]
    return maps


def _refer(picture: dict[str, Any], name: str) -> None:
    """Puts references to images that the page shows in place of the images themselves."""
    for view in ("image", "truth"):
        if view in picture:
            picture[view] = f"#{name}-{view}"
    picture["models"] = [{view: f"#{name}-{view}" for view in picture["models"][0]}]


def _class_colors(classes: Sequence[str], palette: np.ndarray) -> list[tuple[str, str]]:
    return list(zip(classes, map(hex_color, palette), strict=True))


def _head(report: Mapping[str, Any], count: int) -> str:
    score = report["summary"].get("mIoU")
    lead = headline(report) if report.get("causes") else f"mIoU is {_percent(score)}."
    made = [f"{count} image{'s' * (count != 1)}"]
    if report.get("left_out"):
        made.append(f"{len(report['left_out'])} left out")
    if report.get("date"):
        day = datetime.datetime.fromisoformat(report["date"])
        made.append(f"{day.day} {day:%B %Y, %H:%M %Z}".strip().strip(","))
    made.append(report.get("library", ""))
    command = report.get("command")
    jumps = (("images", "All images"), ("classes", "Classes"), ("confusions", "Confusions"))
    jumps = (*jumps, ("distributions", "Distributions"), ("scoring", "How it was scored"))
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in jumps)
    return (
        f'<h1>{escape(report["title"])}</h1><p class="lead">{escape(lead)}</p>'
        f'<p class="meta">{escape(" · ".join(filter(None, made)))}</p>'
        + (f'<p class="command"><code>{escape(command)}</code></p>' if command else "")
        + f'<nav aria-label="parts of this page"><ul class="jump">{links}</ul></nav>'
    )


def _tiles(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [*rows_shown("table", source="classes"), *rows_shown("table", source="foreground")]
    scores = report["summary"]
    known = [row for row in rows if scores.get(row.name) is not None and not row.needs]
    return [(row.title, _shown(row, scores[row.name])) for row in known]


def _percent(value: float | int | None, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"


def _causes(report: Mapping[str, Any], causes: Sequence[tuple[str, str]]) -> str:
    found = shown.causes_of(report)
    if not causes:
        return ""
    gains = [found["delta_mIoU"][name] or 0.0 for name, _ in causes]
    most = max([*gains, 1e-9])
    rows = []
    for k in shown.leading_causes(report):
        name, color = causes[k]
        part = found["pixels"][name] / max(1, found["wrong_pixels"])
        swatch = f'<i class="swatch" style="background:{color}"></i>'
        bar = f'<i style="width:{100 * max(0.0, gains[k]) / most:.2f}%;background:{color}"></i>'
        rows.append(
            f'<div class="entry"><div class="name">{swatch}{browser.shows(name, cause=str(k))}'
            f'</div><div class="track">{bar if gains[k] > 0 else ""}</div>'
            f'<div class="value">{100 * gains[k]:+.1f}</div>'
            f'<div class="soft note">{100 * part:.0f} % of wrong pixels</div></div>'
        )
    wrong = found["wrong_pixels"] / max(1, found["counted_pixels"])
    return (
        "<section><h2>What repairing a cause would add to mIoU</h2>"
        f'<div class="rank">{"".join(rows)}</div>'
        + page.paragraph(
            f"{100 * wrong:.1f} % of the counted pixels are wrong, each for one cause. Gains are "
            "points of mIoU, each cause repaired by itself. Select a cause to see its images."
        )
        + "</section>"
    )


def _worst(report: Mapping[str, Any], causes: Sequence[tuple[str, str]]) -> str:
    values, pixels = shown.class_scores(report, "IoU"), shown.class_causes(report)
    names = class_names(report)
    rows = []
    for i in shown.worst_classes(report, _WORST):
        mostly = ""
        if pixels[i].any():
            k = int(pixels[i].argmax())
            name, color = causes[k]
            part = 100 * pixels[i, k] / pixels[i].sum()
            swatch = f'<i class="swatch" style="background:{color}"></i>'
            mostly = f"{swatch}{part:.0f} % {escape(name)}"
        width = f"width:{100 * (values[i] or 0):.2f}%"
        bar = f'<i style="{width};background:{page.SERIES_COLORS[0]}"></i>'
        rows.append(
            f'<div class="entry">'
            f'<div class="name">{browser.shows(names[i], **{"class": str(i)})}</div>'
            f'<div class="track">{bar}</div><div class="value">{_percent(values[i])}</div>'
            f'<div class="soft note">{mostly}</div></div>'
        )
    return (
        f"<section><h2>Classes of lowest IoU</h2>"
        f'<div class="rank">{"".join(rows)}</div>'
        + page.paragraph(
            "IoU in per cent, and the largest cause among the wrong pixels of the class, missing "
            "or extra."
        )
        + "</section>"
    )


def _telling(
    report: Mapping[str, Any],
    telling: Sequence[shown.Telling],
    found: Mapping[int, Mapping[str, Any]],
    place: Mapping[int, int],
) -> str:
    cards = []
    score = shown.first_score(report)
    for number, one in enumerate(telling):
        image = report["images"][one.index]
        cause = shown.causes_of(report)["names"][one.cause]
        caption = (
            f"<b>{escape(PLURALS[cause].capitalize())}: "
            f"{100 * one.fraction:.1f} % of the image</b>"
            f'<span class="soft">{escape(image["name"])} · {score_title(score)} '
            f"{_percent(image['scores'].get(score))}</span>"
        )
        views = "".join(
            f'<button type="button" data-picture="{place[one.index]}" data-of="{view}">{piece}'
            f"{view}</button>"
            for view, piece in browser.layers(found[one.index], f"t{number}", image["name"])
        )
        cards.append(
            f'<figure class="card"><figcaption>{caption}</figcaption><div class="quad">{views}'
            "</div></figure>"
        )
    if not cards:
        return ""
    return (
        '<section class="telling"><h2>Where the leading causes are largest'
        f'</h2><div class="cards">{"".join(cards)}</div></section>'
    )


def _table(
    report: Mapping[str, Any], chosen: Sequence[int], causes: Sequence[tuple[str, str]]
) -> tuple[dict[str, Any], dict[int, int]]:
    """The table of images, and the row of each index in it."""
    names, main = shown.image_scores(report)
    score = shown.first_score(report)
    values = [image["scores"].get(score) for image in report["images"]]
    kept = listed(values, chosen, LISTED)
    images = [report["images"][i] for i in kept]
    fractions = shown.cause_fractions(report)[kept]
    columns = [
        Column(
            score_title(name),
            "score",
            [image["scores"].get(name) for image in images],
            main=name in main,
        )
        for name in names
    ]
    columns += [
        Column(name, "cause", fractions[:, k].tolist(), color=color)
        for k, (name, color) in enumerate(causes)
    ]
    return image_table(images, columns), {index: row for row, index in enumerate(kept)}


def _classes(report: Mapping[str, Any]) -> str:
    names = shown.causes_of(report)["names"]
    scored = report["classes"][0] if report["classes"] else {}
    per_class = {name: shown.class_scores(report, name) for name in scored if name != "name"}
    rows = [row for row in rows_shown("table", source="classes") if row.per_class in per_class]
    known = {name: row for name in per_class if (row := shown.known_score(name)) is not None}
    further = [name for name, row in known.items() if row.needs and name == row.per_class]
    further.sort(key=lambda name: known[name].rank)
    true = per_class.get("class_pixels")
    total = sum(pixels or 0 for pixels in true) if true else 0
    pixels = shown.class_causes(report)
    # What explains a class stands beside its IoU, all other scores after it.
    first = ["IoU"] if "IoU" in per_class else []
    others = [row.per_class for row in rows if row.per_class not in first] + further
    header = ["class", *(["of pixels"] if total else [])]
    header += [score_title(name) for name in first] + names
    cells = [header + [score_title(name) for name in others]]
    for i, title in enumerate(class_names(report)):
        line = [title, *([_percent((true[i] or 0) / total, 2)] if true and total else [])]
        line += [_shown(known[name], per_class[name][i]) for name in first]
        whole = pixels[i].sum()
        line += [f"{100 * n / whole:.0f}" if whole else "-" for n in pixels[i]]
        cells.append(line + [_shown(known[name], per_class[name][i]) for name in others])
    return page.paragraph(
        f"In per cent; of {smaller_is_better()}, less is better. The causes are fractions of the "
        "wrong pixels that are truly of the class or predicted as it."
    ) + page.table(cells, sortable=True)


def _shown(row: Score, value: float | int | None) -> str:
    return "-" if value is None else shown_value(row, value)


def _confusions(report: Mapping[str, Any]) -> list[str]:
    counts = np.asarray(report["confusion"], np.int64)[: len(report["classes"])]
    names = class_names(report)
    found = shown.confusions(counts.tolist())
    header = ["true class", "predicted as", "of the class", "of all wrong pixels"]
    rows = [
        [names[one.true], names[one.predicted], _percent(one.of_class), _percent(one.of_wrong)]
        for one in found
    ]
    parts = [page.paragraph("Confusions of more than 1 % of all wrong pixels, in per cent:")]
    parts.append(
        page.table([header, *rows], sortable=True, words=2) if rows else page.paragraph("None.")
    )
    square = counts[:, : len(names)]
    present = np.flatnonzero(square.sum(0) + square.sum(1))
    if len(present) > _MATRIX:
        return [*parts, page.paragraph(f"report.json has the matrix of all {len(names)} classes.")]
    matrix = page.confusion([names[i] for i in present], square[np.ix_(present, present)])
    note = "Per cent of the true pixels of each class (rows); confusions of 1 % and less are blank."
    return [
        *parts,
        f"<details><summary>Confusion matrix</summary>{page.paragraph(note)}{matrix}</details>",
    ]


def _distributions(report: Mapping[str, Any]) -> str:
    pieces = [_score_histogram(report), _displacements(report), _objects(report)]
    return f'<div class="charts">{"".join(filter(None, pieces))}</div>'


def _score_histogram(report: Mapping[str, Any]) -> str:
    score = shown.first_score(report)
    values = [image["scores"].get(score) for image in report["images"]]
    known = np.asarray([value for value in values if value is not None], np.float64)
    if not len(known):
        return ""
    counts, _ = np.histogram(known, _BINS, (0, 1))
    edges = [f"{100 * k // _BINS}" for k in range(_BINS + 1)]
    chart = charts.columns(
        counts,
        [edge if k % 2 == 0 else "" for k, edge in enumerate(edges)],
        x_title=f"{score_title(score)} of an image in per cent",
        y_title="images",
        hints=[f"{low} to {high}" for low, high in itertools.pairwise(edges)],
        edges=True,
    )
    ends = np.percentile(100 * known, (0, 25, 50, 75, 100))
    words = "Lowest {:.1f}, quartiles {:.1f}, {:.1f} and {:.1f}, highest {:.1f}.".format(*ends)
    return f"<div><h3>Images by {score_title(score)}</h3>{chart}{page.paragraph(words)}</div>"


def _displacements(report: Mapping[str, Any]) -> str:
    bins = np.asarray(shown.causes_of(report)["displacement"], np.int64).sum(0)
    if not bins.any():
        return ""
    reach = len(bins) // 2
    hints = [f"{d:+d}".replace("-", _MINUS) if d else "0" for d in range(-reach, reach + 1)]
    hints[0], hints[-1] = f"≤{hints[0]}", f"≥{hints[-1]}"
    fractions = 100 * bins / bins.sum()
    chart = charts.columns(
        fractions,
        [text if (k - reach) % 4 == 0 else "" for k, text in enumerate(hints)],
        x_title="pixels from the true boundary",
        y_title="% of displaced pixels",
        hints=hints,
    )
    outside = fractions[reach + 1 :].sum()
    near = fractions[reach - 2 : reach + 3].sum()
    words = (
        f"{outside:.0f} % lie outside of the true object (+: the prediction reaches too far), "
        f"{100 - outside:.0f} % inside ({_MINUS}: too short); {near:.0f} % within 2 pixels."
    )
    return f"<div><h3>Displaced boundaries</h3>{chart}{page.paragraph(words)}</div>"


def _objects(report: Mapping[str, Any]) -> str:
    found = shown.causes_of(report)
    by_size = {name: np.asarray(rows, np.int64).sum(0) for name, rows in found["objects"].items()}
    if not by_size or not by_size["true"].sum() + by_size["predicted"].sum():
        return ""
    rows = [["", *found["sizes"], "all"]]
    for title, name, of in (
        ("true objects", "true", ""),
        ("missed", "missed", "true"),
        ("taken for another class", "confused", "true"),
        ("merged", "merged", "true"),
        ("split", "split", "true"),
        ("predicted objects", "predicted", ""),
        ("false", "false", "predicted"),
    ):
        cells = []
        for k in [*range(len(found["sizes"])), None]:
            number = int(by_size[name][k] if k is not None else by_size[name].sum())
            whole = 0
            if of:
                whole = int(by_size[of][k] if k is not None else by_size[of].sum())
            cells.append(f"{number:,} ({100 * number / whole:.0f} %)" if whole else f"{number:,}")
        rows.append([title, *cells])
    sizes = ", ".join(f"{size}: {_SIZE_WORDS.get(size, size)}" for size in found["sizes"])
    return (
        f"<div><h3>Objects by size</h3>{page.table(rows)}"
        + page.paragraph(
            f"Objects are connected regions of one class; {sizes}. In brackets the fraction of the "
            "true, and of false ones of the predicted objects of that size."
        )
        + "</div>"
    )


def _about(report: Mapping[str, Any]) -> list[str]:
    parts = []
    if report.get("left_out"):
        items = [(str(name), str(reason)) for name, reason in report["left_out"]]
        parts.append(page.section("Left out", page.definitions(items), name="left-out"))
    rules = [(str(k), str(v)) for k, v in report["scoring"].items()]
    parts.append(page.section("How it was scored", page.definitions(rules), name="scoring"))
    settings = [(str(k), str(v)) for k, v in report["settings"].items()]
    parts.append(page.section("Settings", page.definitions(settings)))
    return parts
