"""Settings as frozen dataclasses: default, help, unit and check of a value in one place.

A part of the package states what it can be set to as the fields of a frozen dataclass, each made by
`setting`. The default recipe, its documentation and every error about a value follow from them, so
that none of the three can contradict another. An error names the argument of the dataclass alone
("crop: ..."), as whoever calls the library wrote it; `parse` and `section_errors` add the section
of a recipe ("data.crop: ...") for whoever wrote a recipe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from ml_collections import config_dict

from segalias_jax.errors import InputError
from segalias_jax.settings.checks import Check, integer, number, switch, text

Section = TypeVar("Section")


def setting(default: Any, help: str, *, unit: str = "", check: Check | None = None) -> Any:
    """Declares a field of a dataclass whose values can be set.

    Args:
      default: its value where none is given.
      help: what it says, in a line or two.
      unit: of its numbers, such as "pixels".
      check: what its values are; by default whatever its annotation, a scalar type, allows.

    Returns:
      The field; the dataclass calls `check_settings` in its `__post_init__`.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Blur:
      ...     sigma: float = setting(1.0, "deviation", unit="pixels", check=number(least=0))
      ...
      ...     def __post_init__(self):
      ...         check_settings(self)
      >>> Blur(2).sigma
      2.0
      >>> Blur(-1)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: sigma is -1; it must be at least 0
    """
    metadata = {"help": " ".join(help.split()), "unit": unit, "check": check}
    return dataclasses.field(default=default, metadata=metadata)


def settings_of(section: Any) -> dict[str, dataclasses.Field[Any]]:
    """Returns the settings of a dataclass, by name; fields that are no settings are left out.

    Args:
      section: the dataclass or an instance.

    Example:
      >>> settings_of(Check)
      {}
    """
    return {field.name: field for field in dataclasses.fields(section) if "help" in field.metadata}


def check_settings(section: Any) -> None:
    """Checks all settings of an instance, and puts each in the form that its check gives it.

    Called by `__post_init__`: a dataclass of settings is right however it was made.

    Args:
      section: the instance.

    Raises:
      InputError: naming the first setting that cannot be.
    """
    for name in settings_of(section):
        checked = _check(type(section), name)(name, getattr(section, name))
        object.__setattr__(section, name, checked)  # frozen for all others


def parse(
    cls: type[Section],
    given: Mapping[str, Any] | config_dict.ConfigDict,
    *,
    section: str = "",
    **fixed: Any,
) -> Section:
    """Makes a dataclass of settings from values by name.

    Args:
      cls: the dataclass.
      given: the values, such as a section of a recipe. What is left out has its default, and so has
        what is None where the setting cannot be None; lists become tuples.
      section: name of the section, for errors; "" to name the settings alone.
      **fixed: fields of the dataclass that are no settings.

    Returns:
      The settings.

    Raises:
      InputError: an unknown name, with the closest one, or a value that cannot be.

    Example:
      >>> from segalias_jax.settings import size
      >>> @dataclasses.dataclass(frozen=True)
      ... class Data:
      ...     crop: tuple[int, int] = setting((8, 8), "training crop", unit="pixels", check=size())
      >>> parse(Data, {"crop": [4, 6]}).crop
      (4, 6)
      >>> parse(Data, {"crop": (64,)}, section="data")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.crop: (64,) is not two positive integers, \
