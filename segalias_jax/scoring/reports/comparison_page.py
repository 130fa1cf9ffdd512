"""`report.html` of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from segalias_jax.scoring.reports import content
from segalias_jax.scoring.reports.folder_page import image_panels
from segalias_jax.scoring.reports.overlays import CAUSE_COLORS
from segalias_jax.scoring.reports.views.compare_page import Compared, compare_page
from segalias_jax.scoring.reports.views.payload import LISTED

if TYPE_CHECKING:
    from segalias_jax.scoring.reports.comparison import Comparison


def comparison_page(
    comparison: Comparison, rules: Sequence[tuple[str, str]], *, pictures: int
) -> str:
    """Writes `report.html` of several models.

    Args:
      comparison: of the models.
      rules: what the numbers follow, by topic.
      pictures: most images in the page, where their files are known.

    Returns:
      The file's text.

    Raises:
      InputError: a file that was scored cannot be read any more.
    """
    reports, common = comparison.reports, comparison.images
    places = [{name: i for i, name in enumerate(one.whole.names)} for one in reports]
    listed = common
    if len(common) > LISTED:
        found = comparison.differing_images(LISTED)
        listed = sorted(row["name"] for row in found)
    contents = [
        content.report_content(one, images=[place[name] for name in listed])
        for one, place in zip(reports, places, strict=True)
    ]
    counted = all(one.whole.causes is not None for one in reports)
    compared = Compared(
        title=comparison.title,
        names=comparison.names,
        reports=contents,
        images=listed,
        count=len(common),
        scores=comparison.rows(),
        ranking=comparison.ranking(),
        classes=comparison.class_rows(),
        causes=comparison.cause_rows() if counted else (),
        rules=rules,
    )
    return compare_page(
        compared,
        lambda model, name: image_panels(reports[model], places[model][name]),
        palette=np.asarray(reports[0].palette),
        cause_colors=tuple(CAUSE_COLORS.values()),
        pictures=pictures if all(one.shows_images for one in reports) else 0,
    )
