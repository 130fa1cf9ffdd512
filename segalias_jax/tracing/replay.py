"""Traced programs run once more, with something done to values where they are read.

This is the one interpreter on which profiling, capturing and de-aliasing stand. An equation in
which nothing is to be done runs as it is, so functions with derivatives of their own keep them,
and what was under `jit`, `jax.checkpoint`, `scan` or `cond` still is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from segalias_jax.tracing.operations import Program, scan_counts
from segalias_jax.tracing.recognition import Site

Records = dict[Any, Any]
"""What was recorded, by the site it was recorded at."""

INLINED = ("closed_call", "core_call", "custom_jvp_call", "custom_vjp_call")
ENTERED = ("jit", "pjit", "remat", "remat2", "checkpoint", "scan", "cond", *INLINED)
"""Equations whose programs can be replayed; anything else runs as it is."""


@dataclasses.dataclass(frozen=True, eq=False)
class Replay:
    """A program with hooks.

    Attributes:
      jaxpr: the program, of `jax.make_jaxpr`.
      replacements: by site, what is computed from the value that is read there, and read instead.
      records: by site, what is computed from that value, and handed out.

    Example:
      >>> closed = jax.make_jaxpr(lambda x: jnp.sin(x) + x)(1.0)
      >>> hooks = {((1,), 1): lambda x: 0 * x}, {((0,), 0): lambda x: 2 * x}
      >>> outputs, recorded = Replay(closed.jaxpr, *hooks)(closed.consts, [0.0])
      >>> float(outputs[0]), float(recorded[((0,), 0)])
      (0.0, 0.0)
    """

    jaxpr: Jaxpr
    replacements: Mapping[Site, Callable[[jax.Array], jax.Array]]
    records: Mapping[Site, Callable[[jax.Array], Any]]

    def __call__(
        self, constants: Sequence[Any], arguments: Sequence[Any]
    ) -> tuple[list[Any], Records]:
        """Runs the program; returns its outputs and what was recorded."""
        return self._run(self.jaxpr, constants, arguments, ())

    def _touches(self, path: tuple[int, ...]) -> bool:
        """Whether something is to be done inside of an equation."""
        return any(
            len(site) > len(path) and site[: len(path)] == path
            for hooks in (self.replacements, self.records)
            for site, _ in hooks
        )

    def _run(
        self, jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any], path: tuple
    ) -> tuple[list[Any], Records]:
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
        values |= dict(zip(jaxpr.invars, arguments, strict=True))
        recorded: Records = {}
        replaced: dict[Any, Any] = {}

        def read(variable: Any) -> Any:
            return variable.val if isinstance(variable, Literal) else values[variable]

        for i, equation in enumerate(jaxpr.eqns):
            inner = (*path, i)
            stack = source_info_util.current_name_stack() + equation.source_info.name_stack
            traceback = equation.source_info.traceback
            with source_info_util.user_context(traceback, name_stack=stack), equation.ctx.manager:
                inputs = []
                for position, variable in enumerate(equation.invars):
                    value, site = read(variable), (inner, position)
                    if site in self.records:
                        recorded[site] = self.records[site](value)
                    if site in self.replacements:
                        replacement = self.replacements[site]
                        key = (variable, replacement)
                        if key not in replaced:  # one filter for all who read the same
                            replaced[key] = replacement(value)
                        value = replaced[key]
                    inputs.append(value)
                outputs, found = self._equation(equation, inputs, inner)
            recorded |= found
            values |= dict(zip(equation.outvars, outputs, strict=True))
        return [read(variable) for variable in jaxpr.outvars], recorded

    def _equation(
        self, equation: Any, inputs: list[Any], path: tuple[int, ...]
    ) -> tuple[Sequence[Any], Records]:
        name, parameters = equation.primitive.name, equation.params
        if not self._touches(path):
            primitive = equation.primitive
            outputs = primitive.bind(*inputs, **primitive.get_bind_params(parameters))
            return (outputs if equation.primitive.multiple_results else [outputs]), {}
        if name in ("jit", "pjit"):
            return self._under_jit(parameters, inputs, path)
        if name in ("remat", "remat2", "checkpoint"):
            options = {key: parameters[key] for key in ("prevent_cse", "policy")}
            body = self._body(parameters["jaxpr"], path)
            return jax.checkpoint(body, **options)(*inputs)
        if name == "scan":
            return self._scan(parameters, inputs, path)
        if name == "cond":
            return self._cond(parameters, inputs, path)
        # A rule for the derivative of the function as it was is none for the changed one.
        return self._body(parameters["call_jaxpr"], path)(*inputs)

    def _body(self, program: Any, path: tuple[int, ...]) -> Callable[..., Any]:
        jaxpr, constants = (
            (program.jaxpr, program.consts) if isinstance(program, ClosedJaxpr) else (program, ())
        )
        return lambda *inputs: self._run(jaxpr, constants, inputs, path)

    def _under_jit(self, parameters: Mapping[str, Any], inputs: list[Any], path: tuple) -> Any:
        body = self._body(parameters["jaxpr"], path)
        body.__name__ = parameters["name"]
        read, written = (
            [s if isinstance(s, jax.sharding.Sharding) else None for s in parameters[key]]
            for key in ("in_shardings", "out_shardings")
        )
        return jax.jit(
            body,
            in_shardings=tuple(read),
            out_shardings=(written, None),
            inline=parameters["inline"],
        )(*inputs)

    def _scan(self, parameters: Mapping[str, Any], inputs: list[Any], path: tuple) -> Any:
        count, carried = scan_counts(parameters)
        body = self._body(parameters["jaxpr"], path)

        def step(carry: list[Any], sliced: list[Any]) -> Any:
            outputs, recorded = body(*inputs[:count], *carry, *sliced)
            return outputs[:carried], (outputs[carried:], recorded)

        options = {key: parameters[key] for key in ("length", "reverse", "unroll")}
        carry = inputs[count : count + carried]
        carry, (stacked, recorded) = jax.lax.scan(step, carry, inputs[count + carried :], **options)
        return [*carry, *stacked], recorded

    def _cond(self, parameters: Mapping[str, Any], inputs: list[Any], path: tuple) -> Any:
        chosen, operands = inputs[0], inputs[1:]
        bodies = [self._body(b, (*path, i)) for i, b in enumerate(parameters["branches"])]
        shapes = [jax.eval_shape(body, *operands)[1] for body in bodies]

        def branch(i: int) -> Callable[..., Any]:
            def run(*operands: Any) -> tuple[list[Any], Records]:
                outputs, recorded = bodies[i](*operands)
                for j, shape in enumerate(shapes):
                    if j != i:
                        recorded |= jax.tree.map(_nothing, shape)
                return outputs, recorded

            return run

        return jax.lax.switch(chosen, [branch(i) for i in range(len(bodies))], *operands)


def _nothing(shape: jax.ShapeDtypeStruct) -> jax.Array:
    """Stands for what a branch would have recorded that was not taken."""
    number = jnp.nan if jnp.issubdtype(shape.dtype, jnp.inexact) else 0
    return jnp.full(shape.shape, number, shape.dtype)


def hoist(program: Program, value: int, sites: Sequence[Site]) -> tuple[Site, ...]:
    """Moves sites out of called programs whose every use of the value they are.

    So one filter serves all of them, and what has a derivative of its own keeps it.

    Args:
      program: that the sites are in.
      value: number of what is read there.
      sites: where it is read.

    Returns:
      Sites that are as far outside as can be.

    Example:
      >>> from segalias_jax.tracing.operations import read_jaxpr
      >>> closed = jax.make_jaxpr(jax.jit(lambda x: x + 1))(1.0)
      >>> hoist(read_jaxpr(closed), 0, [((0, 0), 0)])
      (((0,), 0),)
    """
    sites = set(sites)
    for path, (given, returned) in sorted(program.calls.items(), key=lambda c: -len(c[0])):
        if value not in given or value in returned:
            continue
        inside = {
            (operation.path, position)
            for operation in program.operations
            if operation.path[: len(path)] == path
            for position, read in enumerate(operation.inputs)
            if read == value
        }
        if inside and all(_covered(site, sites, path) for site in inside):
            sites = {site for site in sites if site[0][: len(path)] != path}
            sites |= {(path, position) for position, read in enumerate(given) if read == value}
    return tuple(sorted(sites))


def _covered(site: Site, sites: set[Site], path: tuple[int, ...]) -> bool:
    """Whether a site is one of some, or inside of a call at one of them."""
    inner = site[0]
    return site in sites or any(
        inner[: len(outer)] == outer and len(path) < len(outer) < len(inner) for outer, _ in sites
    )
