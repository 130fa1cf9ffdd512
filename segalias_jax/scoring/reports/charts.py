"""Line charts for reports in HTML: drawings inside the page, which need no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from segalias_jax.scoring.reports.page import SERIES_COLORS
from segalias_jax.typing import Num

_WIDTH, _HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 40
_DASHES = "7 4"

_Curve = tuple[str, Num[np.ndarray, " n"], Num[np.ndarray, " n"]]


def lines(curves: Sequence[_Curve], *, x_title: str, y_title: str, x_end: float | int) -> str:
    """Draws curves over one pair of axes, y from 0 to 100 per cent.

    Args:
      curves: (name, x from 0 to `x_end`, fractions y); points where y is nan are left out. Of
        curves of one color, one is dashed.
      x_title: name of the horizontal axis.
      y_title: name of the vertical axis.
      x_end: largest x.

    Returns:
      The piece, with a legend.

    Example:
      >>> "<polyline" in lines(
      ...     [("IoU", np.arange(3), np.ones(3))], x_title="pixels", y_title="%", x_end=2)
      True
    """
    parts = [_axes(x_title, y_title, x_end)]
    keys = []
    for i, (name, x, y) in enumerate(curves):
        seen = ~np.isnan(y)
        points = " ".join(
            f"{_x(a / x_end):.1f},{_y(b):.1f}" for a, b in zip(x[seen], y[seen], strict=True)
        )
        # Neighbors in the list share a color only when there are more than two.
        color = SERIES_COLORS[i // 2 if len(curves) > 2 else i]
        style = f'fill="none" stroke="{color}" stroke-width="2.2"'
        style += f' stroke-dasharray="{_DASHES}"' if len(curves) > 2 and i % 2 else ""
        parts.append(f'<polyline points="{points}" {style}/>')
        swatch = f'<svg width="34" height="10"><line x1="0" y1="5" x2="34" y2="5" {style}/></svg>'
        keys.append(f"<li>{swatch} {escape(name)}</li>")
    return (
        f'<div class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(y_title)} over {escape(x_title)}">{"".join(parts)}</svg>'
        f'<ul class="legend keys">{"".join(keys)}</ul></div>'
    )


def _x(fraction: float | int) -> float:
    return float(_LEFT + fraction * (_WIDTH - _LEFT - _RIGHT))


def _y(fraction: float | int) -> float:
    return float(_HEIGHT - _BOTTOM - fraction * (_HEIGHT - _TOP - _BOTTOM))


def _axes(x_title: str, y_title: str, x_end: float | int) -> str:
    parts = []
    for k in range(6):
        height = _y(k / 5)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height}" y2="{height}"/>'
            f'<text x="{_LEFT - 6}" y="{height + 4}" text-anchor="end">{20 * k}</text>'
        )
        parts.append(
            f'<text x="{_x(k / 5)}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="middle">'
            f"{x_end * k / 5:g}</text>"
        )
    return _titled(parts, x_title, y_title)


def _titled(parts: Sequence[str], x_title: str, y_title: str) -> str:
    middle, up = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    titles = (
        f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(x_title)}</text>'
        f'<text transform="rotate(-90 11 {up})" x="11" y="{up + 4}" text-anchor="middle">'
        f"{escape(y_title)}</text>"
    )
    return f'<g class="axes">{"".join(parts)}{titles}</g>'


def columns(
    counts: Num[np.ndarray, " n"],
    labels: Sequence[str],
    *,
    x_title: str,
    y_title: str,
    hints: Sequence[str],
    color: str = SERIES_COLORS[0],
    edges: bool = False,
) -> str:
    """Draws a column for each number.

    Args:
      counts: numbers from 0 on, of which the largest is as high as the chart.
      labels: below the columns, or their edges; "" where there is no room for one.
      x_title: name of the horizontal axis.
      y_title: name of the vertical axis.
      hints: names of the columns, shown with their numbers where a mouse stays on them.
      color: of the columns.
      edges: labels stand at the edges of columns, one more than those.

    Returns:
      The piece.

    Example:
      >>> names = ["a", "b"]
      >>> chart = columns(np.asarray([1, 3]), names, x_title="x", y_title="n", hints=names)
      >>> chart.count("<rect")
      2
    """
    top = _round_above(float(np.max(counts, initial=0)))
    parts = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(k / 4)}" y2="{_y(k / 4)}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(k / 4) + 4}" text-anchor="end">{top * k / 4:.4g}</text>'
        for k in range(5)
    ]
    wide = (_WIDTH - _LEFT - _RIGHT) / len(counts)
    bars = []
    for i, count in enumerate(np.asarray(counts, np.float64)):
        height = count / top * (_HEIGHT - _TOP - _BOTTOM)
        bars.append(
            f'<rect class="cell" x="{_LEFT + i * wide + 1:.1f}" y="{_y(0) - height:.1f}" '
            f'width="{max(1.0, wide - 2):.1f}" height="{height:.1f}" fill="{color}">'
            f"<title>{escape(f'{hints[i]}: {count:.4g}')}</title></rect>"
        )
    for i, label in enumerate(labels):
        place = _LEFT + (i if edges else i + 0.5) * wide
        parts.append(
            f'<text x="{place:.1f}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="middle">'
            f"{escape(label)}</text>"
        )
    return (
        f'<div class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(y_title)} over {escape(x_title)}">'
        f"{_titled(parts, x_title, y_title)}{''.join(bars)}</svg></div>"
    )


def _round_above(value: float) -> float:
    """The next of 1, 2, 4, 8, 10 times a power of ten, whose quarters are short numbers."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return next(float(k * power) for k in (1, 2, 4, 8, 10) if k * power >= value)


