"""Recipes: every variant loads, derives from the base, and says what the published one does."""

import ast
import json
import runpy
import sys
import warnings
from pathlib import Path

import jax
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.runs.recipes import flat_items, load_recipe, recipe_names
from segalias_jax.runs.tasks import parse_recipe
from segalias_jax.training.optimizer import parameter_paths, rate_multiplier
from segalias_jax.training.state import split_model

ROOT = Path(__file__).parents[1]
NETWORKS = {
    "": ("daf", "freqmix"),
    "baseline": ("none", "none"),
    "daf": ("daf", "none"),
    "freqmix": ("none", "freqmix"),
    "freqmix,daf": ("daf", "freqmix"),
}
SIZES = {
    "quickstart": ("",),
    "camvid": ("", "tiny"),
    "cityscapes": ("", "published", "flc", "mask2former"),
    "voc2012": ("", "published", "tiny"),
    "ade20k": ("", "published", "tiny"),
    "coco_stuff": ("", "tiny"),
    "binary": ("", "tiny"),
    "folders": ("", "tiny"),
}
INSTANCES = ("nuclei", "coco_instances", "lis", "cityscapes_instances")
INSTANCES += ("cityscapes_panoptic", "nuclei_panoptic")
UNETS = ("kvasir_unet", "cvc_clinicdb_unet", "membrane_unet", "cracks_unet", "radar_unet")
VARIANTS = [(name, arg) for name in SIZES for arg in NETWORKS]


