"""The command line of the entry points: flags, and mistakes told in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_dict

from segalias_jax.errors import InputError
from segalias_jax.recipes import parse_recipe

Main = Callable[[config_dict.ConfigDict, Path], None]


def run(main: Main, *, default_recipe: Path) -> None:
    """Runs `main(config, workdir)` with what the command line says, then exits.

    A mistake of the user ends in one line on stderr and exit status 2.

    Args:
      main: the work.
      default_recipe: recipe file that is used where --config is not given.

    Example:
      >>> run(lambda config, workdir: None, default_recipe=Path("quickstart.py"))  # doctest: +SKIP
    """
    logging.set_verbosity(logging.WARNING)  # the checkpoint library tells of every file
    try:
        # absl answers mistakes with a page of usage; its own parser is not asked, ours is.
        app.run(
            lambda parsed: main(*parsed),
            flags_parser=lambda argv: parse(argv, default_recipe=default_recipe),
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def parse(
    argv: Sequence[str], *, default_recipe: Path, values: flags.FlagValues = flags.FLAGS
) -> tuple[config_dict.ConfigDict, Path]:
    """Reads the flags --config, --config.KEY and --workdir.

    Args:
      argv: the command line, the program's name first.
      default_recipe: recipe file that is used where --config is not given.
      values: where the flags are defined.

    Returns:
      The recipe, locked, and the folder of the run.

    Raises:
      InputError: an unknown flag or key, a value of another type, no recipe file, no --workdir.

    Example:
      >>> parse(["x.py", "--config=no.py"], default_recipe=Path(), values=flags.FlagValues())
      Traceback (most recent call last):
      segalias_jax.errors.InputError: --config: no recipe file no.py; give FILE or FILE:VARIANT
    """
    workdir = flags.DEFINE_string("workdir", None, "Folder of the run.", flag_values=values)
    config, rest = parse_recipe(argv, default=str(default_recipe), values=values)
    if rest:
        raise InputError(f"argument {rest[0]!r} is not expected; flags start with --")
    if not workdir.value:
        raise InputError("--workdir is missing; pass --workdir=DIR, the folder of the run")
    return config, Path(workdir.value)
