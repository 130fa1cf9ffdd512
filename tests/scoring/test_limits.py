"""Limits of scores: what they are read from, which way they hold, and what is no limit."""

import argparse

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics.distance_counts import DistanceSettings
from segalias_jax.metrics.scores import SCORES
from segalias_jax.scoring.counting import CountSettings
from segalias_jax.scoring.image_counts import CountPlan
from segalias_jax.scoring.limits import Limit, check_limits, failures

CLASSES = ("road", "car")
PLAN = CountPlan(CountSettings(2))


def test_flags_are_read():
    assert Limit.parse("mIoU=70") == Limit("mIoU", 70.0)
    # Names of classes may hold what the flag uses.
    assert Limit.parse("IoU:a:b=c=5e1") == Limit("IoU", 50.0, "a:b=c")
    assert Limit.parse("IoU:car=50").name == "IoU:car"
    for text in ("mIoU", "=70", "mIoU=", "mIoU=x", "mIoU=nan", "mIoU=inf", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="no limit; write SCORE=NUMBER"):
            Limit.parse(text)


def _failures(limits, scores):
    return failures(limits, scores, PLAN, CLASSES)


@pytest.mark.parametrize(
    "name, value, holds, fails",
    [("mIoU", 0.7, 70, 70.01), ("DErr", 0.3, 30, 29.99), ("invalid_predictions", 12, 12, 11)],
)
def test_a_limit_holds_up_to_its_bound(name, value, holds, fails):
    """0.7 is 70 although a float is a little less or more; less is better of errors."""
    assert _failures([Limit(name, float(holds))], {name: value}) == []
    (phrase,) = _failures([Limit(name, float(fails))], {name: value})
    assert phrase.startswith(f"{name} is ") and phrase.endswith(f" {fails}")
    assert (" below " if name == "mIoU" else " above ") in phrase


def test_a_fraction_is_no_per_cent():
    """mIoU=0.7 would pass whatever is scored; an upper limit of 0.7 would not."""
    with pytest.raises(InputError, match=r"^--fail-under IoU:car=0\.25: .* write IoU:car=25$"):
        check_limits([Limit("IoU", 0.25, "car")], PLAN, CLASSES)
    check_limits([Limit("mIoU", 0.0), Limit("mIoU", 1.0), Limit("DErr", 0.5)], PLAN, CLASSES)


def test_every_fraction_of_a_per_cent_is_itself():
    for hundredths in range(0, 10001, 67):
        score = {"mIoU": hundredths / 10000}
        assert _failures([Limit("mIoU", hundredths / 100)], score) == []


def test_classes_and_missing_values():
    scores = {"IoU": np.asarray([0.9, np.nan]), "mIoU": np.nan}
    limits = [Limit("IoU", 80.0, "road"), Limit("IoU", 1.0, "car"), Limit("mIoU", 0.0)]
    assert _failures(limits, scores) == ["IoU:car has no value", "mIoU has no value"]
    # Names of classes may be known only after scoring.
    check_limits([Limit("IoU", 80.0, "bus")], PLAN, None)
    assert _failures([Limit("IoU", 80.0, "bus")], scores) == [
        "IoU:bus has no value, since no class has this name"
    ]
    limits = [Limit("IoU", 95.0, "road")]
    assert _failures(limits, scores) == ["IoU:road is 90.00, below 95"]


@pytest.mark.parametrize(
    "limit, message",
    [
        (Limit("mIoUs", 1.0), "--fail-under is 'mIoUs'; did you mean 'mIoU'.*choose one of mIoU, "),
        (Limit("mIoU", 1.0, "car"), "did you mean 'IoU'"),
        (Limit("IoU", 1.0, "cat"), "--fail-under IoU is 'cat'; choose one of road, car"),
        (Limit("pixels", 1.0), "'pixels'"),  # more of them is neither better nor worse
        (Limit("mBoundaryF_7px", 1.0), "did you mean 'mBoundaryF_"),  # of another tolerance
        (Limit("ROC_AUC", 1.0), "'ROC_AUC'"),  # of probabilities alone
    ],
)
def test_what_is_no_score_lists_the_choices(limit, message):
    with pytest.raises(InputError, match=message):
        check_limits([limit], PLAN, CLASSES)


def test_every_score_with_a_direction_can_have_a_limit():
    plan = CountPlan(
        CountSettings(2, tolerances=(1, 3)), distances=DistanceSettings(), probabilities=True
    )
    for row in SCORES.values():
        if row.direction and row.source != "network":
            name = row.name.format(1)
            check_limits([Limit(name, 1.0)], plan, CLASSES)
            if row.per_class:
                limit = Limit(row.per_class.format(1), 1.0, "road")
                check_limits([limit], plan, CLASSES)
    with pytest.raises(InputError, match="Dice_mean_over_images"):
        check_limits(
            [Limit("Dice_mean_over_images", 1.0)], CountPlan(CountSettings(3)), ("a", "b", "c")
        )
    with pytest.raises(InputError, match="mBoundaryIoU_Cheng"):
        check_limits(
            [Limit("mBoundaryIoU_Cheng", 1.0)], CountPlan(CountSettings(2, boundary_iou=0)), CLASSES
        )
