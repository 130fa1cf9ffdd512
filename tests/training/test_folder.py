"""The folder of a run while it is at work: its lock and its record of numbers."""

import os
import shutil

import pytest

from segalias_jax.errors import InputError
from segalias_jax.training.folder import MetricsLog, RunFolder, RunLock, check_none_damaged

STEPS = {"step": 2, "loss": 1.0, "images_per_second": 3.0}


def test_record_resumes_at_a_step_and_skips_torn_lines(tmp_path):
    log = MetricsLog(tmp_path, step=0)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": float("nan"), "IoU": [0.5, float("inf")]})
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    kept = MetricsLog(tmp_path, step=2).lines()
    assert kept == [{"step": step, "loss": None, "IoU": [0.5, None]} for step in (1, 2)]


def test_validation_that_was_not_finished_is_repeated(tmp_path):
    log = MetricsLog(tmp_path, step=0)
    for line in ({"step": 1, "mIoU": 0.5}, STEPS, {"step": 2, "loss": 0.5}):
        log.write(line)
    assert len(MetricsLog(tmp_path, step=2).lines()) == 3
    kept = MetricsLog(tmp_path, step=2, validated=False).lines()
    assert kept == [{"step": 1, "mIoU": 0.5}, STEPS]


def test_second_owner_is_refused_until_the_first_ends(tmp_path):
    with RunLock(tmp_path / "run"):
        with pytest.raises(InputError, match=f"run is in use by process {os.getpid()}; wait for"):
            RunLock(tmp_path / "run")
    with RunLock(tmp_path / "run"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        RunLock(tmp_path / "file" / "run")


def test_folder_is_locked_once_and_rid_of_what_a_killed_process_left(tmp_path):
    left = tmp_path / ".goodput.json.123.tmp"
    left.write_text("half")
    with RunFolder(tmp_path) as folder:
        folder.lock()
        folder.lock()
        assert not left.exists()
        with pytest.raises(InputError, match="is in use by process"):
            RunLock(tmp_path)
    with RunLock(tmp_path):
        pass


@pytest.mark.parametrize(
    "damage", [b"\0\0\0\n", b"\xff\xfe}\n", b"7}\n", b'{"loss": 1}\n', b"[1]\n"]
)
def test_damaged_lines_are_skipped(tmp_path, damage):
    lines = [b'{"step": 1}\n', b'{"step": 2}\n']
    (tmp_path / "metrics.jsonl").write_bytes(lines[0] + damage + lines[1])
    log = MetricsLog(tmp_path, step=2)
    assert [line["step"] for line in log.lines()] == [1, 2]


@pytest.mark.parametrize("change", ["moved", "deleted", "replaced"])
def test_a_folder_that_is_no_longer_there_is_noticed(tmp_path, change):
    with RunFolder(tmp_path / "run") as folder:
        folder.lock()
        folder.check()
        if change == "deleted":
            shutil.rmtree(tmp_path / "run")
        else:
            (tmp_path / "run").rename(tmp_path / "moved")
        if change == "replaced":
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / ".lock").touch()
        with pytest.raises(InputError, match="run is no longer the folder that this run began in"):
            folder.check()


def test_damaged_checkpoints_are_not_begun_over(tmp_path):
    (tmp_path / "checkpoints" / "damaged-20").mkdir(parents=True)
    with pytest.raises(InputError, match=r"all checkpoints in .* are damaged \(damaged-20\); put"):
        check_none_damaged(tmp_path)
