"""What the values of a setting are: checks that read a value or say what it must be."""

from __future__ import annotations

import dataclasses
import math
import operator
import os
from collections.abc import Callable, Iterable
from typing import Any

from segalias_jax.errors import InputError, check_choice

Bound = tuple[Callable[[Any, Any], bool], int | float, str]


@dataclasses.dataclass(frozen=True)
class Check:
    """What the values of a setting are.

    Attributes:
      read: `read(name, value)` returns the value as the setting holds it, or raises an `InputError`
        that begins with the name.
      what: the values in words; "" where the type says all.
      example: a value as the command line takes it, where that is not obvious.

    Example:
      >>> size()("crop", [4, 8])
      (4, 8)
    """

    read: Callable[[str, Any], Any]
    what: str = ""
    example: str = ""

    def __call__(self, name: str, value: Any) -> Any:
        """Returns the value as the setting holds it.

        Args:
          name: of the argument.
          value: what was given for it.

        Raises:
          InputError: the value cannot be, in a sentence that begins with the name.
        """
        return self.read(name, value)


def integer(*, least: int | None = None, most: int | None = None) -> Check:
    """Returns the check of an integer, which may be written as a number such as 1e4.

    Args:
      least: the smallest.
      most: the largest.

    Returns:
      The check.

    Example:
      >>> integer(least=1)("steps", 1e4)
      10000
      >>> integer(least=1)("steps", 0)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: steps is 0; it must be at least 1
    """
    return _scalar(_integer, "an integer", _bounds(least, most, None, None))


def number(
    *,
    least: int | float | None = None,
    most: int | float | None = None,
    above: int | float | None = None,
    below: int | float | None = None,
) -> Check:
    """Returns the check of a finite number.

    Args:
      least: the smallest.
      most: the largest.
      above: what it exceeds.
      below: what it stays under.

    Returns:
      The check; integers become floats.

    Example:
      >>> number(least=0, below=1)("momentum", 2)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: momentum is 2; it must be at least 0 and below 1
    """
    return _scalar(_number, "a number", _bounds(least, most, above, below))


def one_of(choices: Iterable[str]) -> Check:
    """Returns the check of a name out of a table, which may grow after this call.

    Args:
      choices: the names, such as a mapping by them.

    Returns:
      The check.

    Example:
      >>> one_of(("whole", "slide"))("mode", "tiles")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: mode is 'tiles'; choose one of whole, slide
    """

    def read(name: str, value: Any) -> Any:
        check_choice(name, value, choices)
        return value

    return Check(read, "one of " + ", ".join(choices))


def values(read: Callable[[Any], Any], what: str, *, example: str = "") -> Check:
    """Returns the check of values of any other kind.

    Args:
      read: returns a value as the setting holds it; raises TypeError or ValueError for others.
      what: the values in words, such as "two positive integers, (height, width)".
      example: one of them as the command line takes it.

    Returns:
      The check.

    Example:
      >>> values(str.upper, "a text")("name", 3)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: name: 3 is not a text
    """

    def checked(name: str, value: Any) -> Any:
        try:
            return read(value)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{name}: {value!r} is not {what}") from None

    return Check(checked, what, example)


def switch() -> Check:
    """Returns the check of True or False.

    Example:
      >>> switch()("flip", 1)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: flip: 1 is not True or False
    """

    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value

    return values(read, "True or False")


def text() -> Check:
    """Returns the check of a text or a path.

    Example:
      >>> text()("root", 5)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: root: 5 is not a text
    """
    return values(os.fspath, "a text")


def size(order: str = "(height, width)", *, optional: bool = False) -> Check:
    """Returns the check of two sides in pixels.

    Args:
      order: what the two are.
      optional: whether `()` stands for none.

    Returns:
      The check.

    Example:
      >>> size()("crop", (0, 4))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: crop: (0, 4) is not two positive integers, (height, width)
    """

    def read(value: Any) -> tuple[int, ...]:
        if optional and not len(value):
            return ()
        first, second = (_integer(side) for side in value)
        if min(first, second) < 1:
            raise ValueError
        return first, second

    none = ", or ()" if optional else ""
    return values(read, f"two positive integers, {order}{none}", example="64,64")


