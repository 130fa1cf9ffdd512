"""Building blocks of a report in HTML: one file, nothing fetched, readable on a phone.

Every function returns a piece of HTML; texts from outside are escaped in here.
"""

from __future__ import annotations

import base64
import functools
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from segalias_jax.scoring.reports import views
from segalias_jax.typing import Integer, UInt8

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head>
<body>{head}
{body}
{script}</body></html>
"""
SERIES_COLORS = ("#1f6fb2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Colors of bars and curves, in their order; color-blind people can tell neighbors apart."""


def whole_page(
    title: str, parts: Sequence[str], *, head: str = "", data: Mapping[str, Any] | None = None
) -> str:
    """Puts pieces below a headline.

    Args:
      title: headline, as text.
      parts: pieces of HTML.
      head: what stands in place of the headline; "": the title.
      data: what the page's script works with, as JSON; None: a page without script.

    Returns:
      The file. Characters that UTF-8 cannot hold, which names of files may have, are written as
      escapes; a policy in the page keeps a browser from fetching anything.

    Example:
      >>> ">a &amp; b</h1>" in whole_page("a & b", [])
      True
    """
    script = ""
    if data is not None:
        code = "\n".join(map(_resource, ("tables.js", "viewer.js")))
        # "<" of names would end the element, or open a comment in it.
        content = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        script = (
            f'<script id="data" type="application/json">{content}</script>\n'
            f"<script>{code}</script>\n"
        )
    text = _PAGE.format(
        title=escape(title),
        style=_resource("page.css"),
        head=head or f'<h1 class="large">{escape(title)}</h1>',
        body="\n".join(parts),
        script=script,
    )
    return text.encode("utf-8", "backslashreplace").decode()


@functools.cache
def _resource(name: str) -> str:
    """Reads a file beside the views, also out of a zipped package."""
    return (resources.files(views) / name).read_text(encoding="utf-8")


def section(title: str, *parts: str, name: str = "") -> str:
    r"""Puts pieces below a second-rank headline.

    Args:
      title: headline, as text.
      *parts: pieces of HTML.
      name: what links inside the page lead to; "": none do.

    Example:
      >>> section("A", "<p>b</p>"), section("A", name="a")
      ('<h2>A</h2>\n<p>b</p>', '<h2 id="a">A</h2>')
    """
    anchor = f' id="{escape(name)}"' if name else ""
    return "\n".join((f"<h2{anchor}>{escape(title)}</h2>", *parts))


def paragraph(text: str) -> str:
    """Writes an explaining line.

    Example:
      >>> paragraph("1 < 2")
      '<p class="soft">1 &lt; 2</p>'
    """
    return f'<p class="soft">{escape(text)}</p>'


def tiles(items: Sequence[tuple[str, str]]) -> str:
    """Shows (name, value) pairs large, side by side.

    Example:
      >>> tiles([("mIoU", "50.0")])
      '<div class="tiles"><div class="tile"><b>50.0</b><span>mIoU</span></div></div>'
    """
    boxes = (
        f'<div class="tile"><b>{escape(v)}</b><span>{escape(k)}</span></div>' for k, v in items
    )
    return f'<div class="tiles">{"".join(boxes)}</div>'


