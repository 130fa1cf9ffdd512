"""The command line of the entry points: flags, and mistakes told in one sentence."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_dict, config_flags

from segalias_jax.errors import InputError
from segalias_jax.training.workdir import flat_items

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
    recipe = _recipe_flag(argv, default_recipe)
    _check_keys(argv, load_recipe(recipe))
    try:
        config = config_flags.DEFINE_config_file(
            "config", recipe, "FILE or FILE:VARIANT", values, sys_argv=list(argv)
        )
        workdir = flags.DEFINE_string("workdir", None, "Folder of the run.", flag_values=values)
        rest = values(list(argv))[1:]
    except flags.Error as error:
        raise InputError(_one_line(error)) from None
    if rest:
        raise InputError(f"argument {rest[0]!r} is not expected; flags start with --")
    if not workdir.value:
        raise InputError("--workdir is missing; pass --workdir=DIR, the folder of the run")
    _check_tuples(config.value)
    return config.value, Path(workdir.value)


def load_recipe(recipe: str) -> config_dict.ConfigDict:
    """Runs a recipe file.

    Args:
      recipe: FILE or FILE:VARIANT; what follows the colon goes to its `get_config`.

    Returns:
      The recipe, locked.

    Raises:
      InputError: no such file, an unknown variant, or a key or type that the base does not have.

    Example:
      >>> load_recipe("no.py")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: --config: no recipe file no.py; give FILE or FILE:VARIANT
    """
    path, *variant = recipe.split(":", 1)
    if not Path(path).is_file():
        raise InputError(f"--config: no recipe file {path}; give FILE or FILE:VARIANT")
    spec = importlib.util.spec_from_file_location("recipe", path)
    if spec is None or spec.loader is None:
        raise InputError(f"--config: {path} is no Python file; give FILE or FILE:VARIANT")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config(*variant).lock()
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {_one_line(error)}") from error


def _recipe_flag(argv: Sequence[str], default_recipe: Path) -> str:
    scratch = flags.FlagValues()
    flags.DEFINE_string("config", str(default_recipe), "", flag_values=scratch)
    flags.DEFINE_string("workdir", None, "", flag_values=scratch)
    scratch.set_gnu_getopt(True)
    try:
        scratch(list(argv), known_only=True)
    except flags.Error as error:
        raise InputError(_one_line(error)) from None
    return scratch.config


def _check_keys(argv: Sequence[str], config: config_dict.ConfigDict) -> None:
    keys = list(flat_items(config))
    sections = {key.split(".")[0] for key in keys if "." in key}
    for arg in argv:
        override = re.match(r"--?(?:no)?config\.([^=]+)", arg)
        if override and override[1] not in sections.union(keys):
            # The path as a whole first; then the last word, whatever section it was put in.
            last = {key.split(".")[-1]: key for key in keys}
            close = difflib.get_close_matches(override[1], keys, 1, 0.8)
            word = difflib.get_close_matches(override[1].split(".")[-1], last, 1, 0.8)
            guess = close or [last[key] for key in word]
            hint = f"did you mean {guess[0]}?" if guess else "configs/base.py lists all keys"
            raise InputError(f"--config.{override[1]}: the recipe has no such key; {hint}")


def _check_tuples(config: config_dict.ConfigDict) -> None:
    # The flags check the type of a number, but not of numbers in a tuple.
    for key, value in flat_items(config).items():
        if isinstance(value, tuple) and any(isinstance(item, str) for item in value):
            raise InputError(f"--config.{key}: {value!r} has to be numbers, such as 1,2")


def _one_line(error: BaseException) -> str:
    text = error.args[0] if error.args else error
    return " ".join(str(text).split())
