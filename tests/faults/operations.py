"""Faults at file operations: a run is killed at one, or one fails, and the run is resumed.

    python tests/faults/operations.py [KILLS [ERRORS]]      writes benchmarks/results/faults.json

Each of these starts of a run ends at an operation that is drawn, of all that write below its
folder; Python's and those of the checkpoint library in C++ alike (`shim.c`). A killed start says
nothing; one with an error has to say one sentence. The next start resumes, and a run that comes to
its end has to have the parameters of the unbroken one, bit by bit.
"""

import collections
import errno
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import killing, nursery  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "faults.json"
KINDS = {"open": 1, "write": 2, "rename": 4, "fsync": 8, "unlink": 16, "mkdir": 32}
ALL = sum(KINDS.values())
# Which operations an error comes from, and whether it stays, as a full disk does.
ERRORS = {
    "ENOSPC": (("write", "open", "mkdir"), True),
    "EDQUOT": (("write", "open", "mkdir"), True),
    "EIO": (("write", "fsync", "rename"), False),
    "EACCES": (("open", "rename", "mkdir"), False),
    "EROFS": (("open", "rename", "unlink", "mkdir"), True),
    "EMFILE": (("open",), False),
    "ENOENT": (("open", "rename", "unlink"), False),
}
CHANGES = {"train.steps": 40, "train.eval_every": 20}


def build(folder):
    """Compiles the shim; None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    path = Path(folder) / "shim.so"
    source = str(Path(__file__).parent / "shim.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(path), source, "-ldl"], check=True
    )
    return path


class Campaign:
    """Runs that are ended at operations, one after the other, until all faults have been tried."""

    def __init__(self, runs, *, seed=0):
        self.runs = runs
        self.chance = random.Random(seed)
        self.tried = collections.Counter()
        self.survived = collections.Counter()
        self.complaints = []
        self._run = 0
        runs.start(
            "unbroken", fault={"at": 10**9, "kinds": ALL, "error": 0, "lasting": 0}, **CHANGES
        )
        assert runs.finish() == 0, runs.errors("unbroken")
        lines = [line.split() for line in runs.lines("unbroken")]
        self.operations = next(int(line[1]) for line in lines if line[0] == "operations")
        self.expected = nursery.final_arrays(runs.folder / "unbroken", CHANGES)

    @property
    def name(self):
        return f"run{self._run}"

    def kill(self):
        """One start of the present run, killed at an operation."""
        at = self.chance.randrange(self.operations // 3)
        self._start("SIGKILL", {"at": at, "kinds": ALL, "error": 0, "lasting": 0}, -9)

    def fail(self, name):
        """One start of the present run, one of whose operations fails."""
        kinds, lasting = ERRORS[name]
        kind = self.chance.choice(kinds)
        # Calls of one kind are fewer than those of all.
        at = self.chance.randrange(self.operations // (12 if kind == "write" else 24))
        number = getattr(errno, name)
        fault = {"at": at, "kinds": KINDS[kind], "error": number, "lasting": int(lasting)}
        self._start(f"{name} in {kind}", fault, 2)

    def finish(self):
        """Lets the present run come to its end, and compares it with the unbroken one."""
        self.runs.start(self.name, **CHANGES)
        status = self.runs.finish()
        if status != 0:
            self._complain("resuming", f"status {status}: {self.runs.errors(self.name)[-2000:]}")
        else:
            self._compare()
        self._run += 1

    def _start(self, what, fault, expected):
        before = len(self._errors())
        self.runs.start(self.name, fault=fault, **CHANGES)
        status, said = self.runs.finish(), self._errors()[before:]
        self.tried[what] += 1
        # Errors in what a run can do without, such as its account of time, end none.
        if status not in (expected, 0):
            self._complain(what, f"{fault}: status {status}: {said}")
        elif "Traceback" in said or (status == 2 and len(_sentences(said)) != 1):
            self._complain(what, f"{fault}: {said}")
        else:
            self.survived[what] += 1
        if status == 0:
            self._compare()
            self._run += 1

    def _compare(self):
        try:
            found = nursery.final_arrays(self.runs.folder / self.name, CHANGES)
            killing.check_equal(self.expected, found)
            killing.check_epochs(
                killing.images_by_step(self.runs.lines(self.name)),
                CHANGES["train.steps"],
                nursery.SMALL["data.num_train"],
            )
        except Exception as error:  # whatever is wrong with it, the others are to be tried
            self._complain("the end", f"{self.name}: {error}")

    def _errors(self):
        path = self.runs.folder / f"{self.name}.log.err"
        return path.read_text() if path.exists() else ""

    def _complain(self, what, text):
        self.complaints.append(f"{what}: {text}")
        tqdm.write(self.complaints[-1])


def _sentences(said):
    """Lines that are neither the headline, the bar nor the scores of a run."""
    lines = [line for line in said.splitlines() if line.strip()]
    usual = ("training:", "step ", "quickstart", "evaluat")
    return [line for line in lines if not line.startswith(usual) and "%|" not in line]


def main(kills, errors):
    begun = time.time()
    with tempfile.TemporaryDirectory() as folder:
        shim = build(folder)
        assert shim is not None, "a C compiler is needed"
        with killing.Nursery(folder, shim=shim) as runs:
            campaign = Campaign(runs)
            for _ in tqdm(range(kills), unit="kill", disable=None):
                campaign.kill()
            campaign.finish()
            for number in tqdm(range(errors), unit="error", disable=None):
                campaign.fail(list(ERRORS)[number % len(ERRORS)])
            campaign.finish()
    result = {
        "operations_of_a_run": campaign.operations,
        "tried": dict(campaign.tried),
        "survived": dict(campaign.survived),
        "lost": sum(campaign.tried.values()) - sum(campaign.survived.values()),
        "complaints": campaign.complaints,
        "minutes": round((time.time() - begun) / 60, 1),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in ("tried", "survived", "lost", "minutes")}))
    return 1 if campaign.complaints else 0


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*(given + [200, 200][len(given) :])))
