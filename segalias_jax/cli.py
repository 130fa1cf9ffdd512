"""The command `segalias`: one table of commands, one way to read their flags, one way to end.

    segalias COMMAND [FLAGS]              segalias COMMAND --help lists the flags

A command is a module with two functions: `add_flags(parser)` says which flags it has, `run(flags)`
does the work and returns the exit status. Only the chosen command's module is imported, because
`segalias score` starts in a fraction of the time that importing JAX takes, and this module imports
nothing that does.

Recipes are read here, not by the commands. Commands such as `browse` and `summary` stand below
`segalias_jax.runs`, which knows what a recipe is, and find it as `flags.config`.

Exit status: 0; 1 where `predict` left images out; 2 after an error in flags, recipe or files; 3
where `score --keep-going` left files out; 4 where a score is on the wrong side of `score
--fail-under`; 75 after a signal that saved the run; 130 after Ctrl+C; 141 where whoever read the
output has closed it.
"""

from __future__ import annotations

import argparse
import enum
import errno
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import segalias_jax
from segalias_jax.errors import FlagParser, InputError, check_choice, printable

if TYPE_CHECKING:
    from ml_collections import config_dict


class _Recipe(enum.Enum):
    """Which recipe a command takes where --config is not given."""

    NONE = ""
    QUICKSTART = "without it, quickstart"
    OF_THE_RUN = "without it, that of the run"
    OPTIONAL = "without it, none"
    REQUIRED = "required"


class _Command(NamedTuple):
    """A row of the table of commands."""

    help: str
    module: str
    recipe: _Recipe = _Recipe.NONE
    add_flags: str = "add_flags"
    run: str = "run"


COMMANDS = {
    "train": _Command(
        "train a recipe, or resume its run",
        "segalias_jax.runs.command",
        _Recipe.QUICKSTART,
        "add_train_flags",
        "run_training",
    ),
    "eval": _Command(
        "score a trained run on its data",
        "segalias_jax.runs.command",
        _Recipe.OF_THE_RUN,
        "add_eval_flags",
        "run_evaluation",
    ),
    "sweep": _Command(
        "train a recipe for each value of one of its keys",
        "segalias_jax.runs.command",
        _Recipe.REQUIRED,
        "add_sweep_flags",
        "run_sweeping",
    ),
    "score": _Command(
        "score folders of predictions, whatever made them", "segalias_jax.scoring.command"
    ),
    "predict": _Command(
        "predict images with a trained network",
        "segalias_jax.inference.command",
        _Recipe.OPTIONAL,
    ),
    "export": _Command(
        "write a trained network as StableHLO, ONNX or SavedModel",
        "segalias_jax.export.command",
        _Recipe.OPTIONAL,
    ),
    "convert": _Command(
        "make a checkpoint of PyTorch weights, or the other way",
        "segalias_jax.torch_weights.convert",
        _Recipe.REQUIRED,
    ),
    "models": _Command(
        "list encoders, decoders and whole networks, what they cost and where their weights are",
        "segalias_jax.torch_weights.listing",
    ),
    "browse": _Command(
        "show what a recipe trains on: samples and statistics",
        "segalias_jax.data.tools.browse",
        _Recipe.REQUIRED,
    ),
    "prepare": _Command(
        "write a data set as array_record files",
        "segalias_jax.data.tools.prepare",
        _Recipe.OPTIONAL,
    ),
    "darken": _Command(
        "write copies of images as a camera takes them in the dark",
        "segalias_jax.data.tools.darken",
    ),
    "summary": _Command(
        "list what a recipe's model costs and where it downsamples",
        "segalias_jax.models.cost.summary",
        _Recipe.REQUIRED,
    ),
}
"""All commands by name, in the order of the help."""

