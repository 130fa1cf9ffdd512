"""Tells where a run hangs."""

from __future__ import annotations

import faulthandler
import sys
import threading
from typing import TextIO


class Watchdog:
    """Writes the stacks of all threads when nothing has been done for too long.

    It only reports: what waits for a slow disk or another process may still go on.

    Args:
      seconds: that may pass between two calls of `beat`; 0 for no watching.
      file: where to write, stderr by default.

    Example:
      >>> with Watchdog(600.0) as watchdog:
      ...     watchdog.beat("step 1")
    """

    def __init__(self, seconds: float, *, file: TextIO | None = None):
        self.seconds = seconds
        self._file = file
        self._doing = "the start"
        self._beaten, self._over = threading.Event(), False

    def __enter__(self) -> Watchdog:
        if self.seconds:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._beaten.set()
        if self.seconds:
            self._thread.join()

    def beat(self, doing: str) -> None:
        """Starts the clock anew.

        Args:
          doing: what begins now, named in the report.
        """
        self._doing = doing
        self._beaten.set()

    def _watch(self) -> None:
        while not self._over:
            if self._beaten.wait(self.seconds):
                self._beaten.clear()
                continue
            file = self._file or sys.stderr
            print(
                f"warning: {self._doing} takes longer than {self.seconds:g} seconds "
                "(stall_seconds); all threads are at:",
                file=file,
                flush=True,
            )
            faulthandler.dump_traceback(file)
            self._beaten.wait()  # one report for each time it hangs
