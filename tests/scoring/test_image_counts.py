"""Counts of one image: exact in JSON, small, and refused where they are not what they say."""

import dataclasses
import json

import numpy as np
import pytest
from counted_maps import PLANS, maps

from segalias_jax.errors import InputError
from segalias_jax.metrics.distance_counts import DistanceSettings
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring import CountSettings, count_causes, count_pair
from segalias_jax.scoring.image_counts import CountPlan, ImageCounts, count_image


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_json_holds_all_exactly(plan):
    prediction, label = maps(classes=plan.num_classes)
    foreground = np.random.default_rng(1).random(label.shape) if plan.probabilities else None
    counts = count_image(
        prediction, label, plan, name='a "records":[]|\xe9\n', foreground=foreground
    )
    text = counts.to_json()
    assert "\n" not in text and text.isascii()
    again = ImageCounts.from_json(text, CountPlan.from_json(json.loads(json.dumps(plan.to_json()))))
    assert again.to_json() == text
    assert_same(dataclasses.asdict(again), dataclasses.asdict(counts))
    parsed = json.loads(text)
    assert json.dumps(parsed, separators=(",", ":")) == text
    assert ImageCounts.from_json(parsed, plan).to_json() == text


def assert_same(one, other):
    """Bit by bit, dtypes included."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
        assert one.shape == other.shape
    else:
        assert one == other


def test_counts_are_those_of_the_functions_that_count():
    prediction, label = maps()
    plan = PLANS["default"]
    counts = count_image(prediction, label, plan, name="a")
    np.testing.assert_array_equal(
        counts.pair.regions, count_pair(prediction, label, plan.settings).regions
    )
    causes = count_causes(prediction, label, plan.settings.rules, 4)
    np.testing.assert_array_equal(counts.causes.pixels, causes.pixels)
    assert counts.causes.records == causes.records
    wrong = ((prediction != label) & (label != 255)).sum()
    assert sum(counts.causes.totals.values()) == wrong
    assert (counts.height, counts.width) == label.shape


def test_classes_that_are_absent_take_no_room():
    prediction, label = maps()
    few = count_image(prediction, label, CountPlan(CountSettings(4)), name="a").to_json()
    many = count_image(prediction, label, CountPlan(CountSettings(150)), name="a").to_json()
    assert len(many) < 1.2 * len(few)


@pytest.mark.parametrize(
    "change, name",
    [
        ({"causes": None}, "coverage"),
        ({"settings": CountSettings(4, tolerances=(1,))}, "tolerances"),
        ({"settings": CountSettings(4, ScoreRules(width=3))}, "width"),
        ({"settings": CountSettings(5)}, "num_classes"),
        ({"offsets": (1,)}, "offsets"),
        ({"distances": DistanceSettings()}, "distances.spacing"),
    ],
)
def test_differences_of_plans_are_named(change, name):
    plan = PLANS["default"]
    assert plan.differences(plan) == []
    assert name in [row[0] for row in plan.differences(dataclasses.replace(plan, **change))]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"name": "a"}', "null", '{"name": 1, "regions": [1'],
)
def test_what_is_no_count_is_refused(text):
    with pytest.raises(InputError, match="counts: not those of an image"):
        ImageCounts.from_json(text, PLANS["default"])


def test_counts_of_another_plan_are_refused():
    prediction, label = maps()
    text = count_image(prediction, label, PLANS["none"], name="a").to_json()
    with pytest.raises(InputError, match="not those of an image"):
        ImageCounts.from_json(text, PLANS["default"])
    with pytest.raises(InputError, match="another version"):
        CountPlan.from_json({"settings": {"num_classes": 3, "speed": 1}})
