"""Recipes by their file, wherever they are called from."""

import pytest
from absl import flags

from segalias_jax import recipes
from segalias_jax.errors import InputError


def test_recipe_whose_imports_are_not_found(tmp_path):
    (tmp_path / "mine.py").write_text("from no_such_package import base\n")
    with pytest.raises(InputError, match="No module named 'no_such_package'; call from the folder"):
        recipes.load_recipe(str(tmp_path / "mine.py"))


def test_recipe_is_needed_where_there_is_no_default():
    with pytest.raises(InputError, match="--config is missing; pass --config=FILE"):
        recipes.parse_recipe(["x.py"], values=flags.FlagValues())
