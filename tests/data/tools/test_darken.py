import json

import cv2
import numpy as np
import pytest

from segalias_jax import cli
from segalias_jax.data.coco import CocoSource
from segalias_jax.data.low_light import LowLight, darken
from segalias_jax.data.tools import darken as tool
from segalias_jax.data.tools.darken import RECORD, darken_folder
from segalias_jax.errors import InputError


@pytest.fixture
def images(tmp_path):
    """A folder with a PNG, a JPEG below it, and a file that is no image."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("b.png", (20, 31)), ("more/a.jpg", (24, 16)), ("c.TIF", (8, 9))):
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        cv2.imwrite(str(folder / name), cv2.GaussianBlur(pixels, (0, 0), 3))
    (folder / "notes.txt").write_text("x")
    return folder


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


def test_copies_have_names_and_sizes_of_the_images(images, tmp_path):
    out = tmp_path / "dark"
    settings = LowLight(ratio=(20.0, 30.0))
    assert darken_folder(images, out, seed=4, settings=settings) == 3
    names = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert names == ["b.png", "c.TIF", RECORD, "more/a.jpg"]
    for index, name in enumerate(["b.png", "c.TIF", "more/a.jpg"]):
        expected = darken(read(images / name), np.random.default_rng([4, index]), settings)
        copy = read(out / name)
        # The blocks of a JPEG round its frequencies, and colors are converted there and back.
        most = 8 if name.endswith("jpg") else 0
        assert abs(copy.astype(int) - expected).max() <= most
    record = json.loads((out / RECORD).read_text())
    assert record["seed"] == 4 and record["settings"]["ratio"] == [20, 30]
    assert 20 <= record["images"]["b.png"]["ratio"] <= 30


def test_the_seed_decides_and_threads_do_not(images, tmp_path):
    for name, seed, threads in (("one", 0, 1), ("two", 0, 4), ("three", 1, 4)):
        darken_folder(images, tmp_path / name, seed=seed, threads=threads)
    one, two, three = (read(tmp_path / name / "b.png") for name in ("one", "two", "three"))
    np.testing.assert_array_equal(one, two)
    assert (one != three).any()


def test_a_json_is_used_unchanged(coco_set, tmp_path):
    root = coco_set()
    darken_folder(root / "images", tmp_path / "dark")
    bright = CocoSource(root / "set.json", root / "images")
    dark = CocoSource(root / "set.json", tmp_path / "dark")
    for index in range(3):
        np.testing.assert_array_equal(dark[index]["masks"], bright[index]["masks"])
        assert (dark[index]["image"] != bright[index]["image"]).any()


def test_an_image_that_cannot_be_used_is_found_before_anything_is_written(images, tmp_path):
    (images / "z.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"z.png"):
        darken_folder(images, tmp_path / "dark")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images"]


def test_what_ends_early_leaves_nothing(images, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tool, "write_text", fail)
    with pytest.raises(KeyboardInterrupt):
        darken_folder(images, tmp_path / "dark")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images"]


def test_folders_that_cannot_be_are_refused(images, tmp_path, capsys):
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    for out, reason in (
        (images, "lies in the folder of the images"),
        (images / "dark", "lies in the folder of the images"),
        (images / ".." / "images" / "dark", "lies in the folder of the images"),
        (full, "holds something"),
    ):
        with pytest.raises(InputError, match=reason):
            darken_folder(images, out)
    with pytest.raises(InputError, match="has no image"):
        darken_folder(full, tmp_path / "dark")
    assert cli.main(["darken", str(images), str(tmp_path / "d"), "--ratio=0,3"]) == 2
    assert "'0,3' is not LEAST,MOST from 1" in capsys.readouterr().err


def test_the_command_fills_an_empty_folder(images, tmp_path, capsys):
    out = tmp_path / "dark"
    out.mkdir()
    words = ["darken", str(images), str(out), "--seed=2", "--form=reference", "--develop"]
    assert cli.main(words) == 0
    assert "3 darkened images" in capsys.readouterr().out
    settings = json.loads((out / RECORD).read_text())["settings"]
    assert settings == {"ratio": [10.0, 100.0], "form": "reference", "develop": True}
