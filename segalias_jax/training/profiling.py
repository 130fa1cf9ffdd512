"""A trace of a few steps, for whoever wants to know what a device does in one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
from tqdm import tqdm

PROFILE = "profile"
_FIRST, _LAST = 4, 8
"""Which steps of a start are traced; those before compile, and wait for the first data."""


def traced(steps: Iterable[int], folder: Path) -> Iterator[int]:
    """Hands on numbers of steps and traces what is done at the 4th to the 8th of them.

    Where the trace is, and how to see it, is printed.

    Args:
      steps: numbers of steps.
      folder: where the trace is written; made when missing.

    Yields:
      The same numbers.

    Example:
      >>> list(traced(range(2), Path("unused")))
      note: --profile: nothing is traced, as fewer than 4 steps were left
      [0, 1]
    """
    number = 0
    with contextlib.ExitStack() as tracing:
        for number, step in enumerate(steps, 1):
            if number == _FIRST:
                tracing.callback(tqdm.write, _where(step, folder))
                tracing.enter_context(_trace(folder))
            with jax.profiler.StepTraceAnnotation("step", step_num=step):
                yield step
            if number == _LAST:
                tracing.close()
    if number < _FIRST:
        tqdm.write(f"note: --profile: nothing is traced, as fewer than {_FIRST} steps were left")


def _trace(folder: Path) -> contextlib.AbstractContextManager[None]:
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # else most of the trace is calls of Python, which slow it down
    return jax.profiler.trace(folder, create_perfetto_trace=True, profiler_options=options)


def _where(step: int, folder: Path) -> str:
    return (
        f"profile: the steps from {step} on are traced in {folder}; open the "
        "perfetto_trace.json.gz in it at https://ui.perfetto.dev, or all of it by "
        f"`pip install xprof` and `xprof --logdir {folder}`"
    )
