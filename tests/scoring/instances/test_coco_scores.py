"""COCO's numbers, recorded from pycocotools and faster-coco-eval: crowds, 132 detections."""

import json
import sys

import numpy as np
import pytest
from instance_cases import rectangles

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances import InstanceScorer
from segalias_jax.scoring.instances.coco_scores import check_installed, coco_names, coco_scores
from segalias_jax.scoring.instances.instance_inputs import open_inputs
from segalias_jax.scoring.instances.records import KINDS


@pytest.fixture(scope="module")
def scored(golden_json):
    pytest.importorskip("faster_coco_eval")
    inputs = open_inputs(golden_json("i_coco_eval_dt"), golden_json("i_coco_eval_gt"))
    scorer = InstanceScorer(len(inputs.classes), kinds=KINDS)
    for image in inputs.images:
        scorer.update(*image.load(), name=image.name)
    return scorer


@pytest.mark.parametrize("kind", KINDS)
def test_all_numbers_are_the_recorded_ones(scored, golden_json, kind):
    recorded = json.loads(golden_json("i_coco_eval").read_text())
    found = scored.compute()
    ours = [found[name] for name in coco_names(kind)]
    # Means of the same numbers in the same order.
    np.testing.assert_allclose(ours, recorded["faster_coco_eval"][kind], rtol=0, atol=1e-12)
    if kind in recorded["stats"]:  # of pycocotools
        np.testing.assert_allclose(ours, recorded["stats"][kind], rtol=0, atol=1e-12)
    per_class = found[f"{kind}_AP_per_class"]
    assert np.nanmean(per_class) == pytest.approx(found[f"{kind}_AP"], abs=1e-12)
    assert np.isnan(per_class[3])  # no true object


def test_only_the_best_detections_of_an_image_and_class_count():
    pytest.importorskip("faster_coco_eval")
    places = [(0, 3 * k, 2, 3 * k + 2) for k in range(12)]
    predicted = rectangles(places, (4, 40), scores=np.arange(12, 0, -1) / 12)
    scorer = InstanceScorer(1).update(predicted, rectangles(places[-1:], (4, 40)))
    few = coco_scores(scorer.images, "segm", 1, max_detections=11)
    every = coco_scores(scorer.images, "segm", 1, max_detections=12)
    assert (few["segm_AR_11"], every["segm_AR_12"]) == (0.0, 1.0)


def test_without_truth_there_is_no_number(scored):
    empty = coco_scores([], "segm", 2)
    assert all(np.isnan(empty[name]) for name in coco_names("segm"))
    assert np.isnan(empty["segm_AP_per_class"]).all()


def test_without_predictions_all_is_zero(scored):
    inputs = [
        type(one)(**{**vars(one), "results": ()})  # the images as they are, no result
        for one in scored.images
    ]
    assert coco_scores(inputs, "segm", 4)["segm_AP"] == 0.0


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'segalias_jax\[instances\]'"):
        check_installed()
    with pytest.raises(InputError, match="faster-coco-eval"):
        InstanceScorer(1)
    assert len(InstanceScorer(1, kinds=())) == 0
