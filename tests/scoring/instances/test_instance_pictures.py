"""Objects and their causes as maps of colors."""

import cv2
import numpy as np
from instance_cases import rectangles

from segalias_jax.scoring.instances.instance_pictures import (
    CAUSE_PALETTE,
    cause_map,
    object_map,
    object_palette,
    panels,
)
from segalias_jax.scoring.instances.object_causes import CAUSES

BOXES = [(2, 2, 8, 8), (2, 8, 8, 14)]


def test_touching_objects_are_kept_apart_by_outlines():
    ids = object_map(rectangles(BOXES, (10, 20), [1, 2]), 2)
    assert ids[5, 4] == 1
    assert ids[5, 11] == 2
    assert ids[5, 7] == ids[5, 8] == 3
    assert ids[0, 0] == 0
    assert len(object_palette(2)) == 4


def test_found_objects_are_outlines_and_others_are_filled():
    true = rectangles(BOXES, (10, 20))
    predicted = rectangles([BOXES[0], (1, 15, 9, 20)], (10, 20))
    found = cause_map(predicted, true)
    code = {name: k + 1 for k, name in enumerate(CAUSES)}
    assert found[5, 4] == 0
    assert found[2, 4] == code["found"]
    assert found[5, 11] == code["missed"]
    assert found[5, 17] == code["false"]
    assert len({tuple(color) for color in CAUSE_PALETTE}) == len(CAUSES)


def test_an_image_that_does_not_fit_is_told(tmp_path):
    true = rectangles(BOXES, (10, 20))
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((10, 20, 3), 7, np.uint8))
    shown = panels(true, true, 1, image=path)
    assert shown.image is not None
    assert (int(shown.image[0, 0, 0]), shown.remark) == (7, "")
    cv2.imwrite(str(path), np.zeros((5, 5, 3), np.uint8))
    assert panels(true, true, 1, image=path).remark == "a.png has another size than its masks"
    path.write_text("no image")
    assert "a.png" in panels(true, true, 1, image=path).remark
