"""Numbers that the script of a page gets."""

import json

import numpy as np
from page_reports import made_report

from segalias_jax.scoring.reports.views.payload import (
    Column,
    color_names,
    image_table,
    listed,
    millionths,
)


def test_numbers_are_exact_to_a_millionth():
    values = np.random.default_rng(0).random(100)
    found = np.asarray(millionths(values.tolist())) / 1e6
    assert np.abs(found - values).max() <= 0.0000005001
    assert millionths([float("nan"), None]) == [None, None]


def test_a_table_of_thousands_of_images_is_small():
    report = made_report(5000)
    columns = [Column(str(k), "score", [0.5] * 5000) for k in range(12)]
    table = image_table(report["images"], columns)
    assert len(json.dumps(table, separators=(",", ":"))) < 140 * 5000


def test_of_too_many_the_worst_are_listed_and_those_with_a_picture():
    values = [0.9, None, 0.1, float("nan"), 0.2, 0.3]
    assert listed(values, [0], 3) == [0, 2, 4]
    assert listed(values, [], 6) == [0, 1, 2, 3, 4, 5]


def test_equal_colors_name_all_their_classes():
    colors = np.asarray([(1, 2, 3), (0, 0, 0), (1, 2, 3)], np.uint8)
    assert color_names(["a", "b", "c"], colors) == {"#010203": "a or c", "#000000": "b"}
