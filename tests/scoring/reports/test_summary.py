"""What a report says first."""

import numpy as np
import pytest

from segalias_jax.scoring import Scorer
from segalias_jax.scoring.reports import summary


def content(prediction, label, classes=("soil", "crop", "weed|a")):
    scorer = Scorer(len(classes), classes=classes).update(prediction, label)
    return scorer.report().content()


@pytest.fixture
def field():
    """A crop that is found, and weed that is not there."""
    label = np.zeros((200, 210), np.uint8)
    label[10:30, 10:30] = 1
    label[60:70, 60:70] = 2
    prediction = label.copy()
    prediction[50:58, 5:25] = 2
    prediction[10:12, 40:50] = 1
    return prediction, label


def test_the_sentence_is_of_the_cause_that_costs_most(field):
    report = content(*field)
    assert summary.headline(report).startswith(
        "100 % of wrong pixels are false objects, mostly weed|a; without them mIoU would be +"
    )
    gain = report["causes"]["delta_mIoU"]["false object"]
    assert f"{100 * gain:+.1f}." in summary.headline(report)
    # By the definition: mIoU of the repaired map is 1.
    assert gain == pytest.approx(1 - report["scores"]["mIoU"], abs=1e-12)


def test_causes_are_ordered_by_what_they_cost(field):
    prediction, label = field
    prediction = prediction.copy()
    prediction[60:70, 60:70] = 0
    rows = summary.cause_rows(content(prediction, label))
    assert [row[0] for row in rows] == ["cause", "missed object", "false object"]
    assert rows[1][2:] == ["35.71", "1", r"weed\|a 100 %"]
    text = summary.first_screen(content(prediction, label))
    assert text.startswith("36 % of wrong pixels are missed objects") and "| false object" in text


def test_perfect_and_empty_maps_are_told(field):
    _, label = field
    assert summary.first_screen(content(label, label)) == "Every scored pixel is right."
    assert summary.headline(content(label, np.full_like(label, 255))) == "No pixel is labeled."
    assert summary.first_screen({"causes": None}) == ""
