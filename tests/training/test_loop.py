"""Whole runs with a stand-in for the network: resuming, files, and mistakes before any step."""

import json
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from segalias_jax import data, models, recipes
from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError
from segalias_jax.training import loop, setup
from segalias_jax.training.sharding import create_mesh

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory):
    keys = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, key) for key in keys]
    for key, value in zip(keys, (str(tmp_path_factory.mktemp("cache")), 0.1), strict=True):
        jax.config.update(key, value)
    compilation_cache.reset_cache()
    yield
    for key, value in zip(keys, before, strict=True):
        jax.config.update(key, value)
    compilation_cache.reset_cache()


@pytest.fixture(autouse=True)
def quick_network(monkeypatch, small_model):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.setattr(setup, "enable_compilation_cache", lambda: None)
    monkeypatch.setattr(
        models, "create_model", lambda config, num_classes, rngs: small_model(num_classes, rngs)
    )


def make_config(recipe="quickstart", **changes):
    config = recipes.load_recipe(f"{ROOT}/configs/{recipe}.py")
    changes = {
        "train.steps": 6,
        "train.eval_every": 2,
        "train.log_every": 1,
        "train.batch_size": 8,
        "schedule.warmup_steps": 1,
        "data.crop": (32, 32),
        "data.image_size": (32, 32),
        "data.num_train": 20,
        "data.num_eval": 9,
        "eval.images": 2,
    } | changes
    config.update_from_flattened_dict(changes)
    return config


def saved_state(config, workdir, step):
    source = data.create_source(config.data, "val")
    parts = setup.build_parts(config, len(source.classes), create_mesh())
    with CheckpointStore(workdir / "checkpoints") as store:
        return jax.tree.map(_numbers, store.restore(parts.state, step=step))


def _numbers(x):
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.array(jax.random.key_data(x) if is_key else x)


def read_metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def stop_after(monkeypatch, batches):
    real = data.train_batches

    def stopping(*args, **kwargs):
        stream = real(*args, **kwargs)
        for _ in range(batches):
            yield next(stream)
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "train_batches", stopping)


def test_stopped_run_ends_with_the_parameters_of_the_unbroken_one(tmp_path, monkeypatch, capsys):
    config = make_config()
    loop.train(config, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, tmp_path / "broken")
    loop.train(config, tmp_path / "broken")
    states = [saved_state(config, tmp_path / name, 6) for name in ("unbroken", "broken")]
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert "from step 4 to 6" in capsys.readouterr().out
    records = [read_metrics(tmp_path / name) for name in ("unbroken", "broken")]
    losses = [[(r["step"], r["loss"]) for r in record if "loss" in r] for record in records]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == [1, 2, 3, 4, 5, 6]


def test_files_of_a_run_and_of_its_evaluation(tmp_path, capsys):
    config = make_config(**{"train.steps": 2})
    loop.train(config, tmp_path)
    told = capsys.readouterr().out
    assert "step 2: loss" in told and "| mIoU" in told.replace("  ", " ")
    trained = (tmp_path / "report.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("recipe.json", "stream.json", "metrics.jsonl", "checkpoints", "report.md", "report.json"),
        *("pictures", "curves.png"),
    }
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
    validation = read_metrics(tmp_path)[-1]
    summary = json.loads((tmp_path / "report.json").read_text())["summary"]
    assert validation["mIoU"] == summary["mIoU"] and len(validation["IoU"]) == 8

    loop.evaluate_run(config, tmp_path)
    evaluated = json.loads((tmp_path / "eval" / "report.json").read_text())["summary"]
    assert evaluated == summary
    assert (tmp_path / "report.md").read_text() == trained


