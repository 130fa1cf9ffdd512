"""What a folder of a run accepts, and its record of numbers."""

import os
import sys
from pathlib import Path

import pytest
from ml_collections import config_dict

from segalias_jax import data
from segalias_jax.runs import recipes
from segalias_jax.errors import InputError
from segalias_jax.runs import (loop, setup)
from segalias_jax.runs.workdir import (MetricsLog, RunLock, check_recipe, keep_stream, read_recipe, save_recipe)

ROOT = Path(__file__).parents[2]


def make_config(**changes):
    section = {"root": "/a", "threads": 4, "crop": (4, 8)} | changes.pop("data", {})
    return config_dict.ConfigDict({"seed": 0, "cutoff": None, "data": section} | changes)


def test_same_recipe_is_accepted_and_machine_keys_may_change(tmp_path):
    save_recipe(make_config(), tmp_path / "run")
    check_recipe(make_config(data={"root": "/b", "threads": 1}), tmp_path / "run")
    check_recipe(make_config(data={"on_error": "skip", "max_skipped": 3}), tmp_path / "run")
    check_recipe(make_config(model={"remat": (1, 2)}), tmp_path / "run")


def test_another_recipe_is_refused_by_its_keys(tmp_path):
    save_recipe(make_config(), tmp_path)
    with pytest.raises(InputError, match=r"data.crop is \[4, 8\] there and \[8, 8\] here; take"):
        check_recipe(make_config(data={"crop": (8, 8)}), tmp_path)
    many = make_config(seed=1, cutoff=0.35, data={"crop": (8, 8)}, extra=1, more=2)
    with pytest.raises(InputError, match="cutoff is null there and 0.35 here.*and 2 more keys"):
        check_recipe(many, tmp_path)


def test_prefixes_limit_what_has_to_agree(tmp_path):
    save_recipe(make_config(), tmp_path)
    check_recipe(make_config(seed=3), tmp_path, prefixes=("data.",))
    with pytest.raises(InputError, match="seed is 0 there and 3 here"):
        check_recipe(make_config(seed=3), tmp_path, prefixes=("data.", "seed"))
    newer = make_config(extra=1)  # as a later version adds keys
    check_recipe(newer, tmp_path, prefixes=("extra", "seed"))
    with pytest.raises(InputError, match="extra is null there and 1 here"):
        check_recipe(newer, tmp_path)


def test_folders_that_are_no_run_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is no folder"):
        check_recipe(make_config(), tmp_path / "file")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="holds results but no recipe.json"):
        check_recipe(make_config(), tmp_path)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(InputError, match="recipe.json is damaged"):
        check_recipe(make_config(), tmp_path)


def test_unwritable_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--workdir: cannot write to .*file/run: Not a directory"):
        save_recipe(make_config(), tmp_path / "file" / "run")


def test_record_goes_on_from_a_step_and_skips_torn_lines(tmp_path):
    log = MetricsLog(tmp_path, step=0)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": float("nan"), "IoU": [0.5, float("inf")]})
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    kept = MetricsLog(tmp_path, step=2).lines()
    assert kept == [{"step": step, "loss": None, "IoU": [0.5, None]} for step in (1, 2)]


def test_a_run_is_held_to_the_images_it_began_with(tmp_path):
    config = config_dict.ConfigDict({"seed": 0, "train": {"batch_size": 4}})
    sources = [
        data.create_source({"source": "synthetic", "num_train": count}, "train") for count in (5, 6)
    ]
    keep_stream(config, tmp_path, sources[0])
    before = (tmp_path / "stream.json").read_bytes()
    keep_stream(config, tmp_path, sources[0])
    message = "the training stream cannot resume: its number of images was 5 and is 6 now"
    with pytest.raises(InputError, match=message):
        keep_stream(config, tmp_path, sources[1])
    assert (tmp_path / "stream.json").read_bytes() == before


def test_validation_that_was_not_finished_is_repeated(tmp_path):
    log = MetricsLog(tmp_path, step=0)
    for line in ({"step": 1, "mIoU": 0.5}, {"step": 2, "loss": 1.0}, {"step": 2, "mIoU": 0.5}):
        log.write(line)
    assert len(MetricsLog(tmp_path, step=2).lines()) == 3
    kept = MetricsLog(tmp_path, step=2, validated=False).lines()
    assert kept == [{"step": 1, "mIoU": 0.5}, {"step": 2, "loss": 1.0}]


def test_recipe_of_a_run_that_had_the_folder_meanwhile_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.setattr(setup, "enable_compilation_cache", lambda: None)
    for name in ("build_parts", "first_state"):
        monkeypatch.setattr(setup, name, lambda *_, **__: None)
    config = recipes.load_recipe(f"{ROOT}/configs/quickstart.py")
    other = recipes.load_recipe(f"{ROOT}/configs/quickstart.py:baseline")

    class LateLock(RunLock):
        def __init__(self, workdir):
            super().__init__(workdir)
            save_recipe(other, workdir)

    monkeypatch.setattr(loop, "RunLock", LateLock)
    with pytest.raises(InputError, match='downsample is "none" there and "daf" here'):
        loop.train(config, tmp_path)
    assert read_recipe(tmp_path / "recipe.json")["name"] == "quickstart:baseline"


def test_second_owner_is_refused_until_the_first_ends(tmp_path):
    with RunLock(tmp_path / "run"):
        with pytest.raises(InputError, match=f"run is in use by process {os.getpid()}; wait for"):
            RunLock(tmp_path / "run")
    with RunLock(tmp_path / "run"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        RunLock(tmp_path / "file" / "run")
