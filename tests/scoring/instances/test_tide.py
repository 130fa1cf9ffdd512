"""TIDE against its rules written out, one detection at a time."""

import numpy as np
import pytest
from instance_cases import perturbed, random_rectangles, rectangles, rows

from segalias_jax.scoring.instances import Objects
from segalias_jax.scoring.instances.overlaps import Overlaps
from segalias_jax.scoring.instances.tide import (
    ERRORS,
    TideImage,
    average_precision,
    tide_gains,
    tide_image,
)


def naive(images: list[tuple[Objects, Objects]], fixed: str = "") -> float:
    """Mean AP at .5 of all classes, errors of one kind repaired, from whole masks and lists."""
    points: dict[int, list[tuple[float, bool]]] = {}
    numbers: dict[int, int] = {}
    for predicted, true in images:
        masks = [
            [m.window(0, 0, *true.shape) for m in objects.masks] for objects in (predicted, true)
        ]
        order = sorted(range(len(predicted)), key=lambda p: -predicted.scores[p])
        truths = [t for t in range(len(true)) if not true.crowd[t]]
        for t in truths:
            numbers[int(true.classes[t])] = numbers.get(int(true.classes[t]), 0) + 1

        def iou(p, t, masks=masks):
            a, b = masks[0][p], masks[1][t]
            return (a & b).sum() / (a | b).sum()

        used: set[int] = set()
        state: dict[int, object] = {}
        for p in order:
            own = [t for t in truths if true.classes[t] == predicted.classes[p] and t not in used]
            best = max(own, key=lambda t: iou(p, t), default=None)
            if best is not None and iou(p, best) >= 0.5:
                used.add(best)
                state[p] = "right"
        reachable: dict[int, int] = {}
        for p in order:
            if p in state:
                continue
            if any(
                true.crowd[t]
                and true.classes[t] == predicted.classes[p]
                and (masks[0][p] & masks[1][t]).sum() > 0.5 * masks[0][p].sum()
                for t in range(len(true))
            ):
                state[p] = "ignored"
                continue
            own = [t for t in truths if true.classes[t] == predicted.classes[p]]
            other = [t for t in truths if t not in own]
            near = max(own, key=lambda t: iou(p, t), default=None)
            far = max(other, key=lambda t: iou(p, t), default=None)
            if near is not None and 0.1 <= iou(p, near) <= 0.5:
                state[p] = ("localization", near)
            elif far is not None and iou(p, far) >= 0.5:
                state[p] = ("classification", far)
            elif any(iou(p, t) >= 0.5 for t in own if t in used):
                state[p] = ("duplicate", None)
            elif all(iou(p, t) <= 0.1 for t in truths):
                state[p] = ("background", None)
            else:
                state[p] = ("both", None)
            target = state[p][1]
            if target is not None and target not in used:
                reachable.setdefault(target, p)
        if fixed == "missed":
            for t in truths:
                if t not in used and t not in reachable:
                    numbers[int(true.classes[t])] -= 1
        for p in order:
            kind = state[p]
            label, score, right = int(predicted.classes[p]), predicted.scores[p], kind == "right"
            if kind == "ignored":
                continue
            if not right and kind[0] == fixed:
                if reachable.get(kind[1], -1) != p or kind[1] is None:
                    continue
                label, right = int(true.classes[kind[1]]), True
            if fixed == "false positive":
                score = 1.0 if right else 0.0
            points.setdefault(label, []).append((score, right))
        if fixed == "false negative":
            for t in truths:
                if t not in used:
                    numbers[int(true.classes[t])] -= 1
    values = []
    for label in {c for c, n in numbers.items() if n} | set(points):
        found = sorted(points.get(label, []), key=lambda one: -one[0])
        curve, hits = [], 0
        for k, (_, right) in enumerate(found, 1):
            hits += right
            curve.append((hits / max(1, numbers.get(label, 0)), hits / k))
        values.append(
            np.mean(
                [
                    max((q for r, q in curve if r >= at / 100), default=0.0)
                    if numbers.get(label)
                    else 0.0
                    for at in range(101)
                ]
            )
        )
    return float(np.mean(values))


