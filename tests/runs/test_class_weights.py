"""Class weights that a run counts once."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from segalias_jax import data, models
from segalias_jax.errors import InputError
from segalias_jax.runs import class_weights, recipes, setup
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.train import train
from segalias_jax.training.trainer import Trainer

ROOT = Path(__file__).parents[2]


class Stop(Exception):
    pass


@pytest.fixture
def config(monkeypatch, small_model):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.setattr(setup, "enable_compilation_cache", lambda: None)
    monkeypatch.setattr(
        models, "create_model", lambda config, num_classes, rngs: small_model(num_classes, rngs)
    )
    config = recipes.load_recipe(f"{ROOT}/configs/quickstart.py")
    config.loss.class_weights = "balanced"
    config.data.num_train, config.data.num_eval, config.data.check = 30, 2, False
    return config


def test_weights_are_counted_once_and_reach_the_loss(config, tmp_path, monkeypatch, capsys):
    given = []

    def no_steps(trainer, *args, **options):
        given.append(trainer.task.class_weights)
        raise Stop

    source = data.create_source(config.data, "train")
    labels = np.concatenate([source[i]["label"].ravel() for i in range(len(source))])
    share = np.bincount(labels, minlength=256)[:8] / (labels != 255).sum()
    monkeypatch.setattr(Trainer, "fit", no_steps)
    with pytest.raises(Stop):
        train(config, tmp_path)
    np.testing.assert_allclose(given[0], (1 - share) / share, rtol=1e-12)
    assert "loss.class_weights: background " in capsys.readouterr().out
    kept = json.loads((tmp_path / class_weights.FILE).read_text())
    assert tuple(kept) == source.classes and tuple(kept.values()) == given[0]
    assert json.loads((tmp_path / "recipe.json").read_text())["loss.class_weights"] == "balanced"
    monkeypatch.setattr(class_weights, "count_classes", None)
    with pytest.raises(Stop):
        train(config, tmp_path)
    assert given[1] == given[0] and not capsys.readouterr().out


def test_numbers_are_not_counted(config, tmp_path):
    config.loss.class_weights = tuple(range(8))
    recipe = Recipe.from_config(config)
    assert class_weights.find_class_weights(recipe, tmp_path, None) == tuple(range(8))
    class_weights.keep_class_weights(recipe, tmp_path, (1.0,) * 8, "abcdefgh")
    assert not list(tmp_path.iterdir())


def test_class_without_pixels_is_named(config, tmp_path):
    class Source(list):
        classes = ("sky", "road")

    source = Source([{"label": np.asarray([[0, 255]], np.uint8)}])
    config.data.source = "camvid"
    with pytest.raises(InputError, match="no pixel of camvid train is of class 'road'; give num"):
        class_weights.find_class_weights(Recipe.from_config(config), tmp_path, source)


@pytest.mark.parametrize("word", ["inverse", 2.0, ("balanced",)])
def test_other_words_are_refused_before_counting(config, tmp_path, word):
    config.loss.class_weights = word
    with pytest.raises(InputError, match="loss.class_weights is .*; give one number per class"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_word_on_the_command_line(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from absl import flags

    for text, value in (("balanced", "balanced"), ("1,2.5", (1, 2.5))):
        line = [
            "x",
            f"--config={ROOT}/configs/quickstart.py",
            f"--config.loss.class_weights={text}",
        ]
        config, _ = recipes.parse_recipe(line, values=flags.FlagValues())
        assert config.loss.class_weights == value
