"""Recipes of instance segmentation: their sections, and errors by key."""

import pytest

from segalias_jax.errors import InputError
from segalias_jax.runs.instance_recipe import InstanceRecipe
from segalias_jax.runs.recipes import load_recipe
from segalias_jax.runs.tasks import parse_recipe

NAMES = ("nuclei", "coco_instances", "lis", "cityscapes_instances")


@pytest.mark.parametrize("name", NAMES)
def test_variants_choose_filter_and_mixer(name):
    found = {}
    for words in ("", "baseline", "daf", "daf,freqmix"):
        recipe = parse_recipe(load_recipe(f"{name}:{words}"))
        assert isinstance(recipe, InstanceRecipe) and recipe.name.startswith(f"{name}:")
        found[words] = recipe.model.downsample, recipe.model.mixer
    assert found == {
        "": ("daf", "freqmix"),
        "baseline": ("none", "none"),
        "daf": ("daf", "none"),
        "daf,freqmix": ("daf", "freqmix"),
    }


def test_published_schedules():
    coco = parse_recipe(load_recipe("coco_instances:baseline"))
    assert coco.train.steps == 12 * 7330 and coco.schedule.milestones == (8 * 7330, 11 * 7330)
    assert coco.optimizer.learning_rate == 0.02 and coco.train.batch_size == 16
    lis = parse_recipe(load_recipe("lis:baseline"))
    steps = lis.train.steps // 12
    assert lis.schedule.milestones == (9 * steps, 11 * steps)
    assert lis.data.interpolation == "nearest" and lis.data.dark == 1.0


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": {"name": "upernet"}}, "model.name is 'upernet', which task=instances does not"),
        ({"mesh": {"spatial": 2}}, "mesh.spatial is 2, but boxes lie anywhere"),
        ({"train": {"accumulate": 2}}, "train.accumulate is 2, .* set loss.average=image"),
        ({"loss": {"average": "mean"}}, "loss.average is 'mean'; choose one of batch, image"),
        ({"eval": {"headline": "AP"}}, "eval.headline is 'AP'"),
        ({"eval": {"threshold": 1.0}}, "eval.threshold is 1.0"),
        ({"data": {"short": (9, 3)}}, "data.short"),
        ({"curriculum": {"ratio": 0.5}}, "curriculum: unknown key"),
    ],
)
def test_errors_name_the_key(changes, message):
    with pytest.raises(InputError, match=message):
        InstanceRecipe.from_config({"task": "instances", **changes})
