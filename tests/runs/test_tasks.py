"""What the key `task` of a recipe means."""

import pytest

from segalias_jax.errors import InputError
from segalias_jax.runs.instance_recipe import InstanceRecipe
from segalias_jax.runs.instances import InstanceBinding
from segalias_jax.runs.recipe import BaseRecipe, Recipe, default_config
from segalias_jax.runs.recipes import flat_items, nested_recipe
from segalias_jax.runs.semantic import SemanticBinding
from segalias_jax.runs.tasks import TASKS, bind, parse_recipe, recipe_class


def test_the_key_says_the_class_and_its_binding():
    assert recipe_class({}) is Recipe and recipe_class({"task": "instances"}) is InstanceRecipe
    assert isinstance(bind(parse_recipe({})), SemanticBinding)
    assert isinstance(bind(parse_recipe({"task": "instances"})), InstanceBinding)
    recipe = parse_recipe({"seed": 2})
    assert parse_recipe(recipe) is recipe
    with pytest.raises(InputError, match="task is 'instance'; .*instances"):
        parse_recipe({"task": "instance"})


@pytest.mark.parametrize("name", TASKS)
def test_recipes_of_all_tasks_are_stored_and_read_again(name):
    kind = TASKS[name].recipe
    config = default_config(kind)
    assert config.task == name and {*BaseRecipe.sections()} < {*kind.sections()}
    recipe = parse_recipe(config)
    assert type(recipe) is kind
    stored = recipe.to_flat()
    assert {key: flat_items(config)[key] for key in stored} == stored
    assert parse_recipe(nested_recipe(stored)) == recipe
