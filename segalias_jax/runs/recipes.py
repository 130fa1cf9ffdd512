"""Recipes on the command line: --config FILE[:VARIANT] and --config.KEY=VALUE."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_dict, config_flags

from segalias_jax.errors import InputError


def parse_recipe(
    argv: Sequence[str], *, default: str = "", values: flags.FlagValues = flags.FLAGS
) -> tuple[config_dict.ConfigDict, list[str]]:
    """Reads the flags --config and --config.KEY, and all others that `values` defines.

    Args:
      argv: the command line, the program's name first.
      default: recipe that is used where --config is not given; "" for none.
      values: where the flags are defined.

    Returns:
      The recipe, locked, and what on the command line is no flag.

    Raises:
      InputError: an unknown flag or key, a value of another type, or no recipe.

    Example:
      >>> parse_recipe(["x.py", "--config=no.py"], values=flags.FlagValues())
      Traceback (most recent call last):
      segalias_jax.errors.InputError: --config: no recipe file no.py; give FILE or FILE:VARIANT
    """
    recipe = _recipe_flag(argv, default)
    if not recipe:
        raise InputError("--config is missing; pass --config=FILE, a recipe")
    _check_keys(argv, load_recipe(recipe))
    try:
        config = config_flags.DEFINE_config_file(
            "config", recipe, "FILE or FILE:VARIANT", values, sys_argv=list(argv)
        )
        rest = values(list(argv))[1:]
    except flags.Error as error:
        raise InputError(_one_line(error)) from None
    _check_tuples(config.value)
    return config.value, rest


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
    except ModuleNotFoundError as error:
        raise InputError(f"{path}: {error}; call from the folder above the recipes'") from None
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {_one_line(error)}") from error


def flat_items(config: config_dict.ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Lists all keys of a recipe with their values.

    Args:
      config: a recipe or a section of one.
      prefix: what every key starts with.

    Returns:
      Values by dotted key.

    Example:
      >>> flat_items(config_dict.ConfigDict({"seed": 0, "data": {"root": "x"}}))
      {'data.root': 'x', 'seed': 0}
    """
    items = {}
    for key in sorted(config):
        if isinstance(config[key], config_dict.ConfigDict):
            items |= flat_items(config[key], f"{prefix}{key}.")
        else:
            items[f"{prefix}{key}"] = config[key]
    return items


def _recipe_flag(argv: Sequence[str], default: str) -> str:
    scratch = flags.FlagValues()
    flags.DEFINE_string("config", default, "", flag_values=scratch)
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


_NAMES = "data.classes"  # the one tuple of texts


def _check_tuples(config: config_dict.ConfigDict) -> None:
    # The flags check the type of a number, but not of numbers in a tuple.
    for key, value in flat_items(config).items():
        if key == _NAMES or not isinstance(value, tuple):
            continue
        if any(isinstance(item, str) for item in value):
            raise InputError(f"--config.{key}: {value!r} has to be numbers, such as 1,2")


def _one_line(error: BaseException) -> str:
    text = error.args[0] if error.args else error
    return " ".join(str(text).split())
