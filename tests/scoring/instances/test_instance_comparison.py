"""Scores of sums over images are those of the scorer; models have to be scored alike."""

import numpy as np
import pytest
from instance_cases import perturbed, random_rectangles

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances import CAUSES, InstanceScorer
from segalias_jax.scoring.instances.instance_comparison import (
    InstanceComparison,
    mean_scores,
    object_sums,
)
from segalias_jax.scoring.instances.instance_report import InstanceReport

NAMES = ("PQ", "SQ", "RQ", "accuracy_50", "mean_accuracy", "AJI")


def scorer(seed, images=6, **settings):
    rng, found = np.random.default_rng(0), InstanceScorer(3, kinds=(), **settings)
    other = np.random.default_rng(seed)
    for k in range(images):
        true = random_rectangles(rng, 5, scored=False)
        found.update(perturbed(other, true, 3), true, name=f"{k}")
    return found


def test_scores_of_sums_are_those_of_the_scorer():
    one = scorer(1)
    sums = [array.sum(0)[None] for array in object_sums(one.images, 3)]
    scores, computed = mean_scores(*sums)[0], one.compute()
    np.testing.assert_allclose(scores[: len(NAMES)], [computed[name] for name in NAMES], rtol=1e-12)
    true = sum(len(image.true) for image in one.images)
    causes = [computed[name] / true for name in CAUSES if name != "found"]
    np.testing.assert_allclose(scores[len(NAMES) :], causes, rtol=1e-12)


def test_nothing_has_no_score():
    empty = [array.sum(0)[None] for array in object_sums([], 2)]
    assert np.isnan(mean_scores(*empty)).all()


def test_differences_are_those_of_the_scores():
    scorers = [scorer(1), scorer(2), scorer(3, images=5)]
    reports = tuple(InstanceReport(one) for one in scorers)
    found = InstanceComparison(reports, ("a", "b", "c"))
    assert [one.name for one in found.scorers[0].images] == ["0", "1", "2", "3", "4"]
    values = {(row["score"], row["model"]): row for row in found.rows()}
    computed = [one.compute() for one in found.scorers]
    for name in NAMES:
        row = values[name, "b"]
        assert row["difference"] == pytest.approx(computed[1][name] - computed[0][name])
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
        assert 0 < row["p"] <= row["p_corrected"] <= 1
    same = InstanceComparison((reports[0], reports[0]), ("a", "b"))
    assert all(row.get("difference", 0) == 0 for row in same.rows())
    image = found.differing_images(1)[0]
    assert image["difference"] == max(image["values"]) - min(image["values"]) > 0


def test_what_cannot_be_compared():
    reports = InstanceReport(scorer(1)), InstanceReport(scorer(1, threshold=0.7))
    with pytest.raises(InputError, match="b was scored by other rules than a"):
        InstanceComparison(reports, ("a", "b"))
    with pytest.raises(InputError, match="1 models; 2 to 8"):
        InstanceComparison(reports[:1], ("a",))
    with pytest.raises(InputError, match="two models have one name among a, a"):
        InstanceComparison((reports[0], reports[0]), ("a", "a"))
