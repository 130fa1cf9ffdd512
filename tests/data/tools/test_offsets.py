"""Scores of moved masks, beside plain loops and closed forms."""

import numpy as np
import pytest

from segalias_jax.data.tools import move_up, offset_scores
from segalias_jax.errors import InputError


def test_rows_move_up_and_the_last_ones_stay():
    mask = np.random.default_rng(0).random((9, 4)) < 0.4
    for rows in range(10):
        expected = mask.copy()
        for i in range(9 - rows):
            expected[i] = mask[i + rows]
        np.testing.assert_array_equal(move_up(mask, rows), expected)


def test_scores_are_those_of_counted_pixels():
    mask = np.random.default_rng(1).random((30, 17)) < 0.2
    for rows, iou, accuracy in offset_scores(mask, 29):
        moved = move_up(mask, rows)
        hits = either = right = 0
        for a, b in zip(moved.ravel().tolist(), mask.ravel().tolist(), strict=True):
            hits, either, right = hits + (a and b), either + (a or b), right + (a == b)
        assert (iou, accuracy) == (hits / either, right / mask.size)


def test_a_box_moved_by_k_of_its_a_rows_has_an_iou_of_a_less_k_by_a_and_k():
    mask = np.zeros((136, 136), np.bool_)
    mask[60:80, 20:50] = True
    for rows, iou, accuracy in offset_scores(mask, 30):
        assert iou == max(20 - rows, 0) / (20 + min(rows, 20))
        assert accuracy == (mask.size - 2 * 30 * min(rows, 20)) / mask.size


def test_a_box_at_the_lower_end_loses_nothing_below():
    mask = np.zeros((136, 136), np.bool_)
    mask[-10:] = True
    assert [score.iou for score in offset_scores(mask, 3)] == [10 / 11, 10 / 12, 10 / 13]


def test_empty_masks_agree_and_offsets_end_at_the_height():
    assert {score.iou for score in offset_scores(np.zeros((4, 4), np.bool_), 4)} == {1.0}
    with pytest.raises(InputError, match="rows is 5, but must be from 0 to the mask's height 4"):
        offset_scores(np.ones((4, 4), np.bool_), 5)
