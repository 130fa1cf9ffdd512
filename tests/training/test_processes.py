"""Several processes on one machine compute what one does, and continue each other's runs."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny

from segalias_jax.errors import InputError
from segalias_jax.training.processes import Launch, initialize

WORKER = Path(__file__).parent / "worker.py"
# Four devices in every run, so that each compiles the same program.
CHANGES = {"train.steps": 6, "train.eval_every": 6, "train.log_every": 1, "checkpoint.every": 2}
CHANGES |= {"data.num_eval": 5, "mesh.fsdp": 2, "schedule.warmup_steps": 1}


class Group:
    """Processes that have started the same run."""

    def __init__(self, folder, name, count, *, fault="", **changes):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = f"{tiny.QUICK_FLAGS} --xla_force_host_platform_device_count={4 // count}"
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        environment["WORKER_FAULT"] = fault  # see worker.py
        environment["JAX_COMPILATION_CACHE_DIR"] = str(folder / f"cache-{count}")
        texts = [f"{key}={json.dumps(value)}" for key, value in (CHANGES | changes).items()]
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", WORKER, folder / name, str(port), str(count)]
                + [str(index), *texts],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(count)
        ]

    def finish(self, expected=0):
        for process in self.processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == expected, errors

    def outcomes(self):
        """Status and standard error of each."""
        errors = [process.communicate(timeout=300)[1] for process in self.processes]
        return list(zip([p.returncode for p in self.processes], errors, strict=True))


def read_lines(folder, name):
    return [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]


def losses(folder, name):
    return [line["loss"] for line in read_lines(folder, name) if "loss" in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the run of one process, "one"."""
    folder = tmp_path_factory.mktemp("processes")
    Group(folder, "one", 1).finish()
    return folder


def check(folder, name):
    np.testing.assert_allclose(losses(folder, name), losses(folder, "one"), rtol=1e-5)
    (scores, expected) = ([x for x in read_lines(folder, n) if "mIoU" in x] for n in (name, "one"))
    # Every image counted once, whoever predicted it; rounding may turn single pixels.
    assert scores[0]["class_pixels"] == expected[0]["class_pixels"]
    np.testing.assert_allclose(scores[0]["aAcc"], expected[0]["aAcc"], atol=2e-3)
    summary = json.loads((folder / name / "report.json").read_text())["summary"]
    assert summary["mIoU"] == scores[0]["mIoU"]


def test_two_processes_compute_what_one_does_and_one_goes_on_from_them(folder):
    # One of the two gets a signal: both save the same step and leave.
    outcomes = Group(folder, "two", 2, fault=f"1:3:{int(signal.SIGTERM)}").outcomes()
    asked = ("a signal to another process", "SIGTERM")
    for (status, errors), who in zip(outcomes, asked, strict=True):
        assert status == 75, errors
        (step,) = re.findall(f"{who}: saved step ([345]); the same command resumes", errors)
        assert (folder / "two" / "checkpoints" / step).is_dir()
    Group(folder, "two", 1).finish()
    check(folder, "two")


SOAK = pytest.mark.skipif(not os.environ.get("SEGALIAS_SOAK"), reason="make soak")


@pytest.mark.parametrize(
    "fault, status, sentence",
    [
        # Whose end, at which step (0: before the first one), by what; of the other process: its
        # status, and what it says.
        (f"0:3:{int(signal.SIGKILL)}", 75, "process 0 of the run ended, so process 1 ends too"),
        ("1:0:error", 2, "process 1 of the run ended, so process 0 ends too; see its error"),
        pytest.param(
            f"1:3:{int(signal.SIGKILL)}", 75, "nothing was heard of process 1 for", marks=SOAK
        ),
        pytest.param(f"1:0:{int(signal.SIGTERM)}", 75, "process 1 of the run ended", marks=SOAK),
        pytest.param("0:0:error", 2, "process 0 of the run ended", marks=SOAK),
        pytest.param("1:3:error", 2, "process 1 of the run ended", marks=SOAK),
    ],
)
def test_no_process_waits_for_one_that_ended_alone(tmp_path, fault, status, sentence):
    outcomes = Group(tmp_path, "run", 2, fault=fault).outcomes()
    who, _, what = fault.split(":")
    ended, errors = outcomes[int(who)]
    assert ended == (2 if what == "error" else {9: -9, 15: 75}[int(what)]), errors
    if what == "error":
        assert errors.count("error: b.png: the file is truncated; copy it again") == 1
    ended, errors = outcomes[1 - int(who)]
    assert ended == status, errors
    assert errors.count(sentence) == 1 and "Traceback" not in errors


@pytest.mark.skipif(not os.environ.get("SEGALIAS_SOAK"), reason="make soak")
def test_four_processes_and_their_checkpoint_on_two_and_one(folder):
    Group(folder, "four", 4).finish()
    check(folder, "four")
    # Steps 3 and 4 by fewer processes, from the checkpoint of step 2.
    for count in (2, 1):
        name = f"four then {count}"
        group = Group(folder, name, 4)
        while not (folder / name / "checkpoints" / "2").exists():
            assert group.processes[0].poll() is None
            time.sleep(0.01)
        for process in group.processes:
            process.kill()
            process.communicate()
        Group(folder, name, count).finish()
        check(folder, name)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"process_id": 0}, "--num-processes and --process-id need --coordinator"),
        ({"coordinator": "auto", "num_processes": 2}, "--coordinator=auto learns .*; leave them"),
        ({"coordinator": "h:1"}, "--coordinator=h:1 needs --num-processes and a --process-id"),
        ({"coordinator": "h:1", "num_processes": 2, "process_id": 2}, "--process-id below it"),
    ],
)
def test_flags_that_do_not_go_together(options, message):
    with pytest.raises(InputError, match=message):
        initialize(Launch(**options))
