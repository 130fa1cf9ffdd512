import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from segalias_jax import cli
from segalias_jax.data.labels import LabelRule, identity_lookup
from segalias_jax.data.pairs import Pair, PairSource
from segalias_jax.data.prepared import PreparedSource
from segalias_jax.data.settings import DataSettings, read_settings
from segalias_jax.data.sources import open_split
from segalias_jax.data.tools import prepare as module
from segalias_jax.data.tools.prepare import prepare
from segalias_jax.errors import InputError


@pytest.fixture
def tfds():
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def config(camvid):
    return {"source": "camvid", "root": str(camvid), "threads": 2}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_set_is_one_that_tfds_reads(tfds, config, camvid, tmp_path):
    folder = prepare("street", config, tmp_path, shard_bytes=5000)
    assert folder == tmp_path / "street" / "1.0.0"
    assert {path.name for path in folder.iterdir()} == {
        *(f"street-train.array_record-{k:05d}-of-00003" for k in range(3)),
        *(f"street-val.array_record-{k:05d}-of-00002" for k in range(2)),
        *("dataset_info.json", "features.json", "segalias.json"),
    }
    builder = tfds.builder_from_directory(folder)
    assert builder.info.name == "street"
    assert {key: split.num_examples for key, split in builder.info.splits.items()} == {
        "train": 5,
        "val": 3,
    }
    example = builder.as_data_source("train")[3]
    expected = cv2.imread(str(camvid / "images" / "train" / "n3.jpg"))[..., ::-1]
    np.testing.assert_array_equal(example["image"], expected)
    label = cv2.imread(str(camvid / "labels" / "train" / "n3.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(example["label"][..., 0], label)
    assert example["name"] == b"n3"


def test_a_call_that_was_stopped_goes_on_with_the_next_file(tfds, config, tmp_path, monkeypatch):
    whole = prepare("street", config, tmp_path / "unbroken", shard_bytes=5000)
    replace, done = os.replace, []

    def stopping(source, target):
        if ".array_record-" in str(target):
            done.append(target)
            if len(done) == 3:
                raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            prepare("street", config, tmp_path / "broken", shard_bytes=5000)
    folder = tmp_path / "broken" / "street" / "1.0.0"
    finished = sorted(folder.glob("street*"))
    assert [path.name for path in finished] == [path.name for path in done[:2]]
    (folder / f".{done[2].name}.tmp").write_bytes(b"what a kill has left")
    first = tmp_path / "first" / "street" / "1.0.0"
    first.mkdir(parents=True)
    (first / ".segalias.json.7.tmp").write_bytes(b"what a kill at the first file has left")
    prepare("street", config, tmp_path / "first", shard_bytes=5000)
    times = [path.stat().st_mtime_ns for path in finished]
    prepare("street", config, tmp_path / "broken", shard_bytes=5000)
    assert [path.stat().st_mtime_ns for path in finished] == times
    assert contents(folder) == contents(whole)


def test_a_finished_set_is_verified_again(tfds, config, tmp_path):
    folder = prepare("street", config, tmp_path)
    before = contents(folder)
    prepare("street", config, tmp_path)
    assert contents(folder) == before
    shard = folder / "street-val.array_record-00000-of-00001"
    damaged = bytearray(before[shard.name])
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(InputError, match=f"^{shard}: damaged; delete it and repeat the command$"):
        prepare("street", config, tmp_path)
    shard.unlink()
    prepare("street", config, tmp_path)
    assert contents(folder) == before


def test_files_of_an_interrupted_call_are_read_back(tfds, config, tmp_path):
    """Without checksums, as a call leaves them that was stopped before its end."""
    folder = prepare("street", config, tmp_path)
    manifest = json.loads((folder / "segalias.json").read_text())
    del manifest["files"]
    (folder / "segalias.json").write_text(json.dumps(manifest))
    train, val = (folder / f"street-{s}.array_record-00000-of-00001" for s in ("train", "val"))
    for content in (val.read_bytes(), b"", train.read_bytes()[:1000]):
        train.write_bytes(content)
        with pytest.raises(InputError, match=f"^{train}: damaged; delete it"):
            prepare("street", config, tmp_path)


def test_another_set_is_left_alone(tfds, config, camvid, tmp_path):
    folder = prepare("street", config, tmp_path)
    before = contents(folder)
    (camvid / "train.txt").write_text("n0\nn1")
    with pytest.raises(InputError, match=r"holds another set \(its splits differ\); give another"):
        prepare("street", config, tmp_path)
    assert contents(folder) == before
    other = tmp_path / "mine" / "1.0.0"
    other.mkdir(parents=True)
    (other / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="holds something else; give another name or folder"):
        prepare("mine", config, tmp_path)
    assert contents(other) == {"notes.txt": b"x"}


def test_unusable_labels_are_found_before_anything_is_written(tfds, config, camvid, tmp_path):
    bad = camvid / "labels" / "val" / "v1.png"
    cv2.imwrite(str(bad), np.full((20, 30), 77, np.uint8))
    with pytest.raises(InputError, match=f"^{bad}: label value 77"):
        prepare("street", config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fields_of_view_travel_along(tfds, config, tmp_path, monkeypatch):
    files = {}
    for name, value in (("image", 9), ("label", 1), ("region", 255)):
        files[name] = tmp_path / f"{name}.png"
        array = np.full((4, 6), value, np.uint8)
        array[:2] = 0
        cv2.imwrite(str(files[name]), array)
    source = PairSource(
        [Pair(files["image"], files["label"], "eye", files["region"])],
        origin=Path("list"),
        rule=LabelRule(2, identity_lookup(2)),
        class_names=("no", "yes"),
        palette=np.zeros((2, 3), np.uint8),
    )
    monkeypatch.setattr(module, "open_split", lambda settings, split: source)
    prepare("retina", config, tmp_path, splits=("train",))
    settings = DataSettings("tfds:retina", root=str(tmp_path))
    ours = PreparedSource(settings, "train")
    assert (ours[0]["label"][:2] == 255).all() and (ours[0]["label"][2:] == 1).all()
    assert ours.encoded(0) == source.encoded(0)


def test_one_s_own_set_by_its_recipe_and_joined_splits(tfds, camvid, tmp_path):
    config = {
        "source": "folders",
        "root": str(camvid),
        "images": "images/{split}/{name}.jpg",
        "labels": "labels/{split}/{name}.png",
        "classes": tuple("abcdefghijkl"),
    }
    prepare("mine", config, tmp_path, splits=("train", "train+val"))
    for options in ({}, config):  # the recipe it was made by, and one that knows the name alone
        settings = read_settings(options | {"source": "tfds:mine", "root": str(tmp_path)})
        ours = PreparedSource(settings, "train+val")
        assert len(ours) == 8 and ours.classes == config["classes"]
        expected = open_split(read_settings(config), "train+val")
        np.testing.assert_array_equal(ours[7]["label"], expected[7]["label"])


def test_what_is_not_made_of_files_is_refused(tfds, config, tmp_path):
    with pytest.raises(InputError, match=r"^data\.source: synthetic is not made of files"):
        prepare("scenes", {"source": "synthetic"}, tmp_path)
    prepare("street", config, tmp_path)
    with pytest.raises(InputError, match=r"^data\.source: tfds:street is not made of files"):
        prepare("again", {"source": "tfds:street", "root": str(tmp_path)}, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tfds, config, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match=r"^out: cannot write to .*/out/street/1\.0\.0: "):
        prepare("street", config, tmp_path / "out")


def test_command(tfds, camvid, tmp_path, capsys):
    command = ["prepare", "camvid", "--root", str(camvid), f"--out={tmp_path}", "--splits=val"]
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert "--config.data.source=tfds:camvid" in out and "verifying" in err
    assert (tmp_path / "camvid" / "1.0.0" / "dataset_info.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out=x"], "NAME is missing"),
        (["camvid", "other", "--out=x"], "argument 'other' is not expected"),
        (["camvid"], "--out is missing"),
        (["camvid", "--out=x", "--rot=y"], "unknown flag --rot; did you mean --root?"),
        (["camvid", "--out=x", "--config=no.py"], "no recipe file no.py"),
    ],
)
def test_errors_end_in_one_line(arguments, message, capsys):
    assert cli.main(["prepare", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_recipe_on_the_command_line(tfds, camvid, tmp_path, monkeypatch, capsys):
    root = Path(__file__).parents[3]
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    flags = [f"--config={root}/configs/camvid.py", f"--config.data.root={camvid}"]
    assert cli.main(["prepare", "street", *flags, f"--out={tmp_path}"]) == 0
    assert "tfds:street" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "street" / "1.0.0" / "segalias.json").read_text())
    assert manifest["source"] == "camvid" and list(manifest["splits"]) == ["train", "val"]


def test_sets_of_objects_are_refused(tmp_path):
    with pytest.raises(InputError, match="data.source: coco holds objects, and prepared sets hold"):
        prepare("photos", {"source": "coco", "root": str(tmp_path)}, tmp_path / "out")
