"""Reading what `test_prepare.py` tests the writing of: the same batches as from the folder."""

import json
import pickle

import numpy as np
import pytest

from segalias_jax.data import create_source, eval_batches, train_batches
from segalias_jax.data.prepared import import_tfds
from segalias_jax.errors import InputError


@pytest.fixture
def prepared(camvid, tmp_path):
    """Configurations of the same set, in a folder and prepared."""
    pytest.importorskip("tensorflow_datasets")
    from segalias_jax.data.tools.prepare import prepare

    config = {"source": "camvid", "root": str(camvid), "crop": (24, 24), "threads": 2}
    prepare("camvid", config, tmp_path / "out", shard_bytes=5000)
    return config, config | {"source": "tfds:camvid", "root": str(tmp_path / "out")}


def test_batches_are_those_of_the_folder_byte_for_byte(prepared):
    folder, ours = (create_source(config, "train") for config in prepared)
    assert ours.names == folder.names and ours.classes == folder.classes
    np.testing.assert_array_equal(ours.palette, folder.palette)
    streams = [
        train_batches(config, source, batch_size=2, seed=3)
        for config, source in zip(prepared, (folder, ours), strict=True)
    ]
    for _ in range(6):
        one, two = (next(stream) for stream in streams)
        for key in one:
            assert one[key].tobytes() == two[key].tobytes()
    passes = [eval_batches(create_source(config, "val"), batch_size=2) for config in prepared]
    for one, two in zip(*passes, strict=True):
        assert one.pop("name") == two.pop("name")
        for key in one:
            assert one[key].tobytes() == two[key].tobytes()


def test_samples_keep_their_files_bytes_and_sizes(prepared):
    folder, ours = (create_source(config, "train") for config in prepared)
    assert len(folder) == len(ours) == 5
    for index in range(5):
        assert ours.encoded(index) == folder.encoded(index)
        assert ours.size(index) == folder.size(index)
        ours.check(index)
    assert len(list(ours)) == 5
    again = pickle.loads(pickle.dumps(ours))  # as worker processes get it
    assert again.encoded(4) == folder.encoded(4)


def test_errors_name_the_sample(prepared, monkeypatch):
    ours = create_source(prepared[1], "train")
    monkeypatch.setattr(ours, "encoded", lambda index: {"image": b"no", "label": b"no"})
    with pytest.raises(InputError, match=r"camvid/1\.0\.0, image of train n1: not an image"):
        ours[1]


def test_unknown_split_lists_the_choices(prepared):
    with pytest.raises(InputError, match=r"^split 'test': not in .*; choose from train, val$"):
        create_source(prepared[1], "test")


def test_keys_that_contradict_the_set_are_refused(prepared):
    with pytest.raises(InputError, match=r"^data\.exif: the set was prepared with True, not"):
        create_source(prepared[1] | {"exif": False}, "train")
    with pytest.raises(InputError, match=r"^data\.threshold: the set was prepared with "):
        create_source(prepared[1] | {"threshold": 9}, "train")


def test_missing_set_says_how_to_write_it(tmp_path):
    config = {"source": "tfds:camvid", "root": str(tmp_path)}
    with pytest.raises(InputError, match=r"^data\.root: .*segalias prepare camvid "):
        create_source(config, "train")


def test_unfinished_truncated_and_damaged_sets_are_refused(prepared, tmp_path):
    folder = tmp_path / "out" / "camvid" / "1.0.0"
    manifest = json.loads((folder / "segalias.json").read_text())
    shard = sorted(folder.glob("camvid-train.array_record-*"))[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"^{shard}: missing or incomplete; copy"):
        create_source(prepared[1], "train")
    files = manifest.pop("files")
    (folder / "segalias.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"^data\.root: .* is not finished; call .* once more$"):
        create_source(prepared[1], "train")
    (folder / "segalias.json").write_text(json.dumps(manifest | {"files": files})[:-9])
    with pytest.raises(InputError, match=r"segalias\.json: damaged .*; copy the folder again$"):
        create_source(prepared[1], "train")


def test_without_tfds_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_datasets", None)
    message = r"^prepared .* need tensorflow-datasets; pip install 'segalias_jax\[tfds\]'$"
    with pytest.raises(InputError, match=message):
        import_tfds()