def test_report_is_of_the_best_checkpoint(tmp_path, monkeypatch):
    save, scores = CheckpointStore.save, {2: 0.1, 4: 0.3, 6: 0.2}
    monkeypatch.setattr(
        CheckpointStore,
        "save",
        lambda store, step, state, score: save(store, step, state, score=scores[step]),
    )
    loop.train(make_config(), tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["settings"]["checkpoint"].startswith("step 4")
    lines = read_metrics(tmp_path)
    validated = {line["step"]: line["mIoU"] for line in lines if "mIoU" in line}
    assert report["summary"]["mIoU"] == validated[4]
    folders = {int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.is_dir()}
    assert folders == {4, 6}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train.batch_size": 0}, "train.batch_size is 0"),
        ({"train.steps": 0}, "train.steps is 0; it must be at least 1"),
        ({"eval.images": -1}, "eval.images is -1"),
        ({"optimizer.name": "sdg"}, "optimizer.name is 'sdg'; choose one of sgd, adamw"),
        ({"schedule.name": "cosin"}, "schedule.name is 'cosin'; choose"),
        ({"loss.average": "mean"}, "loss.average is 'mean'; choose"),
        ({"loss.class_weights": (1.0,)}, "loss.class_weights has 1 numbers for 8 classes"),
        ({"data.source": "camvidd"}, "data.source: no data set 'camvidd'"),
        ({"data.source": "camvid", "data.root": "/missing"}, "data.root: no folder /missing"),
        ({"data.eval_split": "vla"}, "split 'vla'"),
        ({"data.pad": False, "data.crop": (64, 64)}, "data.crop: 64x64 is larger than"),
        ({"model.pretrained": "/missing"}, "model.pretrained: /missing is not there"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        loop.train(make_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_workdir_of_another_recipe_is_left_alone(tmp_path):
    loop.train(make_config(**{"train.steps": 1}), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="train.steps is 1 there and 2 here"):
        loop.train(make_config(**{"train.steps": 2}), tmp_path)
    with pytest.raises(InputError, match="model.width is 16 there and 8 here"):
        loop.evaluate_run(make_config(**{"model.width": 8}), tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_evaluation_without_checkpoint_says_so(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint; train with it first"):
        loop.evaluate_run(make_config(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_run_that_starts_from_another_one(tmp_path, capsys):
    loop.train(make_config(**{"train.steps": 1}), tmp_path / "a")
    first = saved_state(make_config(), tmp_path / "a", 1)
    changes = {"model.pretrained": str(tmp_path / "a"), "optimizer.learning_rate": 0.0}
    config = make_config(**changes, **{"optimizer.weight_decay": 0.0, "train.steps": 1})
    loop.train(config, tmp_path / "b")
    assert "pretrained: " in capsys.readouterr().out
    second = saved_state(config, tmp_path / "b", 1)
    assert second.step == 1
    jax.tree.map(np.testing.assert_array_equal, first.parameters, second.parameters)
    # What a run began with is not needed to score it, or to go on.
    loop.evaluate_run(make_config(), tmp_path / "b")
    assert "pretrained: " not in capsys.readouterr().out


def test_pretrained_model_is_scored_without_a_run(tmp_path):
    loop.train(make_config(**{"train.steps": 1}), tmp_path / "a")
    config = make_config(**{"model.pretrained": str(tmp_path / "a")})
    loop.evaluate_run(config, tmp_path / "b")
    trained, scored = (
        json.loads((tmp_path / path).read_text())
        for path in ("a/report.json", "b/eval/report.json")
    )
    assert trained["summary"] == scored["summary"]
    assert scored["settings"]["checkpoint"] == f"pretrained, {tmp_path / 'a'}"


def test_loss_that_is_no_number_stops_the_run(tmp_path):
    config = make_config(**{"optimizer.name": "sgd", "optimizer.learning_rate": 1e30})
    with pytest.raises(InputError, match=r"step \d: the loss is (nan|inf)"):
        loop.train(config, tmp_path)


def fake_cityscapes(root, size=(96, 128)):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind, folder in (("leftImg8bit", "leftImg8bit"), ("gtFine_labelIds", "gtFine")):
            (root / folder / split / "ulm").mkdir(parents=True)
            for number in range(2):
                shape = (*size, 3) if kind == "leftImg8bit" else size
                picture = rng.integers(0, 256 if len(shape) == 3 else 34, shape).astype(np.uint8)
                name = f"ulm_{number:06d}_000019_{kind}.png"
                cv2.imwrite(str(root / folder / split / "ulm" / name), picture)


def test_cityscapes_starts_on_a_tree_in_the_official_layout(tmp_path):
    fake_cityscapes(tmp_path / "data")
    config = make_config(
        "cityscapes",
        **{"data.root": str(tmp_path / "data"), "data.resize": (128, 96), "train.steps": 1},
    )
    loop.train(config, tmp_path / "run")
    assert "| road " in (tmp_path / "run" / "report.md").read_text()
