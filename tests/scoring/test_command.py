"""The command line for folders, as a person runs it."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from segalias_jax import cli
from segalias_jax.errors import InputError
from segalias_jax.scoring import command, folders
from segalias_jax.scoring.reports import saving
from segalias_jax.scoring.reports.folder import FILES

LINE = "p l --num-classes 3 --out o"


@pytest.fixture
def folder(tmp_path):
    for kind in ("p", "l"):
        (tmp_path / kind).mkdir()
        for name in "ab":
            ids = np.arange(48, dtype=np.uint8).reshape(6, 8) // 16
            cv2.imwrite(str(tmp_path / kind / f"{name}.png"), ids)
    return tmp_path


def start(folder, *words, **streams):
    """Runs the command as a person does."""
    line = [sys.executable, "-m", "segalias_jax", "score", *words]
    streams = streams or {"stdout": subprocess.PIPE}
    return subprocess.run(line, cwd=folder, stderr=subprocess.PIPE, text=True, **streams)


def parse(line):
    return cli.parse_command(["score", *line.split()])[1]


@pytest.fixture
def score(folder, monkeypatch, capsys):
    """Runs the command in this process and returns its exit status and what it wrote."""
    monkeypatch.chdir(folder)

    def score(line):
        status = cli.main(["score", *line.split()])
        return status, *capsys.readouterr()

    return score


def test_command_scores_and_reports(folder):
    (folder / "names.txt").write_text("sky\nroad\n\ntree\n")
    result = start(folder, *LINE.split(), "--classes", "names.txt")
    assert result.returncode == 0, result.stderr
    assert "| 100.00 |" in result.stdout and "tree" in result.stdout
    assert result.stdout.endswith("report: o/report.html\n")
    assert sorted(p.name for p in (folder / "o").iterdir()) == sorted(command.FILES)


def test_reader_of_the_table_may_leave(folder):
    read, write = os.pipe()
    os.close(read)  # what `| head` does, at its earliest
    result = start(folder, *LINE.split(), stdout=write)
    os.close(write)
    assert result.returncode == 141 and "Traceback" not in result.stderr, result.stderr
    assert sorted(p.name for p in (folder / "o").iterdir()) == sorted(command.FILES)


def test_report_is_not_overwritten(score):
    assert score(LINE)[0] == 0
    status, _, err = score(LINE)
    assert status == 2 and "is there already" in err


def test_errors_are_one_line_and_status_2(folder, score):
    (folder / "p" / "a.png").write_bytes(b"")
    status, _, err = score(LINE)
    assert status == 2 and not (folder / "o").exists()
    assert err == "error: p/a.png: the file is empty; copy it again\n"
    status, _, err = score(f"{LINE} --keep-going")
    assert status == command.LEFT_OUT == 3
    assert "left out 1:\n  a: p/a.png: the file is empty" in err


def test_two_folders_are_all_that_is_needed(folder, score):
    """Without --out nothing is written, without --num-classes the maps tell it."""
    status, out, err = score("p l")
    assert (status, err) == (0, "") and not (folder / "o").exists()
    assert out.startswith("3 classes, by the largest id in the maps\nEvery scored pixel is right.")
    assert out.partition("\n")[2] == score("p l --num-classes 3")[1]


@pytest.mark.parametrize(
    "line", ["--predictions p --labels l", "--labels=l --predictions=p", "p --num_classes 3 l"]
)
def test_folders_in_their_places_and_as_flags(score, line):
    number = "" if "num_classes" in line else " --num-classes 3"
    assert score(line + number) == score("p l --num-classes 3")


@pytest.mark.parametrize(
    "line, message",
    [
        ("", "give two folders, PREDICTIONS and LABELS, not 0"),
        ("p", "give two folders, PREDICTIONS and LABELS, not 1"),
        ("p l o", "give two folders, PREDICTIONS and LABELS, not 3"),
        ("--labels l", "give two folders, PREDICTIONS and LABELS, not 1"),
        ("p --labels l", "give PREDICTIONS LABELS, or --predictions and --labels, not both"),
        ("p l --num-classes 0", "num_classes: 0 must be at least 1"),
        ("p l --workdir b", "unknown flag --workdir; segalias score --help"),
    ],
)
def test_what_cannot_be_scored_is_told(score, line, message):
    status, _, err = score(line)
    assert status == 2 and message in err


def write(folder, *maps):
    folder.mkdir(exist_ok=True)
    for name, ids in zip("ab", maps, strict=False):
        np.save(folder / f"{name}.npy", np.asarray(ids, np.int32))


@pytest.mark.parametrize(
    "more, predicted, true, count",
    [
        ("", [[0, 1]], [[0, 4]], 5),
        ("", [[0, 6]], [[0, 255]], 7),  # 255 is ignored
        ("--ignore 4", [[0, 1]], [[0, 4]], 2),
        ("--reduce-zero-label", [[0, 1]], [[0, 4]], 4),  # labels hold k + 1
        ("", [[0, 0]], [[0, 0]], 2),
        ("--compare r", [[0, 1]], [[0, 1]], 9),  # any of the models
    ],
)
def test_number_of_classes_by_the_largest_id(score, tmp_path, more, predicted, true, count):
    write(tmp_path / "q", predicted)
    write(tmp_path / "r", [[0, 8]])
    write(tmp_path / "m", true)
    status, out, err = score(f"q m {more}")
    assert status == 0, err
    assert out.startswith(f"{count} classes, by the largest id in the maps\n")


def test_number_of_classes_that_files_say(score, tmp_path):
    Path("names").write_text("sky\nroad\ntree\nsea\n")
    out = score("p l --classes names")[1]
    assert out.startswith("Every") and "sea" in out
    for folder, name in (("c", "x_leftImg8bit.png"), ("t", "x_gtFine_labelIds.png")):
        (tmp_path / folder).mkdir()
        cv2.imwrite(f"{folder}/{name}", np.full((4, 4), 0 if folder == "c" else 7, np.uint8))
    status, out, err = score("c t")  # Cityscapes' own ids: 7 is road, class 0
    assert status == 0 and "| road " in out and "train" in out, err


def test_files_that_cannot_be_read_are_left_out_of_the_number_too(folder, score):
    (folder / "p" / "a.png").write_bytes(b"")
    assert score("p l")[0] == 2
    status, out, _ = score("p l --keep-going")
    assert status == command.LEFT_OUT and out.startswith("3 classes")


@pytest.mark.parametrize(
    "more, message",
    [
        ("--boundary sobel", "invalid choice: 'sobel'"),
        ("--num-classes x", "invalid int value"),
        ("--speed 3", "unknown flag --speed"),
        ("--tolerances 1,x", "--tolerances: '1,x' is no list of pixels such as 1,3,5"),
    ],
)
def test_wrong_flags_are_told(more, message):
    with pytest.raises(InputError, match=message):
        parse(f"{LINE} {more}")


def test_every_flag_has_its_value():
    for tail in ("--boundary_iou 5 --reduce_zero_label", "--boundary-iou 5 --reduce-zero-label"):
        flags = parse(f"{LINE} --tolerances 2,4 --width 3 --ignore 300 {tail}")
        assert (flags.tolerances, flags.boundary_iou, flags.width) == ((2, 4), 5, 3)
        assert flags.reduce_zero_label and flags.ignore == 300
    assert cli.parse_command(["score", "p", "l", "--tolerances", ""])[1].tolerances == ()


def test_several_models(folder, score):
    shutil.copytree(folder / "p", folder / "q")
    status, out, err = score(f"{LINE} --compare q")
    assert status == 0, err
    assert "q - p" in out and "+0.00 [+0.00, +0.00]" in out
    assert {"p", "q", "report.html"} < {path.name for path in (folder / "o").iterdir()}


def test_all_is_checked_before_anything_is_scored(folder, monkeypatch, score):
    """Another model's folder, the report's folder, names of classes, pictures."""
    monkeypatch.setattr(command, "score_folders", None)
    shutil.copytree("p", "other")
    Path("other/a.png").rename("other/c.png")
    Path("names").write_text("one\ntwo\n")
    for more, message in (
        ("--compare missing", "missing: no such folder"),
        ("--compare other", "other/c.png: no label of this name in l (and 1 more); add it"),
        ("--out names", "names: not a folder; choose"),
        ("--out names/o", "names: not a folder; choose"),
        ("--out /proc/o", "/proc/o: cannot be written "),
        ("--classes names", "names: 2 names for 3 classes; write one name a line"),
        ("--classes missing.txt", "missing.txt: cannot be read (No such file or directory)"),
        ("--images missing", "missing: no such folder"),
    ):
        status, _, err = score(f"{LINE} {more}")
        assert status == 2 and message in err
    Path("pictures").mkdir()
    cv2.imwrite("pictures/z.png", np.zeros((6, 8, 3), np.uint8))
    message = "error: pictures: no picture has the name of a label, such as a"
    assert score(f"{LINE} --images pictures")[2].startswith(message)


def test_labels_that_are_scored_against_themselves_are_told(score):
    status, _, err = score("l l --num-classes 3")
    assert status == 0 and err == "warning: l is the folder of the labels, too\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENAMETOOLONG])
def test_scores_are_printed_before_a_report_that_cannot_be_written(
    folder, score, monkeypatch, number
):
    """Nothing but the counts is left, from which the report is made without scoring again."""

    def full(path, parts):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(saving, "write_parts", full)
        status, out, err = score(LINE)
    assert status == 2 and "mIoU" in out and "report:" not in out
    assert err.startswith(f"error: o: the report cannot be written ({os.strerror(number)})")
    assert "--resume" in err and err.count("\n") == 1
    assert [path.name for path in (folder / "o").iterdir()] == ["unfinished.jsonl"]
    status, _, err = score(LINE)
    assert status == 2 and "o/unfinished.jsonl: an unfinished run is in there; add --resume" in err
    with monkeypatch.context() as patched:
        patched.setattr("segalias_jax.scoring.folders.count_image", None)
        assert score(f"{LINE} --resume")[0] == 0
    assert {path.name for path in (folder / "o").iterdir()} == set(FILES)


def content(folder):
    found = json.loads((folder / "report.json").read_text())
    return {name: value for name, value in found.items() if name not in ("date", "command")}


def test_a_run_that_was_killed_is_resumed(folder, score, monkeypatch):
    """What was counted is not counted again, but for files that have changed."""
    count, counted = folders.count_image, []

    def killed(*args, name, **options):
        if name == "b":
            raise KeyboardInterrupt
        counted.append(name)
        return count(*args, name=name, **options)

    monkeypatch.setattr(folders, "count_image", killed)
    assert score(f"{LINE} --threads 1")[0] == 130
    assert (folder / "o" / "unfinished.jsonl").exists() and counted == ["a"]

    def counting(*args, name, **options):
        counted.append(name)
        return count(*args, name=name, **options)

    monkeypatch.setattr(folders, "count_image", counting)
    status, _, err = score(f"{LINE} --resume --width 3")
    assert status == 2 and "o/unfinished.jsonl: the unfinished run has width 15, not 3" in err
    assert score(f"{LINE} --resume")[0] == 0 and counted == ["a", "b"]
    assert score("p l --num-classes 3 --out whole")[0] == 0
    assert content(folder / "o") == content(folder / "whole")


def test_what_changed_after_a_kill_is_counted_again(folder, score, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(saving, "write_parts", None)
        with pytest.raises(TypeError):
            score(LINE)
    cv2.imwrite("p/b.png", np.zeros((6, 8), np.uint8))
    count, counted = folders.count_image, []

    def counting(*args, name, **options):
        counted.append(name)
        return count(*args, name=name, **options)

    monkeypatch.setattr(folders, "count_image", counting)
    assert score(f"{LINE} --resume")[0] == 0 and counted == ["b"]
    assert score("p l --num-classes 3 --out anew")[0] == 0
    assert content(folder / "o") == content(folder / "anew")


def test_a_second_run_into_a_folder_is_refused_before_work(folder, score, monkeypatch):
    assert score(LINE)[0] == 0
    before = (folder / "o" / "report.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(command, "score_folders", None)
        status, _, err = score(LINE)
    assert status == 2 and "o/report.md: is there already" in err and "--overwrite" in err
    assert (folder / "o" / "report.json").read_bytes() == before
    (folder / "o" / "mine.txt").write_text("mine")
    assert score(f"{LINE} --overwrite")[0] == 0
    assert {path.name for path in (folder / "o").iterdir()} == {*FILES, "mine.txt"}
    for flag in ("--resume", "--overwrite"):
        assert f"{flag}: says what to do with the report in --out" in score(f"p l {flag}")[2]


def test_names_that_are_no_text_are_reported(folder, score):
    """File names are bytes; those that are no UTF-8 are written as such."""
    for kind in "pl":
        os.rename(kind.encode() + b"/a.png", kind.encode() + b"/=\xff|<b>.png")
    (folder / "names").write_text("sky|\n<script>\n=x\n")
    status, out, err = score("p l --classes names --out o")
    assert status == 0, err
    assert r"sky\|" in out and r"\<script>" in out
    table = [line for line in out.splitlines() if line.startswith((r"| sky\|", "| =x"))]
    columns = {line.replace(r"\|", "").count("|") for line in table}
    assert len(table) == 4 and len(columns) == 2  # of two tables, each of them aligned
    names = [image["name"] for image in content(folder / "o")["images"]]
    assert names == ["=\\xff|<b>", "b"]
    assert (folder / "o" / "per_image.csv").read_text().splitlines()[1].startswith("'=\\xff|<b>,")
    html = (folder / "o" / "report.html").read_text()
    assert "<h1><script>" not in html and "<td><script>" not in html


def test_merge_is_a_command_of_reports(folder, score):
    for name in "ab":
        for kind in "pl":
            (folder / f"{kind}{name}").mkdir()
            shutil.copy(f"{kind}/{name}.png", f"{kind}{name}")
        assert score(f"p{name} l{name} --num-classes 3 --out r{name}")[0] == 0
    whole = score("p l --num-classes 3 --out whole")[1]
    status, out, err = score("merge rb ra --out m")
    assert (status, err) == (0, "")
    assert out.replace("report: m/", "report: whole/") == whole
    assert content(folder / "m")["counts"] == content(folder / "whole")["counts"]
    for line, message in (
        ("merge ra rb --out m", "m/report.md: is there already"),
        ("merge", "merge: give the reports of the parts"),
        ("merge ra ra", "image 'a' is in ra, too"),
        ("merge ra rb --width 3", "--width: reports are merged as they were scored"),
        ("merge ra nowhere", "nowhere/report.json: cannot be read"),
    ):
        status, _, err = score(line)
        assert status == 2 and message in err, line


def test_a_closed_pipe_does_not_cost_the_report(folder):
    """segalias score ... --out o | head -0"""
    run = [sys.executable, "-m", "segalias_jax", "score", *LINE.split()]
    with subprocess.Popen(run, cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 141
    assert (folder / "o" / "report.json").exists()
