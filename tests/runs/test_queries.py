"""Recipes with networks of queries: all three tasks, from training to predicted files."""

import json
import os

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_objects import write_cityscapes, write_coco
from flax import nnx
from query_networks import Queries
from run_folders import compile_once  # noqa: F401

import segalias_jax as sa
from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.export.programs import export_model
from segalias_jax.inference.segmented import SegmentedObjects
from segalias_jax.inference.trained import load_trained
from segalias_jax.models import create_model, create_universal
from segalias_jax.runs import recipes, setup
from segalias_jax.runs.evaluate import evaluate_run
from segalias_jax.runs.tasks import bind, parse_recipe
from segalias_jax.runs.train import train
from segalias_jax.tasks import PanopticQueries, SemanticQueries

HEAVY = pytest.mark.skipif("SEGALIAS_OVERFIT" not in os.environ, reason="takes 20 s; set it to 1")
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


def stand_in(config, *, num_classes, rngs):
    """A network that is compiled quickly."""
    return Queries(num_classes=num_classes, queries=6, rngs=rngs)


@pytest.fixture(scope="module")
def start(compile_once, tmp_path_factory):  # noqa: F811
    """Returns `start(name, changes)`, which trains a recipe on one device."""
    mesh, one = setup.create_mesh, jax.devices()[:1]
    patch = pytest.MonkeyPatch()
    patch.setattr(setup, "enable_compilation_cache", lambda: None)
    patch.setattr(setup, "create_mesh", lambda *sizes: mesh(*sizes, devices=one))
    patch.setattr(models, "create_universal", stand_in)
    patch.setattr(models, "create_model", stand_in)

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
    apply = jax.jit(trained.apply)  # else each operation is compiled for itself
    told = apply(jnp.zeros((1, 64, 96, 3), jnp.uint8), jnp.array([[60, 90]]))
    assert told.masks.shape == (1, 6, 64, 12) and not np.asarray(told.masks)[:, :, 60:].any()


def test_the_program_of_a_run_finds_the_same(lis, tmp_path):
    root, _, folder = lis
    path = sorted((root / "images").glob("*.png"))[1]  # one that lies
    trained, found = load_trained(folder), sa.Predictor(folder)(path)
    export_model(trained, tmp_path / "program", format="stablehlo", size=(64, 96))
    manifest = json.loads((tmp_path / "program/manifest.json").read_text())
    assert list(manifest["outputs"]) == ["scores", "classes", "masks"]
    assert manifest["outputs"]["masks"]["shape"] == [1, 6, 64, 12]
    again = sa.Predictor(tmp_path / "program")(path)
    np.testing.assert_allclose(again.scores, found.scores, atol=1e-6)
    np.testing.assert_array_equal(again.classes, found.classes)
    np.testing.assert_array_equal(again.masks, found.masks)


@pytest.fixture(scope="module")
def panoptic(start, tmp_path_factory):
    root = write_cityscapes(tmp_path_factory.mktemp("streets"), {"train": 2, "val": 2})
    changes = {"data.crop": (32, 32), "data.ratio_range": (1.0, 1.0), "data.root": str(root)}
    changes |= {"eval.least_probable": 0.0, "eval.overlap": 0.0}
    return root, *start("cityscapes_panoptic:baseline,mask2former", OBJECTS | changes)


@HEAVY
def test_a_run_of_things_and_stuff(panoptic):
    root, _, folder = panoptic
    assert len(records(folder, "loss_mask")) == 2 and len(records(folder, "PQ")) == 1
    found = sa.Predictor(folder)(sorted(root.glob("leftImg8bit/val/*/*.png"))[0])
    assert isinstance(found, SegmentedObjects)
    shown = found.masks.sum(0)
    assert shown.max(initial=0) <= 1 and len(set(found.names)) <= len(found)


