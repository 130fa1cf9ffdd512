"""Which recipe and which data the folder of a run accepts."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from segalias_jax import data, models
from segalias_jax.errors import InputError
from segalias_jax.runs import recipes, setup
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.train import train
from segalias_jax.runs.workdir import (
    check_recipe,
    keep_files,
    keep_stream,
    read_checked,
    read_recipe,
    save_recipe,
)
from segalias_jax.training import folder

ROOT = Path(__file__).parents[2]


def values(**changes):
    """All values of a recipe by dotted key; "__" stands for the dot."""
    base = {"seed": 0, "cutoff": None}
    base |= {"data.root": "/a", "data.threads": 4, "data.crop": (4, 8)}
    return base | {key.replace("__", "."): value for key, value in changes.items()}


def test_same_recipe_is_accepted_and_machine_keys_may_change(tmp_path):
    save_recipe(values(), tmp_path / "run")
    check_recipe(values(data__root="/b", data__threads=1), tmp_path / "run")
    check_recipe(values(data__on_error="skip", data__max_skipped=3), tmp_path / "run")
    check_recipe(values(model__remat=(1, 2)), tmp_path / "run")


def test_another_recipe_is_refused_by_its_keys(tmp_path):
    save_recipe(values(), tmp_path)
    with pytest.raises(InputError, match=r"data.crop is \[4, 8\] there and \[8, 8\] here; take"):
        check_recipe(values(data__crop=(8, 8)), tmp_path)
    many = values(seed=1, cutoff=0.35, data__crop=(8, 8), extra=1, more=2)
    with pytest.raises(InputError, match="cutoff is null there and 0.35 here.*and 2 more keys"):
        check_recipe(many, tmp_path)


def test_prefixes_limit_what_has_to_agree(tmp_path):
    save_recipe(values(), tmp_path)
    check_recipe(values(seed=3), tmp_path, prefixes=("data.",))
    with pytest.raises(InputError, match="seed is 0 there and 3 here"):
        check_recipe(values(seed=3), tmp_path, prefixes=("data.", "seed"))
    newer = values(extra=1)  # as a later version adds keys
    check_recipe(newer, tmp_path, prefixes=("extra", "seed"))
    with pytest.raises(InputError, match="extra is null there and 1 here"):
        check_recipe(newer, tmp_path)


def test_folders_that_are_no_run_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is no folder"):
        check_recipe(values(), tmp_path / "file")
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="holds results but no recipe.json"):
        check_recipe(values(), tmp_path)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(InputError, match="recipe.json is damaged"):
        check_recipe(values(), tmp_path)


def test_unwritable_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--workdir: cannot write to .*file/run: Not a directory"):
        save_recipe(values(), tmp_path / "file" / "run")


def test_a_run_is_held_to_the_images_it_began_with(tmp_path):
    sources = [
        data.create_source({"source": "synthetic", "num_train": count}, "train") for count in (5, 6)
    ]
    keep_stream(tmp_path, sources[0], batch_size=4, seed=0)
    before = (tmp_path / "stream.json").read_bytes()
    keep_stream(tmp_path, sources[0], batch_size=4, seed=0)
    message = "the training stream cannot resume: its number of images was 5 and is 6 now"
    with pytest.raises(InputError, match=message):
        keep_stream(tmp_path, sources[1], batch_size=4, seed=0)
    assert (tmp_path / "stream.json").read_bytes() == before


def test_longer_run_is_told_its_way(tmp_path):
    save_recipe(values(train__steps=1), tmp_path)
    with pytest.raises(InputError, match="further, take another folder and --resume=.*/test_long"):
        check_recipe(values(train__steps=2), tmp_path)


def test_recipe_of_a_run_that_had_the_folder_meanwhile_is_kept(tmp_path, monkeypatch, small_model):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.setattr(setup, "enable_compilation_cache", lambda: None)
    monkeypatch.setattr(
        models, "create_model", lambda config, num_classes, rngs: small_model(num_classes, rngs)
    )
    config = recipes.load_recipe(f"{ROOT}/configs/quickstart.py")
    other = recipes.load_recipe(f"{ROOT}/configs/quickstart.py:baseline")

    class LateLock(folder.RunLock):
        def __init__(self, workdir):
            super().__init__(workdir)
            save_recipe(Recipe.from_config(other).to_flat(), workdir)

    monkeypatch.setattr(folder, "RunLock", LateLock)
    with pytest.raises(InputError, match='downsample is "none" there and "daf" here'):
        train(config, tmp_path)
    assert read_recipe(tmp_path / "recipe.json")["name"] == "quickstart:baseline"


def write_set(root, count):
    for name in map(str, range(count)):
        for part in ("images", "labels"):
            (root / part).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / part / f"{name}.png"), np.zeros((8, 8), np.uint8))
    keys = {
        "source": "folders",
        "names": "",
        "images": "images/{name}.png",
        "labels": "labels/{name}.png",
    }
    return lambda: data.create_source(keys | {"root": str(root), "classes": ("no", "yes")}, "any")


def test_a_run_is_held_to_the_files_of_both_splits(tmp_path):
    opened = write_set(tmp_path / "train", 3), write_set(tmp_path / "val", 4)
    sources = lambda: dict(zip(("train", "val"), (open() for open in opened), strict=True))  # noqa: E731
    keep_files(tmp_path, sources())
    before = (tmp_path / "files.json").read_bytes()
    keep_files(tmp_path, sources())
    (tmp_path / "val/images/2.png").unlink()
    message = r"the data of split 'val' changed since .*: 1 image is gone \(2\); restore them, take"
    with pytest.raises(InputError, match=message):
        keep_files(tmp_path, sources())
    assert (tmp_path / "files.json").read_bytes() == before
    (tmp_path / "files.json").write_text('{"val": {"1": [7]}}')
    with pytest.raises(InputError, match="files.json is damaged"):
        keep_files(tmp_path, sources())


@pytest.mark.parametrize("content", [b"[]", b"7", b"\xff{}", b'{"a": ' + b"[" * 100_000, b"\0" * 9])
def test_damaged_files_of_a_run_are_one_sentence(tmp_path, content):
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(InputError, match="recipe.json is damaged"):
        read_recipe(tmp_path / "recipe.json")
    (tmp_path / "checked.json").write_bytes(content)
    assert read_checked(tmp_path) == []