def interval(*, above: int | float | None = None, least: int | float | None = None) -> Check:
    """Returns the check of a pair (smallest, largest) of numbers.

    Args:
      above: what the smallest exceeds.
      least: what it is at least.

    Returns:
      The check.

    Example:
      >>> interval(above=0)("ratio_range", (2, 1))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: ratio_range: (2, 1) is not (smallest, largest) with \
0 < smallest <= largest
    """

    def read(value: Any) -> tuple[float, float]:
        low, high = (_number(item) for item in value)
        inside = (above is None or low > above) and (least is None or low >= least)
        if not inside or not low <= high:
            raise ValueError
        return low, high

    bound = f"{above} < " if above is not None else f"{least} <= " if least is not None else ""
    return values(read, f"(smallest, largest) with {bound}smallest <= largest", example="0.5,2.0")


def numbers(each: Check, what: str, *, example: str = "1,2", some: bool = False) -> Check:
    """Returns the check of a tuple of numbers of any length.

    Args:
      each: of each of them, `integer` or `number`.
      what: the values in words.
      example: as the command line takes them.
      some: whether there has to be one at least.

    Returns:
      The check.

    Example:
      >>> numbers(integer(least=1), "factors, each at least 1")("multi_grid", [1, 2])
      (1, 2)
    """

    def read(value: Any) -> tuple[Any, ...]:
        if isinstance(value, str) or (some and not value):
            raise TypeError
        return tuple(each("", item) for item in value)

    return values(read, what, example=example)


def names(what: str, *, most: int | None = None, example: str = "\"('sky','road')\"") -> Check:
    """Returns the check of a tuple of different texts.

    Args:
      what: the values in words.
      most: how many there may be.
      example: as the command line takes them.

    Returns:
      The check.

    Example:
      >>> names("different names")("classes", ("sky", "sky"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: classes: ('sky', 'sky') is not different names
    """

    def read(value: Any) -> tuple[str, ...]:
        given = tuple(value)
        if isinstance(value, str) or not all(isinstance(name, str) and name for name in given):
            raise TypeError
        # A command line's a,b without quotes arrives as one text.
        joined = len(given) == 1 and "," in given[0]
        if joined or len(given) > (most or len(given)) or len(set(given)) < len(given):
            raise ValueError
        return given

    return values(read, what, example=example)


def pairs(example: str = "('name', 1.0)") -> Check:
    """Returns the check of a tuple of pairs (text, number).

    Args:
      example: one pair.

    Returns:
      The check; its error names the first row that is no such pair.

    Example:
      >>> pairs()("terms", ("dice", 1.0))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: terms: 'dice' is no pair such as ('name', 1.0)
    """

    def read(name: str, value: Any) -> tuple[tuple[str, float], ...]:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise InputError(f"{name}: {value!r} is no list of pairs such as {example}")
        rows = []
        for row in value:
            try:
                part, factor = row
                if not isinstance(part, str) or isinstance(row, str):
                    raise TypeError
                rows.append((part, _number(factor)))
            except (TypeError, ValueError):
                raise InputError(f"{name}: {row!r} is no pair such as {example}") from None
        return tuple(rows)

    written = example.replace(" ", "").replace(")", "),")
    return Check(read, f"pairs such as {example}", f'"({written})"')


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    if not isinstance(value, float):
        return operator.index(value)
    if not value.is_integer():  # 1e4 is a float that is one
        raise TypeError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool | str) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _bounds(
    least: int | float | None,
    most: int | float | None,
    above: int | float | None,
    below: int | float | None,
) -> list[Bound]:
    rows = (
        (operator.ge, least, f"at least {least}"),
        (operator.gt, above, f"above {above}"),
        (operator.le, most, f"at most {most}"),
        (operator.lt, below, f"below {below}"),
    )
    return [(holds, bound, words) for holds, bound, words in rows if bound is not None]


def _scalar(
    convert: Callable[[Any], Any],
    kind: str,
    bounds: list[Bound],
) -> Check:
    limits = " and ".join(words for *_, words in bounds)

    def read(name: str, value: Any) -> Any:
        try:
            converted = convert(value)
        except (TypeError, ValueError, OverflowError):
            # An infinity or nan is a number to whoever wrote it, and out of any range.
            wanted = limits if limits and isinstance(value, float) and kind == "a number" else kind
            raise InputError(f"{name} is {value!r}; it must be {wanted}") from None
        if not all(holds(converted, bound) for holds, bound, _ in bounds):
            raise InputError(f"{name} is {value!r}; it must be {limits}")
        return converted

    return Check(read, limits or kind)
