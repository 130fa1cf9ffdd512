"""Building blocks of a report in HTML: one file, nothing fetched, readable on a phone.

Every function returns a piece of HTML; texts from outside are escaped in here.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

import cv2
import numpy as np
from jaxtyping import Integer, UInt8

_STYLE = """
:root { --ink: #1d2430; --soft: #5a6577; --line: #d9dee7; --fill: #f4f6f9; --mark: #1f6fb2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 24px 20px 60px; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 10px; border-top: 1px solid var(--line);
  padding-top: 18px; }
p, li, dd { max-width: 75ch; }
.soft { color: var(--soft); font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); gap: 10px; }
.tile { background: var(--fill); border-radius: 8px; padding: 10px 12px; }
.tile b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: #fff; }
.confusion td { padding: 3px 6px; min-width: 38px; font-size: .78rem; border: 1px solid #fff; }
.confusion thead th { padding: 3px 2px; font-size: .78rem; text-align: left; }
.confusion thead th span { writing-mode: vertical-rl; transform: rotate(180deg); }
.bars { display: grid; grid-template-columns: minmax(70px, max-content) 1fr; gap: 6px 12px;
  align-items: center; font-size: .9rem; }
.bars div.pair { display: grid; gap: 2px; }
.bar { display: flex; align-items: center; gap: 6px; }
.bar i { display: block; height: 11px; border-radius: 2px; min-width: 1px; }
.bar span { font-size: .78rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.track { flex: 1; max-width: 720px; background: var(--fill); border-radius: 2px; }
.stack { display: flex; height: 30px; border-radius: 4px; overflow: hidden; }
.stack i { display: block; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0; padding: 0;
  list-style: none; font-size: .9rem; }
.legend i { display: inline-block; width: 14px; height: 14px; margin-right: 6px;
  vertical-align: -2px; border: 1px solid #0005; }
.hatch { background: repeating-linear-gradient(135deg, #777 0 2px, #222 2px 6px) !important; }
figure { margin: 0 0 34px; }
figure img { display: block; width: 100%; height: auto; border-radius: 4px; background: #222; }
figcaption { margin-bottom: 6px; overflow-wrap: anywhere; }
.four { display: grid; grid-template-columns: 3fr 1fr; gap: 8px; align-items: start; }
.four .small { display: grid; gap: 8px; }
.four small { color: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 20px; }
.chart svg { max-width: 100%; }
.keys svg { vertical-align: 2px; }
.drawings { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); }
.drawings img { width: 100%; height: auto; }
dt { font-weight: 600; margin-top: 8px; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 640px) {
  body { padding: 16px 12px 40px; }
  th, td { padding: 4px 7px; }
  th:first-child, td:first-child { white-space: normal; min-width: 5rem; max-width: 7.5rem;
    overflow-wrap: break-word; }
  .four { grid-template-columns: 1fr; }
  .four .small { grid-template-columns: repeat(3, 1fr); }
}
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""
SERIES_COLORS = ("#1f6fb2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Colors of bars and curves, in their order; color-blind people can tell neighbors apart."""


def whole_page(title: str, parts: Sequence[str]) -> str:
    """Puts pieces below a headline.

    Args:
      title: headline, as text.
      parts: pieces of HTML.

    Returns:
      The file.

    Example:
      >>> "<h1>a &amp; b</h1>" in whole_page("a & b", [])
      True
    """
    return _PAGE.format(title=escape(title), style=_STYLE, body="\n".join(parts))


def section(title: str, *parts: str) -> str:
    r"""Puts pieces below a second-rank headline.

    Example:
      >>> section("A", "<p>b</p>")
      '<h2>A</h2>\n<p>b</p>'
    """
    return "\n".join((f"<h2>{escape(title)}</h2>", *parts))


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


def table(rows: Sequence[Sequence[str]]) -> str:
    """Writes a table that scrolls by itself where the screen is too narrow.

    Args:
      rows: cells as text, the header first.

    Returns:
      The piece.

    Example:
      >>> "<tbody><tr><td>1</td></tr></tbody>" in table([["a"], ["1"]])
      True
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = (f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in rows[1:])
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
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


def confusion(names: Sequence[str], counts: Integer[np.ndarray, "c c"]) -> str:
    """Shows a confusion matrix, each row in per cent of the true pixels of its class.

    Args:
      names: of the classes.
      counts: pixels by true (rows) and predicted class.

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
        cells = (_cell(fraction, right=i == j) for j, fraction in enumerate(fractions[i]))
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table class="confusion"><thead><tr><th>true \\ predicted</th>{head}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(fraction: float, *, right: bool) -> str:
    text = "" if fraction == 0 else "&lt;1" if fraction < 0.01 else f"{100 * fraction:.0f}"
    rgb = "31,111,178" if right else "213,94,0"
    # The root makes the few per cent visible that matter.
    depth = math.sqrt(fraction)
    ink = "#fff" if depth > 0.75 else "inherit"
    return f'<td style="background:rgba({rgb},{depth:.2f});color:{ink}">{text}</td>'


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
