"""What `report.html` shows of binary segmentation and of shifted predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segalias_jax.metrics.lookup import rows_shown, score_title
from segalias_jax.metrics.totals import ForegroundState
from segalias_jax.scoring.offsets import offset_columns, offset_scores
from segalias_jax.scoring.reports import binary as binary_report
from segalias_jax.scoring.reports import charts, page
from segalias_jax.scoring.reports import tables as report
from segalias_jax.typing import Int


def foreground_section(binary: ForegroundState, foreground: str) -> str:
    """Shows the scores of binary segmentation, and their curves where thresholds matter.

    Args:
      binary: the state.
      foreground: name of class 1.

    Returns:
      The piece.

    Example:
      >>> from segalias_jax.metrics import BinaryTotals
      >>> binary = BinaryTotals.empty(2).add(np.asarray([[[1, 0], [0, 1]]]))
      >>> "<h2>Foreground: polyp</h2>" in foreground_section(binary, "polyp")
      True
    """
    scores, curves = binary.compute(), []
    if binary.swept:
        curves.append(_threshold_curves(binary))
    return page.section(
        f"Foreground: {foreground}",
        page.table(binary_report.binary_rows(scores, foreground)),
        page.paragraph(
            '"Mean over images" scores every image by itself, all weighing the same; '
            '"pixels of all images" counts pixels over all images first. '
            + binary_report.areas_text(scores)
        ),
        *curves,
    )


def _threshold_curves(binary: ForegroundState) -> str:
    curves, x = binary.curves(), binary.thresholds
    drawn = rows_shown("curve", source="foreground")
    found = [(row.title, x, curves[row.name]) for row in drawn]
    left = charts.lines(found, x_title="threshold", y_title="per cent", x_end=1.0)
    recall, precision = binary_report.precision_over_recall(binary)
    right = charts.lines(
        [("precision over recall, pixels of all images", recall, precision)],
        x_title="recall",
        y_title="precision in per cent",
        x_end=1.0,
    )
    return f'<div class="charts">{left}{right}</div>'


def offset_section(
    offsets: Sequence[int], sums: Int[np.ndarray, "images offsets 3 classes"]
) -> str:
    """Shows the scores of shifted predictions.

    Args:
      offsets: distances in pixels.
      sums: what `offsets.count_offsets` gives of each image.

    Returns:
      The piece.

    Example:
      >>> "shifted by px" in offset_section((1,), np.ones((1, 2, 3, 3), int))
      True
    """
    scores, x = offset_scores(sums), np.asarray((0, *offsets))
    names = offset_columns(scores)
    curves = [(score_title(name), x, scores[name]) for name in names]
    rows = [["shifted by px", *map(score_title, names)]]
    rows += [[str(a), *(report.percent(scores[n][i]) for n in names)] for i, a in enumerate(x)]
    chart = charts.lines(curves, x_title="offset in pixels", y_title="per cent", x_end=float(x[-1]))
    return page.section(
        "Shifted predictions", f'<div class="charts">{chart}{page.table(rows)}</div>'
    )
