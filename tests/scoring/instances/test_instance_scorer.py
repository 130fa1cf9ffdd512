"""The scorer merges, is exact in JSON, and refuses what would count twice."""

import pickle

import numpy as np
import pytest
from instance_cases import perturbed, random_rectangles, rows

from segalias_jax.errors import InputError
from segalias_jax.scoring import InstanceScorer


def images(count: int):
    rng = np.random.default_rng(0)
    for k in range(count):
        true = random_rectangles(rng, 6, scored=False)
        yield f"{k}.png", perturbed(rng, true, 2), true


def filled(chosen=slice(None), **settings) -> InstanceScorer:
    scorer = InstanceScorer(3, threshold=0.2, **({"kinds": ()} | settings))
    for name, predicted, true in list(images(6))[chosen]:
        scorer.update(predicted, true, name=name)
    return scorer


def assert_same(one: InstanceScorer, other: InstanceScorer) -> None:
    ours, theirs = one.compute(), other.compute()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_merged_parts_are_the_whole():
    assert_same(filled(slice(0, 2)).merge(filled(slice(2, 6))), filled())
    counted = filled(slice(2, 6)).merge(filled(slice(0, 2)))
    for name in ("PQ", "accuracy_50", "AJI", "merged", "offset_found"):
        assert counted.compute()[name] == pytest.approx(filled().compute()[name], rel=1e-15)


def test_json_and_pickle_are_exact_and_reset_forgets():
    pytest.importorskip("faster_coco_eval")
    scorer = filled(kinds=("segm",))
    again = InstanceScorer.from_json(scorer.to_json())
    assert again.to_json() == scorer.to_json()
    assert_same(again, scorer)
    assert_same(pickle.loads(pickle.dumps(scorer)), scorer)
    assert len(scorer) == 6
    assert len(scorer.reset()) == 0
    assert scorer.compute()["found"] == 0


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s: s.merge(filled()), "'0.png' was scored before"),
        (lambda s: s.merge(InstanceScorer(2, kinds=())), "num_classes 2, not 3"),
        (
            lambda s: s.merge(InstanceScorer(3, kinds=(), threshold=0.2, classes="abc")),
            "other names of classes",
        ),
        (lambda s: s.update(rows("a"), rows("a"), name="1.png"), "'1.png' was scored before"),
        (lambda s: InstanceScorer(2, classes=["a"]), "1 names for 2 classes"),
        (lambda s: InstanceScorer.from_json("{}"), "cannot be read"),
        (lambda s: InstanceScorer.from_json('{"form": 9}'), "form 9 is not 1"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    scorer = filled()
    with pytest.raises(InputError, match=words):
        change(scorer)
    assert len(scorer) == 6
