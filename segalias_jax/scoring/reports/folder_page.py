"""`report.html` of scored images: what the page shows of them is read again from their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.scoring.causes import CauseSettings, error_types
from segalias_jax.scoring.reports import binary_page
from segalias_jax.scoring.reports.overlays import CAUSE_COLORS
from segalias_jax.scoring.reports.views.embedded import LONGEST, Panels
from segalias_jax.scoring.reports.views.payload import LISTED
from segalias_jax.scoring.reports.views.report_page import report_page
from segalias_jax.typing import UInt8

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
      The panels, the photograph not larger than a page needs it.

    Raises:
      InputError: a file cannot be read any more.
    """
    sample, remark = result.sample(index)
    shown = bool(result.files[index].image) and not remark
    image = _reduced(sample.image) if shown else None
    prediction, label, rules = sample.prediction, sample.label, result.state.rules
    del sample  # a photograph of 16384 x 16384 pixels would stay beside all that follows
    settings = result.plan.causes or CauseSettings()
    try:
        causes, _ = error_types(
            prediction,
            label,
            num_classes=len(result.classes),
            ignore=rules.ignore_label,
            reduce_zero_label=rules.reduce_zero_label,
            coverage=settings.coverage,
            reach=settings.reach,
            background=settings.background,
        )
    except InputError as error:
        causes, remark = np.zeros(label.shape, np.uint8), f"causes are unknown: {error}"
    if label.dtype == np.uint8 and len(result.classes) < 255:
        # Bytes stay bytes: 255, which 0 - 1 is as well, is no class.
        truth = label - np.uint8(rules.reduce_zero_label)
        if 0 <= rules.ignore_label < 255:
            truth[label == rules.ignore_label] = 255
    else:
        truth = rules.class_label(label)
        if rules.ignore_label < len(result.classes):
            truth = np.where(truth == rules.ignore_label, -1, truth.astype(np.int32))
    return Panels(image, truth, prediction, causes, remark)


def _reduced(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "a b 3"]:
    height, width = image.shape[:2]
    step = -(-max(height, width) // LONGEST)
    if step == 1:
        return image
    size = (-(-width // step), -(-height // step))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
