"""Objects of one image: thresholds, maps, pictures and COCO's results, by hand."""

import cv2
import numpy as np
import pytest

from segalias_jax.data.masks import boxes_of_masks
from segalias_jax.errors import InputError
from segalias_jax.inference import DetectedObjects
from segalias_jax.models import Detections

COLORS = np.array([[200, 0, 0], [0, 100, 250]], np.uint8)


def objects(scores=(0.9, 0.6, 0.3, 0.0), **changes):
    """A square, one that covers a part of it, a small one, and no object."""
    boxes = np.array([[[4, 4, 20, 20], [12, 4, 28, 20], [1, 22, 6, 28], [0, 0, 0, 0]]], np.float32)
    classes = np.array([[2, 1, 2, 0]], np.int32)
    masks = np.ones((1, 4, 28, 28), np.float32)
    one = Detections(boxes, np.array([scores], np.float32), classes, masks)
    given = {"classes": ("cat", "dog"), "palette": COLORS} | changes
    return DetectedObjects(np.full((32, 40, 3), 100, np.uint8), one, (32, 40), **given)


def test_what_is_read():
    found = objects()
    assert len(found) == 3 and found.names == ("dog", "cat", "dog")
    assert repr(found) == "DetectedObjects(32x40 pixels, 3 objects: 2 dog, 1 cat)"
    assert repr(objects(least=0.95)) == "DetectedObjects(32x40 pixels, 0 objects)"
    assert objects(least=0.95).masks.shape == (0, 32, 40) and objects(least=0.5).classes.size == 2
    # Pasting grows boxes by a cell, about half a pixel here.
    np.testing.assert_allclose(boxes_of_masks(found.masks), found.boxes, atol=1)


def test_maps_have_the_better_object_above():
    found = objects()
    ids = found.instance_map(1000)
    assert set(np.unique(ids)) == {0, 2001, 1002}  # the third is below the threshold of 0.5
    np.testing.assert_array_equal(ids == 2001, found.masks[0])
    np.testing.assert_array_equal(ids == 1002, found.masks[1] & ~found.masks[0])
    assert set(np.unique(objects(shown=0.1).instance_map())) == {0, 1, 2, 3}
    for divisor in (2, 40000):
        with pytest.raises(InputError, match="2 objects of 2 classes do not fit into a map"):
            found.instance_map(divisor)


def test_pictures_tint_objects_and_leave_the_rest():
    found = objects()
    picture = found.overlay()
    assert picture.shape == (32, 40, 3) and (found.image == 100).all()
    assert (picture[30, 36:] == 100).all() and (picture[23:27, 2:5] == 100).all()
    np.testing.assert_array_equal(picture[18, 10], (0.55 * 100 + 0.45 * COLORS[1]).astype(int))
    assert (found.overlay(threshold=0.1)[23:27, 2:5] != 100).any()
    shown = cv2.imdecode(np.frombuffer(found._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown[..., ::-1], picture)


def test_results_of_coco():
    rows = objects().to_coco(7, categories={1: 17, 2: 18})
    assert [row["category_id"] for row in rows] == [18, 17, 18]
    assert rows[1]["bbox"] == [12, 4, 16, 16] and {row["image_id"] for row in rows} == {7}
    assert rows[0]["segmentation"]["size"] == [32, 40]
    assert [round(row["score"], 6) for row in rows] == [0.9, 0.6, 0.3]
