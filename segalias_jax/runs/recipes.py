"""Recipes on the command line: --config NAME_OR_FILE[:VARIANT] and --config.KEY=VALUE."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_dict, config_flags

from segalias_jax.errors import InputError
from segalias_jax.losses import LOSSES
from segalias_jax.runs.tasks import recipe_class
from segalias_jax.settings import as_tuples, read_settings, settings_of

_FOLDER = Path(__file__).parents[1] / "recipes"
_SHARED = ("__init__", "base", "instance_base", "mask2former_base", "panoptic_base", "unet_base")
_LIST_OF_KEYS = "python -m segalias_jax.recipes.base lists all keys"
# What other programs call a key, and what is worth more than a similar name.
_HINTS = {
    "lr": "did you mean optimizer.learning_rate?",
    "wd": "did you mean optimizer.weight_decay?",
    "epochs": "did you mean train.steps? a run is as long as its updates",
    "loss.name": (
        "losses are pairs (name, weight), as --config.loss.terms=\"(('dice',1.0),)\"; choose from "
        + ", ".join(LOSSES)
    ),
}


def recipe_names() -> list[str]:
    """Returns the recipes that have a name, and are part of the package.

    Example:
      >>> "quickstart" in recipe_names()
      True
    """
    return sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem not in _SHARED)


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
      >>> argv = ["x.py", "--config=quickstart:daf", "--config.train.steps=1e3"]
      >>> config, _ = parse_recipe(argv, values=flags.FlagValues())
      >>> config.name, config.train.steps
      ('quickstart:daf', 1000)
    """
    recipe, others = _split_recipe(argv, default)
    if not recipe:
        raise InputError("--config is missing; pass --config=NAME or --config=FILE, a recipe")
    return override_recipe(load_recipe(recipe), others, values=values)


def override_recipe(
    config: config_dict.ConfigDict,
    argv: Sequence[str],
    *,
    values: flags.FlagValues = flags.FLAGS,
) -> tuple[config_dict.ConfigDict, list[str]]:
    """Applies the flags --config.KEY to a recipe.

    Args:
      config: the recipe.
      argv: the command line, the program's name first.
      values: where further flags are defined.

    Returns:
      The recipe, and what on the command line is no flag.

    Raises:
      InputError: an unknown flag or key, or a value that cannot be.

    Example:
      >>> argv = ["x.py", "--config.train.steps=7"]
      >>> config, _ = override_recipe(load_recipe("camvid"), argv, values=flags.FlagValues())
      >>> config.train.steps
      7
    """
    keys = _check_keys(argv, config)
    sections = recipe_class(config).sections()
    given = _with_integers(argv, config)
    holder = config_flags.DEFINE_config_dict(
        "config", config, "NAME or FILE, and :VARIANT", values, sys_argv=given
    )
    try:
        rest = values(given)[1:]
    except flags.Error as error:
        raise InputError(_one_line(error)) from None
    for key in keys:
        section, _, name = key.rpartition(".")
        if section in sections and name in settings_of(sections[section]):
            value = holder.value[section][name]
            read_settings(sections[section], {name: value}, section=section)
    return holder.value, rest


def load_recipe(recipe: str) -> config_dict.ConfigDict:
    """Runs a recipe file.

    Args:
      recipe: FILE or NAME, and :VARIANT or nothing; what follows the colon goes to its
        `get_config`. A name stands for a recipe of the package where there is no such file.

    Returns:
      The recipe, locked.

    Raises:
      InputError: no such file or name, an unknown variant, or a key or type that the base does not
        have.

    Example:
      >>> load_recipe("camvid:daf,tiny").model.downsample
      'daf'
      >>> load_recipe("no.py")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: --config: no recipe file no.py; give FILE or FILE:VARIANT
    """
    name, *variant = recipe.split(":", 1)
    path = _recipe_file(name)
    spec = importlib.util.spec_from_file_location("recipe", path)
    if spec is None or spec.loader is None:
        raise InputError(f"--config: {path} is no Python file; give FILE or FILE:VARIANT")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config(*variant).lock()
    except ModuleNotFoundError as error:
        raise InputError(f"{path}: {error}; call from the folder above the recipes'") from None
    except InputError:
        raise
    except Exception as error:  # a recipe is a program, which fails in any way
        raise InputError(f"{path}: {_one_line(error) or type(error).__name__}") from error


