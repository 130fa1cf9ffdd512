"""Several processes on one machine compute what one does, and continue each other's runs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.training.processes import Launch, initialize

WORKER = Path(__file__).parent / "worker.py"
# Four devices in every run, so that each compiles the same program.
CHANGES = {"train.steps": 4, "train.eval_every": 4, "train.log_every": 1, "checkpoint.every": 2}
CHANGES |= {"data.num_eval": 5, "mesh.fsdp": 2, "schedule.warmup_steps": 1}


class Group:
    """Processes that have started the same run."""

    def __init__(self, folder, name, count, **changes):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = f"--xla_force_host_platform_device_count={4 // count}"
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
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
    group = Group(folder, "two", 2)
    metrics = folder / "two" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        assert group.processes[0].poll() is None, group.processes[0].communicate()[1]
        time.sleep(0.01)
    group.processes[1].send_signal(signal.SIGTERM)
    statuses = {process.wait(timeout=300) for process in group.processes}
    assert statuses in ({75}, {0}), [process.communicate()[1] for process in group.processes]
    group.finish(statuses.pop())
    Group(folder, "two", 1).finish()
    check(folder, "two")


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