def table(rows: Sequence[Sequence[str]], *, sortable: bool = False, words: int = 1) -> str:
    """Writes a table that scrolls by itself where the screen is too narrow.

    Args:
      rows: cells as text, the header first.
      sortable: whether its header has buttons that sort it; for pages with a script.
      words: number of columns, from the left, that hold words.

    Returns:
      The piece.

    Example:
      >>> "<tbody><tr><td>1</td></tr></tbody>" in table([["a"], ["1"]])
      True
    """
    plain = ["", *(' class="text"' if i < words else "" for i in range(1, len(rows[0])))]
    titles = [
        f'<button type="button">{escape(c)}</button>' if sortable else escape(c) for c in rows[0]
    ]
    head = "".join(
        f'<th scope="col"{kind}>{title}</th>' for kind, title in zip(plain, titles, strict=True)
    )
    body = (
        f"<tr>{''.join(f'<td{k}>{escape(c)}</td>' for k, c in zip(plain, row, strict=True))}</tr>"
        for row in rows[1:]
    )
    return (
        f'<div class="scroll" tabindex="0"><table{" data-sortable" if sortable else ""}><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def bars(names: Sequence[str], series: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Draws a bar for each name in each series.

    Args:
      names: of the rows.
      series: (title, fractions in [0, 1]); nan draws nothing, and names without any value are
        listed below.

    Returns:
      The piece, with a legend.

    Example:
      >>> "50.0" in bars(["sky"], [("IoU", [0.5])])
      True
    """
    colors = [SERIES_COLORS[i % len(SERIES_COLORS)] for i in range(len(series))]
    keys = legend([(title, c) for (title, _), c in zip(series, colors, strict=True)])
    rows, empty = [], []
    for i, name in enumerate(names):
        if all(math.isnan(v[i]) for _, v in series):
            empty.append(name)
            continue
        lines = (_bar(v[i], color) for (_, v), color in zip(series, colors, strict=True))
        rows.append(f'<div>{escape(name)}</div><div class="pair">{"".join(lines)}</div>')
    rest = paragraph(f"Without a value: {', '.join(empty)}.") if empty else ""
    return f'{keys}<div class="bars">{"".join(rows)}</div>{rest}'


def _bar(value: float, color: str) -> str:
    if math.isnan(value):
        return '<div class="bar"><span>no value</span></div>'
    width = f"width:{100 * value:.2f}%;background:{color}"
    return (
        f'<div class="bar"><div class="track"><i style="{width}"></i></div>'
        f"<span>{100 * value:.1f}</span></div>"
    )


def stacked(items: Sequence[tuple[str, float, str]]) -> str:
    """Draws parts of a whole as one bar, with the numbers in its legend.

    Args:
      items: (name, fraction, color); nan draws nothing.

    Returns:
      The piece.

    Example:
      >>> "correct 97.00 %" in stacked([("correct", 0.97, "#444"), ("wrong", 0.03, "#f00")])
      True
    """
    items = [(name, 0.0 if math.isnan(part) else part, color) for name, part, color in items]
    parts = (f'<i style="flex:{part:.6f};background:{color}"></i>' for _, part, color in items)
    keys = legend([(f"{name} {100 * part:.2f} %", color) for name, part, color in items])
    return f'<div class="stack">{"".join(parts)}</div>{keys}'


def legend(items: Sequence[tuple[str, str]]) -> str:
    """Names colors; the color "hatch" is the pattern of ignored pixels.

    Example:
      >>> legend([("sky", "#abc")])
      '<ul class="legend"><li><i style="background:#abc"></i>sky</li></ul>'
    """
    swatches = (
        '<i class="hatch"></i>' if color == "hatch" else f'<i style="background:{color}"></i>'
        for _, color in items
    )
    rows = (f"<li>{s}{escape(name)}</li>" for s, (name, _) in zip(swatches, items, strict=True))
    return f'<ul class="legend">{"".join(rows)}</ul>'


def confusion(
    names: Sequence[str], counts: Integer[np.ndarray, "c c"], *, least: float = 0.01
) -> str:
    """Shows a confusion matrix, each row in per cent of the true pixels of its class.

    Args:
      names: of the classes.
      counts: pixels by true (rows) and predicted class.
      least: confusions of at most this fraction of their row are left blank.

    Returns:
      The piece.

    Example:
      >>> ">75<" in confusion(["a", "b"], np.asarray([[3, 1], [0, 0]]))
      True
    """
    fractions = counts / np.maximum(1, counts.sum(1, keepdims=True))
    head = "".join(f"<th><span>{escape(name)}</span></th>" for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = (
            _cell(fraction, right=i == j, least=least) for j, fraction in enumerate(fractions[i])
        )
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    return (
        '<div class="scroll" tabindex="0"><table class="confusion"><thead><tr>'
        f"<th>true \\ predicted</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(fraction: float, *, right: bool, least: float) -> str:
    text = f"{100 * fraction:.0f}" if right or fraction > least else ""
    # The root makes the few per cent visible that matter. No deeper than this, so that text can be
    # read on it.
    depth = 0.55 * math.sqrt(fraction) if text else 0.0
    color = "--right" if right else "--wrong"
    return f'<td style="background:rgba(var({color}),{depth:.2f})">{text}</td>'


def definitions(items: Sequence[tuple[str, str]]) -> str:
    """Lists topics with what is said of them.

    Example:
      >>> definitions([("a", "b")])
      '<dl><dt>a</dt><dd>b</dd></dl>'
    """
    return f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in items)}</dl>"


def links(items: Sequence[tuple[str, str]]) -> str:
    """Lists links to files beside the page.

    Example:
      >>> links([("a", "a/report.html")])
      '<ul><li><a href="a/report.html">a</a></li></ul>'
    """
    rows = (f'<li><a href="{quote(to)}">{escape(name)}</a></li>' for name, to in items)
    return f"<ul>{''.join(rows)}</ul>"


def drawings(items: Sequence[tuple[str, str]]) -> str:
    """Shows drawings side by side, or below each other where the screen is narrow.

    Args:
      items: (what it shows, SVG).

    Returns:
      The piece, drawings embedded.

    Example:
      >>> drawings([("a line", "<svg/>")]).count("data:image/svg+xml;base64,")
      1
    """
    images = (
        f'<img alt="{escape(name)}" src="data:image/svg+xml;base64,'
        f'{base64.b64encode(text.encode()).decode()}">'
        for name, text in items
    )
    return f'<div class="drawings">{"".join(images)}</div>'


def four_pictures(caption: str, panels: Sequence[tuple[str, UInt8[np.ndarray, "h w 3"]]]) -> str:
    """Shows the last of some pictures large and the others small beside it.

    Args:
      caption: what they are of.
      panels: (title, RGB picture).

    Returns:
      The piece, pictures embedded.

    Example:
      >>> four_pictures("a", [("errors", np.zeros((2, 2, 3), np.uint8))]).count("<img")
      1
    """
    *small, (title, large) = panels
    beside = "".join(
        f"<div>{_image(picture, 420, name)}<small>{escape(name)}</small></div>"
        for name, picture in small
    )
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><div class="four">'
        f"<div>{_image(large, 1200, title)}<small>{escape(title)}</small></div>"
        f'<div class="small">{beside}</div></div></figure>'
    )


def _image(picture: np.ndarray, width: int, name: str) -> str:
    height = round(picture.shape[0] * width / picture.shape[1])
    if picture.shape[1] > width:
        picture = cv2.resize(picture, (width, max(1, height)), interpolation=cv2.INTER_AREA)
    # Full color resolution: thin errors differ from their surroundings by color alone.
    flags = [
        cv2.IMWRITE_JPEG_QUALITY,
        85,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    data = cv2.imencode(".jpg", picture[..., ::-1], flags)[1].tobytes()
    source = base64.b64encode(data).decode()
    return f'<img alt="{escape(name)}" loading="lazy" src="data:image/jpeg;base64,{source}">'
