"""Kills a run at random moments, and compares what comes out with the unbroken one."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

HERE = Path(__file__).parent
# Phases, and up to how many seconds after the beginning of one a signal is sent. Checkpoints are
# written in the background long after their phase is over.
MOMENTS = {"steps": 0.02, "saving": 0.3, "evaluation": 0.2, "data": 0.01}


class Nursery:
    """A process that starts runs, see `nursery.py`."""

    def __init__(self, folder, *, shim=None):
        self.folder = Path(folder)
        environment = os.environ | {
            "FAULTS_CACHE": str(self.folder / "cache"),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "",
            "LD_PRELOAD": str(shim) if shim else "",
            "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)]),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def start(self, name, *, fault=None, **changes):
        """Starts or goes on with the run of that name; `finish` has to follow.

        `fault` says at which file operation what happens, see `shim.c`.
        """
        request = {
            "fault": fault,
            "workdir": str(self.folder / name),
            "log": str(self.folder / f"{name}.log"),
            "changes": {key.replace("__", "."): value for key, value in changes.items()},
        }
        return self._ask(request)

    def start_command(self, name, words, folder, *, fault=None):
        """Starts `segalias` with such words in a folder; `finish` has to follow."""
        log = str(self.folder / f"{name}.log")
        return self._ask({"words": words, "folder": str(folder), "log": log, "fault": fault})

    def _ask(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def finish(self):
        """Waits for the run's end and returns its status."""
        return int(self._process.stdout.readline())

    def errors(self, name):
        return (self.folder / f"{name}.log.err").read_text()

    def lines(self, name):
        path = self.folder / f"{name}.log"
        return path.read_text().splitlines() if path.exists() else []


def kill_at_random(nursery, name, pid, moment, chance, number):
    """Waits for a phase to begin, once or a few times, and sends the signal soon after that."""
    times = {"steps": chance.randint(1, 7), "data": chance.randint(1, 7)}.get(moment, 1)
    seen = nursery.lines(name).count(f"phase {moment}")
    while nursery.lines(name).count(f"phase {moment}") < seen + times:
        if ended(pid) or nursery.lines(name)[-1:] == ["end"]:
            return
        time.sleep(0.001)
    time.sleep(MOMENTS[moment] * chance.random())
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def run_killed(nursery, name, *, kills, seed=0, number=signal.SIGKILL, expected=-9, **changes):
    """Kills a run so many times, in all phases alike, then lets it end."""
    chance = random.Random(seed)
    moments = list(MOMENTS) * -(-kills // len(MOMENTS))
    # A bar on terminals only.
    for moment in tqdm(chance.sample(moments, kills), unit="kill", disable=None):
        pid = nursery.start(name, **changes)
        kill_at_random(nursery, name, pid, moment, chance, number)
        status = nursery.finish()
        assert status == expected, f"status {status}: {nursery.errors(name)}"
    nursery.start(name, **changes)
    status = nursery.finish()
    assert status == 0, nursery.errors(name)


def images_by_step(lines):
    """Names of the images of every step; a step that was repeated must have had the same."""
    seen = {}
    for line in lines:
        kind, *words = line.split()
        if kind == "images":
            step, names = int(words[0]), words[1:]
            assert seen.setdefault(step, names) == names, f"step {step} had other images before"
    return seen


def check_epochs(seen, steps, images):
    """Every image exactly once per epoch."""
    assert sorted(seen) == list(range(1, steps + 1))
    order = [name for step in sorted(seen) for name in seen[step]]
    for first in range(0, len(order) - images + 1, images):
        assert len(set(order[first : first + images])) == images


def check_equal(one, other):
    assert one.keys() == other.keys()
    for path, array in one.items():
        np.testing.assert_array_equal(array, other[path], err_msg=path, strict=True)
