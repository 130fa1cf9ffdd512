"""The other processes of a run: when one of them ends, no other waits for it for ever.

Processes compute together: one that ends alone leaves the others in an operation that never
returns, and the library of the devices either waits or aborts, with a status after which no
scheduler starts the run again. So a thread of each process says every few seconds that it is there,
looks whether its neighbor is, and whether any process has said why it ends. Then this process ends
too: with the status of that one, after one sentence.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, NoReturn

# The only way to the store of messages: jax.distributed can begin and end, no more (as of 0.10.2).
from jax._src import distributed

from segalias_jax.training.interrupts import EXIT_STATUS, Interrupted

BEAT_SECONDS = 1.0
"""Between two signs of life."""

SILENT_SECONDS = 30.0
"""After so long without one a process counts as gone; a compiling or loaded one still gives it."""

_BEAT, _GONE = "segalias_jax/beat/", "segalias_jax/gone/"
_FAREWELL_SECONDS = 5 * BEAT_SECONDS  # in which the others read what was announced
_DONE = "done"


class Companions:
    """Watches the other processes while it is entered; nothing where there is one process.

    An error that leaves it is announced to the others, which end with its status: 75 after a
    signal, else 2. Its text stays with the process that has it.

    Args:
      silent_seconds: after which another process counts as gone; None for `SILENT_SECONDS`.

    Example:
      >>> with Companions() as companions:
      ...     companions.count
      1
    """

    def __init__(self, silent_seconds: float | None = None):
        state = distributed.global_state
        self.count = int(state.num_processes or 1) if state.client is not None else 1
        self.index = int(state.process_id or 0)
        self._silent = SILENT_SECONDS if silent_seconds is None else silent_seconds
        self._client: Any = state.client
        self._coordinator = state.coordinator_address or ""
        self._over = threading.Event()
        self._leaving = False

    def __enter__(self) -> Companions:
        if self.count > 1:
            _when_aborted(self._aborted)
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if self.count == 1:
            return
        if error is not None and not (isinstance(error, Interrupted) and error.agreed):
            if not isinstance(error, ValueError | OSError | Interrupted):
                # What the devices' library raises where another process is gone; who it was shows
                # within that time, and ends this process with the right status.
                time.sleep(self._silent + 2 * BEAT_SECONDS)
            status = EXIT_STATUS if isinstance(error, Interrupted) else 2
            self._leaving = True
            self._set(_GONE + str(self.index), str(status))
            time.sleep(_FAREWELL_SECONDS)
        self._over.set()
        self._thread.join()
        self._set(_BEAT + str(self.index), _DONE)

    def _watch(self) -> None:
        neighbor, last, since = (self.index + 1) % self.count, "", time.monotonic()
        beat = 0
        while not self._over.wait(BEAT_SECONDS):
            beat += 1
            self._set(_BEAT + str(self.index), str(beat))
            try:
                there = self._client.key_value_dir_get(_BEAT)
                gone = self._client.key_value_dir_get(_GONE)
            except Exception:  # the first process is gone, which carries the messages
                there, gone = [], []
            for key, status in gone:
                index = int(key.rsplit("/", 1)[1])
                if index != self.index and not self._over.is_set():
                    self._end(f"process {index} of the run ended", int(status))
            sign = next((value for key, value in there if key == _BEAT + str(neighbor)), "")
            if sign not in (last, ""):
                last, since = sign, time.monotonic()
            silent = time.monotonic() - since
            if silent > self._silent and last != _DONE and not self._over.is_set():
                self._set(_GONE + str(neighbor), str(EXIT_STATUS))
                self._end(
                    f"nothing was heard of process {neighbor} for {silent:.0f} seconds", EXIT_STATUS
                )

    def _set(self, key: str, value: str) -> None:
        try:
            self._client.key_value_set(key, value, allow_overwrite=True)
        except Exception:  # as above
            pass

    def _aborted(self) -> None:
        """Ends with a status to resume by where the abort is for want of the first process."""
        if self._leaving:  # for a reason of its own, which the main thread is about to say
            time.sleep(2 * _FAREWELL_SECONDS)
        host, _, port = self._coordinator.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
        except (OSError, ValueError):
            self._end("process 0 of the run ended", EXIT_STATUS)

    def _end(self, reason: str, status: int) -> NoReturn:
        advice = "the same command resumes the run" if status == EXIT_STATUS else "see its error"
        print(f"error: {reason}, so process {self.index} ends too; {advice}", file=sys.stderr)
        if self.index == 0:  # it carries the messages, and whoever still waits for some would abort
            time.sleep(2 * _FAREWELL_SECONDS)
        end_at_once(status)


def end_at_once(status: int) -> NoReturn:
    """Ends the process without waiting for others, which the library of the devices would do.

    Args:
      status: the exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(status)


_HANDLERS: list[Any] = []  # the functions that the C library holds must not be collected


def _when_aborted(function: Any) -> None:
    """Calls a function when the devices' library aborts the process, in whatever thread that is.

    A handler of Python's own would run in the main thread, after that thread's operation: never.
    """

    def handle(_: int) -> None:
        function()
        faulthandler.dump_traceback()

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(handle)
    _HANDLERS.append(handler)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), handler)