def test_the_semantic_task_and_its_network(monkeypatch):
    monkeypatch.setattr(models, "create_model", create_model)
    changes = {"data.source": "synthetic", "data.crop": (32, 32), "loss.points": 9}
    config = recipes.load_recipe("cityscapes:mask2former")
    config.update_from_flattened_dict(TINY | changes)
    binding = bind(parse_recipe(config))
    binding.open_scored()
    task = binding.create_task()
    assert isinstance(task, SemanticQueries) and task.how.points == 9 and not task.sums
    network = nnx.eval_shape(binding.create_model(task))
    kernel = network.query_decoder.classes.kernel
    assert isinstance(network, models.QuerySegmenter) and kernel.shape == (16, 9)


def test_the_panoptic_task_and_its_network(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "create_universal", create_universal)
    root = write_cityscapes(tmp_path, {"val": 1})
    config = recipes.load_recipe("cityscapes_panoptic:mask2former")
    config.update_from_flattened_dict(TINY | {"data.root": str(root), "eval.overlap": 0.6})
    binding = bind(parse_recipe(config))
    binding.open_scored()
    task = binding.create_task()
    assert isinstance(task, PanopticQueries) and task.overlap == 0.6
    assert task.num_classes == 19 and task.stuff == tuple(range(1, 12))
    network = nnx.eval_shape(binding.create_model(task))
    assert type(network) is models.Mask2Former


@pytest.fixture(scope="module")
def semantic(start):
    changes = {"data.source": "synthetic", "data.crop": (32, 32), "data.resize": ()}
    changes |= {"data.image_size": (32, 32), "data.num_train": 2, "data.num_eval": 2}
    return start("cityscapes:baseline,mask2former", changes | {"eval.resize": ()})


@HEAVY
def test_a_run_of_classes(semantic):
    config, folder = semantic
    assert len(records(folder, "loss_mask")) == 2
    (scores,) = records(folder, "mIoU")
    assert 0 <= scores["mIoU"] <= 1 and (folder / "report.md").is_file()
    trained = load_trained(folder)
    classes = len(trained.classes)
    logits = trained.apply(jnp.zeros((1, 32, 64, 3), jnp.uint8))
    assert logits.shape == (1, 32, 64, classes) and np.isfinite(logits).all()


@pytest.mark.parametrize(
    "task, changes, message",
    [
        ("semantic", {"loss": {"average": "valid"}}, "loss.average is 'valid', which model.name=m"),
        ("semantic", {"train": {"accumulate": 2}}, "accumulate is 2 .*over whole masks"),
        ("semantic", {"mesh": {"spatial": 2}}, "mesh.spatial 2, but the loss of mask2former"),
        ("semantic", {"loss": {"query_terms": (("masks", 1.0),)}}, "query_terms .*'masks'"),
        ("instances", {"loss": {"points": 2}}, "loss.points is 2"),
        ("instances", {"model": {"score_threshold": 0.1}}, "score_threshold is 0.1, which neither"),
        ("panoptic", {"loss": {"sigma": 4.0}}, "loss.sigma is 4.0, which model.name=mask2former"),
        ("panoptic", {"eval": {"max_centers": 7}}, "eval.max_centers is 7, which model.name=mask"),
    ],
)
def test_what_the_network_does_not_read_is_refused(task, changes, message):
    model = {"name": "mask2former"} | changes.pop("model", {})
    with pytest.raises(InputError, match=message):
        parse_recipe({"task": task, "model": model, **changes})


@pytest.mark.parametrize("task", ["semantic", "instances", "panoptic"])
def test_other_networks_do_not_read_the_keys_of_queries(task):
    with pytest.raises(InputError, match="loss.points is 99, which model.name=.* does not read"):
        parse_recipe({"task": task, "loss": {"points": 99}})


def test_weights_of_the_loss_are_the_recipe_s():
    changes = {"query_terms": (("mask", 3.0), ("class", 1.0)), "points": 77}
    recipe = parse_recipe({"task": "instances", "model": {"name": "mask2former"}, "loss": changes})
    how = recipe.create_task(("cell",), precision="float32").how
    assert (how.class_weight, how.mask_weight, how.dice_weight, how.points) == (1, 3, 0, 77)
