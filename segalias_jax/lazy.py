"""Loading the parts of a package when they are first used (PEP 562).

Scoring two folders must not wait for JAX, nor a layer for Grain and orbax; and yet every name
stands in its package. Type checkers do not run `__getattr__`: a package that loads lazily also
imports its names under `typing.TYPE_CHECKING`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def attach(
    package: str,
    names: Mapping[str, Sequence[str]],
    *,
    submodules: Sequence[str] = (),
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the `__getattr__` and `__dir__` of a package.

    Args:
      package: its `__name__`.
      names: public names by the module that holds them.
      submodules: public modules of the package itself.

    Returns:
      Both functions; `__getattr__` keeps what it loaded in the package, so that it is called once
      for each name.

    Example:
      >>> import types
      >>> package = sys.modules["lazy_example"] = types.ModuleType("lazy_example")
      >>> package.__getattr__, package.__dir__ = attach("lazy_example", {"math": ["sqrt"]})
      >>> package.sqrt(4.0), "sqrt" in dir(package)
      (2.0, True)
    """
    module_of = {name: module for module, held in names.items() for name in held}

    def load(name: str) -> Any:
        if name in module_of:
            value = getattr(importlib.import_module(module_of[name]), name)
        elif name in submodules:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of, *submodules})

    return load, listed
