"""The downsampling operators of a function, chosen by name, number or any rule."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from segalias_jax.errors import InputError
from segalias_jax.tracing.blocks import with_blocks
from segalias_jax.tracing.modules import noting_modules
from segalias_jax.tracing.operations import BRANCHING, Program, called_programs, read_jaxpr
from segalias_jax.tracing.operators import DownsamplingOperator
from segalias_jax.tracing.recognition import Found, Site, recognize
from segalias_jax.tracing.replay import ENTERED, hoist
from segalias_jax.tracing.sources import source_line

Where = str | int | Callable[[DownsamplingOperator], bool] | None
"""Which operators are meant, see `choose`."""


@dataclasses.dataclass(frozen=True)
class Traced:
    """A traced function and its operators.

    Attributes:
      closed: its program.
      program: the same as a list of operations, with all branches.
      found: its operators.
      constants: arrays that the function holds.
      arguments: those leaves of its arguments that are arrays.
      tree: of what it returns.
      not_looked_into: what may sample, too, but is not among the operators; see `unseen`.

    Example:
      >>> traced = trace(lambda x, flip: -x[::2, ::2] if flip else x, (np.ones((4, 4)), True), {})
      >>> len(traced.arguments), len(traced.found)
      (1, 1)
    """

    closed: ClosedJaxpr
    program: Program
    found: tuple[Found, ...]
    constants: tuple[Any, ...]
    arguments: tuple[Any, ...]
    tree: Any
    not_looked_into: tuple[str, ...] = ()

    @property
    def operators(self) -> list[DownsamplingOperator]:
        """All operators in running order."""
        return [f.operator for f in self.found]

    def sites(self, index: int) -> tuple[Site, ...]:
        """Where the operator of this number reads what enters it, as far outside as can be."""
        f = self.found[index]
        return hoist(self.program, f.operand, f.sites)


def trace(
    function: Callable[..., Any], arguments: Sequence[Any], options: dict[str, Any]
) -> Traced:
    """Traces a function and finds its operators.

    Args:
      function: any function of arrays; what is no array among its arguments stays what it is.
      arguments: arrays, their `jax.ShapeDtypeStruct`, trees of them, and anything else.
      options: its keywords, likewise.

    Returns:
      The program and its operators; nothing was computed.

    Example:
      >>> trace(lambda x: x, (np.ones(3),), {}).operators
      []
    """
    leaves, structure = jax.tree.flatten((tuple(arguments), dict(options)))
    kinds = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, kinds)]

    def flat(*arrays: Any) -> Any:
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        arguments, options = jax.tree.unflatten(structure, filled)
        with noting_modules(function, (*arguments, *options.values())):
            return function(*arguments, **options)

    arrays = tuple(leaves[place] for place in places)
    try:
        closed, shape = jax.make_jaxpr(flat, return_shape=True)(*arrays)
    except Exception as error:
        if type(error).__name__ != "TraceContextError":  # of flax, which is not imported here
            raise
        raise InputError(
            "the model changes a state of its own, as a norm in training does with its running "
            "statistics, which a traced function cannot; call model.eval() first"
        ) from None
    program = read_jaxpr(closed, every_branch=True)
    recognized = recognize(program.operations)
    found = [f for f in recognized if all(_can_replay(closed.jaxpr, path) for path, _ in f.sites)]
    left_out = [f for f in recognized if f not in found]
    found = tuple(with_blocks(program.operations, found))
    arrays = tuple(a if isinstance(a, jax.ShapeDtypeStruct) else jnp.asarray(a) for a in arrays)
    tree = jax.tree.structure(shape)
    missed = tuple(dict.fromkeys(unseen(closed.jaxpr, left_out)))
    return Traced(closed, program, found, tuple(closed.consts), arrays, tree, missed)


def find_operators(function: Callable[..., Any], *arguments: Any) -> list[DownsamplingOperator]:
    """Lists the downsampling operators of any JAX function; nothing is computed.

    Found are operators that stride along both axes of images, in any layout: convolutions (grouped
    and dilated ones too), poolings by `reduce_window`, by slices or by a reshape, strided slices,
    1x1 convolutions as a strided slice and a matrix product, and pixels that become channels
    (patch embeddings). After parallel operators whose results meet, such as branch and shortcut of
    a residual block, comes the "block" of them: what the method takes for one operator.
    Padding is no part of what enters an operator.

    It goes into `jit`, `jax.checkpoint`, functions with derivatives of their own, `scan` and all
    branches of `cond`. Left out are: operators along one axis or three, because sampling rate and
    band are those of images; pooling of the whole image; what is in a `while` loop, which keeps
    nothing of its rounds, or in `shard_map`, which sees parts of images; programs of `jax.export`;
    `jax.image.resize` and pixels that are read by an index (the report of `profile_aliasing` and
    the messages of `where` name what is there of these); other resizing, pooling to a given
    size and filters that stride themselves by a matrix along an axis, which contain a filter
    already.

    A `name` is what the libraries and `jax.named_scope` say, `module` the path of the flax.nnx
    module that is called around it; `source` is the innermost line that belongs to no installed
    package, or else the innermost one outside of JAX. Channels of poolings and slices are taken to
    be after the image axes, or right before them if those are last.

    Args:
      function: any function of arrays.
      *arguments: its arguments: arrays or `jax.ShapeDtypeStruct`, trees of them, and anything else,
        which is not traced.

    Returns:
      The operators in running order; those of `cond` branches one branch after the other.

    Example:
      >>> import jax.numpy as jnp
      >>> kernel = jnp.ones((3, 3, 4, 8))
      >>> net = lambda x: jax.lax.conv(x, kernel.transpose(3, 2, 0, 1), (2, 2), "SAME")
      >>> (conv,) = find_operators(net, jax.ShapeDtypeStruct((1, 4, 32, 32), jnp.float32))
      >>> conv.kind, conv.kernel_size, conv.stride, round(conv.nyquist_frequency, 4)
      ('conv', (3, 3), (2, 2), 0.3536)
    """
    return trace(function, arguments, {}).operators


def choose(
    operators: Sequence[DownsamplingOperator], where: Where, not_looked_into: Sequence[str] = ()
) -> list[DownsamplingOperator]:
    """Selects operators.

    Args:
      operators: of `find_operators`.
      where: a part of the name, of the NNX module's path or of the source, as in "stage2",
        "layer1.0" or "net.py:7"; a pattern for all of the name or path with "*", "?" or "[...]";
        an index; a function that says yes or no to an operator;
        None for all.
      not_looked_into: what may sample, too, for the message.

    Returns:
      Those selected, at least one.

    Raises:
      InputError: none is; the message lists those there are.

    Example:
      >>> choose([], "stage2")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: where is 'stage2', but the function has no downsampling \
