"""Line charts for reports in HTML: drawings inside the page, which need no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Num

from segalias_jax.scoring.reports.page import SERIES_COLORS

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


def _x(fraction: float) -> float:
    return _LEFT + fraction * (_WIDTH - _LEFT - _RIGHT)


def _y(fraction: float) -> float:
    return _HEIGHT - _BOTTOM - fraction * (_HEIGHT - _TOP - _BOTTOM)


def _axes(x_title: str, y_title: str, x_end: float | int) -> str:
    parts = []
    for k in range(6):
        height = _y(k / 5)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height}" y2="{height}" '
            'stroke="#d9dee7"/>'
            f'<text x="{_LEFT - 6}" y="{height + 4}" text-anchor="end">{20 * k}</text>'
        )
        parts.append(
            f'<text x="{_x(k / 5)}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="middle">'
            f"{x_end * k / 5:g}</text>"
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(x_title)}</text>'
    )
    up = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text transform="rotate(-90 11 {up})" x="11" y="{up + 4}" text-anchor="middle">'
        f"{escape(y_title)}</text>"
    )
    return f'<g font-size="12" fill="#5a6577">{"".join(parts)}</g>'