_MAKE_ROOM = "make room"
_GIVE_ACCESS = "make it readable and writable"
_LOOK = "look whether it was moved or deleted"
_FILES = "raise the limit of open files (ulimit -n)"
_MEMORY = "end other programs, or give the command less to do at a time"
_MOUNT = "look whether its disk or server is there"
_ANOTHER = "give another place"
_REMEDIES = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: _MAKE_ROOM,
    errno.EROFS: _GIVE_ACCESS,
    errno.EACCES: _GIVE_ACCESS,
    errno.EIO: _GIVE_ACCESS,
    errno.EPERM: _GIVE_ACCESS,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOENT: _LOOK,
    errno.ENOTDIR: _LOOK,
    errno.EISDIR: _LOOK,
    errno.ESTALE: _LOOK,
    errno.ETIMEDOUT: _MOUNT,
    errno.ENOTCONN: _MOUNT,
    errno.ECONNABORTED: _MOUNT,
    errno.EHOSTDOWN: _MOUNT,
    errno.EREMOTEIO: _MOUNT,
    errno.ENODEV: _MOUNT,
    errno.ENXIO: _MOUNT,
    errno.EBUSY: "end whatever uses it",
    errno.ETXTBSY: "end whatever uses it",
    errno.EEXIST: _ANOTHER,
    errno.ENOTEMPTY: _ANOTHER,
    errno.ELOOP: _ANOTHER,
    errno.EXDEV: _ANOTHER,
    errno.EMLINK: _ANOTHER,
    errno.EOPNOTSUPP: "give a place on another file system",
    errno.ENOLCK: "give a place on another file system",
    errno.ENOMEM: _MEMORY,
    errno.ENAMETOOLONG: "give it a shorter name",
}
"""What to do about errors of disks and their servers; others, the program's, keep a traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; whatever ends it early is one line on stderr and an exit status.

    Args:
      argv: the command line without the program's name; None for that of the process.

    Returns:
      The exit status, see the head of this module.

    Example:
      >>> main(["--version"])
      segalias_jax 0.2.0
      0
    """
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return status
    except InputError as error:
        # What is raised in a thread that reads data comes with a note by the data library.
        print(f"error: {printable((str(error).splitlines() or [''])[0])}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the table has seen enough; nothing must be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        print(f"error: the memory is full; {_MEMORY}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        print(f"error: {printable(describe_os_error(error))}", file=sys.stderr)
        return 2


def describe_os_error(error: OSError) -> str:
    """Says in one sentence what the system refused, and what to do.

    Args:
      error: with a number and, mostly, the name of a file.

    Returns:
      The sentence.

    Example:
      >>> describe_os_error(OSError(errno.ENOSPC, "No space left on device", "a/b.json"))
      'a/b.json: No space left on device; make room, then run the same command again'
    """
    remedy = _REMEDIES.get(error.errno or 0, _GIVE_ACCESS)
    name = error.filename2 or error.filename or "the disk"
    return f"{name}: {error.strerror}; {remedy}, then run the same command again"


def main_of_moved(name: str, old: str) -> int:
    """Runs a command that was called as a module of another name, and says what to call instead.

    Args:
      name: of the command.
      old: of the module.

    Returns:
      The exit status.

    Example:
      >>> main_of_moved("score", "segalias_jax.old")  # doctest: +SKIP
    """
    print(f"warning: python -m {old} will be removed; use segalias {name}", file=sys.stderr)
    return main([name, *sys.argv[1:]])


def create_parser(name: str) -> FlagParser:
    """Makes the parser of a command's flags.

    Args:
      name: of the command, one of `COMMANDS`.

    Returns:
      The parser. The flags of recipes are in its help only, since `main` takes them out before.

    Example:
      >>> create_parser("score").prog
      'segalias score'
    """
    command = COMMANDS[name]
    if not _is_installed(command):
        raise InputError(
            f"segalias {name} is not in segalias-score, which is installed here; pip uninstall "
            "it, and pip install segalias_jax"
        )
    module = importlib.import_module(command.module)
    parser = FlagParser(f"segalias {name}", module.__doc__ or "")
    getattr(module, command.add_flags)(parser)
    if command.recipe is not _Recipe.NONE:
        group = parser.add_argument_group("recipe")
        group.add_argument(
            "--config",
            metavar="NAME|FILE[:VARIANT]",
            help=f"recipe of this package, or of a file ({command.recipe.value})",
        )
        group.add_argument(
            "--config.KEY",
            metavar="VALUE",
            default=argparse.SUPPRESS,
            help="what differs from the recipe, such as --config.train.batch_size=4",
        )
    return parser


def parse_command(
    words: Sequence[str],
) -> tuple[Callable[[argparse.Namespace], int], argparse.Namespace]:
    """Reads a command line with the recipe that it names.

    Args:
      words: the command line without the program's name.

    Returns:
      The function that does the work, and the flags that it takes.

    Raises:
      InputError: an unknown command, flag or key, a value that does not fit, or no such recipe.

    Example:
      >>> run, flags = parse_command(["score", "p", "l", "--num-classes=19"])
      >>> flags.num_classes
      19
    """
    name, *words = words
    check_choice("command", name, COMMANDS)
    command, parser = COMMANDS[name], create_parser(name)
    recipe_words: list[str] = []
    if command.recipe is not _Recipe.NONE:
        from absl import logging

        logging.set_verbosity(logging.WARNING)  # the checkpoint library tells of every file
        recipe_words, words = _split(words)
        # As `python -m` does: recipes, and modules that they name, may lie where the user is.
        # Last, so that nothing there hides an installed package.
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
    flags = parser.parse(words)
    flags.words = [name, *words]  # for a report that says what made it
    if command.recipe is not _Recipe.NONE:
        flags.config = _read_recipe(command.recipe, recipe_words, flags)
    return getattr(importlib.import_module(command.module), command.run), flags


def _is_installed(command: _Command) -> bool:
    """Whether this distribution has a command: segalias-score has the modules of one alone."""
    path = Path(segalias_jax.__file__).parents[1].joinpath(*command.module.split("."))
    return path.with_suffix(".py").is_file()


def _run(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        lines = [
            f"  {name:9} {command.help}"
            for name, command in COMMANDS.items()
            if _is_installed(command)
        ]
        print("usage: segalias COMMAND [FLAGS]\n\n" + "\n".join(lines))
        print("\nsegalias COMMAND --help lists the flags; segalias --version tells the version")
        return 0 if words else 2
    if words[0] == "--version":
        print(f"segalias_jax {segalias_jax.__version__}")
        return 0
    try:
        run, flags = parse_command(words)
    except SystemExit:  # of --help, after it was printed; errors are InputErrors
        return 0
    return run(flags)


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes --config and --config.KEY with their values out of other words, the former first.

    They are to be read together, after --config, wherever they stand.
    """
    named: list[str] = []
    changed: list[str] = []
    own: list[str] = []
    waiting = own  # the list that the value of the flag before goes to
    for word in words:
        if match := re.match(r"--?(?:no)?config(\.|=|$)", word):
            chosen = changed if match[1] == "." else named
            chosen.append(word)
            waiting = own if "=" in word else chosen
        elif re.match(r"-(?!\d)", word):
            own.append(word)
            waiting = own
        else:
            waiting.append(word)
            waiting = own
    return named + changed, own


def _read_recipe(
    kind: _Recipe, words: Sequence[str], flags: argparse.Namespace
) -> config_dict.ConfigDict | None:
    """The recipe that the command line names, with what differs from it."""
    from absl.flags import FlagValues

    from segalias_jax.runs import recipes

    named = any(re.match("--?config(=|$)", word) for word in words)
    if kind is _Recipe.OPTIONAL and not words:
        return None
    if kind is _Recipe.OF_THE_RUN and not named:
        from segalias_jax.runs.command import recipe_of_run

        return recipe_of_run(flags.workdir, words)
    default = "quickstart" if kind is _Recipe.QUICKSTART else ""
    config, rest = recipes.parse_recipe(["segalias", *words], default=default, values=FlagValues())
    if rest:
        raise InputError(f"argument {rest[0]!r} is not expected; write --config.KEY=VALUE with '='")
    return config
