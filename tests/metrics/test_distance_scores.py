"""Scores of distances from numbers written by hand, and how images and classes are averaged."""

import dataclasses

import numpy as np
import pytest

from segalias_jax.metrics.distance_counts import DistanceCounts, DistanceSettings
from segalias_jax.metrics.distance_scores import (
    DISTANCE_ROWS,
    Distances,
    class_values,
    distance_rows,
    image_values,
    set_value,
)
from segalias_jax.metrics.lookup import find_score

SETTINGS = DistanceSettings(tolerances=(1, 2.5), widths=(3,))


def _image(surface, **fields):
    """Counts of an image of 3 by 4 with the classes of `surface`."""
    counts = DistanceCounts.zeros(np.shape(surface)[1], SETTINGS)
    values = {"surface": surface, "diagonal": 5.0, **fields}
    return dataclasses.replace(counts, **{k: np.asarray(v) for k, v in values.items()})


@pytest.fixture
def images():
    """Class 0 in both maps, 1 missed in the second, 2 invented in the second, 3 nowhere."""
    first = _image(
        [[10, 4, 0, 0], [6, 4, 0, 0]],
        quantile=[[2.0, 0, 0, 0], [3.0, 1, 0, 0]],
        total=[[10.0, 0, 0, 0], [6.0, 2, 0, 0]],
        within=[[[5, 4, 0, 0], [3, 3, 0, 0]], [[8, 4, 0, 0], [6, 4, 0, 0]]],
        skeleton=[[4, 2, 0, 0], [2, 2, 0, 0]],
        covered=[[1, 2, 0, 0], [1, 1, 0, 0]],
    )
    second = _image(
        [[10, 4, 0, 0], [10, 0, 8, 0]],
        quantile=[[1.0, 0, 0, 0], [0.0, 0, 0, 0]],
        within=[[[10, 0, 0, 0], [10, 0, 0, 0]]] * 2,
        skeleton=[[4, 1, 0, 0], [4, 0, 3, 0]],
        covered=[[4, 0, 0, 0], [4, 0, 0, 0]],
    )
    return Distances(DistanceCounts.stack([first, second]), SETTINGS)


def _classes(name, of):
    row = next(row for row in distance_rows(of.settings) if row.per_class == name)
    return class_values(row, of).tolist(), set_value(row, of), image_values(row, of).tolist()


@pytest.mark.parametrize(
    "name, classes, images_alone",
    [
        ("HD95", [2.0, 3.0, 5.0], [2.0, 11 / 3]),
        ("HD95_found", [2.0, 1.0, np.nan], [2.0, 1.0]),
        ("ASSD", [0.5, (0.25 + 5) / 2, 5.0], [(1 + 0.25) / 2, 10 / 3]),
        ("ASSD_found", [0.5, 0.25, np.nan], [(1 + 0.25) / 2, 0]),
        ("NSD_1", [0.75, 7 / 16, 0.0], [(0.5 + 7 / 8) / 2, 1 / 3]),
        ("NSD_2.5", [(14 / 16 + 1) / 2, 0.5, 0.0], [15 / 16, 1 / 3]),
        ("MissedBoundary_1", [0.25, 0.5, np.nan], [0.25, 0.5]),
        ("FalseBoundary_1", [0.25, 0.25, 1.0], [3 / 8, 0.5]),
        ("clDice", [(1 / 3 + 1) / 2, 1 / 3, 0.0], [0.5, 1 / 3]),
    ],
)
def test_means_over_images_then_classes(images, name, classes, images_alone):
    found, mean, alone = _classes(name, images)
    np.testing.assert_allclose(found, [*classes, np.nan])
    np.testing.assert_allclose(mean, np.nanmean(classes))
    np.testing.assert_allclose(alone, images_alone)


def test_missed_and_false_classes_are_counted(images):
    assert _classes("missed_in_images", images) == ([0, 1, 0, 0], 1, [0, 1])
    assert _classes("false_in_images", images) == ([0, 0, 1, 0], 1, [0, 1])


def test_offsets():
    offsets = np.zeros((1, 65), int)
    offsets[0, [30, 34, 36]] = 1, 2, 1
    counts = _image([[4], [4]], offsets=offsets, offset=[3.0])
    of = Distances(DistanceCounts.stack([counts]), SETTINGS)
    assert _classes("BoundaryOffset", of)[1] == 0.75
    assert _classes("BoundaryOffset_median", of)[1] == 1.0


def test_trimaps_are_pooled_over_images():
    one = _image([[4], [4]], trimap=[[[1], [2], [3]]])
    two = _image([[4], [4]], trimap=[[[8], [8], [8]]])
    found = _classes("trimap_IoU_3px", Distances(DistanceCounts.stack([one, two]), SETTINGS))
    assert found == ([9 / 12], 9 / 12, [1 / 4, 1])


def test_rows_are_found_by_all_their_names():
    for row in DISTANCE_ROWS:
        assert row.rule and row.title
        for name in row.names:
            assert find_score(name.format("2.5")).rule == row.rule
    assert find_score("NSD_1.5").class_title == "NSD within 1.5"
    assert {row.needs for row in distance_rows(DistanceSettings((1, 1), (), (), False))} == {()}