def intervals(
    rows: Sequence[tuple[str, float, float, float]], *, x_title: str, color: str = SERIES_COLORS[0]
) -> str:
    """Draws values with their intervals, one below the other.

    Args:
      rows: (name, value, low, high); those with a nan have no mark.
      x_title: name of the axis.
      color: of the marks.

    Returns:
      The piece.

    Example:
      >>> intervals([("a", 1.0, 0.5, 2.0)], x_title="mIoU").count("<circle")
      1
    """
    known = [x for row in rows for x in row[1:] if not np.isnan(x)] or [0.0, 1.0]
    step = _round_above((max(known) - min(known)) / 4 or 1.0)
    first = step * np.floor(min(known) / step)
    ticks = np.arange(first, max(known) + step, step)
    last = float(ticks[-1])
    left, wide, line = 150, _WIDTH - 150 - 2 * _RIGHT, 30
    bottom = line * len(rows) + 10

    def place(x: float) -> float:
        # Models that are equal on a tick of the axis leave it no length.
        return left + (x - first) / (last - first if last > first else 1.0) * wide

    axes, marks = [], []
    for x in ticks:
        axes.append(
            f'<line x1="{place(x):.1f}" x2="{place(x):.1f}" y1="4" y2="{bottom}"/>'
            f'<text x="{place(x):.1f}" y="{bottom + 16}" text-anchor="middle">{x:.4g}</text>'
        )
    middle = left + wide / 2
    axes.append(
        f'<text x="{middle}" y="{bottom + 34}" text-anchor="middle">{escape(x_title)}</text>'
    )
    for i, (name, value, low, high) in enumerate(rows):
        y = line * i + 20
        short = name if len(name) <= 20 else name[:9] + "\u2026" + name[-10:]
        marks.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(short)}</text>')
        if np.isnan([value, low, high]).any():
            continue
        ends = "".join(
            f'<line x1="{place(x):.1f}" x2="{place(x):.1f}" y1="{y - 5}" y2="{y + 5}"/>'
            for x in (low, high)
        )
        marks.append(
            f'<line x1="{place(low):.1f}" x2="{place(high):.1f}" y1="{y}" y2="{y}"/>{ends}'
            f'<circle class="cell" cx="{place(value):.1f}" cy="{y}" r="5" fill="{color}"><title>'
            f"{escape(f'{name}: {value:.2f} [{low:.2f}, {high:.2f}]')}</title></circle>"
        )
    return (
        f'<div class="chart forest"><svg viewBox="0 0 {_WIDTH} {bottom + 40}" role="img" '
        f'aria-label="{escape(x_title)} with intervals"><g class="axes">{"".join(axes)}</g>'
        f"{''.join(marks)}</svg></div>"
    )
