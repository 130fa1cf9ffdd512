"""Values of one key, a run each: what was interrupted goes on, and the table stays the same."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from run_folders import compile_once  # noqa: F401

from segalias_jax import cli, data, models
from segalias_jax.errors import InputError
from segalias_jax.runs import recipes, setup, sweep
from segalias_jax.runs.sweep import run_sweep

pytestmark = pytest.mark.usefixtures("compile_once")


@pytest.fixture
def config(tmp_path, monkeypatch, small_model):
    """The stand-in for a network on a few images of polyps."""
    monkeypatch.setattr(setup, "enable_compilation_cache", lambda: None)
    monkeypatch.setattr(
        models, "create_model", lambda config, num_classes, rngs: small_model(num_classes, rngs)
    )
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2), ("test", 3)):
        names = [f"{split}{i}" for i in range(count)]
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{split}.txt").write_text("\n".join(names))
        for kind in ("images", "labels"):
            folder = tmp_path / "data" / kind / split
            folder.mkdir(parents=True)
            for name in names:
                drawn = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
                drawn = drawn if kind == "images" else drawn[..., 0] // 200
                cv2.imwrite(str(folder / f"{name}.png"), drawn)
    config = recipes.load_recipe("kvasir_unet:final_ratio=1,tiny")
    config.update_from_flattened_dict(
        {
            "data.root": str(tmp_path / "data"),
            **dict.fromkeys(("data.resize", "data.crop", "eval.resize"), (16, 16)),
            "train.steps": 4,
            "train.eval_every": 2,
            "train.log_every": 1,
            "schedule.warmup_steps": 1,
            "eval.images": 0,
            "eval.batch_size": 3,
        }
    )
    return config


def test_killed_and_called_again_gives_the_same_table(config, tmp_path, monkeypatch, capsys):
    def ratios(folder):
        return run_sweep(config, tmp_path / folder, "curriculum.ratio=0.6,0", published=True)

    whole = ratios("whole")
    first = "curriculum.ratio=0.6"
    shutil.copytree(tmp_path / "whole" / first, tmp_path / "broken" / first)
    real = data.train_batches

    def dying(*args, **kwargs):
        batches = real(*args, **kwargs)
        for _ in range(3):
            yield next(batches)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data, "train_batches", dying)
        with pytest.raises(KeyboardInterrupt):
            ratios("broken")
    assert not (tmp_path / "broken" / "sweep.md").exists()
    capsys.readouterr()
    assert ratios("broken") == whole
    told = capsys.readouterr().out
    assert "run 1 of 2, curriculum.ratio=0.6, is finished" in told
    assert "from step 2 to 4" in told and "from step 0" not in told
    files = [tmp_path / name / "sweep.json" for name in ("whole", "broken")]
    assert files[0].read_text() == files[1].read_text()
    check_table(whole, json.loads(files[0].read_text()))


def check_table(text, content):
    lines = [re.split(r" *\| *", line)[1:-1] for line in text.splitlines() if line[:1] == "|"]
    assert lines[0][2:] == ["accuracy", "F1", "precision", "recall", "IoU"]
    values = [line[0] for line in lines[2:]]
    assert values == ["0.6", "0.6", "0", "0", "0", "0.9"], "what is only published stands last"
    assert [line[0] for line in lines if line[1] == "published"] == ["0", "0.9"]
    assert lines[-1][2:] == ["96.34", "90.53", "91.93", "91.71", "85.58"]
    first, scores = content["runs"][0], content["runs"][0]["scores"]
    assert (first["value"], first["folder"]) == (0.6, "curriculum.ratio=0.6")
    for line, average in ((lines[2], "mean_over_images"), (lines[3], "pixels_of_all_images")):
        assert line[2] == f"{100 * scores[f'accuracy_{average}']:.2f}"
        assert line[6] == f"{100 * scores[f'IoU_of_both_classes_{average}']:.2f}"
    pixels = scores["IoU_of_both_classes_pixels_of_all_images"]
    assert pixels == pytest.approx(scores["mIoU"], rel=1e-12)
    assert "kvasir_seg val" in text and "4 updates of 8 crops of 16x16" in text
    assert "data.root" not in content["recipe"] and "curriculum.ratio" not in content["recipe"]


def test_another_split_is_scored_from_the_same_checkpoints(config, tmp_path, monkeypatch):
    """What was scored on one split is scored again on another, and on the first no more."""
    done = []

    def write(folder, accuracy):
        folder.mkdir(parents=True, exist_ok=True)
        summary = {"mIoU": accuracy}
        (folder / "report.json").write_text(json.dumps({"summary": summary}))

    def train(recipe, folder):
        done.append("train")
        write(folder, 0.5)

    def evaluate(recipe, folder):
        done.append(recipe.data.eval_split)
        write(folder / "eval", 0.25)

    monkeypatch.setattr(sweep, "train", train)
    monkeypatch.setattr(sweep, "evaluate_run", evaluate)
    assert "50.00" in run_sweep(config, tmp_path, "seed=3")
    assert "25.00" in run_sweep(config, tmp_path, "seed=3", split="test")
    assert "kvasir_seg test" in run_sweep(config, tmp_path, "seed=3", split="test")
    assert done == ["train", "train", "test"]


def test_sets_of_more_classes_have_one_row_each():
    rows = sweep.class_rows(
        "seed", [0, 1], [{"mIoU": 0.5, "DErr": None}, {"mIoU": 1.0, "DErr": 0.0}]
    )
    assert rows == [["seed", "mIoU", "DErr"], ["0", "50.00", "-"], ["1", "100.00", "0.00"]]


@pytest.mark.parametrize(
    "words, message",
    [
        ("--over curriculum.rato=1", "config.curriculum.rato: .*did you mean curriculum.ratio?"),
        ("--over curriculum.ratio=", "has no value, or an empty one"),
        ("--over curriculum.ratio=1,,0", "has no value, or an empty one"),
        ("--over curriculum.ratio", "is no KEY=VALUE,VALUE"),
        ("--over curriculum=1", "curriculum is a section"),
        ("--over curriculum.ratio=1,1.5", "curriculum.ratio is 1.5; it must be at least 0 and"),
        ("--over curriculum.ratio=0.6,0.60", "curriculum.ratio=0.60 is there twice"),
        ("--over train.steps=a", "invalid literal"),
        ("--over seed=0 --published", "published scores of curriculum.ratio alone"),
        (
            "--over curriculum.ratio=1 --published --config.curriculum.schedule=cosine",
            "schedule is 'cosine'; add --config.curriculum.schedule=linear",
        ),
        (
            "--over curriculum.ratio=1 --published --config.data.source=membrane",
            "no published table of data.source 'membrane', but of cvc_clinicdb and kvasir_seg",
        ),
    ],
)
def test_errors_come_before_anything_is_made(words, message, tmp_path, capsys):
    line = f"sweep --config kvasir_unet:final_ratio=1,tiny --workdir {tmp_path / 'w'} {words}"
    assert cli.main(line.split()) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_recipes_of_other_tasks_are_refused(tmp_path):
    with pytest.raises(InputError, match="nuclei:daf,freqmix is no recipe of semantic"):
        sweep.plan_runs(recipes.load_recipe("nuclei"), "seed=0,1", tmp_path)


def test_folders_of_other_recipes_are_refused(config, tmp_path):
    runs = sweep.plan_runs(config, "data.crop=(16,16),(16,32)", tmp_path)
    assert [run.folder.name for run in runs] == ["data.crop=(16,16)", "data.crop=(16,32)"]
    runs[1].folder.mkdir()
    (runs[1].folder / "recipe.json").write_text('{"seed": 7}')
    with pytest.raises(InputError, match="holds a run of another recipe"):
        sweep.plan_runs(config, "data.crop=(16,16),(16,32)", tmp_path)
