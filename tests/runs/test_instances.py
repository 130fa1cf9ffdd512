"""Recipes of instance segmentation at work, on drawn data sets in the official layouts."""

import json

import cv2
import jax
import numpy as np
import pytest
from drawn_objects import TINY, make_detector, write_cityscapes, write_coco, write_maps
from jax.experimental.compilation_cache import compilation_cache

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.runs import recipes, setup
from segalias_jax.runs.command import recipe_of_run
from segalias_jax.runs.evaluate import evaluate_run
from segalias_jax.runs.instances import true_objects
from segalias_jax.runs.studies import Studies
from segalias_jax.runs.tasks import bind, parse_recipe
from segalias_jax.runs.train import train
from segalias_jax.runs.workdir import read_checked

DEVICES = jax.devices()
SIZES = {
    "data.short": (64, 64),
    "data.long": 96,
    "data.padded": (),
    "data.max_objects": 4,
    "data.threads": 2,
    "train.steps": 2,
    "train.eval_every": 2,
    "train.log_every": 1,
    "train.batch_size": 2,
    "mesh.data": 1,
    "schedule.warmup_steps": 0,
    "schedule.name": "poly",
    "schedule.milestones": (),
    "eval.batch_size": 2,
    "eval.images": 1,
    "eval.headline": "PQ",
}


@pytest.fixture(scope="module", autouse=True)
def one_device_that_compiles_once(tmp_path_factory):
    patch, mesh = pytest.MonkeyPatch(), setup.create_mesh
    patch.setattr(setup, "enable_compilation_cache", lambda: None)
    patch.setattr(
        setup, "create_mesh", lambda data, *sizes: mesh(data, *sizes, devices=DEVICES[:data])
    )
    keys = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, key) for key in keys]
    for key, value in zip(keys, (str(tmp_path_factory.mktemp("cache")), 0.1), strict=True):
        jax.config.update(key, value)
    compilation_cache.reset_cache()
    yield
    for key, value in zip(keys, before, strict=True):
        jax.config.update(key, value)
    compilation_cache.reset_cache()
    patch.undo()


def stand_in(config, *, num_classes, rngs):
    """A detector that is compiled quickly."""
    return make_detector(num_classes=num_classes)


def make_config(name, root, **changes):
    config = recipes.load_recipe(name)
    config.update_from_flattened_dict(SIZES | TINY | {"data.root": str(root)} | changes)
    return config


def coco_tree(root):
    return write_coco(root, {"train2017": 3, "val2017": 2})


def lis_tree(root):
    where = {"images": "images", "annotations": "annotations/lis_coco_png_{split}.json"}
    return write_coco(root, {"JPG_train+1": 2, "JPG_test+1": 2}, **where)


def cityscapes_tree(root):
    return write_cityscapes(root, {"train": 2, "val": 2})


def nuclei_tree(root):
    return write_maps(root, {"train": 4, "val": 3})


def read_metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "name, tree, classes",
    [
        ("coco_instances:baseline", coco_tree, 2),
        ("lis:baseline", lis_tree, 2),
        ("cityscapes_instances:baseline", cityscapes_tree, 8),
    ],
)
def test_published_recipes_start_on_the_official_layout(
    tmp_path, monkeypatch, capsys, name, tree, classes
):
    config = make_config(name, tree(tmp_path / "data"))
    if tree is not coco_tree:  # one network of the recipes is enough to compile
        monkeypatch.setattr(models, "create_detector", stand_in)
    fitted = train(config, tmp_path / "run")
    assert fitted.step == 2 and len(json.loads((tmp_path / "run/classes.json").read_text())) > 0
    lines = read_metrics(tmp_path / "run")
    losses = [line for line in lines if "loss_mask" in line]
    assert [line["step"] for line in losses] == [1, 2]
    assert all(np.isfinite(line["loss"]) for line in losses)
    (scores,) = [line for line in lines if "PQ" in line]
    assert scores["step"] == 2 and 0 <= scores["PQ"] <= 1
    for file in ("report.md", "report.html", "curves.png", "stream.json", "goodput.json"):
        assert (tmp_path / "run" / file).is_file(), file
    assert f"report: {tmp_path / 'run' / 'report.html'}" in capsys.readouterr().out
    assert len(bind_scored(config).scored.classes) == classes


def bind_scored(config):
    binding = bind(parse_recipe(config))
    binding.open_scored()
    return binding


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory):
    """Returns the recipe and the folder of a run on drawn nuclei."""
    folder = tmp_path_factory.mktemp("nuclei")
    changes = {"data.crop": (32, 32), "data.empty": True, "train.batch_size": 4}
    config = make_config("nuclei:baseline,tiny", nuclei_tree(folder / "data"), **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "create_detector", stand_in)
        train(config, folder / "run")
    return config, folder / "run"