@pytest.fixture(autouse=True)
def recipes_importable(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


def load(name, arg=""):
    """From the file of a checkout, which hands on that of the package."""
    return load_recipe(f"{ROOT}/configs/{name}.py:{arg}")


@pytest.mark.parametrize("name, arg", VARIANTS)
def test_every_variant_loads_locked_with_the_keys_of_the_base(name, arg):
    base = flat_items(load_recipe(f"{ROOT}/configs/base.py"))
    for size in SIZES[name]:
        config = load(name, ",".join(filter(None, (arg, size))))
        assert flat_items(config).keys() == base.keys()
        assert (config.model.downsample, config.model.mixer) == NETWORKS[arg]
        assert config.name.startswith(f"{name}:") and config.name.endswith(size)
        with pytest.raises(AttributeError, match="root"):
            config.data.rot = "x"
        with pytest.raises(TypeError):
            config.train.steps = "many"


@pytest.mark.parametrize("name", SIZES)
def test_unknown_and_contradicting_variants_are_refused(name):
    with pytest.raises(InputError, match=r"variant 'dav' of recipe .*baseline, daf, freqmix"):
        load(name, "dav")
    with pytest.raises(InputError, match="exclude each other"):
        load(name, "baseline,daf")


def test_every_key_is_read_by_the_package():
    sources = [path.read_text() for path in (ROOT / "segalias_jax").rglob("*.py")]
    words = set(
        "".join(c if c.isidentifier() or c.isdigit() else " " for t in sources for c in t).split()
    )
    keys = flat_items(load_recipe(f"{ROOT}/configs/base.py"))
    assert not [key for key in keys if key.split(".")[-1] not in words]


def test_the_base_prints_every_key(capsys):
    runpy.run_path(f"{ROOT}/configs/base.py", run_name="__main__")
    told = capsys.readouterr().out
    with warnings.catch_warnings():
        # The test has imported it before, which a command has not.
        warnings.simplefilter("ignore", RuntimeWarning)
        runpy.run_module("segalias_jax.recipes.base", run_name="__main__")
    assert capsys.readouterr().out == told
    keys = {line.split(" = ")[0] for line in told.splitlines() if " = " in line.split("  ")[0]}
    assert keys >= flat_items(load_recipe(f"{ROOT}/configs/base.py")).keys()


def docstring(path):
    tree = ast.parse(path.read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return ast.get_docstring(tree), modules


@pytest.mark.parametrize("name", (*SIZES, *UNETS, *INSTANCES))
def test_recipe_opens_with_paper_and_command_and_imports_little(name):
    text, modules = docstring(ROOT / "configs" / f"{name}.py")
    assert "arxiv.org" in text and "python train.py" in text
    assert modules == {f"segalias_jax.recipes.{name}"}
    package, modules = docstring(ROOT / "segalias_jax" / "recipes" / f"{name}.py")
    assert modules <= {"segalias_jax.recipes", "ml_collections", "segalias_jax.errors"}
    # The two say the same, each with the command of its place.
    for theirs, ours in (
        (f"python train.py --config configs/{name}.py", f"segalias train --config {name}"),
        (f"configs/{name}.py", name),
        ("python -m segalias_jax.data.tools.browse", "segalias browse"),
        ("python train.py", "segalias train"),
    ):
        text = text.replace(theirs, ours)
    assert package == text.replace("segalias_jax.data.tools.browse", "browse")


def test_files_of_a_checkout_are_the_recipes_of_the_package():
    assert set(recipe_names()) == {*SIZES, *UNETS, *INSTANCES}
    for name in recipe_names():
        assert flat_items(load_recipe(name)) == flat_items(load(name))


@pytest.mark.parametrize("name", UNETS)
def test_unet_has_the_published_setting(name):
    base = flat_items(load_recipe(f"{ROOT}/configs/base.py"))
    images = {"kvasir_unet": 800, "cvc_clinicdb_unet": 490, "membrane_unet": 24, "cracks_unet": 72}
    images["radar_unet"] = 1000
    published = {
        "model.name": "unet",
        "model.encoder": "double_conv",
        "model.width": None,
        "model.channels": None,
        "train.batch_size": 16,
        "train.steps": 200 * images[name] // 16,
        "optimizer.name": "adamw",
        "optimizer.weight_decay": 0.0,
        "optimizer.learning_rate": 1e-4,
        "optimizer.rate_multipliers": (),
        "schedule.name": "cosine",
        "schedule.end_value": 1e-6,
        "schedule.warmup_steps": 0,
        "curriculum.ratio": 1.0,
    }
    items = flat_items(load(name))
    assert items.keys() == base.keys() and items["name"] == name
    assert {key: items[key] for key in published} == published


@pytest.mark.parametrize("name", UNETS)
def test_words_of_a_unet(name):
    for arg, downsample, schedule, ratio, tiny in (
        ("tiny", "none", "constant", 1.0, True),
        ("fixed_ratio=0.6", "none", "constant", 0.6, False),
        ("daf, final_ratio=0.9,tiny", "daf", "linear", 0.9, True),
    ):
        config = load(name, arg)
        assert config.name == f"{name}:{arg.replace(' ', '')}"
        assert (config.model.downsample, config.curriculum.schedule) == (downsample, schedule)
        assert config.curriculum.ratio == ratio and config.curriculum.evaluate == "final"
        assert (config.train.batch_size < 16) == tiny
    with pytest.raises(InputError, match="variant 'dav' of recipe .* daf, tiny, fixed_ratio=R"):
        load(name, "dav")


def test_words_of_the_frequency_curriculum():
    from configs import base

    for arg, rest, schedule, ratio in (
        ("fixed_ratio=0.6,tiny", "tiny", "constant", 0.6),
        ("daf, final_ratio = .9 ,tiny", "daf,tiny", "linear", 0.9),
        ("daf", "daf", "constant", 1.0),
    ):
        config = base.get_config()
        assert base.apply_ratio(config, arg) == rest
        assert (config.curriculum.schedule, config.curriculum.ratio) == (schedule, ratio)
        assert config.curriculum.start == 1.0
    for arg, message in (
        ("final_ratio=1.2", r"variant 'final_ratio=1.2' of recipe 'base' needs a number in \[0, 1"),
        ("fixed_ratio", r"variant 'fixed_ratio' .* such as fixed_ratio=0.6"),
        ("fixed_ratio=half", "needs a number"),
        ("fixed_ratio=0.6,final_ratio=0.6", "exclude each other; drop one"),
    ):
        with pytest.raises(InputError, match=message):
            base.apply_ratio(base.get_config(), arg)


def test_cityscapes_is_the_published_recipe():
    published = {
        "data.resize": (2049, 1025),
        "data.ratio_range": (0.5, 2.0),
        "data.crop": (768, 768),
        "data.cat_max_ratio": 0.75,
        "data.flip": 0.5,
        "data.photometric": True,
        "data.pad": True,
        "model.encoder": "resnet50",
        "model.width": None,
        "model.channels": None,
        "model.pool_scales": (1, 2, 3, 6),
        "model.dropout": 0.1,
        "model.auxiliary": True,
        "model.auxiliary_channels": 256,
        "model.align_corners": False,
        "model.reduction": 16,
        "loss.auxiliary_weight": 0.4,
        "loss.average": "all",
        "loss.class_weights": (),
        "optimizer.name": "sgd",
        "optimizer.learning_rate": 0.01,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 5e-4,
        "schedule.power": 0.9,
        "schedule.end_value": 1e-4,
        "schedule.warmup_steps": 200,
        "schedule.warmup_ratio": 0.1,
        "train.steps": 80000,
        "train.batch_size": 8,
        "eval.mode": "slide",
        "eval.window": (768, 768),
        "eval.stride": (512, 512),
        "eval.resize": (2049, 1025),
        "eval.boundary": "laplacian",
        "eval.ignore": "reference",
    }
    own = {"model.band": "symmetric", "model.cutoff": None, "model.gate": "energy"}
    to_the_letter = {"model.band": "reference", "model.cutoff": 0.35, "model.gate": "corner"}
    flc = to_the_letter | {"model.cutoff": 0.25}
    for arg, extra in (("", own), ("published", to_the_letter), ("daf,flc", flc)):
        items = flat_items(load("cityscapes", arg))
        for key, value in (published | extra).items():
            assert items[key] == value, key


@pytest.mark.parametrize("name, steps", [("voc2012", 40000), ("ade20k", 80000)])
def test_other_published_recipes(name, steps):
    # They differ from Cityscapes in the table of the paper's settings, and in nothing else.
    own = {
        "data.resize": (2048, 512),
        "data.crop": (512, 512),
        "train.batch_size": 16,
        "train.steps": steps,
        "eval.mode": "whole",
        "eval.window": (),
        "eval.stride": (),
        "eval.resize": (2048, 512),
        "eval.multiple": 32 if name == "ade20k" else 1,
        "schedule.warmup_steps": 0,
    }
    chosen = ("name", "train.eval_every")
    for arg in ("", "published"):
        items, other = flat_items(load(name, arg)), flat_items(load("cityscapes", arg))
        gates = {"model.reduction": 4 if (name, arg) == ("voc2012", "published") else 16}
        for key, value in (other | own | gates).items():
            named = key in ("data.source", "data.train_split", "data.eval_split")
            assert named or key in chosen or items[key] == value, key


@pytest.mark.parametrize(
    "name, crop, steps",
    [
        ("cityscapes", (512, 1024), 90000),
        ("cityscapes_panoptic", (512, 1024), 90000),
        ("coco_instances", (1024, 1024), 368750),
        ("lis", (), 12 * 98),
    ],
)
def test_mask2former_has_its_published_setting(name, crop, steps):
    published = {
        "model.name": "mask2former",
        "model.encoder": "resnet50",
        "model.output_stride": 32,
        "model.frozen_norm": True,
        "model.frozen_stages": -1,
        "data.crop": crop,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 1e-4,
        "optimizer.weight_decay": 0.05,
        "optimizer.clip_norm": 0.01,
        "loss.query_terms": (("class", 2.0), ("mask", 5.0), ("dice", 5.0)),
        "loss.no_object_weight": 0.1,
        "loss.points": 12544,
        "train.batch_size": 16,
        "train.steps": steps,
    }
    config = load(name, "mask2former")
    items = flat_items(config)
    assert {key: items[key] for key in published} == published
    rates = parse_recipe(config).optimizer.rate_multipliers
    for path, factor in (("encoder/stem", 0.1), ("encoder/1/mixer/gate", 1), ("query_decoder", 1)):
        assert rate_multiplier(path, rates) == factor


@pytest.mark.parametrize("name", [name for name in recipe_names() if name not in INSTANCES])
def test_objects_are_scored_at_the_size_they_were_trained_at(name):
    for size in SIZES.get(name, ("", "tiny")):
        config = load(name, size)
        assert config.eval.resize == config.data.resize


@pytest.mark.parametrize("name", [name for name in SIZES if "tiny" in SIZES[name]])
def test_tiny_recipes_are_tiny(name):
    config = load(name, "tiny")
    assert config.model.width == 32 and config.train.steps <= 2000
    assert max(config.data.crop) <= 320 and config.train.batch_size <= 8


def test_rates_of_the_published_network_are_the_recorded_ones():
    recorded = json.loads((ROOT / "tests" / "golden" / "f_lr_and_paramwise.json").read_text())
    config = load("cityscapes", "published")

    def parameters():
        model = models.create_model(config.model.to_dict(), num_classes=19, rngs=nnx.Rngs(0))
        return split_model(model)[1]

    shapes = jax.eval_shape(parameters)
    factors = {
        path: rate_multiplier(path, config.optimizer.rate_multipliers)
        for path in parameter_paths(shapes)
    }
    for path, factor in factors.items():
        doubled = not path.startswith("encoder/") or "/mixer/" in path
        assert factor == 1.0 + doubled, path
    sizes = [leaf.size for leaf in jax.tree.leaves(shapes)]
    total = sum(size for size, factor in zip(sizes, factors.values(), strict=True) if factor == 1)
    shapes_there = recorded["paramwise"]["shapes"]
    assert total == sum(_size(shapes_there[name]) for name in recorded["paramwise"]["lr1"])


def _size(shape):
    size = 1
    for side in shape:
        size *= side
    return size
