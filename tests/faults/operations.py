"""Faults at file operations: a run is killed at one, or one fails, and the run is resumed.

    python tests/faults/operations.py [KILLS [ERRORS]] [--folder FOLDER [--part NAME]]

Each start of a run ends at an operation that is drawn, of all that write below its folder;
Python's and those of the checkpoint library in C++ alike (`shim.c`). A killed start says nothing;
one with an error has to say one sentence. The next start resumes, and a run that comes to its end
has to have the parameters of the unbroken one, bit by bit. A start that ends before it reaches the
drawn operation has tried nothing: it is counted as such, and drawn again.

Writes benchmarks/results/faults.json, anew after each run. In a FOLDER that stays, what was tried
stays, too (`records.jsonl`), and the same command goes on from there; commands with parts of
different names may work in one folder at the same time, and the result is that of all parts.
"""

import argparse
import collections
import errno
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import killing, nursery  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "faults.json"
# In the order of their bits, see `shim.c`.
KINDS = {"open": 1, "write": 2, "rename": 4, "fsync": 8, "unlink": 16, "mkdir": 32}
# Whether an error stays once it is there, as a full disk does.
ERRORS = {
    "ENOSPC": True,
    "EDQUOT": True,
    "EIO": False,
    "EACCES": False,
    "EROFS": True,
    "EMFILE": False,
    "ENOENT": False,
}
CHANGES = {"train.steps": 40, "train.eval_every": 20}
NEVER = 10**9
SIGNAL = -9


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
    """Runs that are ended at operations, one after the other, until all faults have been tried.

    Each start leaves a record: its run, what was to happen, what was reached (nothing, or the
    operation and its file), and the complaint, if there is one. So does the end of each run.
    """

    def __init__(self, runs):
        self.runs = runs
        self.path = Path(runs.folder) / "records.jsonl"
        self.records = read_records(self.path)
        # A run whose campaign was interrupted is left as it is: its starts have proved nothing.
        self._run = 1 + max((record["run"] for record in self.records), default=0)
        self.chance = random.Random(f"{self.path.parent.name} {len(self.records)}")
        unbroken = f"unbroken{self._run}"
        runs.start(unbroken, fault=describe(NEVER, KINDS, 0), **CHANGES)
        assert runs.finish() == 0, runs.errors(unbroken)
        lines = [line.split() for line in runs.lines(unbroken)]
        counts = next(line[1:] for line in lines if line[0] == "operations")
        self.operations = dict(zip(KINDS, map(int, counts), strict=True))
        self.expected = nursery.final_arrays(runs.folder / unbroken, CHANGES)
        self._tried = collections.Counter()

    @property
    def complaints(self):
        return [record["complaint"] for record in self.records if record["complaint"]]

    def kill(self):
        """One start of the present run, killed at an operation."""
        # Within the first third, for a run that is hardly begun shows nothing of resuming.
        at = self.chance.randrange(sum(self.operations.values()) // 3)
        self._start("SIGKILL", describe(at, KINDS, 0), SIGNAL)

    def fail(self):
        """One start of the present run, one of whose operations fails; all pairs alike."""
        pairs = [(name, kind) for name in ERRORS for kind in KINDS if self.operations[kind]]
        self.chance.shuffle(pairs)
        name, kind = min(pairs, key=self._tried.__getitem__)
        self._tried[name, kind] += 1
        self.fail_at(name, kind, self.chance.randrange(-(-self.operations[kind] // 3)))

    def fail_at(self, name, kind, at):
        """The same with the operation given."""
        fault = describe(at, [kind], getattr(errno, name), lasting=ERRORS[name])
        self._start(f"{name} in {kind}", fault, 2)

    def finish(self):
        """Lets the present run come to its end, and compares it with the unbroken one."""
        self.runs.start(self._name, **CHANGES)
        status = self.runs.finish()
        said = self._read(".log.err")[-2000:]
        self._end("" if status == 0 else f"resuming: status {status}: {said}")

    @property
    def _name(self):
        return f"run{self._run}"

    def _start(self, what, fault, expected):
        before, marks = len(self._read(".log.err")), len(self._read(".log.reached"))
        self.runs.start(self._name, fault=fault, **CHANGES)
        status, said = self.runs.finish(), self._read(".log.err")[before:]
        reached = self._read(".log.reached")[marks:].strip()
        # Errors in what a run can do without, such as its account of time, end none.
        allowed = {0} if not reached else {expected} if expected == SIGNAL else {expected, 0}
        complaint = ""
        if status not in allowed:
            complaint = f"{what}: {fault} {reached}: status {status}: {said}"
        elif "Traceback" in said or (status == 2 and len(_sentences(said)) != 1):
            complaint = f"{what}: {fault} {reached}: {said}"
        reached = reached.replace(f"{self.runs.folder}/", "")
        self._record(what=what, fault=fault, reached=reached, status=status, complaint=complaint)
        if status == 0:
            self._end("")

    def _end(self, complaint):
        try:
            found = complaint or nursery.final_arrays(self.runs.folder / self._name, CHANGES)
            if not complaint:
                killing.check_equal(self.expected, found)
                killing.check_epochs(
                    killing.images_by_step(self.runs.lines(self._name)),
                    CHANGES["train.steps"],
                    nursery.SMALL["data.num_train"],
                )
        except Exception as error:  # whatever is wrong with it, the others are to be tried
            complaint = f"{self._name}: {error}"
        self._record(what="end", complaint=complaint)
        if not complaint:
            shutil.rmtree(self.runs.folder / self._name)
        self._run += 1

    def _record(self, **record):
        self.records.append({"run": self._run, **record})
        with open(self.path, "a") as file:
            file.write(json.dumps(self.records[-1]) + "\n")
        if record["complaint"]:
            tqdm.write(record["complaint"])

    def _read(self, suffix):
        path = self.runs.folder / f"{self._name}{suffix}"
        return path.read_text() if path.exists() else ""


def describe(at, kinds, error, *, lasting=False):
    """A fault as `shim.c` takes it."""
    which = sum(KINDS[kind] for kind in kinds)
    return {"at": at, "kinds": which, "error": error, "lasting": int(lasting)}


def read_records(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def summarize(records):
    """Counts by category, of runs that came to their end; one that was lost loses its starts."""
    ends = {record["run"]: record for record in records if record["what"] == "end"}
    counts = {key: collections.Counter() for key in ("tried", "reached", "survived")}
    for record in records:
        if record["what"] == "end" or record["run"] not in ends:
            continue
        # A kill is of any kind; which one is known once it is reached.
        what = record["what"]
        if what == "SIGKILL" and record["reached"]:
            what = f"SIGKILL in {record['reached'].split()[0]}"
        survived = not record["complaint"] and not ends[record["run"]]["complaint"]
        counts["tried"][what] += 1
        counts["reached"][what] += bool(record["reached"])
        counts["survived"][what] += bool(record["reached"]) and survived
    reached, survived = sum(counts["reached"].values()), sum(counts["survived"].values())
    complaints = [record["complaint"] for record in records if record["complaint"]]
    lost = max(reached - survived, len(complaints))
    return {key: dict(sorted(count.items())) for key, count in counts.items()} | {
        "runs": len(ends),
        "lost": lost,
        "complaints": complaints,
    }


def _sentences(said):
    """Lines that are neither the headline, the bar nor the scores of a run."""
    lines = [line for line in said.splitlines() if line.strip()]
    usual = ("training:", "step ", "quickstart", "evaluat")
    return [line for line in lines if not line.startswith(usual) and "%|" not in line]


def conduct(folder, number, act):
    """Starts runs in a folder until so many faults have been reached in runs that have ended."""
    folder.mkdir(parents=True, exist_ok=True)
    reached = sum(summarize(read_records(folder / "records.jsonl"))["reached"].values())
    if reached >= number:
        return
    shim = build(folder)
    assert shim is not None, "a C compiler is needed"
    with killing.Nursery(folder, shim=shim) as runs, tqdm(total=number, disable=None) as bar:
        campaign = Campaign(runs)
        while reached < number:
            bar.update(reached - bar.n)
            # Runs end often enough that an interruption of the campaign costs little of it.
            run = campaign._run
            for _ in range(min(8, number - reached)):
                act(campaign)
                if campaign._run != run:
                    break
            else:
                campaign.finish()
            reached = sum(summarize(campaign.records)["reached"].values())
            write_result(folder.parent)


def write_result(folder):
    records = []
    for number, path in enumerate(sorted(folder.glob("*/records.jsonl"))):
        # Runs of the kills and of the errors are counted apart.
        records += [record | {"run": (number, record["run"])} for record in read_records(path)]
    result = summarize(records)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main(kills, errors, folder, part):
    conduct(folder / f"kills{part}", kills, Campaign.kill)
    conduct(folder / f"errors{part}", errors, Campaign.fail)
    result = write_result(folder)
    print(json.dumps(result))
    return 1 if result["lost"] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kills", nargs="?", type=int, default=200)
    parser.add_argument("errors", nargs="?", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(given.kills, given.errors, given.folder or Path(temporary), given.part))
