"""The folder of a run while it is at work: its lock, its numbers, its signals and its time."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segalias_jax.checkpoints.store import DAMAGED
from segalias_jax.errors import InputError
from segalias_jax.files import write_text
from segalias_jax.training.goodput import Account
from segalias_jax.training.interrupts import Interrupts
from segalias_jax.training.processes import is_first, wait_for_all

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"
SPEED = "images_per_second"
"""In every line of training steps, and in none of a validation."""


class RunFolder:
    """A run's folder, from the first check to the last report.

    While it is entered, signals are listened to. `lock` keeps other processes out from then on; a
    folder that is looked at earlier may still be another process's.

    Args:
      path: of the folder; None for a run that leaves nothing.
      started: when the process began, in seconds of `time.time`; None for now.

    Attributes:
      path: of the folder, or None.
      account: where the run's time goes.
      interrupts: signals to it.

    Example:
      >>> import tempfile
      >>> with RunFolder(Path(tempfile.mkdtemp()) / "run") as folder:
      ...     folder.lock()
      ...     folder.path.is_dir()
      True
    """

    def __init__(self, path: Path | None, *, started: float | None = None):
        self.path = path
        self.account = Account(path, started=started)
        self.interrupts = Interrupts()
        self._lock: RunLock | None = None
        self._locked = False

    def __enter__(self) -> RunFolder:
        self.interrupts.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._lock is not None:
                self._lock.__exit__()
        finally:
            self.interrupts.__exit__(*error)

    def check(self) -> None:
        """Raises where the path is no longer the folder that was locked.

        Raises:
          InputError: it was moved, deleted or replaced; what would be written now is lost.
        """
        if self._lock is not None and not self._lock.holds():
            raise InputError(
                f"{self.path} is no longer the folder that this run began in: it was moved, "
                "deleted or replaced; move it back, then run the same command again"
            )

    def lock(self) -> None:
        """Keeps other processes out, once; of many processes of one run the first has the lock.

        Raises:
          InputError: another process has it, or the folder cannot be written.
        """
        if self._locked or self.path is None:
            return
        if is_first():
            self._lock = RunLock(self.path)
            for left in self.path.glob(".*.tmp"):  # by a process that was killed while it wrote
                left.unlink(missing_ok=True)
        wait_for_all("lock")
        self._locked = True


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether a run has saved a whole state.

    Args:
      workdir: folder of the run; may be missing.

    Example:
      >>> has_checkpoint(Path("missing"))
      False
    """
    return any(path.name.isdecimal() for path in (workdir / CHECKPOINTS).glob("*"))


def check_none_damaged(workdir: Path) -> None:
    """Raises where all checkpoints of a run were damaged: it must not silently begin again.

    Args:
      workdir: folder of a run without a whole checkpoint; may be missing.

    Raises:
      InputError: an earlier start has set checkpoints aside.

    Example:
      >>> check_none_damaged(Path("missing"))
    """
    damaged = sorted(path.name for path in (workdir / CHECKPOINTS).glob(f"{DAMAGED}*"))
    if damaged:
        raise InputError(
            f"all checkpoints in {workdir / CHECKPOINTS} are damaged ({', '.join(damaged)}); put "
            "one back from a copy, take another folder, or delete them to begin at step 0"
        )


class RunLock:
    """Keeps a second process out of a folder; the lock ends with its owner, however it ends.

    Args:
      workdir: folder of the run; made when missing.

    Raises:
      InputError: another process has the lock, or the folder cannot be written.

    Example:
      >>> import tempfile
      >>> with RunLock(Path(tempfile.mkdtemp())) as lock:
      ...     lock.path.name
      '.lock'
    """

    def __init__(self, workdir: Path):
        self.path = workdir / LOCK
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+")
        except OSError as error:
            raise InputError(
                f"cannot write to the folder {workdir}: {error.strerror}; take another"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip()
            self._file.close()
            raise InputError(
                f"{workdir} is in use by process {owner}; wait for its end or take another folder"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def holds(self) -> bool:
        """Returns whether the lock's file is still where it was."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except OSError:
            return False

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class MetricsLog:
    """Appends lines of numbers to `metrics.jsonl`.

    Args:
      workdir: folder of the run.
      step: lines of later steps are dropped: the run goes on from here.
      validated: whether the validation of that step is complete; else its line is dropped too.

    Example:
      >>> import tempfile
      >>> log = MetricsLog(Path(tempfile.mkdtemp()), step=0)
      >>> log.write({"step": 10, "loss": 0.5})
      >>> log.lines()
      [{'step': 10, 'loss': 0.5}]
    """

    def __init__(self, workdir: Path, *, step: int, validated: bool = True):
        self.path = workdir / METRICS
        kept = [line for line in self.lines() if line["step"] <= step]
        if not validated:
            kept = [line for line in kept if line["step"] < step or SPEED in line]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends one line; numbers that JSON lacks (nan, infinities) become null."""
        clean = {key: finite_or_none(value) for key, value in line.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(clean) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """Returns all lines; one that a killed process or a power cut left damaged is skipped."""
        if not self.path.exists():
            return []
        return [line for text in self._texts() if (line := _line(text)) is not None]

    def _texts(self) -> list[str]:
        try:
            return self.path.read_text(errors="replace").splitlines()
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from None


def _line(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
        return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None
    except (ValueError, RecursionError):
        return None


def finite_or_none(value: Any) -> Any:
    """Returns a value of a line as JSON can hold it: None for nan and infinities.

    Example:
      >>> finite_or_none([1.0, float("nan")])
      [1.0, None]
    """
    if isinstance(value, list):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
