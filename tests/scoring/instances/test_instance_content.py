"""What is said of scored objects: the cause that costs most, tables, and suspicions."""

import numpy as np
import pytest
from instance_cases import perturbed, random_rectangles, rectangles, rows

from segalias_jax.scoring.instances import CAUSES, InstanceScorer
from segalias_jax.scoring.instances.instance_content import (
    cause_table,
    class_table,
    headline,
    leading_causes,
    offsets_said,
    report_content,
    tables,
    tide_table,
)


def content_of(*pairs, classes=1, **settings):
    scorer = InstanceScorer(classes, kinds=(), **settings)
    for predicted, true in pairs:
        scorer.update(predicted, true)
    return report_content(scorer, scorer.compute(), title="t", settings={})


@pytest.mark.parametrize(
    "predicted, true, words",
    [
        ("....", "....", "There is no object, true or predicted."),
        ("aa.b", "aa.b", "Every object is found."),
        (
            "aaaa.",
            "aabb.",
            "2 of 2 objects (100 %) are merged; without that, TP/(TP+FP+FN) at IoU .5 would be "
            "100.0 instead of 0.0.",
        ),
        (
            "a.b.c",
            "a....",
            "2 predictions are false; without that, TP/(TP+FP+FN) at IoU .5 would be 100.0 instead "
            "of 33.3.",
        ),
    ],
)
def test_the_first_sentence(predicted, true, words):
    content = content_of((rows(predicted), rows(true)))
    assert headline(content) == words
    assert tables(content).startswith(words)


def test_tables_hold_the_counts():
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(4):
        true = random_rectangles(rng, 8, scored=False)
        pairs.append((perturbed(rng, true, 3), true))
    content = content_of(*pairs, classes=3, threshold=0.1)
    found = cause_table(content)
    assert [row[0] for row in found[1:]] == [*leading_causes(content), "found"]
    numbers = {row[0]: int(row[2]) for row in found[1:]}
    assert sum(n for name, n in numbers.items() if name != "false") == 32
    for row in found[1:]:
        assert sum(map(int, row[4:])) == int(row[2])
    per_class = class_table(content)
    for k, name in enumerate(CAUSES):
        column = sum(int(row[-len(CAUSES) + k]) for row in per_class[1:])
        assert column == content["scores"][name]
    assert content["ranked"]
    assert len(tide_table(content)[1]) == 9
    assert len(content["images"]) == 4
    assert sum(one["true"] for one in content["images"]) == 32


def test_predictions_without_scores_have_no_ranking():
    text = tables(content_of((rows("a..."), rows("a.b."))))
    assert "AP50" not in text


def test_boundaries_are_told_with_their_side():
    true = rectangles([(10, 10, 30, 30)], (40, 40))
    small = rectangles([(12, 12, 28, 28)], (40, 40))
    assert "found objects 2.00 px inside of the true" in offsets_said(content_of((small, true)))
    assert offsets_said(content_of((rows("...."), rows("a...")))) == ""


def test_confused_classes_raise_a_suspicion():
    content = content_of((rows("a..", classes=[2]), rows("a..")), classes=2)
    assert "number classes alike" in content["notices"][0]
