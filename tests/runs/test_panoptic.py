"""Recipes of panoptic segmentation: sections, and a run from training to predicted files."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_objects import Encoder, write_cityscapes, write_maps
from flax import nnx
from run_folders import compile_once  # noqa: F401

import segalias_jax as sa
from segalias_jax import models
from segalias_jax.data.instance_source import create_instance_source
from segalias_jax.errors import InputError
from segalias_jax.export.detector_programs import describe_detector
from segalias_jax.inference.segmented import SegmentedObjects
from segalias_jax.inference.trained import load_trained
from segalias_jax.runs import recipes, setup
from segalias_jax.runs.panoptic import PanopticBinding, PanopticRecipe
from segalias_jax.runs.tasks import bind, parse_recipe
from segalias_jax.runs.train import train

CHANGES = {
    "data.crop": (32, 32),
    "data.short": (48, 48),
    "data.long": 64,
    "data.ratio_range": (1.0, 1.0),
    "data.max_objects": 5,
    "data.threads": 2,
    "eval.max_centers": 4,
    "eval.stuff_area": 16,
    "eval.images": 1,
    "train.steps": 2,
    "train.eval_every": 2,
    "train.log_every": 1,
    "train.batch_size": 2,
    "mesh.data": 1,
    "model.output_stride": 32,
}


def stand_in(config, *, num_classes, rngs):
    """A network that is compiled quickly."""
    return models.PanopticDeepLab(
        Encoder(True, rngs), num_classes=num_classes, channels=16, dilations=(1,), rngs=rngs
    )


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    return write_cityscapes(tmp_path_factory.mktemp("streets"), {"train": 2, "val": 2})


@pytest.fixture(scope="module")
def run(tmp_path_factory, streets, compile_once):  # noqa: F811
    folder = tmp_path_factory.mktemp("run") / "run"
    config = recipes.load_recipe("cityscapes_panoptic:baseline")
    config.update_from_flattened_dict(CHANGES | {"data.root": str(streets)})
    mesh, one = setup.create_mesh, jax.devices()[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "create_panoptic", stand_in)
        patch.setattr(setup, "enable_compilation_cache", lambda: None)
        patch.setattr(setup, "create_mesh", lambda *sizes: mesh(*sizes, devices=one))
        train(config, folder)
        yield folder


def test_a_run_trains_and_reports(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "loss_center" in line]
    assert [line["step"] for line in losses] == [1, 2]
    names = ("loss", "loss_semantic", "loss_center", "loss_offset", "grad_norm")
    assert all(np.isfinite(line[name]) for line in losses for name in names)
    (scores,) = [line for line in lines if "PQ" in line]
    assert 0 <= scores["PQ"] <= 1 and (run / "report.html").is_file()
    assert len(json.loads((run / "classes.json").read_text())["classes"]) == 19


def test_a_run_predicts_segments_at_the_size_of_the_image(run, streets):
    trained = load_trained(run)
    with pytest.raises(InputError, match="panoptic_deeplab is not exported: programs return boxes"):
        describe_detector(trained, None, None)
    predictor = sa.Predictor(run)
    (path, *_) = sorted(streets.glob("leftImg8bit/val/*/*.png"))
    found = predictor(path)
    assert isinstance(found, SegmentedObjects) and found.size == (48, 64)
    seen = np.zeros((1, *predictor.settings.padded_size((48, 64)), 3), np.uint8)
    seen[0, :48, :64] = cv2.imread(str(path))[..., ::-1]
    segments = jax.jit(trained.apply)(jnp.asarray(seen), jnp.array([[48, 64]]))
    shown = np.asarray(segments.segments[0, :48, :64])
    assert len(found) == len(np.unique(shown[shown > 0]))
    ids = found.instance_map(1000)
    np.testing.assert_array_equal(ids > 0, shown > 0)
    classes = np.concatenate([[0], np.asarray(segments.classes[0])])
    np.testing.assert_array_equal(ids // 1000, classes[shown])
    assert found.overlay().shape == (48, 64, 3) and (np.diff(found.scores) <= 0).all()


def test_binding_and_task_have_the_recipe_s_settings(streets):
    config = recipes.load_recipe("cityscapes_panoptic:daf")
    config.update_from_flattened_dict({"data.root": str(streets), "eval.max_centers": 7})
    binding = bind(parse_recipe(config))
    assert isinstance(binding, PanopticBinding)
    binding.open_scored()
    task = binding.create_task()
    assert task.num_classes == 19 and task.stuff == tuple(range(1, 12)) and task.max_centers == 7
    network = nnx.eval_shape(binding.create_model(task))
    assert network.semantic.out.kernel.shape[-1] == 20


def test_stuff_of_cityscapes_is_one_region_and_no_crowd(streets):
    settings = {"source": "cityscapes_panoptic", "root": str(streets)}
    source = create_instance_source(settings, "train")
    objects = source.instances(0)
    names = [source.classes[label - 1] for label in objects.classes]
    assert names[0] == "road" and set(names[1:]) <= {"person", "car"}
    assert objects.crowd.tolist() == [name == "car" and k == 1 for k, name in enumerate(names)]
    stored = cv2.imread(str(source.pairs[0].label), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(objects.masks[0], stored == 7)


def test_stuff_of_maps_is_named_and_joined(tmp_path):
    root = write_maps(tmp_path, {"train": 1})
    stored = np.zeros((48, 48), np.uint16)
    stored[:8], stored[8:16], stored[16:20], stored[30:33] = 1, 2, 3, 4
    cv2.imwrite(str(root / "instances/train000.png"), stored)
    settings = {
        "source": "instance_maps",
        "root": str(root),
        "images": "images/{name}.png",
        "maps": "instances/{name}.png",
        "names": "{split}.txt",
        "classes": ("sky", "bird"),
        "stuff": ("sky",),
        "id_map": ((1, 1), (2, 2), (3, 2), (4, 1)),
    }
    objects = create_instance_source(settings, "train").instances(0)
    assert objects.classes.tolist() == [1, 2, 2] and not objects.crowd.any()
    np.testing.assert_array_equal(objects.masks[0], np.isin(stored, (1, 4)))
    with pytest.raises(InputError, match="data.stuff: 'sea' is none of data.classes"):
        create_instance_source(settings | {"stuff": ("sea",)}, "train")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": {"name": "mask_rcnn"}}, "'mask_rcnn', which task=panoptic does not train"),
        ({"loss": {"fraction": 0.0}}, "loss.fraction is 0.0"),
        ({"train": {"accumulate": 2}}, "train.accumulate is 2, .* set loss.average=image"),
        ({"mesh": {"spatial": 2}}, "mesh.spatial is 2"),
        ({"eval": {"max_centers": 0}}, "eval.max_centers is 0"),
    ],
)
def test_errors_name_the_key(changes, message):
    with pytest.raises(InputError, match=message):
        PanopticRecipe.from_config({"task": "panoptic", **changes})


def test_detectors_refuse_stuff():
    changes = {"task": "instances", "data": {"source": "cityscapes_panoptic"}}
    with pytest.raises(InputError, match="data has classes of stuff, .* set task=panoptic"):
        parse_recipe(changes)