def random_images(seed: int, count: int = 8) -> list[tuple[Objects, Objects]]:
    rng = np.random.default_rng(seed)
    images = []
    for k in range(count):
        true = random_rectangles(rng, int(rng.integers(0, 8)), scored=False)
        crowd = rng.random(len(true)) < 0.15
        true = Objects(true.classes, true.masks, crowd=crowd, size=true.size)
        predicted = perturbed(rng, true, 2)
        # Distinct scores over all images, which leave no order open.
        scores = (predicted.scores + k / 1000).tolist()
        images.append((Objects(predicted.classes, predicted.masks, scores, size=true.size), true))
    return images


@pytest.mark.parametrize("seed", range(3))
def test_gains_are_those_of_the_rules_written_out(seed):
    images = random_images(seed)
    gains = tide_gains([tide_image(Overlaps.of(*one), 3) for one in images])
    plain = naive(images)
    assert gains["AP50"] == pytest.approx(plain, abs=1e-12)
    for name in ERRORS:
        wanted = max(0.0, naive(images, name) - plain)
        assert gains[name] == pytest.approx(wanted, abs=1e-12), name
    for name in ("false positive", "false negative"):
        assert gains[name] == pytest.approx(naive(images, name) - plain, abs=1e-12), name
    assert sum(gains[name] > 0 for name in ERRORS) >= 3


@pytest.mark.parametrize(
    "box, label, error",
    [
        ((0, 0, 10, 10), 2, "classification"),
        ((0, 4, 10, 14), 1, "localization"),
        ((0, 4, 10, 14), 2, "both"),
        ((0, 0, 10, 9), 1, "duplicate"),
        ((20, 20, 30, 30), 1, "background"),
    ],
)
def test_each_kind_of_false_positive(box, label, error):
    true = rectangles([(0, 0, 10, 10)], (30, 30))
    first = rectangles([(0, 0, 10, 10), box], (30, 30), [1, label], [0.9, 0.8])
    found = tide_image(Overlaps.of(first, true), 2)
    assert found.kinds.tolist() == [-1, ERRORS.index(error)]
    alone = tide_image(Overlaps.of(first.chosen(np.asarray([1])), true), 2)
    repaired = error in ("classification", "localization", "duplicate")
    assert bool(alone.repaired[0] or alone.kinds[0] == -1) == repaired
    assert alone.missed.tolist() == [int(not repaired), 0]


def test_of_two_that_stand_for_one_object_one_becomes_right():
    true = rectangles([(0, 0, 10, 10)], (30, 30))
    boxes = [(0, 4, 10, 14), (0, 5, 10, 15)]
    found = tide_image(Overlaps.of(rectangles(boxes, (30, 30), None, [0.5, 0.6]), true), 1)
    assert found.scores.tolist() == [0.6, 0.5]
    assert found.repaired.tolist() == [1, 0]


def test_only_the_best_detections_of_an_image_count():
    true = rows("a...")
    predicted = rows("ab..", scores=[0.1, 0.9])
    assert tide_image(Overlaps.of(predicted, true), 1, most=1).kinds.tolist() == [4]
    assert tide_image(Overlaps.of(predicted, true), 1, most=1).unmatched.tolist() == [1]


def test_nothing_true_has_no_gain_and_json_is_exact():
    empty = rows("....")
    assert np.isnan(
        list(tide_gains([tide_image(Overlaps.of(rows("a..."), empty), 1)]).values())
    ).all()
    one = tide_image(Overlaps.of(*random_images(0)[1]), 3)
    again = TideImage.from_json(one.to_json())
    for name in TideImage.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))


def test_average_precision_of_known_curves():
    assert average_precision(np.ones(3), np.asarray([True] * 3), 3) == 1.0
    assert average_precision(np.ones(1), np.asarray([True]), 2) == pytest.approx(51 / 101)
    assert average_precision(np.zeros(0), np.zeros(0, bool), 2) == 0.0
