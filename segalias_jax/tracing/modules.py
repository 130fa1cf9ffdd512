"""Paths of flax.nnx modules, noted in a program while it is traced.

NNX names nothing: what it traces has no scopes. While `noting_modules` is entered, the call of any
module puts its path in the graph of modules into the stack of named scopes, as one marked scope of
its own, which `scope_and_module` tells from the scopes of users and libraries. So those stay as
they are, and the paths reach called programs and programs that are replayed. Flax is not imported
here: where nobody has, there is no module.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

_MARK = "nnx module "
_LOCAL = threading.local()
_LOCK = threading.Lock()
_wrapped: dict[type, Any] = {}
_users = 0


class _Paths:
    """Paths of modules by identity, and of those that are being called."""

    def __init__(self, nnx: Any):
        self.nnx = nnx
        self.known: dict[int, tuple[Any, str]] = {}  # modules too, so that no number is reused
        self.around = [""]

    def add(self, root: Any, path: str) -> None:
        for inner, module in self.nnx.iter_modules(root):
            name = ".".join(filter(None, (path, *map(str, inner))))
            self.known.setdefault(id(module), (module, name))

    @contextlib.contextmanager
    def calling(self, module: Any) -> Iterator[None]:
        # Made inside of the function, as by nnx.merge: whatever is called first is a root.
        if id(module) not in self.known:
            self.add(module, self.around[-1])
        path = self.known[id(module)][1]
        self.around.append(path)
        try:
            with jax.named_scope(_MARK + path) if path else contextlib.nullcontext():
                yield
        finally:
            self.around.pop()


@contextlib.contextmanager
def noting_modules(function: Any, values: Sequence[Any]) -> Iterator[None]:
    """Notes which module an operation is in, for what is traced inside by this thread.

    Args:
      function: what is traced: a module, a method of one, or a function that holds some.
      values: its arguments, as they are in the trace.

    Example:
      >>> with noting_modules(abs, ()):
      ...     program = jax.make_jaxpr(abs)(1.0)
    """
    nnx = sys.modules.get("flax.nnx")
    if nnx is None:
        yield
        return
    paths, before = _Paths(nnx), getattr(_LOCAL, "paths", None)
    held = [function, getattr(function, "__self__", None), *values]
    held += [function.func, *function.args] if isinstance(function, functools.partial) else []
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # of a name that has no value yet
            held.append(cell.cell_contents)
    for value in held:
        if isinstance(value, nnx.Module):
            paths.add(value, "")
    _wrap_calls(nnx.Module)
    _LOCAL.paths = paths
    try:
        yield
    finally:
        _LOCAL.paths = before
        _unwrap_calls()


def scope_and_module(stack: Any) -> tuple[str, str]:
    """Splits a stack of named scopes.

    Args:
      stack: of an equation.

    Returns:
      The scopes of users and libraries, joined by "/", and the path of the innermost module.

    Example:
      >>> equation = jax.make_jaxpr(jax.named_call(lambda x: x + 1, name="a"))(1.0).eqns[0]
      >>> scope_and_module(equation.source_info.name_stack)
      ('a', '')
    """
    own = [part for part in stack.stack if not part.name.startswith(_MARK)]
    if len(own) == len(stack.stack):
        return str(stack), ""
    module = [part.name for part in stack.stack if part.name.startswith(_MARK)][-1]
    return str(type(stack)(tuple(own))), module.removeprefix(_MARK)


def _wrap_calls(base: type) -> None:
    """Makes every class of modules note its calls, until as many `_unwrap_calls` have followed."""
    global _users
    with _LOCK:
        _users += 1
        classes = [base]
        for kind in classes:
            classes += kind.__subclasses__()
            if "__call__" in vars(kind) and kind not in _wrapped:
                _wrapped[kind] = vars(kind)["__call__"]
                kind.__call__ = _noting(_wrapped[kind])


def _unwrap_calls() -> None:
    global _users
    with _LOCK:
        _users -= 1
        if _users == 0:
            for kind, call in _wrapped.items():
                kind.__call__ = call
            _wrapped.clear()


def _noting(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def noting(self: Any, *arguments: Any, **options: Any) -> Any:
        paths = getattr(_LOCAL, "paths", None)  # of other threads nothing is noted
        with paths.calling(self) if paths else contextlib.nullcontext():
            return call(self, *arguments, **options)

    return noting
