"""Scores of counted objects: recorded panoptic quality, closed forms, and naive counts."""

import json

import numpy as np
import pytest
from instance_cases import perturbed, random_rectangles, rectangles, rows

from segalias_jax.scoring.instances import CAUSES, InstanceScorer, Objects
from segalias_jax.scoring.instances.object_causes import FALSE, FOUND
from segalias_jax.scoring.instances.totals import SCORES, Totals

IDS = {1: 1, 3: 2, 21: 3, 22: 4}


def test_panoptic_quality_is_the_recorded_one(golden, golden_json):
    recorded = json.loads(golden_json("i_panoptic").read_text())
    arrays = golden("i_panoptic")
    scorer = InstanceScorer(4, kinds=())
    for k in range(3):
        segments = arrays[f"gt_segments_{k}"], arrays[f"pred_segments_{k}"]
        maps = arrays[f"gt_{k}"], arrays[f"pred_{k}"]
        objects = []
        for ids, rows_ in zip(maps, segments, strict=True):
            present = rows_[np.isin(rows_[:, 0], ids)]
            masks = ids[None] == present[:, 0, None, None]
            crowd = present[:, 2] > 0 if present.shape[1] > 2 else None
            classes = np.asarray([IDS[c] for c in present[:, 1].tolist()])
            objects.append(Objects(classes, masks, crowd=crowd))
        scorer.update(objects[1], objects[0], void=maps[0] == 0)
    scores = scorer.compute()
    tp, fp, fn = scorer.totals.hits(0.5)
    for stored, label in IDS.items():
        wanted = recorded["per_category"][str(stored)]
        assert (tp[label - 1], fp[label - 1], fn[label - 1]) == (
            *(wanted["tp"], wanted["fp"], wanted["fn"]),
        )
        for name in ("PQ", "SQ", "RQ"):
            value = scores[f"{name}_per_class"][label - 1]
            assert value == pytest.approx(wanted[name.lower()], abs=1e-12)
    for name in ("PQ", "SQ", "RQ"):
        assert scores[name] == pytest.approx(recorded["averages"]["all"][name.lower()], abs=1e-12)
        things = scores[f"{name}_per_class"][:2].mean()
        assert things == pytest.approx(recorded["averages"]["things"][name.lower()], abs=1e-12)


def test_closed_forms():
    true = rows("aaaa.bbbb.cc")
    predicted = rows("aaa..bbbb...")
    scores = InstanceScorer(1, kinds=()).update(predicted, true).compute()
    assert scores["accuracy_50"] == 2 / 3
    assert scores["SQ"] == pytest.approx((0.75 + 1) / 2)
    assert scores["RQ"] == 2 / 2.5
    assert scores["PQ"] == pytest.approx(1.75 / 2.5)
    # The IoU of .75 is above 5 of the 10 thresholds, .5 to .7.
    assert scores["mean_accuracy"] == pytest.approx((5 * 2 / 3 + 5 * 1 / 4) / 10)
    assert scores["AJI"] == pytest.approx(7 / 10)
    assert (scores["found"], scores["missed"], scores["false"]) == (2, 1, 0)


def test_no_objects_have_no_score_and_empty_predictions_score_nothing():
    empty, true = rows("...."), rows("aa.b")
    nothing = InstanceScorer(2, kinds=()).update(empty, empty).compute()
    assert all(np.isnan(nothing[row.name]) for row in SCORES)
    scores = InstanceScorer(2, kinds=()).update(empty, true).compute()
    assert scores["PQ"] == scores["accuracy_50"] == scores["AJI"] == 0.0
    assert scores["missed"] == 2
    assert np.isnan(scores["PQ_per_class"][1])
    # Classes that are off by one find nothing.
    moved = rows("aa.b", classes=[2, 2])
    scores = InstanceScorer(2, kinds=()).update(moved, true).compute()
    assert scores["PQ"] == scores["accuracy_50"] == scores["AJI"] == 0.0
    assert scores["confused"] == 2


def random_scorer(seed: int) -> InstanceScorer:
    rng = np.random.default_rng(seed)
    scorer = InstanceScorer(3, kinds=(), threshold=0.3)
    for _ in range(6):
        true = random_rectangles(rng, int(rng.integers(0, 9)), scored=False)
        scorer.update(perturbed(rng, true, 3), true)
    return scorer


def test_counts_hold_every_object_once():
    scorer = random_scorer(0)
    totals = scorer.totals
    counts = {side: totals.counts(side) for side in ("true", "predicted")}
    assert counts["true"].sum() == len(totals.true)
    assert counts["true"][FALSE].sum() == 0
    ignored = (totals.predicted.causes < 0).sum()
    assert counts["predicted"].sum() + ignored == len(totals.predicted)
    parts = [Totals.of([one], 3) for one in scorer.images]
    for side, number in counts.items():
        np.testing.assert_array_equal(sum(part.counts(side) for part in parts), number)


def test_gains_are_those_of_repaired_predictions():
    """A cause is repaired by hand: its objects get their own masks, its predictions vanish."""
    rng = np.random.default_rng(4)
    true = random_rectangles(rng, 12, (80, 90), classes=1, scored=False)
    predicted = perturbed(rng, true, 4, classes=1)
    scorer = InstanceScorer(1, kinds=(), threshold=0.0).update(predicted, true)
    record, gains = scorer.images[0], scorer.totals.gains()
    now = scorer.compute()["accuracy_50"]
    for k, name in enumerate(CAUSES):
        tp = fp = fn = 0
        for cause, matched in zip(record.true.causes, record.true.matched, strict=True):
            tp += bool(matched) or cause == k
            fn += not matched and cause != k
        for cause, matched in zip(record.predicted.causes, record.predicted.matched, strict=True):
            fp += not matched and cause not in (k, -1)
        assert gains[name] == pytest.approx(tp / (tp + fp + fn) - now, abs=1e-12)
    assert gains["found"] == 0.0


def test_offsets_of_grown_objects():
    true = rectangles([(10, 10, 30, 30), (50, 50, 80, 80)], (100, 100))
    grown = rectangles([(8, 8, 32, 32), (49, 49, 81, 81)], (100, 100))
    scorer = InstanceScorer(1, kinds=()).update(grown, true)
    # Corners are farther away than sides.
    assert scorer.compute()["offset_found"] == pytest.approx(1.5, abs=0.1)
    histogram = scorer.totals.offset_histogram(FOUND)
    assert (histogram[11], histogram[12], histogram.sum()) == (1, 1, 2)
