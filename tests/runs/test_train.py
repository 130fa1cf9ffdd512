"""Whole runs with a stand-in for the network: resuming, files, and mistakes before any step."""

import json
import os
import signal
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from segalias_jax import data, models
from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError
from segalias_jax.runs import recipes, semantic, setup
from segalias_jax.runs.evaluate import evaluate_run
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.train import train
from segalias_jax.training import loop
from segalias_jax.training.interrupts import Interrupted
from segalias_jax.training.processes import Launch
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
    recipe = Recipe.from_config(config)
    source = data.create_source(recipe.data, "val")
    task = setup.create_task(recipe, num_classes=len(source.classes))
    trainer = setup.create_trainer(
        recipe, task, setup.model_of(recipe, num_classes=task.num_classes), create_mesh()
    )
    with CheckpointStore(workdir / "checkpoints") as store:
        return jax.tree.map(_numbers, store.restore(trainer.state, step=step))


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
    train(config, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "broken")
    train(config, tmp_path / "broken")
    states = [saved_state(config, tmp_path / name, 6) for name in ("unbroken", "broken")]
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert "from step 4 to 6" in capsys.readouterr().out
    records = [read_metrics(tmp_path / name) for name in ("unbroken", "broken")]
    losses = [[(r["step"], r["loss"]) for r in record if "loss" in r] for record in records]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == [1, 2, 3, 4, 5, 6]


def test_signal_that_ends_the_readers_too_saves_the_state(tmp_path, monkeypatch):
    real = data.train_batches

    def ending(*args, **options):
        stream = real(*args, **options)
        for _ in range(3):
            yield next(stream)
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("a reading process died")

    with monkeypatch.context() as patch:
        patch.setattr(data, "train_batches", ending)
        with pytest.raises(Interrupted, match="SIGTERM: saved step [123]"):
            train(make_config(), tmp_path)
    train(make_config(), tmp_path)
    assert [r["step"] for r in read_metrics(tmp_path) if "loss" in r] == [1, 2, 3, 4, 5, 6]


def test_files_of_a_run_and_of_its_evaluation(tmp_path, capsys, monkeypatch):
    config, doing = make_config(**{"train.steps": 2}), []
    monkeypatch.setattr(loop.Watchdog, "beat", lambda watchdog, text: doing.append(text))
    train(config, tmp_path)
    assert doing[-1] == "the evaluation of the best checkpoint"
    told = capsys.readouterr().out
    assert "step 2: loss" in told and "| mIoU" in told.replace("  ", " ")
    trained = (tmp_path / "report.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("recipe.json", "classes.json", "stream.json", "files.json"),
        *("metrics.jsonl", "checkpoints"),
        *("report.md", "report.json"),
        *("pictures", "curves.png", "goodput.json", ".lock"),
    }
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
    validation = read_metrics(tmp_path)[-1]
    summary = json.loads((tmp_path / "report.json").read_text())["summary"]
    assert validation["mIoU"] == summary["mIoU"] and len(validation["IoU"]) == 8

    evaluate_run(config, tmp_path)
    evaluated = json.loads((tmp_path / "eval" / "report.json").read_text())["summary"]
    assert evaluated == summary
    assert (tmp_path / "report.md").read_text() == trained


