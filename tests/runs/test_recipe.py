"""Recipes as dataclasses: the same values as the plain data, and errors by section and key."""

import dataclasses
import json

import pytest

from segalias_jax.data.settings import DataSettings
from segalias_jax.errors import InputError
from segalias_jax.runs.recipe import _LATER, Recipe, default_config, describe_keys
from segalias_jax.runs.recipes import flat_items, load_recipe, nested_recipe, recipe_names
from segalias_jax.runs.tasks import parse_recipe, recipe_class
from segalias_jax.settings import settings_of

LATER = {
    "model.imports": ("json",),
    "model.mixer_cutoff": 0.2,
    "model.mixer_parts": ("spatial",),
    "model.mixer_start": "identity",
    "loss.auxiliary_terms": (("dice", 1.0),),
    "schedule.milestones": (5, 6),
}
VARIANTS = {"camvid": ("tiny",), "cityscapes": ("published",), "kvasir_unet": ("tiny",)}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_stored_as_it_was_written(name):
    for variant in ("", *VARIANTS.get(name, ())):
        config = load_recipe(f"{name}:{variant}")
        usual = flat_items(default_config(recipe_class(config))) | {"task": "semantic"}
        stored = {k: v for k, v in flat_items(config).items() if k not in _LATER or v != usual[k]}
        recipe = parse_recipe(config)
        assert json.dumps(recipe.to_flat(), indent=1) == json.dumps(stored, indent=1)
        # What a run has stored is the same recipe again.
        assert parse_recipe(nested_recipe(json.loads(json.dumps(stored)))) == recipe
        if isinstance(recipe, Recipe):
            assert recipe.curriculum.steps == recipe.train.steps == config.train.steps


def test_keys_of_later_versions_are_stored_where_they_say_something():
    given = nested_recipe(json.loads(json.dumps(LATER | {"model.mixer": "freqmix"})))
    values = Recipe.from_config(given).to_flat()
    assert {key: values[key] for key in LATER} == LATER
    assert not set(Recipe().to_flat()) & set(LATER)
    key = "data.repeat_by_objects"  # of recipes about objects
    assert [key in recipe.to_flat() for recipe in objects_of(False, True)] == [False, True]


def objects_of(*repeated):
    data = {"source": "coco", "root": "/no"}
    return [
        parse_recipe({"task": "instances", "data": data | {"repeat_by_objects": value}})
        for value in repeated
    ]


def test_a_recipe_is_made_of_dataclasses_too():
    data = DataSettings("camvid", crop=(4, 6))
    recipe = Recipe.from_config({"data": data, "train": {"steps": 1e3}})
    assert recipe.data is data and recipe.train.steps == 1000
    assert dataclasses.replace(recipe, seed=3).seed == 3
    assert Recipe() == Recipe.from_config({}) == Recipe.from_config(default_config())


