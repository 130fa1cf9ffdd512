"""The report of a run with two classes."""

import csv
import json
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from segalias_jax import data, models
from segalias_jax.metrics import BinaryScores
from segalias_jax.runs import recipes, setup, validation
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.train import train
from segalias_jax.runs.validation import RecipeValidation
from segalias_jax.training import processes
from segalias_jax.training.sharding import create_mesh
from segalias_jax.training.state import TrainState

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path, monkeypatch, small_model):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.setattr(
        models, "create_model", lambda config, num_classes, rngs: small_model(num_classes, rngs)
    )
    rng = np.random.default_rng(0)
    for kind, suffix in (("images", "png"), ("labels", "png")):
        folder = tmp_path / "data" / kind / "test"
        folder.mkdir(parents=True)
        for index in range(3):
            picture = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            picture = picture if kind == "images" else picture[..., 0] // 200
            cv2.imwrite(str(folder / f"{index}.{suffix}"), picture)
    config = recipes.load_recipe(f"{ROOT}/configs/quickstart.py")
    changes = {"source": "folders", "root": str(tmp_path / "data"), "names": ""}
    changes |= {"classes": ("tissue", "polyp"), "eval_split": "test", "crop": (32, 32)}
    config.data.update(changes)
    config.eval.images = 1
    return config


def make_validation(config):
    recipe = Recipe.from_config(config)
    task = setup.create_task(recipe, num_classes=2)
    trainer = setup.create_trainer(
        recipe, task, setup.model_of(recipe, num_classes=task.num_classes), create_mesh()
    )
    return RecipeValidation(recipe, trainer, data.create_source(recipe.data, "test"))


def test_both_averages_and_all_thresholds_are_told(config, tmp_path, capsys):
    scored = make_validation(config)
    state = scored.trainer.state
    validation.report(scored, state, tmp_path / "out", checkpoint="none")
    told = capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    summary, polyp = content["summary"], content["classes"][1]
    for average in ("mean_over_images", "pixels_of_all_images"):
        title = f"F1 = Dice, {average.replace('_', ' ')}"
        assert title in told and title in (tmp_path / "out" / "report.md").read_text()
        assert f"{100 * summary[f'Dice_{average}']:.2f}" in told
    # The rows that pad the last batch count nowhere.
    assert summary["images"] == 3 and summary["Dice_pixels_of_all_images"] == polyp["Dice"]
    assert summary["recall_pixels_of_all_images"] == polyp["Acc"]
    rows = list(csv.DictReader((tmp_path / "out" / "thresholds.csv").read_text().splitlines()))
    assert float(rows[127]["IoU_mean_over_images"]) == summary["IoU_mean_over_images"]
    assert (tmp_path / "out" / "thresholds.png").exists()
    (picture,) = (tmp_path / "out" / "pictures").iterdir()
    assert cv2.imread(str(picture)) is not None
    picture.unlink()
    picture.mkdir()  # so that it cannot be written
    with pytest.raises(IsADirectoryError):
        validation.report(scored, state, tmp_path / "out", checkpoint="none")


def test_best_checkpoint_is_that_of_the_first_score(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup, "enable_compilation_cache", lambda: None)
    config.data.train_split = "test"
    config.train.update({"steps": 1, "eval_every": 1, "batch_size": 8})
    config.schedule.warmup_steps = 0

    def cut_off(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RecipeValidation, "score", cut_off)
        train(config, tmp_path / "run")
    train(config, tmp_path / "run")
    # The validation that was cut off is made up for; the loss of its steps is not known here.
    assert "step 1: mIoU" in capsys.readouterr().out
    content = json.loads((tmp_path / "run" / "report.json").read_text())
    scores = json.loads((tmp_path / "run" / "checkpoints" / "scores.json").read_text())
    dice = content["summary"]["Dice_mean_over_images"]
    assert scores == {"score": "Dice_mean_over_images", "1": dice}
    assert content["settings"]["checkpoint"] == "step 1, the best by F1 = Dice, mean over images"


@pytest.mark.parametrize(
    "evaluate, told", [("final", "low pass, square band, ratio 0.5"), ("full", "full spectrum")]
)
def test_reports_of_a_curriculum_tell_what_was_seen(config, evaluate, told):
    state = TrainState(0, {}, {}, ())
    assert "images" not in make_validation(config).describe(state, checkpoint="none")
    config.curriculum.update({"ratio": 0.5, "evaluate": evaluate})
    assert make_validation(config).describe(state, checkpoint="none")["images"] == told


def test_scores_of_processes_are_added_up(monkeypatch):
    mine = BinaryScores.empty(4).add(np.arange(16).reshape(2, 2, 4))
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(processes, "gather", lambda x: np.stack([x] * 3))
    found, expected = processes.merge_scores(mine).compute(), mine.compute()
    assert found["images"] == 6 and expected["ROC_AUC"] < 1
    for name in ("Dice_mean_over_images", "IoU_pixels_of_all_images", "ROC_AUC"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-14)
