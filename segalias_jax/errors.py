"""The one exception type for mistakes in what a user gave, and how commands tell of them."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn


class InputError(ValueError):
    """A mistake in a file, a recipe key or a value that the user gave.

    Its message is one sentence that names the file, key or value and says what to do.
    Commands print it without a traceback and exit with status 2, see `exiting_on_mistakes`;
    library users can catch it as a `ValueError`.

    Example:
      >>> raise InputError("data.root: no folder 'camvid'; pass --config.data.root=DIR")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.root: no folder 'camvid'; pass --config.data.root=DIR
    """


class FlagParser(argparse.ArgumentParser):
    """Reads the flags of a command; a mistake in them is an `InputError`.

    Args:
      listed_by: what lists the flags, where `PROG --help` does not.
      options: of `argparse.ArgumentParser`.

    Example:
      >>> FlagParser(prog="look").parse_args(["--close"])
      Traceback (most recent call last):
      segalias_jax.errors.InputError: unrecognized arguments: --close; look --help lists the flags
    """

    def __init__(self, *, listed_by: str = "", **options: Any):
        super().__init__(**options)
        self._listed_by = listed_by or f"{self.prog} --help"

    def error(self, message: str) -> NoReturn:
        """Raises the `InputError` of a mistake."""
        raise InputError(f"{message}; {self._listed_by} lists the flags")


@contextlib.contextmanager
def exiting_on_mistakes() -> Iterator[None]:
    """Ends a command by status 2 and one line on stderr after a mistake, by 130 after Ctrl+C.

    Example:
      >>> with exiting_on_mistakes():
      ...     raise InputError("--out is missing; pass --out=DIR")
      Traceback (most recent call last):
      SystemExit: 2
    """
    try:
        yield
    except InputError as error:
        # What is raised in a reading thread comes with a note by the data library.
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


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
    close = difflib.get_close_matches(str(value), names, 1, 0.7)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InputError(f"{name} is {value!r}; {hint}choose one of {', '.join(names)}")
