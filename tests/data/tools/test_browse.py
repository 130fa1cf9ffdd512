"""The command that shows a data set: its sheet, its numbers, its mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from trees import values, write, write_images

from segalias_jax import cli
from segalias_jax.data.settings import read_settings
from segalias_jax.data.tools import browse
from segalias_jax.errors import InputError

ROOT = Path(__file__).parents[3]
PALETTE = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)


@pytest.fixture
def tree(tmp_path):
    for split in ("train", "val"):
        for name in "ab":  # all of the same bytes
            write_images(tmp_path / f"images/{split}/{split}{name}.png")
            write(tmp_path / f"labels/{split}/{split}{name}.png", values(0, 1, 255))
        (tmp_path / f"{split}.txt").write_text(f"{split}a\n{split}b")
    return tmp_path


@pytest.fixture
def run(tree, monkeypatch):
    """Calls the command on the tree with further words."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])

    def call(*words):
        recipe = f"--config={ROOT}/configs/folders.py"
        words = ["browse", recipe, f"--config.data.root={tree}", *words]
        run, flags = cli.parse_command(words)
        assert run(flags) == 0

    return call


def sheet_of(image, label, **keys):
    keys = {"classes": ("a", "b"), "palette": PALETTE, "fractions": (0.5, 0.5)} | keys
    return browse.contact_sheet([("one", {"image": image, "label": label})], **keys)


def test_sheet_shows_the_image_and_its_labels():
    image, label = np.full((220, 220, 3), 90, np.uint8), np.zeros((220, 220), np.uint8)
    label[:, 60:120], label[:, 120:] = 1, 255
    sheet = sheet_of(image, label)
    top, left = 38, 14  # margin and caption; margin
    np.testing.assert_array_equal(sheet[top : top + 220, left : left + 220], image)
    overlay = sheet[top : top + 220, left + 227 : left + 447].astype(int)
    # 0.4 x gray + 0.6 x color, rounded down
    assert (overlay[:, :60] == [189, 36, 36]).all() and (overlay[:, 60:120] == [36, 36, 189]).all()
    assert set(np.unique(overlay[:, 120:])) == {40, 130}


def test_pictures_of_any_size_get_one_row():
    samples = []
    for height, width in ((1000, 30), (7, 500), (221, 220), (1, 1), (64, 64)):
        sample = {"image": np.zeros((height, width, 3), np.uint8)}
        samples.append(("x" * 200, sample | {"label": np.zeros((height, width), np.uint8)}))
    one, two = (
        browse.contact_sheet(samples[:n], classes=("a",), palette=PALETTE[:1], fractions=[1.0])
        for n in (4, 5)
    )
    assert one.shape[1] == two.shape[1] and two.shape[0] > one.shape[0] > 220


def test_legend_breaks_lines_and_leaves_out_what_is_absent():
    image, label = np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8)
    names = tuple(f"a class with a long name {k}" for k in range(40))
    palette = np.arange(120).reshape(40, 3).astype(np.uint8)
    heights = [
        sheet_of(image, label, classes=names, palette=palette, fractions=fractions).shape[0]
        for fractions in ([1.0] + [0.0] * 39, [0.025] * 40)
    ]
    assert heights[1] > heights[0] + 80


def test_samples_are_what_training_sees(tree):
    config = {"source": "folders", "root": str(tree), "classes": ("a", "b"), "crop": (20, 30)}
    settings = read_settings(config | {"ratio_range": (1.0, 1.0)})
    plain, _, source = browse.browse(settings, "train", augment=False)
    augmented = browse.browse(settings, "train", seed=1)[0]
    again = browse.browse(settings, "train", seed=1)[0]
    np.testing.assert_array_equal(augmented, again)
    assert len(source) == 2 and plain.shape != augmented.shape  # 6x8 pictures, 20x30 crops


def test_command_writes_sheet_and_statistics(run, tree, capsys):
    out, numbers = tree / "new/sheet.png", tree / "numbers.json"
    run(f"--out={out}", f"--json={numbers}", "--split=val", "--count=1", "--limit=1")
    assert cv2.imread(str(out)).shape[1] == 1858
    assert json.loads(numbers.read_text())["images"] == 1
    text = capsys.readouterr().out
    assert text.startswith("folders, split val, 2 images\nimages: 1, of 1 sizes: height 6, width 8")
    assert "ignored pixels: 33.33 %" in text and "background" in text


def test_equal_images_of_both_splits_are_named(run, tree, capsys):
    run(f"--out={tree}/a.png", "--duplicates")
    assert "equal content in train and val: trainb = vala, " in capsys.readouterr().out


def test_what_is_missing_is_listed(run, tree, capsys):
    (tree / "labels/train/traina.png").unlink()
    run(f"--out={tree}/a.png")
    assert "unusable: 1: " in capsys.readouterr().out
    (tree / "labels/train/trainb.png").unlink()
    with pytest.raises(InputError, match=r"^split 'train': .*traina\.\*: cannot be read"):
        run(f"--out={tree}/b.png")
    assert not (tree / "b.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), r"^--out is missing; segalias browse --help"),
        (("--out=sheet.txt",), r"--out: 'sheet.txt' ends in neither .png nor .jpg"),
        (("--out=a.png", "more"), r"^argument 'more' is not expected"),
        (("--out=a.png", "--split=no"), r"^split 'no': .*no\.txt is missing; choose from train, v"),
        (("--out=/dev/null/a.png",), r"^/dev/null/a\.png: cannot be written"),
        (("--out=a.png", "--count=0"), "--count: '0' is no positive integer"),
    ],
)
def test_errors_are_told(run, words, message):
    with pytest.raises(InputError, match=message):
        run(*words)


def test_command_needs_no_device_and_no_jax_program(tmp_path):
    out = tmp_path / "sheet.png"
    command = [sys.executable, "-m", "segalias_jax", "browse", "--config=configs/quickstart.py"]
    words = ["--config.data.num_train=2", "--config.data.image_size=(32, 32)", f"--out={out}"]
    # Any use of JAX beyond its types would ask for this backend.
    environment = os.environ | {"JAX_PLATFORMS": "nowhere", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command + words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and out.exists(), done.stderr
    assert done.stdout.startswith("synthetic, split train, 2 images\n") and not done.stderr
