import numpy as np
import pytest

from segalias_jax.data.masks import (
    boxes_of_masks,
    boxes_of_values,
    masks_of_map,
    pack_masks,
    paste_masks,
    unpack_masks,
)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 30])
def test_packed_masks_come_back_whatever_their_width(width):
    masks = np.random.default_rng(width).random((2, 3, 5, width)) < 0.5
    packed = pack_masks(masks)
    assert packed.shape == (2, 3, 5, -(-width // 8))
    np.testing.assert_array_equal(unpack_masks(packed, width), masks)


def test_boxes_equal_those_of_a_loop():
    rng = np.random.default_rng(0)
    masks = rng.random((40, 9, 7)) < rng.choice([0, 0.02, 0.1, 0.5], 40)[:, None, None]
    expected = np.zeros((40, 4), np.float32)
    for mask, box in zip(masks, expected, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            box[:] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    np.testing.assert_array_equal(boxes_of_masks(masks), expected)
    assert boxes_of_masks(np.zeros((0, 4, 4), bool)).shape == (0, 4)


@pytest.mark.parametrize("size", [(9, 7), (1, 12), (12, 1)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_masks_of_maps_are_those_of_their_values(kind, size):
    rng = np.random.default_rng(0)
    stored = rng.choice(np.array([0, 0, 0, 3, 7, 90, 200], kind), size)
    values, boxes = boxes_of_values(stored)
    there = np.unique(stored[stored > 0])
    np.testing.assert_array_equal(values, there)
    expected = stored == there[:, None, None]
    np.testing.assert_array_equal(boxes, boxes_of_masks(expected))
    backwards = there[::-1].tolist()
    masks, boxes = masks_of_map(stored, backwards)
    np.testing.assert_array_equal(masks, expected[::-1])
    np.testing.assert_array_equal(boxes, boxes_of_masks(expected)[::-1])


def test_a_map_without_objects_has_no_masks():
    masks, boxes = masks_of_map(np.zeros((3, 4), np.uint16), [])
    assert masks.shape == (0, 3, 4) and boxes.shape == (0, 4) and boxes.dtype == np.float32


def test_pasting_equals_what_was_recorded(golden):
    recorded = golden("i_masks")
    ours = paste_masks(recorded["paste_masks"][:, 0], recorded["paste_boxes"], (60, 84))
    # Recorded in float64, as ours is computed: not one pixel differs.
    np.testing.assert_array_equal(ours, unpack_masks(recorded["paste_bits"], 84))


def test_boxes_that_leave_the_image_are_cut():
    boxes = np.array([[-20.0, -20, 5, 5], [10, 10, 40, 40], [-50, -50, -20, -20], [60, 5, 90, 9]])
    masks = paste_masks(np.ones((4, 28, 28)), boxes, (16, 20))
    np.testing.assert_array_equal(boxes_of_masks(masks)[0], [0, 0, 5, 5])
    np.testing.assert_array_equal(boxes_of_masks(masks)[1], [9, 9, 20, 16])
    assert not masks[2:].any()


def test_the_threshold_is_to_be_exceeded():
    boxes = np.array([[2.0, 2, 12, 12]])
    half = np.full((1, 28, 28), 0.5)
    assert not paste_masks(half, boxes, (16, 16)).any()
    assert paste_masks(half, boxes, (16, 16), threshold=0.4).any()


def test_masks_of_any_side():
    """A disc that fills a box, from 28x28 and from 224x224 cells."""
    rows, columns = (np.mgrid[:100, :100] + 0.5) - 50
    disc = rows**2 + columns**2 < 40**2
    wrong = []
    for side in (28, 224):
        y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
        cells = (y**2 + x**2 < 0.25).astype(np.float32)[None]
        pasted = paste_masks(cells, np.array([[10.0, 10, 90, 90]]), (100, 100))[0]
        wrong.append(np.count_nonzero(pasted != disc))
    # Boxes are cut to whole pixels, and one is added: up to a pixel around 2 pi 40.
    assert max(wrong) < 2 * np.pi * 40
