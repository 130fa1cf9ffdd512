"""Lines of source code that operations come from."""

from __future__ import annotations

import functools
import os
import sysconfig
from pathlib import Path
from typing import Any

import jax


def source_line(origin: Any) -> str:
    """Names the line that an operation was written in.

    That is the innermost line which belongs to no installed package, nor to Python itself; where
    all do, the innermost one outside of JAX.

    Args:
      origin: of an `Operation`.

    Returns:
      "file.py:line", or "" where JAX kept nothing.

    Example:
      >>> import jax
      >>> equation = jax.make_jaxpr(lambda x: x + 1)(1).eqns[0]
      >>> source_line(equation.source_info).split(":")[0].startswith("<doctest")
      True
    """
    traceback = origin.traceback
    if traceback is None:
        return ""
    fallback = ""
    for frame in traceback.frames:
        line = f"{Path(frame.file_name).name}:{frame.line_num}"
        place = _place_of(frame.file_name)
        if place == "own":
            return line
        if place == "package" and not fallback:
            fallback = line
    return fallback


@functools.cache
def _place_of(file: str) -> str:
    """Whether a file is someone's own, or of a package, or what every trace goes through."""
    file = os.path.realpath(file)
    installed = [os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    # JAX may lie elsewhere: with other packages of the user or of the system.
    installed.append(os.path.realpath(Path(jax.__file__).parents[1]))
    for folder in installed:
        if file.startswith(folder + os.sep):
            top = file[len(folder) + 1 :].split(os.sep)[0]
            return "python" if top in ("jax", "jaxlib") else "package"
    here = Path(__file__).resolve().parent
    python = os.path.realpath(sysconfig.get_path("stdlib"))
    if file.startswith((str(here) + os.sep, python + os.sep)):
        return "python"
    return "package" if file.startswith(str(here.parent) + os.sep) else "own"
