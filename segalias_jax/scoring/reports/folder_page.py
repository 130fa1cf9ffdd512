"""`report.html` of scored images: what the page shows of them is read again from their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.scoring.causes import CauseSettings, paint_causes
from segalias_jax.scoring.reports import binary_page
from segalias_jax.scoring.reports.overlays import CAUSE_COLORS
from segalias_jax.scoring.reports.views.embedded import Blocks, Panels
from segalias_jax.scoring.reports.views.payload import LISTED
from segalias_jax.scoring.reports.views.report_page import report_page

if TYPE_CHECKING:
    from segalias_jax.scoring.reports.folder import FolderReport


def folder_page(result: FolderReport, *, pictures: int) -> str:
    """Writes `report.html`.

    Args:
      result: what to report.
      pictures: most images in the page, where their files are known.

    Returns:
      The file's text.

    Raises:
      InputError: a file that was scored cannot be read any more.
    """
    content, special = result.content(most_images=LISTED), []
    place = {name: i for i, name in enumerate(result.whole.names)}
    if result.binary is not None:
        special.append(binary_page.foreground_section(result.binary, result.classes[1]))
    if result.whole.offsets is not None:
        special.append(binary_page.offset_section(result.plan.offsets, result.whole.offsets))
    return report_page(
        content,
        lambda index: image_panels(result, place[content["images"][index]["name"]]),
        palette=result.palette,
        cause_colors=tuple(CAUSE_COLORS.values()),
        count=len(result.images),
        pictures=pictures if result.shows_images else 0,
        special=special,
    )


def image_panels(result: FolderReport, index: int) -> Panels:
    """Reads one image of a report again, with what a page shows of it.

    Args:
      result: the report.
      index: of the image.

    Returns:
      The panels, not larger than a page shows them.

    Raises:
      InputError: a file cannot be read any more.
    """
    sample, remark = result.sample(index)
    rules, classes = result.state.rules, len(result.classes)
    blocks = Blocks.of(sample.label.shape)
    # Maps may have 16384 x 16384 pixels: nothing else of their size is made.
    shown = bool(result.files[index].image) and not remark
    image = blocks.photograph(sample.image) if shown else None
    prediction, label = sample.prediction, sample.label
    del sample
    settings = result.plan.causes or CauseSettings()
    try:
        causes = blocks.causes(paint_causes(prediction, label, rules, classes, settings))
    except InputError as error:
        causes, remark = None, f"causes are unknown: {error}"
    prediction, label = blocks.ids(prediction), blocks.ids(label)
    if causes is None:
        causes = np.zeros(label.shape, np.uint8)
    truth = rules.class_label(label)
    if rules.ignore_label < classes:
        truth = np.where(truth == rules.ignore_label, -1, truth.astype(np.int32))
    remark = "; ".join(text for text in (remark, blocks.remark) if text)
    return Panels(image, truth, prediction, causes, remark)
