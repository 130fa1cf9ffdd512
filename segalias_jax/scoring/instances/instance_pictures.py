"""Objects of one image as maps of colors: the true ones, the predicted ones, and their causes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from segalias_jax.data.files import image_size, read_image
from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.object_causes import CAUSES, FALSE, FOUND, object_causes
from segalias_jax.scoring.instances.objects import Mask, Objects
from segalias_jax.scoring.instances.overlaps import Overlaps
from segalias_jax.scoring.reports.overlays import CAUSE_COLORS, spread_palette
from segalias_jax.scoring.reports.views.embedded import Panels
from segalias_jax.typing import Integer, UInt8

COLORS = {
    "missed": CAUSE_COLORS["missed object"],
    "false": CAUSE_COLORS["false object"],
    "merged": CAUSE_COLORS["merge"],
    "split": CAUSE_COLORS["split"],
    "confused": CAUSE_COLORS["class confusion"],
    "displaced": CAUSE_COLORS["displacement"],
    "found": (255, 255, 255),
}
"""RGB of each cause, those of the report on class maps."""


def object_palette(num_classes: int) -> UInt8[np.ndarray, "codes 3"]:
    """Colors of the codes of `object_map`: background, classes, and the outlines of objects.

    Args:
      num_classes: number of classes.

    Returns:
      RGB of each code.

    Example:
      >>> object_palette(1).tolist()
      [[24, 24, 24], [86, 160, 211], [0, 0, 0]]
    """
    colors = np.asarray([[86, 160, 211]]) if num_classes == 1 else spread_palette(num_classes)
    return np.concatenate([[[24] * 3], colors, [[0] * 3]]).astype(np.uint8)


def object_map(objects: Objects, num_classes: int) -> Integer[np.ndarray, "h w"]:
    """Draws objects by their class, with outlines that keep neighbors apart.

    Args:
      objects: of an image; later ones, and of predictions those of higher score, lie above.
      num_classes: number of classes, which is the code of outlines less one.

    Returns:
      Codes of `object_palette`.
    """
    canvas = np.zeros(objects.shape, np.uint16)
    for i in np.argsort(objects.scores, kind="stable"):
        _paint(canvas, objects.masks[i], int(objects.classes[i]), num_classes + 1)
    return canvas


def cause_map(predicted: Objects, true: Objects) -> UInt8[np.ndarray, "h w"]:
    """Draws what each object is: found ones as outlines, others filled.

    Args:
      predicted: objects that are certain enough to count.
      true: the true objects.

    Returns:
      0, or 1 + the index of the cause in `CAUSES`.

    Example:
      >>> true = Objects.of_map(np.asarray([[1, 0, 2]]))
      >>> cause_map(true.chosen(np.asarray([0])), true).tolist()
      [[7, 0, 1]]
    """
    causes = object_causes(Overlaps.of(predicted, true))
    canvas = np.zeros(true.shape, np.uint8)
    for i in np.flatnonzero(causes.true == FOUND):
        _paint(canvas, true.masks[i], 0, FOUND + 1)
    for side, codes in ((predicted, causes.predicted == FALSE), (true, causes.true != FOUND)):
        for i in np.flatnonzero(codes):
            code = FALSE if side is predicted else int(causes.true[i])
            if code >= 0:
                _paint(canvas, side.masks[i], code + 1, 0)
    return canvas


def _paint(canvas: np.ndarray, mask: Mask, inside: int, outline: int) -> None:
    height, width = mask.bits.shape
    if not height:
        return
    place = canvas[mask.top : mask.top + height, mask.left : mask.left + width]
    bits = mask.bits.astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(bits, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    # Objects of a few pixels have no inside: they are drawn whole.
    drawn = outline if inner.any() or not inside else inside
    place[bits > 0] = drawn
    place[inner > 0] = inside


def panels(
    predicted: Objects, true: Objects, num_classes: int, *, image: Path | None = None
) -> Panels:
    """What a page shows of one image.

    Args:
      predicted: objects that are certain enough to count.
      true: the true objects.
      num_classes: number of classes.
      image: its file; None: there is none.

    Returns:
      The panels; a file that does not fit or cannot be read is left out and said so.
    """
    pixels, remark = None, ""
    if image is not None:
        try:
            if image_size(image) == true.shape:
                pixels = read_image(image)
            else:
                remark = f"{image.name} has another size than its masks"
        except InputError as error:
            remark = str(error)
    truth, prediction = (object_map(objects, num_classes) for objects in (true, predicted))
    return Panels(pixels, truth, prediction, cause_map(predicted, true), remark)


CAUSE_PALETTE = [COLORS[name] for name in CAUSES]
"""RGB of the causes in their order."""
