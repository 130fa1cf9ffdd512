"""The command line for folders, as a person runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring import command as flags

EVAL = Path(__file__).parents[2] / "eval.py"
LINE = "eval.py --predictions p --labels l --num_classes 3 --out o"


@pytest.fixture
def folder(tmp_path):
    for kind in ("p", "l"):
        (tmp_path / kind).mkdir()
        for name in "ab":
            ids = np.arange(48, dtype=np.uint8).reshape(6, 8) // 16
            cv2.imwrite(str(tmp_path / kind / f"{name}.png"), ids)
    return tmp_path


def _run(folder, *more):
    command = [sys.executable, str(EVAL), *LINE.split()[1:], *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_command_scores_and_reports(folder):
    (folder / "names.txt").write_text("sky\nroad\n\ntree\n")
    result = _run(folder, "--classes", "names.txt")
    assert result.returncode == 0, result.stderr
    assert "| 100.00 |" in result.stdout and "tree" in result.stdout
    assert result.stdout.endswith("report: o/report.html\n")
    assert sorted(p.name for p in (folder / "o").iterdir()) == sorted(flags.FILES)
    again = _run(folder)
    assert again.returncode == 2 and "is there already" in again.stderr


def test_reader_of_the_table_may_leave(folder):
    read, write = os.pipe()
    os.close(read)  # what `| head` does, at its earliest
    result = subprocess.run(
        [sys.executable, EVAL, *LINE.split()[1:]], cwd=folder, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert result.returncode == 141 and b"Traceback" not in result.stderr, result.stderr
    assert sorted(p.name for p in (folder / "o").iterdir()) == sorted(flags.FILES)


def test_mistake_is_one_line_and_status_2(folder):
    (folder / "p" / "a.png").write_bytes(b"")
    result = _run(folder)
    assert result.returncode == 2 and not (folder / "o").exists()
    assert result.stderr == "error: p/a.png: the file is empty; copy it again\n"
    result = _run(folder, "--keep-going")
    assert result.returncode == flags.LEFT_OUT == 3
    assert "left out 1:\n  a: p/a.png: the file is empty" in result.stderr


@pytest.mark.parametrize(
    "line, message",
    [
        ("eval.py --predictions a --workdir b", "--workdir scores a trained run, --predictions"),
        ("eval.py --labels=a --config.seed=1", "give one of the two"),
    ],
)
def test_both_forms_at_once_are_an_error(line, message):
    with pytest.raises(InputError, match=message):
        flags.names_folders(line.split())


@pytest.mark.parametrize(
    "more, message",
    [
        ("--boundary sobel", "invalid choice: 'sobel'"),
        ("--num_classes x", "invalid int value"),
        ("--speed 3", "unrecognized arguments: --speed"),
        ("--tolerances 1,x", "--tolerances: '1,x' is no list of pixels such as 1,3,5"),
    ],
)
def test_wrong_flags_are_told(more, message):
    with pytest.raises(InputError, match=message):
        flags.parse(LINE.split() + more.split())


def test_help_lists_the_flags(capsys):
    with pytest.raises(SystemExit):
        flags.parse(["eval.py", "--predictions", "--help"])
    assert "--reduce_zero_label" in capsys.readouterr().out


def test_every_flag_has_its_value():
    line = f"{LINE} --tolerances 2,4 --boundary_iou 5 --width 3 --reduce_zero_label --ignore 300"
    parsed = flags.parse(line.split())
    assert (parsed.tolerances, parsed.boundary_iou, parsed.width) == ((2, 4), 5, 3)
    assert parsed.reduce_zero_label and parsed.ignore == 300
    assert flags.parse([*LINE.split(), "--tolerances", ""]).tolerances == ()


def test_several_models(folder):
    shutil.copytree(folder / "p", folder / "q")
    result = _run(folder, "--compare", "q")
    assert result.returncode == 0, result.stderr
    assert "q - p" in result.stdout and "+0.00 [+0.00, +0.00]" in result.stdout
    assert {"p", "q", "report.html"} < {path.name for path in (folder / "o").iterdir()}


def test_all_is_checked_before_anything_is_scored(folder, monkeypatch, capsys):
    """Another model's folder, the report's folder, names of classes, pictures."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(flags, "score_folders", None)
    shutil.copytree("p", "other")
    Path("other/a.png").rename("other/c.png")
    Path("names").write_text("one\ntwo\n")
    for more, message in (
        ("--compare missing", "^missing: no such folder"),
        ("--compare other", "^other/c.png: no label of this name in l .and 1 more.; add it"),
        ("--out names", "^names: not a folder; choose"),
        ("--out names/o", "^.*names: not a folder; choose"),
        ("--out /proc/o", "^/proc/o: cannot be written .*; choose another folder"),
        ("--classes names", "^names: 2 names for 3 classes; write one name a line"),
        ("--images missing", "^missing: no such folder"),
    ):
        with pytest.raises(InputError, match=message):
            flags.run(LINE.split() + more.split())
    Path("pictures").mkdir()
    cv2.imwrite("pictures/z.png", np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(
        InputError, match="^pictures: no picture has the name of a label, such as a"
    ):
        flags.run([*LINE.split(), "--images", "pictures"])
    with pytest.raises(TypeError):
        flags.run([*LINE.split(), "--predictions", "l"])
    assert capsys.readouterr().err == "warning: l is the folder of the labels, too\n"
