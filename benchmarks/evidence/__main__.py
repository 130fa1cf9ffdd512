"""Runs the plan of trainings, one after the other, and summarizes what is there.

    python -m benchmarks.evidence [--only PATTERN] [--budget-minutes M] [--workdir DIR]
    python -m benchmarks.evidence --list
    python -m benchmarks.evidence --summarize

Data sets lie below SEGALIAS_DATA. Each finished run is a file in `results/evidence/`, and is not
run again. Stopped in any way, the same command resumes the run that was interrupted. After each
run, and by `--summarize`, docs/evidence.md and its pictures are written from these files alone.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence import document
from benchmarks.evidence.plan import Experiment, experiments
from segalias_jax.errors import InputError
from segalias_jax.files import write_text

RESULTS = Path(__file__).parents[1] / "results" / "evidence"
INTERRUPTED = 75
"""Exit status where a signal or the end of the budget stopped a run: the same command resumes."""

Measure = Callable[[Experiment, Path], dict[str, Any]]


def selected(plan: Sequence[Experiment], pattern: str) -> list[Experiment]:
    """Returns the experiments whose name, or a beginning of it, fits a pattern of the shell.

    Example:
      >>> len(selected(experiments(), "drawn/*/0"))
      6
    """
    return [
        one
        for one in plan
        if fnmatch.fnmatch(one.name, pattern) or fnmatch.fnmatch(one.name, f"{pattern}/*")
    ]


def run_plan(
    plan: Sequence[Experiment],
    results: Path,
    workdir: Path,
    measure: Measure,
    finished: Callable[[], None] = lambda: None,
) -> int:
    """Runs what is not finished, and goes on after one that fails.

    Args:
      plan: what is to be there in the end.
      results: folder of a file for each.
      workdir: folder of a folder for each, in which an interrupted one resumes.
      measure: does one, and returns what its file holds.
      finished: called after each file.

    Returns:
      How many failed.
    """
    results.mkdir(parents=True, exist_ok=True)
    missing = [one for one in plan if not (results / f"{one.stem}.json").exists()]
    print(f"evidence: {len(plan) - len(missing)} of {len(plan)} runs are finished", flush=True)
    failed, seconds = 0, []
    for number, one in enumerate(missing):
        left = sum(seconds) / len(seconds) * (len(missing) - number) if seconds else 0
        about = f", about {left / 60:.0f} min left" if left else ""
        done = len(plan) - len(missing) + number
        print(f"evidence: run {done + 1} of {len(plan)}, {one.name}{about}", flush=True)
        began = time.monotonic()
        try:
            content = measure(one, workdir / one.folder)
            write_text(results / f"{one.stem}.json", json.dumps(content) + "\n")
            finished()
        except InputError as error:
            print(f"evidence: {one.name} failed: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        except Exception:  # a plan of days does not end with one run that does
            traceback.print_exc()
            failed += 1
            continue
        seconds.append(time.monotonic() - began)
    return failed


def main() -> int:
    """Reads the command line and does what it says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="*", metavar="PATTERN", help='such as "drawn/daf*"')
    parser.add_argument("--budget-minutes", type=float, metavar="M", help="stop after so many")
    parser.add_argument("--workdir", type=Path, default=Path("runs/evidence"), help="of all runs")
    parser.add_argument("--list", action="store_true", help="list the plan and what is finished")
    parser.add_argument("--summarize", action="store_true", help="write docs/evidence.md")
    given = parser.parse_args()
    plan = selected(experiments(), given.only)
    if not plan:
        parser.error(f"--only: no run fits {given.only!r}; --list shows their names")
    if given.list:
        for one in plan:
            done = (RESULTS / f"{one.stem}.json").exists()
            print(f"{'finished' if done else 'missing':10}{one.name}")
        return 0
    if given.summarize:
        document.write(RESULTS)
        return 0
    from benchmarks.evidence.measure import run
    from segalias_jax.training.interrupts import Interrupted

    if given.budget_minutes is not None:
        # Training saves its state at this signal; anything else is done again.
        alarm = threading.Timer(60 * given.budget_minutes, os.kill, (os.getpid(), signal.SIGTERM))
        alarm.daemon = True
        alarm.start()
    try:
        # The page is always that of the files that are there.
        page = functools.partial(document.write, RESULTS)
        return int(run_plan(plan, RESULTS, given.workdir, run, page) > 0)
    except Interrupted as interrupted:
        print(f"evidence: {interrupted}; the same command resumes", flush=True)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
