"""Each object has the cause of what was done to it."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from instance_cases import perturbed, random_rectangles, rectangles, rows

from segalias_jax.scoring.instances import Objects
from segalias_jax.scoring.instances.object_causes import (
    CAUSES,
    CONFUSED,
    DISPLACED,
    FALSE,
    FOUND,
    MERGED,
    MISSED,
    NO_CAUSE,
    SPLIT,
    object_causes,
)
from segalias_jax.scoring.instances.overlaps import Overlaps


def named(predicted: Objects, true: Objects) -> tuple[list[str], list[str]]:
    causes = object_causes(Overlaps.of(predicted, true))
    words = (*CAUSES, "none")
    return [words[k] for k in causes.true], [words[k] for k in causes.predicted]


@pytest.mark.parametrize(
    "predicted, true, of_predicted, of_true",
    [
        (["aaaa..bb"], ["aaaa..bb"], ["found"] * 2, ["found"] * 2),
        (["........"], ["aaaa..bb"], [], ["missed"] * 2),
        (["aaaa..bb"], ["........"], ["false"] * 2, []),
        (["aaaaaa.."], ["aaabbb.."], ["merged"], ["merged"] * 2),
        # The prediction is matched to the large one and holds the small one, too.
        (["aaaaaaaa"], ["aaaaaabb"], ["merged"], ["merged"] * 2),
        # The small one is found by another prediction: nothing is merged.
        (["aaaaaa.."], ["aaaaaabb"], ["found"], ["found", "missed"]),
        (["aaa.bbb."], ["aaaaaaa."], ["split"] * 2, ["split"]),
        (["aaaaab.."], ["aaaaaa.."], ["split"] * 2, ["split"]),
        # Less than half of the object is covered by its pieces.
        (["a..b...."], ["aaaaaaaa"], ["displaced", "false"], ["displaced"]),
        (["..aaaa.."], ["aaaa...."], ["displaced"], ["displaced"]),
        ([".......a"], ["a......."], ["false"], ["missed"]),
    ],
)
def test_causes_of_one_class(predicted, true, of_predicted, of_true):
    found = named(rows(*predicted), rows(*true))
    assert found == (of_true, of_predicted)


def test_an_object_of_another_class_is_confused_and_one_of_its_own_goes_before():
    true = rows("aaaa....", classes=[1])
    assert named(rows("aaaa....", classes=[2]), true) == (["confused"], ["confused"])
    both = rectangles([(0, 0, 1, 4), (0, 0, 1, 3)], (1, 8), [2, 1])
    assert named(both, true) == (["found"], ["false", "found"])


def test_neighbors_of_two_classes_are_not_merged():
    true = rows("aaaabb..", classes=[1, 2])
    assert named(rows("aaaaaa..", classes=[1]), true) == (["found", "missed"], ["found"])


def test_a_person_before_a_bus_is_not_merged_with_it():
    boxes = [(0, 0, 10, 10), (2, 2, 6, 6)]
    assert named(rectangles(boxes, (12, 12)), rectangles(boxes, (12, 12)))[0] == ["found"] * 2
    # Without a prediction of its own it is.
    assert named(rectangles(boxes[:1], (12, 12)), rectangles(boxes, (12, 12)))[0] == ["merged"] * 2


def test_a_second_detection_and_a_speck_are_no_pieces():
    true = rectangles([(0, 0, 10, 10)], (12, 12))
    twice = rectangles([(0, 0, 10, 10), (0, 0, 9, 9)], (12, 12))
    assert named(twice, true) == (["found"], ["found", "false"])
    speck = rectangles([(0, 0, 10, 8), (0, 9, 3, 10)], (12, 12))
    assert named(speck, true) == (["found"], ["found", "false"])


def test_predictions_on_crowds_have_no_cause():
    true = rectangles([(0, 0, 8, 8)], (8, 16), crowd=[True])
    predicted = rectangles([(0, 0, 4, 4), (0, 0, 4, 4)], (8, 16), [1, 2])
    assert named(predicted, true) == (["none"], ["none", "false"])


def test_every_object_has_one_cause_and_both_sides_agree():
    rng = np.random.default_rng(1)
    every = Counter()
    for _ in range(60):
        true = random_rectangles(rng, int(rng.integers(0, 9)), scored=False)
        predicted = perturbed(rng, true, 3)
        causes = object_causes(Overlaps.of(predicted, true))
        every.update(causes.true.tolist())
        assert NO_CAUSE not in causes.true
        assert FALSE not in causes.true
        assert MISSED not in causes.predicted
        for cause in (FOUND, CONFUSED, DISPLACED):
            assert (causes.true == cause).sum() == (causes.predicted == cause).sum()
        assert (causes.true == MERGED).sum() >= 2 * (causes.predicted == MERGED).sum()
        assert (causes.predicted == SPLIT).sum() >= 2 * (causes.true == SPLIT).sum()
        kept = np.isin(causes.true, (FOUND, DISPLACED))
        assert (causes.iou[causes.true == FOUND] > 0.5).all()
        assert np.isnan(causes.offset[~kept]).all()
        assert ((causes.partner >= 0) == (causes.true != MISSED)).all()
    assert set(every) == {MISSED, MERGED, SPLIT, CONFUSED, DISPLACED, FOUND}


def test_the_order_of_objects_changes_nothing():
    rng = np.random.default_rng(2)
    true = random_rectangles(rng, 8, scored=False)
    predicted = perturbed(rng, true, 3)
    causes = object_causes(Overlaps.of(predicted, true))
    order = rng.permutation(len(true)), rng.permutation(len(predicted))
    again = object_causes(Overlaps.of(predicted.chosen(order[1]), true.chosen(order[0])))
    np.testing.assert_array_equal(again.true, causes.true[order[0]])
    np.testing.assert_array_equal(again.predicted, causes.predicted[order[1]])


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[3] / "benchmarks" / "instance_causes.py"
    spec = importlib.util.spec_from_file_location("instance_causes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_injected_causes_are_named(benchmark):
    """The benchmark does it on real nuclei; here discs stand for them."""
    rng = np.random.default_rng(3)
    right, total = Counter(), Counter()
    for _ in range(3):
        ids = np.zeros((240, 240), np.int32)
        for k, (y, x) in enumerate(np.ndindex(8, 8)):
            i, j = np.ogrid[:240, :240]
            # Every second disc touches its neighbor.
            center = 15 + 30 * y, 15 + 30 * x + (5 if x % 2 == 0 else -5)
            ids[((i - center[0]) ** 2 + (j - center[1]) ** 2 <= 100) & (ids == 0)] = k + 1
        true = Objects.of_map(ids)
        for case, cause in benchmark.named(true, benchmark.injected(true, rng)):
            total[case.kind] += 1
            right[case.kind] += cause == case.cause
    assert set(total) == {
        *("added", "dropped", "grown", "merged", "relabeled", "shifted", "shrunk", "split")
    }
    for kind, number in total.items():
        assert right[kind] >= 0.95 * number, (kind, right[kind], number)
