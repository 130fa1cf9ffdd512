"""Scores from sums: the same as from whole counts, for one picture and for many at once."""

import numpy as np
import pytest

from segalias_jax.metrics import ScoreRules, SegmentationScores
from segalias_jax.scoring import pair_scores
from segalias_jax.scoring.counting import CountSettings, PairCounts, count_pair

EXACT = CountSettings(5, ScoreRules("exact"), boundary_iou=3)


def _pictures(count=4, seed=3):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 5, (count, 6, 8)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    prediction = np.roll(label, (1, 2), (1, 2)).copy()
    label[:, 10:14, 20:30] = 255
    return list(zip(prediction, label, strict=True))


def _sums(pairs, settings=EXACT):
    return np.stack([pair_scores.areas(count_pair(*pair, settings)) for pair in pairs])


def test_sums_give_the_scores_of_the_state():
    sums, total = _sums(_pictures()), PairCounts.zeros(EXACT)
    for pair in _pictures():
        total = total + count_pair(*pair, EXACT)
    expected = SegmentationScores.from_counts(total.regions, EXACT.rules).compute()
    summed = sums.sum(0)
    ours = pair_scores.mean_scores(summed, (1, 3, 5)) | pair_scores.class_scores(summed, (1, 3, 5))
    shared = set(ours) & set(expected)
    assert {"mIoU", "aAcc", "BIoU", "BAcc", "FErr", "MErr", "DErr", "Dice", "IoU"} <= shared
    for name in shared:
        np.testing.assert_allclose(ours[name], expected[name], rtol=0, atol=1e-14, err_msg=name)


def test_many_pictures_at_once_score_as_one_by_one():
    sums = _sums(_pictures())
    together = pair_scores.mean_scores(sums, (1, 3, 5))
    for i, one in enumerate(sums):
        for name, value in pair_scores.mean_scores(one, (1, 3, 5)).items():
            assert together[name][i] == value


@pytest.mark.parametrize("ignore", ["reference", "exclude"])
@pytest.mark.parametrize("seed", range(6))
def test_class_numbering_does_not_matter(ignore, seed):
    """Permuting ids permutes the scores of classes, Boundary IoU and F among them."""
    settings = CountSettings(5, ScoreRules("exact", ignore), boundary_iou=3)
    order = np.arange(256, dtype=np.uint8)
    order[:5] = np.random.default_rng(seed).permutation(5)
    pictures = _pictures(seed=seed)
    plain = _sums(pictures, settings).sum(0)
    moved = _sums([(order[p], order[t]) for p, t in pictures], settings).sum(0)
    np.testing.assert_array_equal(moved[:, order[:5]], plain)
    means = [pair_scores.mean_scores(x, (1, 3, 5)) for x in (plain, moved)]
    for name, value in means[0].items():
        assert means[1][name] == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize("seed", range(6))
def test_counts_of_any_split_add_up_to_those_of_the_whole(seed):
    """In any order, and through the states that merge over files and processes."""
    rng = np.random.default_rng(seed)
    counts = [count_pair(*pair, EXACT) for pair in _pictures(7, seed)]
    whole = sum(counts, PairCounts.zeros(EXACT))
    part = rng.integers(0, 3, 7)
    split = [PairCounts.zeros(EXACT) for _ in range(3)]
    for i in rng.permutation(7):
        split[part[i]] = split[part[i]] + counts[i]
    added = split[2] + (split[0] + split[1])
    np.testing.assert_array_equal(pair_scores.areas(added), pair_scores.areas(whole))
    states = [SegmentationScores.from_counts(s.regions, EXACT.rules) for s in split]
    merged = states[1].merge(states[2]).merge(states[0]).totals()
    np.testing.assert_array_equal(merged[:, :5, :5], whole.regions)


@pytest.mark.parametrize("side", [40, 80])
def test_a_shift_lowers_boundary_iou_faster_than_iou(side):
    label = np.zeros((120, 120), np.uint8)
    label[20 : 20 + side, 20 : 20 + side] = 1
    settings, losses = CountSettings(2, boundary_iou=4), []
    for k in range(5):
        sums = pair_scores.areas(count_pair(np.roll(label, k, 1), label, settings))
        scores = pair_scores.class_scores(sums, (1, 3, 5))
        losses.append([1 - scores["IoU"][1], 1 - scores["BoundaryIoU_Cheng"][1]])
    losses = np.asarray(losses)
    assert (losses[0] == 0).all()
    assert (np.diff(losses, axis=0) > 0).all()
    assert (np.diff(losses[:, 1]) > np.diff(losses[:, 0])).all()


def test_boundary_f_tells_shifts_up_to_its_tolerance():
    label = np.zeros((60, 60), np.uint8)
    label[20:40, 20:40] = 1
    for k in range(5):
        sums = pair_scores.areas(count_pair(np.roll(label, k, 1), label, CountSettings(2)))
        scores = pair_scores.mean_scores(sums, (1, 3, 5))
        for tolerance in (1, 3, 5):
            assert (scores[f"mBoundaryF_{tolerance}px"] == 1) == (k <= tolerance)


def test_class_in_one_map_only_scores_0_and_in_none_nothing():
    label = np.zeros((20, 20), np.uint8)
    prediction = label.copy()
    prediction[5:9, 5:9] = 1
    scores = pair_scores.class_scores(
        pair_scores.areas(count_pair(prediction, label, CountSettings(3))), (1, 3, 5)
    )
    assert scores["BoundaryF_3px"][:2].tolist() == [0, 0] and np.isnan(scores["BoundaryF_3px"][2])
    assert scores["BoundaryIoU_Cheng"][1] == 0 and np.isnan(scores["BoundaryIoU_Cheng"][2])
