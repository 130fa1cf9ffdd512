"""What a recipe's key `task` means: the class of its recipe, and what binds it to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections.config_dict import ConfigDict

from segalias_jax.errors import check_choice
from segalias_jax.runs.binding import Binding
from segalias_jax.runs.instance_recipe import InstanceRecipe
from segalias_jax.runs.instances import InstanceBinding
from segalias_jax.runs.panoptic import PanopticBinding, PanopticRecipe
from segalias_jax.runs.recipe import BaseRecipe, Recipe
from segalias_jax.runs.semantic import SemanticBinding


class RecipeTask(NamedTuple):
    """A task that recipes can name.

    Attributes:
      recipe: class of its recipes.
      binding: what makes the parts of a run of one.
    """

    recipe: type[BaseRecipe]
    binding: type[Binding]


TASKS = {
    "semantic": RecipeTask(Recipe, SemanticBinding),
    "instances": RecipeTask(InstanceRecipe, InstanceBinding),
    "panoptic": RecipeTask(PanopticRecipe, PanopticBinding),
}
"""The tasks by what `task` of a recipe says."""


def parse_recipe(config: BaseRecipe | ConfigDict | Mapping[str, Any]) -> BaseRecipe:
    """Parses a recipe of any task.

    Args:
      config: plain data, or a recipe that was parsed before.

    Returns:
      The recipe, of the class of its task.

    Raises:
      InputError: an unknown task or key, or a value that cannot be.

    Example:
      >>> type(parse_recipe({"seed": 1})).__name__
      'Recipe'
    """
    return config if isinstance(config, BaseRecipe) else recipe_class(config).from_config(config)


def recipe_class(config: ConfigDict | Mapping[str, Any]) -> type[BaseRecipe]:
    """Returns the class of a recipe by its key `task`.

    Args:
      config: plain data, nested or by dotted key.

    Raises:
      InputError: an unknown task.

    Example:
      >>> recipe_class({}) is Recipe
      True
    """
    name: Any = config.get("task", "semantic")
    check_choice("task", name, TASKS)
    return TASKS[name].recipe


def bind(recipe: BaseRecipe) -> Any:
    """Returns the binding of a recipe to its task.

    Args:
      recipe: the recipe.

    Example:
      >>> type(bind(Recipe())).__name__
      'SemanticBinding'
    """
    made: Any = next(task.binding for task in TASKS.values() if type(recipe) is task.recipe)
    return made(recipe)
