"""The one exception type for errors in what a user gave, and the parser of flags that raises it.

This module imports nothing but the standard library: it is part of the start of every command.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import NoReturn


class InputError(ValueError):
    """An error in a file, a recipe key or a value that the user gave.

    Its message is one sentence that names the file, key or value and says what to do.
    Commands print it without a traceback and exit with status 2 (`segalias_jax.cli`); library
    users can catch it as a `ValueError`.

    Example:
      >>> raise InputError("data.root: no folder 'camvid'; pass --config.data.root=DIR")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.root: no folder 'camvid'; pass --config.data.root=DIR
    """


class FlagParser(argparse.ArgumentParser):
    """Reads the flags of a command; an error in them is an `InputError`.

    Flags are spelled with dashes. `--num_classes` means `--num-classes`, and `--noaugment` means
    `--no-augment`, the older spellings. Abbreviations are not accepted: a new flag would change
    what they mean.

    Args:
      prog: what the command is called by.
      description: text of its help before the flags, lines as they are.

    Example:
      >>> parser = FlagParser(prog="look")
      >>> _ = parser.add_argument("--num-classes", type=int)
      >>> parser.parse(["--num_classes=3"]).num_classes
      3
      >>> parser.parse(["--num-clases=3"])
      Traceback (most recent call last):
      segalias_jax.errors.InputError: unknown flag --num-clases; did you mean --num-classes? \
look --help lists the flags
    """

    def __init__(self, prog: str, description: str = ""):
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Reads a command line.

        Args:
          words: the command line, without the command's name.

        Returns:
          The values of all flags by name.

        Raises:
          InputError: an unknown, missing or malformed flag, or an argument too many.
        """
        # Positional arguments may stand between flags, wherever they are.
        flags, rest = self.parse_known_intermixed_args([self._dashed(word) for word in words])
        if rest:
            raise InputError(f"argument {rest[0]!r} is not expected; flags start with --")
        return flags

    def error(self, message: str) -> NoReturn:
        """Raises the `InputError` of what argparse found."""
        required = "the following arguments are required: "
        if message.startswith(required):
            names = message.removeprefix(required).split(", ")
            message = f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing"
        raise InputError(f"{message}; {self.prog} --help lists the flags")

    def _dashed(self, word: str) -> str:
        """A flag in the spelling that the parser knows it by; other words as they are."""
        known = self._option_string_actions
        name, equals, value = word.partition("=")
        if not name.startswith("--") or name in known:
            return word
        dashed = "--" + name[2:].replace("_", "-")
        older = "--no-" + dashed.removeprefix("--no")
        for spelling in (dashed, older):
            if spelling in known:
                return spelling + equals + value
        # Before argparse looks for what is missing: with "--otu=x", "--out is required" misleads.
        close = difflib.get_close_matches(dashed, known, 1, 0.7)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown flag {name}; {hint}{self.prog} --help lists the flags")


def printable(text: str) -> str:
    r"""Returns text that a terminal shows and does not obey: control characters are written out.

    Args:
      text: such as a sentence with the name of a file.

    Returns:
      The text, in one line.

    Example:
      >>> print(printable("a\x1b[31m.png"))
      a\x1b[31m.png
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "replace").decode()
        for char in text
    )


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raises unless a value is one of some names or numbers.

    Args:
      name: of the argument, key or flag.
      value: what was given.
      choices: what it may be.

    Raises:
      InputError: with the closest name, where one is close, and all of them.

    Example:
      >>> check_choice("band", "simmetric", ("symmetric", "reference"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: band is 'simmetric'; did you mean 'symmetric'? choose one of \
symmetric, reference
    """
    known = list(choices)
    if value in known:
        return
    names = [str(choice) for choice in known]
    # By small letters: "miou" has only half of its letters in common with "mIoU".
    small = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(value).lower(), small, 1, 0.7)
    hint = f"did you mean {small[close[0]]!r}? " if close else ""
    raise InputError(f"{name} is {value!r}; {hint}choose one of {', '.join(names)}")
