"""The downsampling operators of a function, chosen by name, number or any rule."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from segalias_jax.errors import InputError
from segalias_jax.tracing.blocks import with_blocks
from segalias_jax.tracing.operations import BRANCHING, Program, called_programs, read_jaxpr
from segalias_jax.tracing.operators import DownsamplingOperator
from segalias_jax.tracing.recognition import Found, Site, recognize
from segalias_jax.tracing.replay import ENTERED, hoist

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
        return function(*arguments, **options)

    arrays = tuple(leaves[place] for place in places)
    closed, shape = jax.make_jaxpr(flat, return_shape=True)(*arrays)
    program = read_jaxpr(closed, every_branch=True)
    found = [
        f
        for f in recognize(program.operations)
        if all(_can_replay(closed.jaxpr, path) for path, _ in f.sites)
    ]
    found = tuple(with_blocks(program.operations, found))
    arrays = tuple(a if isinstance(a, jax.ShapeDtypeStruct) else jnp.asarray(a) for a in arrays)
    tree = jax.tree.structure(shape)
    return Traced(closed, program, found, tuple(closed.consts), arrays, tree)


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
    band are those of images; what is in a `while` loop, which keeps nothing of its rounds, or in
    `shard_map`, which sees parts of images; resizing, pooling to a given size and filters that
    stride themselves by a matrix along an axis, which contain a filter already.

    A `name` is what the libraries and `jax.named_scope` say; `source` is the innermost line that
    belongs to no installed package, or else the innermost one outside of JAX. Channels of poolings
    and slices are taken to be after the image axes, or right before them if those are last.

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


def choose(operators: Sequence[DownsamplingOperator], where: Where) -> list[DownsamplingOperator]:
    """Selects operators.

    Args:
      operators: of `find_operators`.
      where: a part of the name, or a pattern for all of it with "*", "?" or "[...]"; an index; a
        function that says yes or no to an operator; None for all.

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
        chosen = [
            o
            for o in operators
            if (fnmatch.fnmatchcase(o.name, where) if glob else where in o.name)
        ]
    else:
        chosen = [o for o in operators if o.index == where]
    if not chosen:
        raise InputError(f"where is {where!r}, but {_listed(operators)}")
    return chosen


def _listed(operators: Sequence[DownsamplingOperator]) -> str:
    if not operators:
        return "the function has no downsampling operator"
    each = ", ".join(f"{o.index} {o.kind} {o.name!r}" for o in operators)
    return f"selects none of the downsampling operators: {each}"


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
