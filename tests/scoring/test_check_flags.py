"""`--fail-under` and `--baseline`, from the command line to the exit status."""

import json

import cv2
import numpy as np
import pytest

from segalias_jax import cli


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("gt", "far", "near"):
        (tmp_path / kind).mkdir()
    for index in range(8):
        label = rng.integers(0, 3, (5, 6)).repeat(9, 0).repeat(9, 1).astype(np.uint8)
        for kind, shift in (("gt", 0), ("far", 3), ("near", 1)):
            cv2.imwrite(str(tmp_path / kind / f"{index}.png"), np.roll(label, shift, 0))
    (tmp_path / "classes.txt").write_text("road\ntraffic light\nsky\n")
    return tmp_path


def _score(folders, name, *flags):
    words = (str(folders / name), str(folders / "gt"), f"--classes={folders / 'classes.txt'}")
    return cli.main(["score", *words, *flags])


def test_a_failed_limit_has_a_status_of_its_own_after_table_and_report(folders, capsys):
    out = f"--out={folders / 'out'}"
    assert _score(folders, "near", "--fail-under=mIoU=50", "--fail-under=DErr=90") == 0
    assert capsys.readouterr().err == ""
    limits = ("--fail-under=mIoU=99", "--fail-under=IoU:traffic light=98", "--fail-under=aDErr=1")
    assert _score(folders, "near", out, *limits, "--fail-under=aAcc=1") == 4
    text = capsys.readouterr()
    summary = json.loads((folders / "out" / "report.json").read_text())["summary"]
    iou = json.loads((folders / "out" / "report.json").read_text())["classes"][1]["IoU"]
    assert text.err == (
        f"failed: mIoU is {100 * summary['mIoU']:.2f}, below 99; IoU:traffic light is "
        f"{100 * iou:.2f}, below 98; aDErr is {100 * summary['aDErr']:.2f}, above 1\n"
    )
    assert "| mIoU" in text.out and (folders / "out" / "report.html").is_file()


def test_limits_hold_for_every_model_and_for_merged_reports(folders, capsys):
    compare = ("--compare", str(folders / "near"))
    assert _score(folders, "far", *compare, "--fail-under=mIoU=75") == 4
    assert capsys.readouterr().err.startswith("failed: far: mIoU is ")
    assert _score(folders, "far", f"--out={folders / 'out'}") == 0
    words = ["score", "merge", str(folders / "out"), "--fail-under", "mIoU=75"]
    assert cli.main(words) == 4


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--fail-under=mIoUs=3", "--fail-under is 'mIoUs'; did you mean 'mIoU'"),
        ("--fail-under=IoU:car=3", "--fail-under IoU is 'car'; choose one of road, traffic light"),
        ("--fail-under=mIoU", "'mIoU' is no limit"),
        ("--baseline=missing.json", "missing.json: cannot be read"),
    ],
)
def test_errors_come_before_anything_is_scored(folders, capsys, flag, message):
    assert _score(folders, "near", f"--out={folders / 'out'}", flag) == 2
    text = capsys.readouterr()
    assert message in text.err and text.err.count("\n") == 1 and text.out == ""
    assert not (folders / "out").exists()


def test_changes_since_an_earlier_report_are_printed_and_written(folders, capsys):
    before, now = folders / "before", folders / "now"
    assert _score(folders, "far", f"--out={before}") == 0
    capsys.readouterr()
    baseline = f"--baseline={before / 'report.json'}"
    assert _score(folders, "near", f"--out={now}", baseline) == 0
    text = capsys.readouterr().out
    assert "on the 8 images of both." in text
    content = json.loads((now / "baseline.json").read_text())
    scores = [
        json.loads((folder / "report.json").read_text())["summary"]["mIoU"]
        for folder in (before, now)
    ]
    row = content["scores"][1]
    assert row["difference"] == pytest.approx(scores[1] - scores[0], abs=1e-12)
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    assert row["clear"] and "IoU of the classes that changed clearly" in text
    # A second run into the same folder, other rules, other images, other classes.
    assert _score(folders, "near", f"--out={now}", baseline) == 2
    assert _score(folders, "near", f"--out={now}", "--overwrite", baseline) == 0
    assert _score(folders, "near", baseline, "--width=9") == 2
    assert "was scored with width 15, not 9; score both alike" in capsys.readouterr().err
    (folders / "classes.txt").write_text("road\nbus\nsky\n")
    assert _score(folders, "near", baseline) == 2
    assert "has a class 'traffic light' where there is 'bus' now" in capsys.readouterr().err
    assert _score(folders, "near", baseline, "--compare", str(folders / "far")) == 2
    assert "leave out --compare" in capsys.readouterr().err
