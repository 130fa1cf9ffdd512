"""Signals: the first one asks a run to save and leave, the second one ends it at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

EXIT_STATUS = 75
"""What `train.py` ends with after a signal, EX_TEMPFAIL: the same command goes on."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SAME_SECONDS = 0.5
"""Signals that follow the first one so soon are the same request: `timeout`, and terminals with a
wrapper in between, send theirs both to the process and to its group."""


class Interrupted(BaseException):
    """Leaves a run that can be gone on with; no mistake, so no `Exception`.

    Example:
      >>> raise Interrupted("SIGTERM: saved step 20")
      Traceback (most recent call last):
      segalias_jax.training.interrupts.Interrupted: SIGTERM: saved step 20
    """

    agreed = False
    """Whether all processes of the run leave at this step, and none need be told."""


class Interrupts:
    """Listens to SIGTERM, SIGINT and SIGHUP (a terminal that is closed) while it is entered.

    Outside of `deferred` the first signal raises `Interrupted` where the program is; within, it is
    only noted. A later one, not the same again within half a second, ends the
    process, even where it waits for a device. Python hands signals to the main thread alone, so in
    any other thread nothing is listened to.

    Example:
      >>> with Interrupts() as interrupts, interrupts.deferred:
      ...     signal.raise_signal(signal.SIGTERM)
      ...     interrupts.requested
      'SIGTERM'
    """

    def __init__(self):
        self.requested: str | None = None
        self.deferred = _Deferred()
        self._pending: Any = None

    def __enter__(self) -> Interrupts:
        self._listening = threading.current_thread() is threading.main_thread()
        if not self._listening:
            return self
        # Python's own handlers run between two lines of Python only; the number that arrives at
        # this socket is read at once.
        self._reading, writing = socket.socketpair()
        writing.setblocking(False)
        self._writing = writing
        # Whoever started the run by `nohup` wants it to outlive the terminal.
        outlives = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        heard = [number for number in SIGNALS if number != signal.SIGHUP or not outlives]
        self._before = {number: signal.signal(number, self._handle) for number in heard}
        self._wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=_end_at_second, args=(self._reading,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._listening:
            return
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._writing.close()  # ends the thread

    def leaving(self, agreed: Any = None) -> bool:
        """Returns whether to save and leave; asked by all processes at the same steps.

        One of many processes may get the signal earlier than others, so all answer alike: with
        `agreed` of the time before, which is known by now without waiting for a device.

        Args:
          agreed: whether any process was to leave when this step began, computed on the devices;
            None where there is one process.
        """
        if agreed is None:
            return self.requested is not None
        before, self._pending = self._pending, agreed
        return before is not None and bool(before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested is None:
            self.requested = signal.Signals(number).name
            if not self.deferred.active:
                raise Interrupted(self.requested)


class _Deferred:
    """Can be entered inside of itself."""

    def __init__(self):
        self._depth = 0

    @property
    def active(self) -> bool:
        return self._depth > 0

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1


def _end_at_second(reading: socket.socket) -> None:
    first = None
    with reading:
        while numbers := reading.recv(16):
            # A terminal that is closed says so to the shell, too, which repeats it.
            if not any(number in SIGNALS and number != signal.SIGHUP for number in numbers):
                continue
            now = time.monotonic()
            first = now if first is None else first
            if now - first > SAME_SECONDS:
                os._exit(128 + numbers[-1])
