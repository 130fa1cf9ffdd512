"""The progress bar of everything that takes longer than two seconds."""

from __future__ import annotations

import sys

from tqdm import tqdm

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
) -> tqdm:
    """Opens a bar on stderr with the speed and the time left.

    Args:
      title: what is going on; None: no bar.
      total: number of units, where it is known.
      unit: what is counted.
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
    return tqdm(
        desc=title,
        total=total,
        unit=unit,
        initial=start,
        disable=title is None,
        delay=delay,
        leave=leave,
        mininterval=seconds,
        dynamic_ncols=True,
    )
