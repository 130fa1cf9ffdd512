"""Networks out of run folders, and folders that are none."""

import json
import shutil

import pytest

import segalias_jax as sa
from segalias_jax.errors import InputError
from segalias_jax.inference.trained import nested_recipe
from segalias_jax.recipes import flat_items


def test_recipes_survive_the_run_folder(run):
    there = json.loads((run[1] / "recipe.json").read_text())
    assert flat_items(nested_recipe(there)) == flat_items(run[0])


def test_mistakes_in_the_run(run, tmp_path):
    config, folder = run
    with pytest.raises(InputError, match="has a recipe of its own; leave --config out"):
        sa.Predictor(folder, config=config)
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    names = json.loads((copy / "classes.json").read_text())
    names["classes"].pop()
    (copy / "classes.json").write_text(json.dumps(names))
    with pytest.raises(InputError, match="network has 8 classes, but 7 are named"):
        sa.Predictor(copy)
    (copy / "classes.json").write_text("{")
    with pytest.raises(InputError, match=r"classes.json is damaged"):
        sa.Predictor(copy)
    (copy / "classes.json").unlink()
    assert sa.Predictor(copy).classes[1] == "disc"  # known by the name of the data set
    recipe = json.loads((copy / "recipe.json").read_text())
    (copy / "recipe.json").write_text(json.dumps(recipe | {"model.width": 16}))
    with pytest.raises(InputError, match="does not fit the model"):
        sa.Predictor(copy)
    (copy / "recipe.json").unlink()
    with pytest.raises(InputError, match="has no recipe.json; pass --config"):
        sa.Predictor(copy)
    unnamed = config.copy_and_resolve_references()
    unnamed.data.source = "mine"
    assert sa.Predictor(copy, config=unnamed).classes[:2] == ("0", "1")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError, match="holds no checkpoint"):
        sa.Predictor(copy)
