"""Segments of one image as objects: what is kept, how large they are, and how they are stored."""

import numpy as np

from segalias_jax.inference.segmented import SegmentedObjects
from segalias_jax.tasks.panoptic import Segments

CLASSES, COLORS = ("sky", "car"), np.array([[0, 0, 200], [200, 0, 0]], np.uint8)


def make(least=0.0):
    segments = np.zeros((1, 32, 32), np.int32)
    segments[0, :4, :8], segments[0, 4:6, 2:5], segments[0, 6:8] = 3, 2, 1
    scores = np.array([[0.2, 0.6, 0.9]], np.float32)
    found = Segments(segments, np.array([[2, 2, 1]], np.int32), scores)
    image = np.zeros((16, 16, 3), np.uint8)
    return SegmentedObjects(
        image, found, (8, 8), classes=CLASSES, palette=COLORS, least=least, shown=0.5
    )


def test_segments_have_the_size_of_the_image():
    found = make()
    assert found.names == ("sky", "car", "car") and len(found) == 3
    assert found.boxes.tolist() == [[0, 0, 16, 8], [4, 8, 10, 12], [0, 12, 16, 16]]
    np.testing.assert_allclose(found.scores, [0.9, 0.6, 0.2], rtol=1e-6)
    assert found.masks.sum((1, 2)).tolist() == [128, 24, 64]
    rows = found.to_coco(5)
    assert [row["category_id"] for row in rows] == [1, 2, 2] and rows[1]["bbox"] == [4, 8, 6, 4]


def test_segments_of_low_scores_are_left_out():
    assert len(make(0.5)) == 2
    ids = make().instance_map(100)
    assert np.unique(ids).tolist() == [0, 101, 202] and not ids[12:].any()
