"""Unusable samples: by default an error, by a key replaced, counted and listed."""

import itertools
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from trees import values, write, write_images

from segalias_jax.data import (
    check_source,
    create_source,
    describe_skipped,
    eval_batches,
    train_batches,
)
from segalias_jax.errors import InputError

COUNT = 6


@pytest.fixture
def config(tmp_path):
    """Six images of which number 2 is truncated, 3 lacks its label and 4 shows an unknown value."""
    names = [str(i) for i in range(COUNT)]
    write_images(*(tmp_path / f"images/train/{name}.png" for name in names))
    for name in names:
        write(tmp_path / f"labels/train/{name}.png", values(0, 1))
    (tmp_path / "train.txt").write_text("\n".join(names))
    image = tmp_path / "images/train/2.png"
    image.write_bytes(image.read_bytes()[:-30])
    (tmp_path / "labels/train/3.png").unlink()
    write(tmp_path / "labels/train/4.png", values(0, 7))
    root = str(tmp_path)
    keys = {"source": "folders", "root": root, "classes": ("a", "b"), "crop": (6, 8), "pad": False}
    return keys | {"names": "{split}.txt", "ratio_range": (1.0, 1.0), "on_error": "skip"}


def test_by_default_the_first_unusable_file_ends_the_run(config):
    config["on_error"] = "stop"
    with pytest.raises(InputError, match=r"3\.png: image without label"):
        create_source(config, "train")


def test_unusable_samples_give_the_next_image_without_labels(config):
    source = create_source(config, "train")
    for index in (2, 3, 4, 0, 1, 5):
        sample = source[index]
        if index in (2, 3, 4):
            np.testing.assert_array_equal(sample["image"], source[5]["image"])
            assert (sample["label"] == 255).all()
        else:
            assert set(sample["label"].ravel()) == {0, 1}
    assert [source.size(i) for i in range(COUNT)] == [(6, 8)] * COUNT
    assert sorted(source.skipped()) == [2, 3, 4]
    text = describe_skipped(source)
    assert re.match(r"3 of 6: .*2\.png: the file is truncated.*; .*3\.\*: cannot be read", text)


def test_check_finds_what_would_be_skipped(config):
    source = create_source(config, "train")
    check_source(source, progress=False)
    assert sorted(source.skipped()) == [2, 3, 4]


def test_more_than_the_limit_ends_the_run(config):
    source = create_source(config | {"max_skipped": 2}, "train")
    message = r"^3 samples cannot be used, more than data\.max_skipped=2; the first: .*: "
    with pytest.raises(InputError, match=message):
        check_source(source, progress=False)
    with pytest.raises(InputError, match=message):
        [source[index] for index in range(COUNT)]


def test_a_mount_that_goes_away_ends_the_run_soon(config, monkeypatch):
    source = create_source(config | {"max_skipped": 4}, "train")
    assert source[0]["label"].max() == 1

    def unreadable(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", unreadable)
    with pytest.raises(InputError, match=r"5 samples .*: cannot be read \(Input/output error\)$"):
        [source[index] for index in range(COUNT)]


def test_copies_in_other_processes_share_the_count(config):
    source = create_source(config, "train")
    copy = pickle.loads(pickle.dumps(source))
    copy[4]
    assert sorted(source.skipped()) == [4]
    record = source._record
    del copy
    assert record.exists()
    del source
    assert not record.exists()


def test_other_samples_of_the_stream_stay_as_they_are(config):
    def stream(usable):
        if usable:
            root = Path(config["root"])
            for index in (2, 3, 4):
                write_images(root / f"images/train/{index}.png")
                write(root / f"labels/train/{index}.png", values(0, 1))
        source = create_source(config, "train")
        batches = train_batches(config, source, batch_size=2, seed=0)
        taken = list(itertools.islice(batches, 6))
        batches.close()
        return np.concatenate([batch["label"] for batch in taken]), [
            image for batch in taken for image in batch["image"]
        ]

    labels, images = stream(usable=False)
    whole_labels, whole_images = stream(usable=True)
    skipped = (labels == 255).all((1, 2))
    assert 0 < skipped.sum() < len(labels)
    np.testing.assert_array_equal(labels[~skipped], whole_labels[~skipped])
    for index in np.flatnonzero(~skipped):
        np.testing.assert_array_equal(images[index], whole_images[index])


def test_skipped_samples_are_in_no_score(config):
    batches = list(eval_batches(create_source(config, "train"), batch_size=4, threads=2))
    labels = np.concatenate([batch["label"] for batch in batches])[:COUNT]
    assert [bool((label == 255).all()) for label in labels] == [0, 0, 1, 1, 1, 0]