def test_report_is_of_the_best_checkpoint(tmp_path, monkeypatch):
    set_score, scores = CheckpointStore.set_score, {2: 0.3, 4: 0.1, 6: 0.2}
    monkeypatch.setattr(
        CheckpointStore,
        "set_score",
        lambda store, step, score: set_score(store, step, scores[step]),
    )
    train(make_config(), tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["settings"]["checkpoint"].startswith("step 2")
    lines = read_metrics(tmp_path)
    validated = {line["step"]: line["mIoU"] for line in lines if "mIoU" in line}
    assert report["summary"]["mIoU"] == validated[2]
    folders = {int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.is_dir()}
    assert folders == {2, 4, 6}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train.batch_size": 0}, "train.batch_size is 0"),
        ({"train.steps": 0}, "train.steps is 0; it must be at least 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"train.accumulate": 3}, "train.batch_size is 8, .* in 3 parts .*multiple of"),
        ({"train.precision": "float16"}, "train.precision is 'float16'; .*one of float32, bf"),
        ({"train.nonfinite": "go"}, "train.nonfinite is 'go'; choose one of stop, skip"),
        ({"train.ema_decay": 1.0}, "train.ema_decay is 1.0; it must be"),
        ({"checkpoint.keep_last": 0}, "checkpoint.keep_last is 0; it must be at least 1"),
        ({"mesh.fsdp": 3}, "mesh.data, fsdp and spatial are -1, 3 and 1, which"),
        ({"mesh.spatial": 8, "data.crop": (36, 32)}, "data.crop: a height of 36 does not split"),
        ({"optimizer.clip_norm": -1.0}, "optimizer.clip_norm is -1.0; it must be at least 0"),
        ({"train.stall_seconds": float("nan")}, "train.stall_seconds is nan; it must be at le"),
        ({"eval.images": -1}, "eval.images is -1"),
        ({"eval.boundary": "sobel"}, "eval.boundary is 'sobel'; choose one of laplacian, exact"),
        ({"optimizer.name": "sdg"}, "optimizer.name is 'sdg'; choose one of sgd, adamw"),
        ({"schedule.name": "cosin"}, "schedule.name is 'cosin'; did you mean 'cosine'"),
        ({"curriculum.ratio": -0.5}, "curriculum.ratio is -0.5; it must be at least 0"),
        ({"loss.terms": ("dice", 1.0)}, "loss.terms: 'dice' is no pair such as"),
        ({"loss.average": "mean"}, "loss.average is 'mean'; choose"),
        ({"loss.class_weights": (1.0,)}, "loss.class_weights has 1 numbers for 8 classes"),
        ({"data.source": "camvidd"}, "data.source: no data set 'camvidd'"),
        ({"data.source": "camvid", "data.root": "/missing"}, "data.root: no folder /missing"),
        ({"data.eval_split": "vla"}, "split 'vla'"),
        ({"data.pad": False, "data.crop": (64, 64)}, "data.crop: 64x64 is larger than"),
        ({"model.pretrained": "/missing"}, "model.pretrained: /missing is not there"),
        ({"model.pretrained": "timm:resnet"}, "model.pretrained: name of weights is 'timm:resnet'"),
        (
            {"model.pretrained": "torchvision:resnet50"},
            "model.pretrained: torchvision:resnet50 needs encoder='resnet50', not 'resnet18'",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        train(make_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_workdir_of_another_recipe_is_left_alone(tmp_path):
    train(make_config(**{"train.steps": 1}), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="train.steps is 1 there and 2 here"):
        train(make_config(**{"train.steps": 2}), tmp_path)
    with pytest.raises(InputError, match="model.width is 16 there and 8 here"):
        evaluate_run(make_config(**{"model.width": 8}), tmp_path)
    with pytest.raises(InputError, match="curriculum.ratio is 1.0 there and 0.5 here"):
        evaluate_run(make_config(**{"curriculum.ratio": 0.5}), tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_evaluation_without_checkpoint_says_so(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint; train with it first"):
        evaluate_run(make_config(), tmp_path)
    with pytest.raises(InputError, match="eval.ignore is 'none'; choose one of"):
        evaluate_run(make_config(**{"eval.ignore": "none"}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_run_that_starts_from_another_one(tmp_path, capsys):
    train(make_config(**{"train.steps": 1}), tmp_path / "a")
    first = saved_state(make_config(), tmp_path / "a", 1)
    changes = {"model.pretrained": str(tmp_path / "a"), "optimizer.learning_rate": 0.0}
    config = make_config(**changes, **{"optimizer.weight_decay": 0.0, "train.steps": 1})
    train(config, tmp_path / "b")
    assert "pretrained: " in capsys.readouterr().out
    began = json.loads((tmp_path / "b" / "pretrained.json").read_text())
    assert began["file"] == str(tmp_path / "a") and not (tmp_path / "a/pretrained.json").exists()
    second = saved_state(config, tmp_path / "b", 1)
    assert second.step == 1
    jax.tree.map(np.testing.assert_array_equal, first.parameters, second.parameters)
    # What a run began with is not needed to score it, or to go on.
    evaluate_run(make_config(), tmp_path / "b")
    assert "pretrained: " not in capsys.readouterr().out


def test_pretrained_model_is_scored_without_a_run(tmp_path):
    train(make_config(**{"train.steps": 1}), tmp_path / "a")
    config = make_config(**{"model.pretrained": str(tmp_path / "a")})
    evaluate_run(config, tmp_path / "b")
    trained, scored = (
        json.loads((tmp_path / path).read_text())
        for path in ("a/report.json", "b/eval/report.json")
    )
    assert trained["summary"] == scored["summary"]
    assert scored["settings"]["checkpoint"] == f"pretrained, {tmp_path / 'a'}"


def test_loss_that_is_no_number_stops_the_run_and_leaves_its_batch(tmp_path):
    plain = {"optimizer.name": "sgd", "data.flip": 0.0}
    config = make_config(**plain, **{"optimizer.learning_rate": 1e30})
    with pytest.raises(InputError, match=r"step \d: the (loss|grad_norm) is (nan|inf)") as caught:
        train(config, tmp_path)
    told = str(caught.value)
    assert "\n" not in told and "its batch is in" in told
    (dump,) = tmp_path.glob("nonfinite-*.npz")
    source = data.create_source(config.data, "train")
    names = told.rsplit(": ", 1)[1].split(", ")
    images = np.load(dump)["image"]
    assert len(names) == len(images) == 8
    for name, image in zip(names, images, strict=True):
        np.testing.assert_array_equal(image, source[source.names.index(name)]["image"])
    assert not (tmp_path / "checkpoints" / "6").exists()


def test_updates_that_are_no_number_are_skipped_up_to_a_limit(tmp_path, monkeypatch, capsys):
    real = loop.shard_batch
    # Labels beyond the classes make the loss of a step no number.
    bad = {2, 3}

    def spoilt(batch, mesh, **options):
        spoilt.step += 1
        label = np.full_like(batch["label"], 99) if spoilt.step in bad else batch["label"]
        return real(batch | {"label": label}, mesh, **options)

    monkeypatch.setattr(loop, "shard_batch", spoilt)
    changes = {"train.nonfinite": "skip", "train.nonfinite_limit": 2, "train.eval_every": 6}
    spoilt.step = 0
    train(make_config(**changes), tmp_path / "skips")
    told = capsys.readouterr().err
    assert "step 2: the loss is nan; update skipped" in told and "step 3" in told
    lines = [line for line in read_metrics(tmp_path / "skips") if "loss" in line]
    assert [line["loss"] is None for line in lines] == [step in bad for step in range(1, 7)]
    assert [line.get("skipped", 0) for line in lines] == [0, 1, 1, 0, 0, 0]
    spoilt.step = 0
    with pytest.raises(InputError, match="step 3: the loss is nan"):
        train(make_config(**changes | {"train.nonfinite_limit": 1}), tmp_path / "stops")


def test_data_that_cannot_be_read_is_named_on_the_way(tmp_path, monkeypatch):
    def broken(source, index):
        if source.names[index] == "train_00007":
            raise InputError("train_00007.png: the file is damaged")
        return draw(source, index)

    draw = data.synthetic.SyntheticScenes.__getitem__
    monkeypatch.setattr(data.synthetic.SyntheticScenes, "__getitem__", broken)
    with pytest.raises(InputError, match="^train_00007.png: the file is damaged") as caught:
        train(make_config(), tmp_path)
    assert str(caught.value).splitlines()[0] == "train_00007.png: the file is damaged"


def test_resume_by_flag(tmp_path, capsys):
    config = make_config(**{"train.steps": 4, "train.ema_decay": 0.9, "checkpoint.every": 3})
    for flag in ("auto", "never"):
        train(config, tmp_path / flag, Launch(resume=flag))
    states = [saved_state(config, tmp_path / flag, 4) for flag in ("auto", "never")]
    jax.tree.map(np.testing.assert_array_equal, *states)
    with pytest.raises(InputError, match="resume is 'never', but .* holds checkpoints; take"):
        train(config, tmp_path / "never", Launch(resume="never"))
    with pytest.raises(InputError, match="resume: .*missing is no folder of a run"):
        train(config, tmp_path / "new", Launch(resume=str(tmp_path / "missing")))
    with pytest.raises(InputError, match="auto is at step 4 already, and steps is 4; raise"):
        train(config, tmp_path / "new", Launch(resume=str(tmp_path / "auto")))
    assert not (tmp_path / "new").exists()
    capsys.readouterr()
    # From another run's latest checkpoint, with its optimizer and its place in the data.
    longer = make_config(**{"train.ema_decay": 0.9})
    for _ in range(2):
        train(longer, tmp_path / "new", Launch(resume=str(tmp_path / "auto")))
    assert [f"from step {step} to 6" in capsys.readouterr().out for step in (4,)] == [True]
    assert [line["step"] for line in read_metrics(tmp_path / "new") if "loss" in line] == [5, 6]


def test_account_covers_the_run_and_is_ahead_of_its_checkpoints(tmp_path, monkeypatch):
    marked, save = [], CheckpointStore.save

    def saving(store, step, *args, **options):
        marked.append(str(step) in json.loads((tmp_path / "goodput.json").read_text())["marks"])
        save(store, step, *args, **options)

    monkeypatch.setattr(CheckpointStore, "save", saving)
    train(make_config(**{"train.steps": 2, "checkpoint.every": 1}), tmp_path)
    assert marked == [True, True]
    account = json.loads((tmp_path / "goodput.json").read_text())
    assert all(seconds > 0 for seconds in account["seconds"].values()), account
    assert 0 < account["useful"] < 1 and account["lost_to_restarts"] == 0
    assert 0 < account["seconds_to_first_step"] < sum(account["seconds"].values())


def test_profile_by_flag(tmp_path, capsys):
    train(make_config(**{"train.eval_every": 6}), tmp_path, Launch(profile=True))
    assert "profile: the steps from 4 on are traced in" in capsys.readouterr().out
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    with pytest.raises(InputError, match="--profile is for training"):
        evaluate_run(make_config(), tmp_path, Launch(profile=True))


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


def test_labels_are_read_again_only_where_files_changed(tmp_path, monkeypatch):
    read, real = [], data.check_source
    monkeypatch.setattr(
        data, "check_source", lambda source, **options: [read.append(source), real(source)]
    )
    fake_cityscapes(tmp_path / "data")
    config = make_config("cityscapes", **{"data.root": str(tmp_path / "data")})

    def check(checked):
        recipe = Recipe.from_config(config)
        sources = [data.create_source(recipe.data, split) for split in ("train", "val")]
        return setup.check_labels(recipe, sources, checked=checked)

    checked = check(())
    assert len(read) == len(checked) == 2 and check(checked) == checked and len(read) == 2
    (label, *_) = (tmp_path / "data" / "gtFine" / "val").rglob("*.png")
    cv2.imwrite(str(label), np.full((96, 128), 200, np.uint8))
    with pytest.raises(InputError, match="label value 200 is outside"):
        check(checked)
    assert len(read) == 3


def test_cityscapes_starts_on_a_tree_in_the_official_layout(tmp_path, monkeypatch):
    fake_cityscapes(tmp_path / "data")
    # Windows and sizes of the recipe have 200 times as many pixels to predict and to score.
    small = {"data.resize": (128, 96), "eval.resize": (112, 80)}
    small |= {"eval.window": (64, 64), "eval.stride": (32, 32)}
    config = make_config(
        "cityscapes", **{"data.root": str(tmp_path / "data"), "train.steps": 1, **small}
    )
    train(config, tmp_path / "run")
    assert "| road " in (tmp_path / "run" / "report.md").read_text()
    # Nothing changed since, so no label is read again.
    monkeypatch.setattr(data, "check_source", None)
    monkeypatch.setattr(semantic, "report", lambda *args, **options: None)
    evaluate_run(config, tmp_path / "run")
