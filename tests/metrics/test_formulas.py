"""Formulas on numbers small enough for a hand."""

import numpy as np
import pytest

from segalias_jax.metrics import Band, ClassCounts, formulas


def _counts():
    """The third class is absent, the fourth only predicted; four predictions are no class."""
    regions = np.zeros((4, 5, 5), np.int64)
    matrix = regions[3]
    matrix[0, 0], matrix[0, 1], matrix[1, 1], matrix[1, 3], matrix[1, 4] = 6, 2, 5, 1, 4
    return ClassCounts.from_regions(regions)


def test_scores_of_a_small_matrix():
    band = _counts().all
    iou = formulas.intersection_over_union(band)
    np.testing.assert_allclose(iou, [6 / 8, 5 / 12, np.nan, 0])
    np.testing.assert_allclose(formulas.class_accuracy(band), [6 / 8, 5 / 10, np.nan, np.nan])
    np.testing.assert_allclose(formulas.precision(band), [1, 5 / 7, np.nan, 0])
    np.testing.assert_allclose(formulas.dice(band), [12 / 14, 10 / 17, np.nan, 0])
    assert formulas.mean_over_classes(iou) == pytest.approx((6 / 8 + 5 / 12) / 3)
    assert formulas.pixel_accuracy(band) == pytest.approx(11 / 18)


def test_nothing_counted_is_nan_without_a_warning():
    band = ClassCounts.from_regions(np.zeros((4, 3, 3), np.int64)).all
    assert np.isnan(formulas.pixel_accuracy(band))
    assert np.isnan(formulas.mean_over_classes(formulas.intersection_over_union(band)))


def test_many_sets_at_once_are_scored_like_each_alone():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 9, (2, 7, 12))
    right = np.minimum(true, predicted) // 2
    every = formulas.intersection_over_union(Band(right, true, predicted))
    means = formulas.each_mean_over_classes(every)
    for i in range(7):
        one = formulas.intersection_over_union(Band(right[i], true[i], predicted[i]))
        np.testing.assert_array_equal(one, every[i])
        assert means[i] == pytest.approx(formulas.mean_over_classes(one), rel=1e-15)


def test_areas_under_curves_are_those_of_a_class_that_is_missing():
    bins = np.asarray([[0, 0], [1, 2]])
    assert np.isnan(formulas.roc_area(bins)) and formulas.average_precision(bins) == 1
    assert np.isnan(formulas.average_precision(bins[::-1]))