(height, width); write --config.data.crop=64,64
      >>> parse(Data, {"crops": 64}, section="data")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.crops: unknown key; did you mean data.crop?
    """
    read = read_settings(cls, given, section=section)
    with section_errors(section):
        return cls(**read, **fixed)


def read_settings(
    cls: type, given: Mapping[str, Any] | config_dict.ConfigDict, *, section: str = ""
) -> dict[str, Any]:
    """Reads values of some settings of a dataclass, each by itself; see `parse`.

    Args:
      cls: the dataclass.
      given: the values, by name.
      section: name of the section, for errors; "" to name the settings alone.

    Returns:
      The values as the settings hold them, without those that are None where they cannot be.

    Raises:
      InputError: an unknown name, with the closest one, or a value that cannot be.
    """
    prefix = f"{section}." if section else ""
    known = settings_of(cls)
    read = {}
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {prefix}{close[0]}?" if close else ""
            raise InputError(
                f"{prefix}{key}: unknown key; {hint or 'choose from ' + ', '.join(known)}"
            )
        value, check = as_tuples(given[key]), _check(cls, key)
        if value is None and not _optional(cls, key):
            continue
        try:
            read[key] = check(f"{prefix}{key}", value)
        except InputError as error:
            if not (section and check.example):
                raise
            raise InputError(f"{error}; write --config.{prefix}{key}={check.example}") from None
    return read


@contextlib.contextmanager
def section_errors(section: str) -> Iterator[None]:
    """Adds the section of a recipe to an error that begins with an argument's name.

    Args:
      section: its name; "" to add nothing.

    Raises:
      InputError: "fsdp is 0; ..." as "mesh.fsdp is 0; ...".

    Example:
      >>> with section_errors("mesh"):
      ...     integer(least=1)("fsdp", 0)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: mesh.fsdp is 0; it must be at least 1
    """
    try:
        yield
    except InputError as error:
        if not section:
            raise
        raise InputError(f"{section}.{error}") from None


def to_dict(section: Any) -> dict[str, Any]:
    """Returns the values of all settings of an instance, by name.

    Args:
      section: the instance.
    """
    return {name: getattr(section, name) for name in settings_of(section)}


def defaults(cls: type) -> config_dict.ConfigDict:
    """Returns the section of a recipe with the default of every setting.

    A key of the section takes values of its default's type only; None says what type by the
    setting's annotation, and a setting of several types takes any.

    Args:
      cls: the dataclass.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Data:
      ...     threshold: int | None = setting(None, "gray value", check=integer(least=0))
      >>> section = defaults(Data)
      >>> section.threshold = 128
      >>> section.threshold
      128
    """
    section = config_dict.ConfigDict()
    for name, field in settings_of(cls).items():
        kinds = _kinds(cls, name) - {type(None)}
        value = field.default
        if len(kinds) > 1:
            value = config_dict.FieldReference(value, field_type=object)
        elif value is None:
            value = config_dict.placeholder(next(iter(kinds)))
        section[name] = value
    return section


def documentation(cls: type, section: str = "") -> str:
    """Describes every setting: its default, unit, meaning and values.

    Args:
      cls: the dataclass.
      section: name of the section, put before each name.

    Example:
      >>> from segalias_jax.settings import size
      >>> @dataclasses.dataclass(frozen=True)
      ... class Data:
      ...     crop: tuple[int, int] = setting((8, 8), "training crop", unit="pixels", check=size())
      >>> print(documentation(Data, "data"))
      data.crop = (8, 8)  [pixels]
          training crop; two positive integers, (height, width)
    """
    lines = []
    for name, field in settings_of(cls).items():
        unit = f"  [{field.metadata['unit']}]" if field.metadata["unit"] else ""
        lines.append(f"{section}.{name} = {field.default!r}{unit}".removeprefix("."))
        what = _check(cls, name).what
        lines.append(f"    {field.metadata['help']}{'; ' + what if what else ''}")
    return "\n".join(lines)


def as_tuples(value: Any) -> Any:
    """Returns a value with its lists, and those inside of them, as tuples.

    Args:
      value: of any kind.

    Example:
      >>> as_tuples([[1, 2], "a"])
      ((1, 2), 'a')
    """
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


@functools.cache
def _check(cls: type, name: str) -> Check:
    given = settings_of(cls)[name].metadata["check"]
    by_type = {bool: switch, int: integer, float: number, str: text}
    if given is None:
        (kind,) = _kinds(cls, name) - {type(None)}
        given = dataclasses.replace(by_type[kind](), what="")
    if not _optional(cls, name):
        return given
    read = given.read
    return dataclasses.replace(
        given, read=lambda name, value: None if value is None else read(name, value)
    )


@functools.cache
def _kinds(cls: type, name: str) -> frozenset[type]:
    """The types that a setting's annotation joins by |, without what they hold."""
    annotation = typing.get_type_hints(cls)[name]
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    parts = typing.get_args(annotation) if union else (annotation,)
    return frozenset(typing.get_origin(part) or part for part in parts)


def _optional(cls: type, name: str) -> bool:
    return type(None) in _kinds(cls, name)
