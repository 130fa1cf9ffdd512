"""The progress bar of everything that takes longer than two seconds."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING or importlib.util.find_spec("tqdm"):
    from tqdm import tqdm
else:
    tqdm = None  # in segalias-score, which needs NumPy and OpenCV alone

QUIET_SECONDS = 2.0
"""What is over sooner shows no bar."""


def progress_bar(
    title: str | None,
    total: int | None,
    *,
    unit: str = " images",
    start: int = 0,
    delay: float = QUIET_SECONDS,
    leave: bool = False,
) -> tqdm | PlainBar:
    """Opens a bar on stderr with the speed and the time left.

    Args:
      title: what is going on; None: no bar.
      total: number of units, where it is known.
      unit: what is counted; "B", bytes, in multiples of them.
      start: units done before.
      delay: seconds before the bar appears.
      leave: whether the full bar stays on the screen.

    Returns:
      The bar; where stderr is no terminal, it writes only twice a minute.

    Example:
      >>> with progress_bar(None, 2) as bar:
      ...     bar.total
      2
    """
    seconds = 0.2 if sys.stderr.isatty() else 30.0
    if tqdm is None:
        return PlainBar(title, total, unit=unit, start=start, delay=max(delay, seconds))
    return tqdm(
        desc=title,
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        initial=start,
        disable=title is None,
        delay=delay,
        leave=leave,
        mininterval=seconds,
        dynamic_ncols=True,
    )


class PlainBar:
    """A line of text in place of a bar, where tqdm is not installed.

    Args:
      title: what is going on; None: no line.
      total: number of units, where it is known.
      unit: what is counted.
      start: units done before.
      delay: seconds until the line appears, and between its changes where that is more than 0.2.

    Example:
      >>> with PlainBar(None, 2) as bar:
      ...     bar.update()
      >>> bar.n
      1
    """

    def __init__(
        self,
        title: str | None,
        total: int | None,
        *,
        unit: str = " images",
        start: int = 0,
        delay: int | float = QUIET_SECONDS,
    ):
        self.n, self.total = start, total
        self._title, self._unit, self._postfix = title, unit, ""
        self._start, self._began, self._width = start, time.monotonic(), 0
        self._pause = 0.2 if delay <= QUIET_SECONDS else delay
        self._next = self._began + delay

    def __enter__(self) -> PlainBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Counts further units."""
        self.n += n
        now = time.monotonic()
        if self._title is None or now < self._next:
            return
        self._next = now + self._pause
        speed = (self.n - self._start) / max(now - self._began, 1e-9)
        done = f"{self.n}" if self.total is None else f"{self.n}/{self.total}"
        text = f"{self._title}: {done}{self._unit}, {speed:.1f}/s{self._postfix}"
        print(f"\r{text:{self._width}}", end="", file=sys.stderr, flush=True)
        self._width = len(text)

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Sets what stands behind the numbers; the line shows it when it changes next."""
        self._postfix = f", {s}" if s else ""

    def close(self) -> None:
        """Clears the line."""
        if self._width:
            print(f"\r{'':{self._width}}\r", end="", file=sys.stderr, flush=True)
            self._width = 0