operator
    """
    if where is None:
        chosen = list(operators)
    elif callable(where):
        chosen = [o for o in operators if where(o)]
    elif isinstance(where, str):
        glob = any(c in where for c in "*?[")
        chosen = [o for o in operators if (_matches(o, where) if glob else _named(o, where))]
    else:
        chosen = [o for o in operators if o.index == where]
    if not chosen:
        rest = f"; not looked into: {', '.join(not_looked_into)}" if not_looked_into else ""
        raise InputError(f"where is {where!r}, but {_listed(operators)}{rest}")
    return chosen


def _matches(operator: DownsamplingOperator, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in (operator.name, operator.module))


def _named(operator: DownsamplingOperator, where: str) -> bool:
    """Whether a word is part of an operator's names, or the end of its source is not cut short."""
    own = where in operator.name or where in operator.module
    return own or f"{where}:" in f"{operator.source}:"


def _listed(operators: Sequence[DownsamplingOperator]) -> str:
    if not operators:
        return "the function has no downsampling operator"
    each = ", ".join(f"{o.index} {o.kind} {_label(o)!r}" for o in operators)
    return f"selects none of the downsampling operators: {each}"


def _label(operator: DownsamplingOperator) -> str:
    return operator.name or operator.module or operator.source


_OPAQUE = {"call_exported": "a program of jax.export", "pallas_call": "a Pallas kernel"}
_OPAQUE |= {"ffi_call": "a foreign function", "pure_callback": "a callback"}
_CALLERS = {"while": "a while loop", "shard_map": "shard_map"}


def unseen(jaxpr: Any, left_out: Sequence[Found], around: str = "no known line") -> Iterator[str]:
    """Says what may sample in a program and is not among its operators.

    Args:
      jaxpr: the program.
      left_out: operators that cannot be filtered, because of what calls them.
      around: line that calls the program, where an operation in it has none of its own.

    Yields:
      What it is, and where.

    Example:
      >>> half = lambda x: jnp.take(x, jnp.arange(0, 8, 2), 1)
      >>> closed = jax.make_jaxpr(half)(jnp.ones((1, 8, 8)))
      >>> [what.split(" at ")[0] for what in unseen(closed.jaxpr, ())]
      ['every n-th pixel by an index']
    """
    for f in left_out:
        callers = _callers(jaxpr, f.sites[0][0])
        inside = next((_CALLERS.get(name, name) for name in callers if name not in ENTERED), "")
        yield f"{f.operator.kind} in {inside} at {f.operator.source}"
    for equation in jaxpr.eqns:
        name, place = equation.primitive.name, source_line(equation.source_info) or around
        if name in _OPAQUE:
            yield f"{_OPAQUE[name]} at {place}"
        elif name == "gather" and _thins_out(equation):
            yield f"every n-th pixel by an index at {place}"
        elif equation.params.get("name") == "_resize" and _thins_out(equation):
            yield f"jax.image.resize at {place}"
        else:
            for called in called_programs(equation):
                yield from unseen(called, (), place)


def _thins_out(equation: Any) -> bool:
    """Whether an array of images keeps its axes, and at least one of them gets shorter."""
    read, written = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    pairs = list(zip(read, written, strict=False))
    return 3 <= len(read) == len(written) and any(1 < m < n for n, m in pairs)


def _callers(jaxpr: Any, path: tuple[int, ...]) -> Iterator[str]:
    """Names of the equations that lead to an operation, outer ones first."""
    while len(path) > 1:
        equation = jaxpr.eqns[path[0]]
        yield equation.primitive.name
        branching = equation.primitive.name in BRANCHING
        jaxpr = called_programs(equation)[path[1] if branching else 0]
        path = path[2 if branching else 1 :]


def _can_replay(jaxpr: Any, path: tuple[int, ...]) -> bool:
    """Whether all that an operation is called by can be replayed."""
    while len(path) > 1:
        equation = jaxpr.eqns[path[0]]
        if equation.primitive.name not in ENTERED:
            return False
        branching = equation.primitive.name in BRANCHING
        jaxpr = called_programs(equation)[path[1] if branching else 0]
        path = path[2 if branching else 1 :]
    return bool(path)
