"""Where the time of a run went, over all of its starts."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from segalias_jax.files import write_text

GOODPUT = "goodput.json"
PHASES = ("initialization", "compilation", "data", "steps", "evaluation", "saving")
USEFUL = ("steps", "evaluation")
_MARKS = 20


class Account:
    """Seconds by what the main thread did; at every moment it does one thing.

    Work that a restart has to repeat moves to "lost_to_restarts". The useful share is that of steps
    and evaluation, what the recipe asks for.

    Args:
      folder: of the run, whose `goodput.json` is continued; None for a run that leaves nothing.
      started: when the process began, in seconds of `time.time`; None for now.

    Example:
      >>> import tempfile
      >>> account = Account(Path(tempfile.mkdtemp()), started=time.time() - 3)
      >>> account.start("steps")
      >>> round(account.record()["seconds"]["initialization"])
      3
    """

    def __init__(self, folder: Path | None, *, started: float | None = None):
        self.path = None if folder is None else folder / GOODPUT
        before = _Record() if self.path is None else _read(self.path)
        self.seconds = dict.fromkeys(PHASES, 0.0) | before.seconds
        self.lost = before.lost
        self.starts = before.starts + 1
        self.to_first_step: float | None = None
        self._marks = before.marks
        self._phase = "initialization"
        self._since = self._started = time.time() if started is None else started

    def start(self, phase: str) -> None:
        """Ends what was going on and begins something else.

        Args:
          phase: one of `PHASES`.
        """
        now = time.time()
        # A clock that is set back takes no time from what was done.
        self.seconds[self._phase] += max(now - self._since, 0.0)
        self._phase, self._since = phase, now

    def resume(self, step: int) -> None:
        """Says from where this start goes on: what was done beyond that step is lost.

        Args:
          step: of the checkpoint; 0 where there is none.
        """
        mark = self._marks.get(str(step), dict.fromkeys(USEFUL, 0.0))
        for phase in USEFUL:
            self.lost += max(self.seconds[phase] - mark[phase], 0.0)
            self.seconds[phase] = min(self.seconds[phase], mark[phase])
        self._marks = {key: value for key, value in self._marks.items() if int(key) <= step}

    def mark(self, step: int) -> None:
        """Notes what had been done when a checkpoint was saved.

        Args:
          step: of the checkpoint.
        """
        self.start(self._phase)
        self._marks[str(step)] = {phase: self.seconds[phase] for phase in USEFUL}
        self._marks = dict(list(self._marks.items())[-_MARKS:])

    def stepped(self) -> None:
        """Notes that a step is done; the first one ends the start."""
        if self.to_first_step is None:
            self.to_first_step = time.time() - self._started

    def record(self) -> dict[str, Any]:
        """Returns the account until now."""
        self.start(self._phase)
        total = sum(self.seconds.values()) + self.lost
        return {
            "useful": round(sum(self.seconds[phase] for phase in USEFUL) / max(total, 1e-9), 4),
            "seconds": {phase: round(self.seconds[phase], 3) for phase in PHASES},
            "lost_to_restarts": round(self.lost, 3),
            "starts": self.starts,
            "seconds_to_first_step": _rounded(self.to_first_step),
            "marks": self._marks,
        }

    def write(self) -> None:
        """Writes `goodput.json`, where there is a folder."""
        if self.path is None:
            return
        # No part of the result: where the disk fails, what is one says so.
        with contextlib.suppress(OSError):
            write_text(self.path, json.dumps(self.record(), indent=1) + "\n")


def process_start() -> float | None:
    """Returns when this process began, in seconds of `time.time`; None where nothing tells it.

    Example:
      >>> begun = process_start()
      >>> begun is None or begun <= time.time()
      True
    """
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return None
    return min(time.time() - uptime + ticks / 100, time.time())


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


class _Record(NamedTuple):
    """What earlier starts of a run wrote."""

    seconds: dict[str, float] = {}
    lost: float = 0.0
    starts: int = 0
    marks: dict[str, dict[str, float]] = {}


def _read(path: Path) -> _Record:
    # The record is no part of the result: a run goes on without a damaged one.
    try:
        content = json.loads(path.read_text())
        seconds = {phase: _seconds(content["seconds"][phase]) for phase in PHASES}
        marks = {
            str(int(step)): {phase: _seconds(mark[phase]) for phase in USEFUL}
            for step, mark in content["marks"].items()
        }
        return _Record(seconds, _seconds(content["lost_to_restarts"]), content["starts"] + 0, marks)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _Record()


def _seconds(value: Any) -> float:
    if not 0 <= value < 1e12:  # which nan is not
        raise ValueError("no time")
    return float(value)
