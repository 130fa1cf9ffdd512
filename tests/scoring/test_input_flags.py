"""Flags of files and their values, as a person gives them."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from segalias_jax import cli

COLORS = np.asarray([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)


def ids(seed, classes=3):
    small = np.random.default_rng(seed).integers(0, classes, (4, 6))
    return small.repeat(5, 0).repeat(5, 1).astype(np.uint8)


def write(folder, maps, form="{}.png"):
    Path(folder).mkdir(exist_ok=True)
    for name, one in zip("ab", maps, strict=False):
        assert cv2.imwrite(f"{folder}/{form.format(name)}", one)


@pytest.fixture
def score(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("l", [ids(0), ids(1)])
    write("p", [ids(0), ids(2)])

    def score(line):
        status = cli.main(["score", *line.split()])
        return status, *capsys.readouterr()

    return score


def summary(folder):
    return json.loads(Path(folder, "report.json").read_text())["summary"]


def test_forms_of_one_map_score_the_same(score):
    _, expected, _ = score("p l --num-classes 3")
    Path("colors.txt").write_text("0 0 0 0\n128 0 0 1\n0 128 0 2\n")
    write("color", [COLORS[ids(s)][..., ::-1] for s in (0, 2)], "{}.bmp")
    write("tif", [ids(0), ids(2)], "{}.TIF")
    write("deep", [ids(0).astype(np.uint16), ids(2).astype(np.uint16)])
    write("moved", [ids(0) + 40, ids(2) + 40])
    write("named", [ids(0), ids(2)], "x_{}_pred.png")
    Path("npz").mkdir()
    for name, seed in (("a", 0), ("b", 2)):
        np.savez_compressed(f"npz/{name}.npz", ids=ids(seed).astype(np.int64), other=np.zeros(3))
    with zipfile.ZipFile("p.zip", "w") as archive:
        for name in "ab":
            archive.write(f"p/{name}.png")
    shutil.make_archive("t", "gztar", "p")
    for line in (
        "color l --colors colors.txt",
        "tif l",
        "deep l",
        "npz l --key ids",
        "moved l --map-predictions 40=0,41=1,42=2",
        "named l --pattern x_{name}_pred",
        "named l",
        "p.zip l",
        "t.tar.gz l",
    ):
        status, out, err = score(f"{line} --num-classes 3")
        assert (status, out) == (0, expected), f"{line}: {err}"
        assert err.startswith("note: names are matched" if line == "named l" else "")
    swapped = score("l p --num-classes 3")[1]
    assert score("l p.zip --num-classes 3")[1] == swapped


@pytest.mark.parametrize("more", ["", " --num-classes 2"])
def test_masks_of_255_are_class_1(score, more):
    """The foreground is not what is ignored: a prediction that misses it all is not perfect."""
    write("m", [255 * ids(0, 2), 255 * ids(1, 2)])
    write("none", [0 * ids(0, 2), 0 * ids(1, 2)])
    status, _, err = score(f"none m --out o{more}")
    assert status == 0 and "note: labels hold only 0 and 255, so that 255 is class 1" in err
    assert summary("o")["mIoU"] == pytest.approx(np.mean([ids(0, 2) == 0, ids(1, 2) == 0]) / 2)
    assert "255 is class 1" in json.loads(Path("o/report.json").read_text())["settings"]["notices"]
    status, _, err = score(f"none m --map 255=1 --out q{more}")
    assert (status, err) == (0, "") and summary("q") == summary("o")
    status, _, err = score(f"none m --map-labels 255=255 --out r{more}")
    assert "warning: no label has a pixel of 1; check the number of classes" in err
    assert summary("r")["mIoU"] == 1


def test_absent_classes_are_named_once(score):
    _, _, err = score("p l --num-classes 6")
    assert err == (
        "warning: no label has a pixel of 3, 4, 5; check the number of classes, and what is "
        "ignored\n"
    )
    _, _, err = score("p l --classes ade20k --compare l")
    assert err.count("warning: no label has a pixel of floor, tree, ") == 1
    assert "and 137 more" in err
    assert score("p l --num-classes 3 --ignore 0")[2] == ""  # what is ignored is no class


def test_names_and_colors_of_data_sets(score):
    assert "| aeroplane" in score("p l --classes voc")[1]
    write("color", [COLORS[ids(s)][..., ::-1] for s in (0, 2)])
    _, out, _ = score("color l --colors voc")
    assert "| aeroplane" in out and out == score("p l --classes voc")[1]
    status, _, err = score("color l --colors cityscapes")
    assert status == 2 and "has the color (0, 128, 0), which stands for no class; add it" in err
    status, _, err = score("color l --num-classes 3")
    assert status == 2 and "color/a.png: the image is RGB" in err and "(--colors)" in err
    assert "give a file" in score("p l --classes vok")[2]


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--width 0", "at least 1 wide"),
        ("--tolerances 99999", "99999 pixels are more than the 100"),
        ("--tolerances -1", "must be pixels in ascending order"),
        ("--boundary-iou nan", "neither a fraction"),
        ("--boundary-iou inf", "neither a fraction"),
        ("--boundary-iou -1", "neither a fraction"),
        ("--num-classes 1000000000", "1000000000 classes are more than the 2048"),
        ("--threads -1", "threads: -1 must be at least 1"),
        ("--max-pixels 0", "max_pixels: 0 must be in 1..2147483647"),
        ("--max-pixels 599", "claims 30x20 pixels, more than the 599 that are decoded"),
        ("--map 1:2", "'1:2' is no list of ids such as 255=1,7=0"),
        ("--pattern a.png", "--pattern: 'a.png' must hold {name} once"),
    ],
)
def test_numbers_and_words_out_of_range_are_one_sentence(score, flags, message):
    status, _, err = score(f"p l {flags}")
    assert status == 2 and message in err and "Traceback" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "large, enough",
    [("--width 999999", "--width 61"), ("--width 99999999999999999999", "--width 61"),
     ("--boundary-iou 1e9", "--boundary-iou 30"), ("--boundary-iou 1e300", "--boundary-iou 31")],
)  # fmt: skip
def test_reaches_beyond_the_image_are_the_image(score, large, enough):
    status, out, err = score(f"p l --num-classes 3 {large}")
    assert (status, err) == (0, "")
    assert out == score(f"p l --num-classes 3 {enough}")[1]


def test_names_that_are_no_text_are_reported(score):
    for kind in "pl":
        Path(kind, "a.png").rename(os.fsdecode(kind.encode() + b"/a\xff.png"))
    Path(os.fsdecode(b"p/c\xfe.png")).write_bytes(b"")
    Path(os.fsdecode(b"l/c\xfe.png")).write_bytes(b"")
    status, _, err = score("p l --num-classes 3 --out o --images l --keep-going")
    assert status == 3 and "c\\xfe.png: the file is empty" in err
    assert "a\\xff," in Path("o/per_image.csv").read_text(encoding="utf-8")


def test_what_is_no_file_is_left_out_or_an_error(score):
    os.mkfifo("p/c.png")
    Path("p/d.png").mkdir()
    status, _, err = score("p l --num-classes 3")
    assert status == 2 and err.startswith("error: p/d.png: a folder, though it has the name of a")
    status, _, err = score("p l --num-classes 3 --keep-going")
    assert status == 3 and "left out 2:\n" in err and "p/c.png: a pipe, not a file" in err
