"""What the checkpoint library prints while it fails, which nobody can read, is held back.

A full disk makes its threads log hundreds of lines of tracebacks. All of them come from the one
error that it raises in the end, and that is the sentence which the user gets.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from absl import logging as absl_logging

_LIBRARY = f"{os.sep}orbax{os.sep}"
_held = False


def hold_back() -> None:
    """Drops the library's log, and what its threads and abandoned writes leave on stderr.

    Example:
      >>> hold_back()
    """
    global _held
    if _held:
        return
    _held = True
    absl_logging.get_absl_logger().addFilter(_is_not_the_library)
    logging.getLogger("asyncio").addFilter(_is_no_abandoned_write)
    ignored, raised = sys.unraisablehook, sys.excepthook

    def unraisable(what: Any) -> None:
        code = getattr(what.object, "cr_code", None)
        of_library = code is not None and _LIBRARY in code.co_filename
        if not of_library and not _is_of_abandoned_write(what.exc_value):
            ignored(what)

    def uncaught(kind: Any, error: Any, traceback: Any) -> None:
        if not _is_of_abandoned_write(error):
            raised(kind, error, traceback)

    sys.unraisablehook, sys.excepthook = unraisable, uncaught


def _is_not_the_library(record: logging.LogRecord) -> bool:
    return _LIBRARY not in record.pathname


def _is_no_abandoned_write(record: logging.LogRecord) -> bool:
    return "never retrieved" not in record.getMessage()


def _is_of_abandoned_write(error: BaseException | None) -> bool:
    # An array that was still being written when another one failed reports to nobody.
    return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
