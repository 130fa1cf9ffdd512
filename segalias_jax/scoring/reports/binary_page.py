"""What `report.html` shows of binary segmentation and of shifted predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from segalias_jax.metrics.lookup import rows_shown, score_title
from segalias_jax.scoring.offsets import offset_columns, offset_scores
from segalias_jax.scoring.reports import binary as binary_report
from segalias_jax.scoring.reports import charts, page
from segalias_jax.scoring.reports import tables as report


def sections(result: Any) -> list[str]:
    """Sections on binary segmentation, and on offsets where predictions were shifted.

    Args:
      result: a `FolderReport`.

    Returns:
      Pieces of HTML; none for other numbers of classes without offsets.
    """
    parts = []
    if result.binary is not None:
        scores, name = result.binary.compute(), result.classes[1]
        parts.append(
            page.section(
                f"Foreground: {name}",
                page.table(binary_report.binary_rows(scores, name)),
                page.paragraph(
                    '"Mean over images" scores every image by itself, all weighing the same; '
                    '"pixels of all images" counts pixels over all images first. '
                    + binary_report.areas_text(scores)
                ),
                *_threshold_curves(result.binary),
            )
        )
    if result.offset_sums is not None:
        parts.append(page.section("Shifted predictions", *_offset_curves(result)))
    return parts


def _threshold_curves(binary: Any) -> list[str]:
    if not binary.swept:
        return []
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
    return [f'<div class="charts">{left}{right}</div>']


def _offset_curves(result: Any) -> list[str]:
    scores, x = offset_scores(result.offset_sums), np.asarray((0, *result.offsets))
    names = offset_columns(scores)
    curves = [(score_title(name), x, scores[name]) for name in names]
    rows = [["shifted by px", *map(score_title, names)]]
    rows += [[str(a), *(report.percent(scores[n][i]) for n in names)] for i, a in enumerate(x)]
    chart = charts.lines(curves, x_title="offset in pixels", y_title="per cent", x_end=float(x[-1]))
    return [f'<div class="charts">{chart}{page.table(rows)}</div>']
