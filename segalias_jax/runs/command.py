"""The command line of the entry points: flags, and mistakes told in one sentence."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from segalias_jax.errors import InputError, exiting_on_mistakes
from segalias_jax.runs.recipes import parse_recipe
from segalias_jax.runs.studies import define_flags
from segalias_jax.training.goodput import process_start
from segalias_jax.training.interrupts import EXIT_STATUS, Interrupted
from segalias_jax.training.processes import Launch

Main = Callable[..., None]
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EACCES)


def run(main: Main, *, default_recipe: Path, studies: bool = False) -> None:
    """Runs `main(config, workdir, launch)` with what the command line says, then exits.

    A mistake of the user, or a disk that cannot be written, ends in one line on stderr and exit
    status 2; a signal in status 75, after which the same command goes on.

    Args:
      main: the work.
      default_recipe: recipe file that is used where --config is not given.
      studies: whether there are flags of studies, which `main` then takes as a fourth argument.

    Example:
      >>> run(lambda *parsed: None, default_recipe=Path("quickstart.py"))  # doctest: +SKIP
    """
    logging.set_verbosity(logging.WARNING)  # the checkpoint library tells of every file
    with telling_mistakes():
        # absl answers mistakes with a page of usage; its own parser is not asked, ours is.
        app.run(
            lambda parsed: main(*parsed),
            flags_parser=lambda argv: parse(argv, default_recipe=default_recipe, studies=studies),
        )


@contextlib.contextmanager
def telling_mistakes() -> Iterator[None]:
    """Turns what ends a run early into one line on stderr and an exit status.

    Example:
      >>> with telling_mistakes():
      ...     pass
    """
    try:
        with exiting_on_mistakes():
            yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        reason = f"{error.filename or 'the disk'}: {error.strerror}"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "make room" if full else "make it readable and writable"
        print(f"error: {reason}; {remedy}, then run the same command again", file=sys.stderr)
        sys.exit(2)
    except Interrupted as signal:
        print(f"{signal}; the same command goes on", file=sys.stderr)
        sys.exit(EXIT_STATUS)


def parse(
    argv: Sequence[str],
    *,
    default_recipe: Path,
    studies: bool = False,
    values: flags.FlagValues = flags.FLAGS,
) -> tuple[Any, ...]:
    """Reads the flags --config, --config.KEY, --workdir, those of `Launch` and of `Studies`.

    Args:
      argv: the command line, the program's name first.
      default_recipe: recipe file that is used where --config is not given.
      studies: whether there are those of `Studies`.
      values: where the flags are defined.

    Returns:
      The recipe, locked, the folder of the run, how it is started, and with `studies` those.

    Raises:
      InputError: an unknown flag or key, a value of another type, no recipe file, no --workdir.

    Example:
      >>> parse(["x.py", "--config=no.py"], default_recipe=Path(), values=flags.FlagValues())
      Traceback (most recent call last):
      segalias_jax.errors.InputError: --config: no recipe file no.py; give FILE or FILE:VARIANT
    """
    workdir = flags.DEFINE_string("workdir", None, "Folder of the run.", flag_values=values)
    launch = _define_launch(values)
    read_studies = define_flags(values) if studies else None
    config, rest = parse_recipe(argv, default=str(default_recipe), values=values)
    if rest:
        raise InputError(f"argument {rest[0]!r} is not expected; flags start with --")
    if not workdir.value:
        raise InputError("--workdir is missing; pass --workdir=DIR, the folder of the run")
    options = {name: flag.value for name, flag in launch.items()}
    asked = (read_studies(),) if read_studies else ()
    return config, Path(workdir.value), Launch(**options, started=process_start()), *asked


def _define_launch(values: flags.FlagValues) -> dict[str, flags.FlagHolder]:
    texts = {
        "resume": "auto, never, or the folder of a run to start from.",
        "coordinator": "HOST:PORT of process 0 of many, or auto on TPU and Slurm.",
    }
    numbers = {"num_processes": "Number of processes.", "process_id": "Of this one, from 0."}
    default = Launch()
    profile = flags.DEFINE_bool(
        "profile", default.profile, "Trace a few steps, into RUN/profile.", flag_values=values
    )
    holders = {"profile": profile} | {
        name: flags.DEFINE_string(name, getattr(default, name), text, flag_values=values)
        for name, text in texts.items()
    }
    return holders | {
        name: flags.DEFINE_integer(name, getattr(default, name), text, flag_values=values)
        for name, text in numbers.items()
    }
