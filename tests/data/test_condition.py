import json
import os
import shutil

import cv2
import numpy as np
import pytest

from segalias_jax.data import create_source, data_condition, describe_changes

KEYS = {
    "source": "folders",
    "names": "",
    "images": "images/{name}.png",
    "labels": "labels/{name}.png",
}


@pytest.fixture
def root(tmp_path):
    numbers = np.random.default_rng(0)
    for name in "abcde":
        for folder, high in (("images", 256), ("labels", 2)):
            path = tmp_path / "set" / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), numbers.integers(0, high, (8, 8), np.uint8))
    return tmp_path / "set"


def condition(root, before=None):
    source = create_source(KEYS | {"root": str(root), "classes": ("no", "yes")}, "train")
    return json.loads(json.dumps(data_condition(source, before)))


def edit(path):
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    pixels[0, 0] ^= 1
    cv2.imwrite(str(path), pixels)


def halve(root):
    for name in "de":
        (root / "images" / f"{name}.png").unlink()


def swap(root):
    a, b = (root / "labels" / f"{name}.png" for name in "ab")
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)


@pytest.mark.parametrize(
    "change, told",
    [
        (halve, "2 images are gone (d, e)"),
        (swap, "2 images are changed (a, b)"),
        (lambda root: edit(root / "images" / "c.png"), "1 image is changed (c)"),
        (lambda root: edit(root / "labels" / "c.png"), "1 image is changed (c)"),
    ],
)
def test_changed_files_are_named(root, change, told):
    before = condition(root)
    change(root)
    assert describe_changes(before, condition(root, before)) == told


def test_other_dates_and_another_place_are_no_change(root, tmp_path):
    before = condition(root)
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    os.utime(tmp_path / "copy" / "images" / "a.png", (0, 0))
    assert describe_changes(before, condition(tmp_path / "copy", before)) == ""


def test_unchanged_files_are_not_opened_again(root, monkeypatch):
    before = condition(root)
    monkeypatch.setattr("segalias_jax.data.condition.zlib.crc32", None)
    assert condition(root, before) == before