def test_views_follow_the_crop():
    views = Recipe.from_config({"eval": {"mode": "slide"}}).eval.views((96, 192), flip=True)
    assert (views.window, views.stride, views.flip) == ((96, 192), (64, 128), True)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("train.stepps", 1, r"train.stepps: unknown key; did you mean train.steps\?"),
        ("trian.steps", 1, r"trian: unknown key; choose from|trian: unknown key; did you mean"),
        ("train.steps", 0, "train.steps is 0; it must be at least 1"),
        ("train.steps", 1.5, "train.steps is 1.5; it must be an integer"),
        ("train.log_every", 0, "train.log_every is 0; it must be at least 1"),
        ("train.eval_every", 0, "train.eval_every is 0; it must be at least 1"),
        ("train.nonfinite_limit", 0, "train.nonfinite_limit is 0; it must be at least 1"),
        ("train.nonfinite", "go", "train.nonfinite is 'go'; choose one of stop, skip"),
        ("train.precision", "half", "train.precision is 'half'; choose one of float32, bfloat16"),
        (
            "train.matmul_precision",
            "tf32",
            "train.matmul_precision is 'tf32'; choose one of default",
        ),
        ("train.ema_decay", 1.0, "train.ema_decay is 1.0; it must be at least 0 and below 1"),
        ("train.stall_seconds", -1.0, "train.stall_seconds is -1.0; it must be at least 0"),
        ("train.accumulate", 3, "train.batch_size is 8, .* in 3 parts .*choose a multiple of 3"),
        ("train.steps", 100, r"schedule.warmup_steps is 200, more than the 100 .*\(train.steps\)"),
        ("optimizer.momentum", 2, "optimizer.momentum is 2; it must be at least 0 and below 1"),
        ("optimizer.name", "sdg", "optimizer.name is 'sdg'; choose one of sgd, adamw"),
        ("optimizer.rate_multipliers", ("a", 2.0), "optimizer.rate_multipliers: 'a' is no pair"),
        (
            "schedule.name",
            "step",
            "schedule.name is 'step'; choose one of poly, cosine, constant",
        ),
        ("loss.terms", (("dyce", 1.0),), "loss.terms has 'dyce'; choose from cross_entropy"),
        ("loss.terms", ("dice", 1.0), "loss.terms: 'dice' is no pair such as"),
        ("loss.focal_gamma", 3.0, "loss.focal_gamma is set, but terms has no 'focal'"),
        ("loss.class_weights", "even", "loss.class_weights is 'even'; give one number per class"),
        ("curriculum.ratio", 2.0, "curriculum.ratio is 2.0; it must be at least 0 and at most 1"),
        ("data.crop", (0, 1), "data.crop: .* is not two positive integers"),
        ("data.source", "", "data.source: not set"),
        ("model.encoder", "resnet19", "model.encoder is 'resnet19'; did you mean 'resnet18'"),
        ("model.imports", ("no_such_x",), "model.imports names 'no_such_x', which cannot be"),
        ("mesh.fsdp", 0, "mesh.fsdp is 0; it must be at least 1"),
        ("checkpoint.keep_last", 0, "checkpoint.keep_last is 0; it must be at least 1"),
        ("checkpoint.every", -1, "checkpoint.every is -1; it must be at least 0"),
        ("eval.images", -1, "eval.images is -1; it must be at least 0"),
        ("eval.boundary", "thick", "eval.boundary is 'thick'; choose one of laplacian, exact"),
        ("eval.multiple", 0, "eval.multiple is 0; it must be at least 1"),
        ("seed", -1, "seed is -1; it must be at least 0"),
        ("data", 3, "data: 3 is no section; give its keys, as data.KEY"),
    ],
)
def test_values_that_cannot_be_name_their_section_and_key(key, value, message):
    section, _, name = key.rpartition(".")
    with pytest.raises(InputError, match=f"^({message})"):
        Recipe.from_config({section: {name: value}} if section else {name: value})


def test_losses_of_a_whole_batch_are_not_computed_in_parts():
    with pytest.raises(InputError, match="^train.accumulate is 2, but the loss 'dice' of a batch"):
        Recipe.from_config({"train": {"accumulate": 2}, "loss": {"terms": (("dice", 1.0),)}})
    loss = Recipe.from_config({"loss": {"class_weights": (1.0, 2.0)}}).loss
    loss.check(num_classes=2)
    with pytest.raises(InputError, match="^class_weights has 2 numbers for 3 classes"):
        loss.check(num_classes=3)


def test_the_documentation_says_what_every_key_means():
    text = describe_keys().splitlines()
    for section, kind in Recipe.sections().items():
        for name, field in settings_of(kind).items():
            at = [i for i, line in enumerate(text) if line.startswith(f"{section}.{name} = ")]
            assert len(at) == 1 and len(text[at[0] + 1].strip()) > 3, name
            assert field.metadata["help"] in text[at[0] + 1]
    assert "curriculum.steps" not in describe_keys()
