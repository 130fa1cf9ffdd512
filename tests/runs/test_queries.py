"""Recipes with networks of queries: all three tasks, from training to predicted files."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_objects import write_coco
from run_folders import compile_once  # noqa: F401

import segalias_jax as sa
from segalias_jax.inference.segmented import SegmentedObjects
from segalias_jax.inference.trained import load_trained
from segalias_jax.runs import recipes, setup
from segalias_jax.runs.evaluate import evaluate_run
from segalias_jax.runs.train import train

TINY = {
    "model.encoder": "resnet18",
    "model.width": 8,
    "model.channels": 16,
    "model.queries": 6,
    "model.pixel_layers": 1,
    "model.decoder_layers": 1,
    "model.pixel_feedforward": 16,
    "model.feedforward": 16,
    "loss.points": 64,
    "train.steps": 2,
    "train.eval_every": 2,
    "train.log_every": 1,
    "train.batch_size": 2,
    "schedule.warmup_steps": 0,
    "mesh.data": 1,
    "eval.batch_size": 2,
    "eval.images": 1,
}
OBJECTS = {
    "data.short": (64, 64),
    "data.long": 96,
    "data.padded": (),
    "data.max_objects": 4,
    "data.threads": 2,
    "eval.headline": "PQ",
}


@pytest.fixture(scope="module")
def start(compile_once, tmp_path_factory):  # noqa: F811
    """Returns `start(name, changes)`, which trains a recipe on one device."""
    mesh, one = setup.create_mesh, jax.devices()[:1]
    patch = pytest.MonkeyPatch()
    patch.setattr(setup, "enable_compilation_cache", lambda: None)
    patch.setattr(setup, "create_mesh", lambda *sizes: mesh(*sizes, devices=one))

    def run(name, changes):
        config = recipes.load_recipe(name)
        config.update_from_flattened_dict(TINY | changes)
        folder = tmp_path_factory.mktemp("run") / "run"
        train(config, folder)
        return config, folder

    yield run
    patch.undo()


@pytest.fixture(scope="module")
def lis(start, tmp_path_factory):
    root = tmp_path_factory.mktemp("lis")
    where = {"images": "images", "annotations": "annotations/lis_coco_png_{split}.json"}
    write_coco(root, {"JPG_train+1": 2, "JPG_test+1": 2}, **where)
    changes = {"data.root": str(root), "schedule.milestones": (1,)}
    return root, *start("lis:baseline,mask2former", OBJECTS | changes)


def records(folder, name):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if name in line]


def test_a_run_of_instances_trains_and_reports(lis, capsys):
    _, config, folder = lis
    losses = records(folder, "loss_mask")
    names = ("loss", "loss_class", "loss_mask", "loss_dice", "loss_auxiliary")
    assert [line["step"] for line in losses] == [1, 2]
    assert all(np.isfinite(line[name]) for line in losses for name in names)
    (scores,) = records(folder, "PQ")
    assert 0 <= scores["PQ"] <= 1 and (folder / "report.html").is_file()
    evaluate_run(config, folder)
    found = [json.loads((folder / part / "report.json").read_text()) for part in ("", "eval")]
    assert found[0]["scores"] == found[1]["scores"]


def test_a_run_of_instances_predicts(lis):
    root, _, folder = lis
    predictor, trained = sa.Predictor(folder), load_trained(folder)
    path = sorted((root / "images").glob("*.png"))[0]
    found = predictor(path)
    picture = cv2.imread(str(path))[..., ::-1]
    assert isinstance(found, SegmentedObjects) and found.size == picture.shape[:2]
    assert found.masks.shape[1:] == found.size and len(found.to_coco(1)) == len(found)
    assert (np.diff(found.scores) <= 0).all() and found.overlay().shape == picture.shape
    told = trained.apply(jnp.zeros((1, 64, 96, 3), jnp.uint8), jnp.array([[60, 90]]))
    assert told.masks.shape == (1, 6, 64, 12) and not np.asarray(told.masks)[:, :, 60:].any()