def test_evaluation_of_a_run_repeats_its_scores(nuclei, capsys, monkeypatch):
    config, workdir = nuclei
    monkeypatch.setattr(models, "create_detector", stand_in)
    evaluate_run(config, workdir)
    assert f"report: {workdir / 'eval' / 'report.html'}" in capsys.readouterr().out
    found = [json.loads((workdir / part / "report.json").read_text()) for part in ("", "eval")]
    assert found[0]["scores"] == found[1]["scores"] and "PQ" in found[0]["scores"]
    with pytest.raises(InputError, match="--aliasing, --shift and --robustness are for recipes"):
        evaluate_run(config, workdir, studies=Studies(shift=True))
    # What is kept of what a detector finds is not trained; 0.5 is the key's default.
    words = ["--config.model.nms_threshold=0.5", "--config.model.max_detections=3"]
    evaluate_run(recipe_of_run(workdir, words), workdir)
    with pytest.raises(InputError, match="model.width is"):
        evaluate_run(recipe_of_run(workdir, ["--config.model.width=16"]), workdir)


def test_objects_are_read_once(nuclei):
    config, workdir = nuclei
    recipe = parse_recipe(config)
    binding = bind(recipe)
    binding.open_sources()
    both = [binding.training, binding.scored]
    checked = read_checked(workdir)
    assert binding.check_labels(both, checked=checked) == checked and len(checked) == 2
    read = []
    for source in both:
        source.check = read.append
    assert binding.check_labels(both, checked=checked) and not read
    binding.check_labels(both, checked=checked[:1])
    assert read == [0, 1, 2]
    # Scores are of the objects that the maps hold, at the size of the images.
    objects = true_objects(binding.scored, 0)
    path = binding.scored.pairs[0].label
    assert len(objects.classes) == cv2.imread(str(path), cv2.IMREAD_UNCHANGED).max()


def test_what_training_leaves_out_is_said(tmp_path, capsys):
    root = nuclei_tree(tmp_path)
    blank = np.zeros((48, 48), np.uint16)
    cv2.imwrite(str(root / "instances/train000.png"), blank)
    config = make_config("nuclei:baseline,tiny", root, **{"data.max_objects": 1})
    binding = bind(parse_recipe(config))
    binding.open_sources()
    out = capsys.readouterr().out
    assert "note: 1 training images without objects are left out (data.empty)" in out
    assert "(data.max_objects=1)" in out and len(binding.training) == 3
    config.data.empty = True
    binding = bind(parse_recipe(config))
    binding.open_sources()
    assert len(binding.training) == 4


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data.root": "/no"}, "data.root: no folder /no"),
        ({"data.eval_split": "test"}, "test"),
        ({"data.padded": (32, 32)}, "data.padded: 32x32 does not hold"),
        ({"model.anchor_sizes": (8, 16)}, "anchor_sizes .*one for each of the 5 levels"),
        ({"train.batch_size": 3, "mesh.data": 2}, "train.batch_size is 3, which does not split"),
        ({"eval.headline": "mIoU"}, "eval.headline is 'mIoU'"),
        ({"model.max_detections": 0}, "model.max_detections is 0; it must be at least 1"),
        ({"model.nms_threshold": 1.5}, "model.nms_threshold is 1.5; it must be"),
    ],
)
def test_errors_come_before_anything_is_written(tmp_path, changes, message):
    root = nuclei_tree(tmp_path / "data")
    config = make_config("nuclei:baseline,tiny", root, **changes)
    with pytest.raises(InputError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_splits_with_different_classes_are_refused(tmp_path):
    root = coco_tree(tmp_path)
    path = root / "annotations/instances_val2017.json"
    text = json.loads(path.read_text())
    text["categories"].append({"id": 30, "name": "green"})
    path.write_text(json.dumps(text))
    binding = bind(parse_recipe(make_config("coco_instances:baseline", root)))
    with pytest.raises(InputError, match="'train2017' has 2 classes, 'val2017' has 3; name them"):
        binding.open_sources()


def test_a_broken_map_stops_the_run_before_its_first_step(tmp_path):
    root = nuclei_tree(tmp_path / "data")
    (root / "instances/val001.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"val001\.png"):
        train(make_config("nuclei:baseline,tiny", root), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_broken_files_are_skipped_where_the_recipe_says_so(tmp_path, capsys, monkeypatch):
    """In training and in scores; the report names them."""
    root = nuclei_tree(tmp_path / "data")
    for name in ("train001", "val001"):
        (root / f"instances/{name}.png").write_bytes(b"no image")
    monkeypatch.setattr(models, "create_detector", stand_in)
    changes = {"data.crop": (32, 32), "data.empty": True, "train.batch_size": 4}  # as above
    changes |= {"data.on_error": "skip"}
    fitted = train(make_config("nuclei:baseline,tiny", root, **changes), tmp_path / "run")
    assert fitted.step == 2
    out = capsys.readouterr().out
    assert "skipped: 1 of 4: " in out and "skipped in training: 1 of 4: " in out
    report = (tmp_path / "run/report.md").read_text()
    assert "Note: skipped: 1 of 3: " in report and "val001.png" in report
    rows = (tmp_path / "run/per_image.csv").read_text().splitlines()
    assert len(rows) == 1 + 2