def flat_items(config: Any, prefix: str = "") -> dict[str, Any]:
    """Lists all keys of a recipe with their values.

    Args:
      config: a recipe or a section of one, a ConfigDict.
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


def nested_recipe(items: Mapping[str, Any]) -> config_dict.ConfigDict:
    """Makes a recipe of the values that a run keeps.

    Args:
      items: values by dotted key.

    Returns:
      The recipe, locked.

    Example:
      >>> nested_recipe({"seed": 0, "model.width": 8}).model.width
      8
    """
    config = config_dict.ConfigDict()
    for key, value in items.items():
        section, _, name = key.rpartition(".")
        if section and section not in config:
            config[section] = config_dict.ConfigDict()
        within: Any = config[section] if section else config
        within[name] = as_tuples(value)
    return config.lock()


def _recipe_file(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    names = recipe_names()
    if name in names or name == "base":
        return _FOLDER / f"{name}.py"
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"--config: no recipe file {path}; give FILE or FILE:VARIANT")
    close = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise InputError(
        f"--config: no recipe {name!r}; {hint}choose one of {', '.join(names)}, or give a file"
    )


def _split_recipe(argv: Sequence[str], default: str) -> tuple[str, list[str]]:
    """What --config says, and the command line without it."""
    scratch = flags.FlagValues()
    flags.DEFINE_string("config", default, "", flag_values=scratch)
    scratch.set_gnu_getopt(True)
    try:
        others = scratch(list(argv), known_only=True)
    except flags.Error as error:
        raise InputError(_one_line(error)) from None
    return scratch["config"].value or "", others


def _check_keys(argv: Sequence[str], config: config_dict.ConfigDict) -> list[str]:
    """Keys that a command line sets."""
    keys = list(flat_items(config))
    sections = {key.split(".")[0] for key in keys if "." in key}
    found = []
    for arg in argv:
        override = re.match(r"--?(?:no)?config\.([^=]+)", arg)
        if override is None:
            continue
        given = override[1]
        if given not in sections.union(keys):
            raise InputError(f"--config.{given}: the recipe has no such key; {_hint(given, keys)}")
        found.append(given)
    return found


def _hint(given: str, keys: Sequence[str]) -> str:
    word = given.split(".")[-1]
    if hint := _HINTS.get(given, _HINTS.get(word)):
        return hint
    # The path as a whole first; then the last word, whatever section it was put in.
    last = {key.split(".")[-1]: key for key in keys}
    close = difflib.get_close_matches(given, keys, 1, 0.8)
    guess = close or [last[key] for key in difflib.get_close_matches(word, last, 1, 0.8)]
    return f"did you mean {guess[0]}?" if guess else _LIST_OF_KEYS


def _with_integers(argv: Sequence[str], config: config_dict.ConfigDict) -> list[str]:
    """Writes numbers such as 1e4 in full where an integer is wanted."""
    written, key = [], ""
    for arg in argv:
        override = re.fullmatch(r"(--?config\.([^=]+)=)(.*)", arg, re.DOTALL)
        start, name, value = override.groups() if override else ("", key, arg)
        wanted = name and _type_of(config, name) is int
        if wanted and re.fullmatch(r"[+-]?[\d.]+[eE]\+?\d+", value) and float(value) % 1 == 0:
            value = str(int(float(value)))
        written.append(start + value)
        bare = re.fullmatch(r"--?config\.([^=]+)", arg)
        key = bare[1] if bare else ""
    return written


def _type_of(config: config_dict.ConfigDict, key: str) -> type | None:
    section, _, name = key.rpartition(".")
    within: Any = config[section] if section else config
    return within.get_type(name) if name in within else None


def _one_line(error: BaseException) -> str:
    text = error.args[0] if error.args else error
    return " ".join(str(text).split())
