"""Sums over images, and numbers of each, against straightforward ones."""

import numpy as np
import pytest
from counted_maps import PLANS, maps

from segalias_jax.errors import InputError
from segalias_jax.metrics.totals import BinaryTotals
from segalias_jax.scoring import image_set
from segalias_jax.scoring.image_counts import count_image
from segalias_jax.scoring.image_set import ImageSet


@pytest.fixture
def images():
    return [count_image(*maps(i), PLANS["all"], name=str(i)) for i in range(7)]


def naive_miou(label, prediction):
    counted = label != 255
    values = []
    for c in range(4):
        true, found = (label == c) & counted, (prediction == c) & counted
        if (true | found).any():
            values.append((true & found).sum() / (true | found).sum())
    return np.mean(values)


@pytest.mark.parametrize("at_once", [1, 3, 256])
def test_sums_and_numbers_of_images(images, monkeypatch, at_once):
    monkeypatch.setattr(image_set, "_AT_ONCE", at_once)
    found = ImageSet.of(iter(images), PLANS["all"])
    np.testing.assert_array_equal(
        found.state.totals()[:, :-1, :-1], sum(one.pair.regions for one in images)
    )
    np.testing.assert_array_equal(found.sums, sum(one.sums for one in images))
    np.testing.assert_array_equal(found.causes.pixels, sum(one.causes.pixels for one in images))
    assert not found.causes.records and found.names == tuple("0123456")
    assert found.sizes.tolist() == [[40, 56]] * 7
    assert found.offsets.shape == (7, 3, 3, 4) and found.distances.surface.shape == (7, 2, 4)
    for i in range(7):
        prediction, label = maps(i)
        assert found.scores["mIoU"][i] == pytest.approx(naive_miou(label, prediction), abs=1e-15)
        assert found.scores["pixels"][i] == (label != 255).sum()
        wrong = ((prediction != label) & (label != 255)).sum()
        assert found.image_causes[i].sum() == wrong
        ids = np.unique(np.concatenate([label[label != 255], prediction[label != 255]]))
        assert np.flatnonzero(found.present[i]).tolist() == ids.tolist()
    assert "mHD95" in found.scores and len(found.scores["mHD95"]) == 7


def test_binary_scores_are_those_of_their_state():
    images = [count_image(*maps(i, 2), PLANS["binary"], name=str(i)) for i in range(5)]
    found = ImageSet.of(images, PLANS["binary"])
    state = BinaryTotals.empty(2).add(np.stack([one.bins for one in images]))
    assert found.binary.compute() == state.compute()
    assert "foreground_Dice" in found.scores


def test_repairing_all_causes_of_a_kind_gives_the_gain():
    """The label with one wrong class: repaired, mIoU is 1."""
    _, label = maps()
    prediction = label.copy()
    prediction[8:16, 8:16] = (label[8, 8] + 1) % 4
    plan = PLANS["default"]
    found = ImageSet.of([count_image(prediction, label, plan, name="a")], plan)
    gains = found.repaired()
    assert sum(gains.values()) == pytest.approx(1 - found.state.compute()["mIoU"], abs=1e-12)


def test_no_image_has_no_score():
    found = ImageSet.of([], PLANS["all"])
    assert found.names == () and found.present.shape == (0, 4) and found.scores == {}
    assert np.isnan(found.state.compute()["mIoU"]) and found.distances is None


def test_two_images_of_one_name_are_refused(images):
    with pytest.raises(InputError, match="image '3' is counted twice"):
        ImageSet.of([*images, images[3]], PLANS["all"])
