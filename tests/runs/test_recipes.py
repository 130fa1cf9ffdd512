"""Recipes by their file, wherever they are called from."""

import pytest
from absl import flags

from segalias_jax.errors import InputError
from segalias_jax.runs import recipes


def test_recipe_whose_imports_are_not_found(tmp_path):
    (tmp_path / "mine.py").write_text("from no_such_package import base\n")
    with pytest.raises(InputError, match="No module named 'no_such_package'; call from the folder"):
        recipes.load_recipe(str(tmp_path / "mine.py"))


def test_class_names_are_the_only_texts_in_a_tuple(tmp_path):
    lines = ["from ml_collections import config_dict", "def get_config():"]
    lines.append("    data = {'classes': ('a', 'b'), 'crop': (1, 2)}")
    lines.append("    return config_dict.ConfigDict({'data': data})")
    (tmp_path / "mine.py").write_text("\n".join(lines))
    argv = ["x.py", f"--config={tmp_path}/mine.py"]
    classes = "--config.data.classes=('c', 'd', 'e')"
    config, _ = recipes.parse_recipe([*argv, classes], values=flags.FlagValues())
    assert config.data.classes == ("c", "d", "e")
    with pytest.raises(InputError, match=r"--config\.data\.crop: .*'c'.* has to be numbers"):
        recipes.parse_recipe([*argv, "--config.data.crop=('c', 'd')"], values=flags.FlagValues())


def test_recipe_is_needed_where_there_is_no_default():
    with pytest.raises(InputError, match="--config is missing; pass --config=FILE"):
        recipes.parse_recipe(["x.py"], values=flags.FlagValues())
