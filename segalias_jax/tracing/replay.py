"""Traced programs run again, with hooks where values are read.

This is the one interpreter on which profiling, capturing and de-aliasing stand. An equation without
a hook inside is bound as it was, so functions with derivatives of their own keep them, and what was
under `jit`, `jax.checkpoint`, `scan` or `cond` still is. Hooks move out of a called program if they
cover all of its uses of the value. A `custom_jvp` or `custom_vjp` in which something must change
all the same is inlined: its rule is not that of the changed function. `while` loops and `shard_map`
are left alone.
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

_INLINED = ("closed_call", "core_call", "custom_jvp_call", "custom_vjp_call")
ENTERED = ("jit", "pjit", "remat", "remat2", "checkpoint", "scan", "cond", *_INLINED)
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
        """Whether there is a hook inside of an equation."""
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
            return (tuple(outputs) if equation.primitive.multiple_results else [outputs]), {}
        if name in ("jit", "pjit"):
            return self._under_jit(parameters, inputs, path)
        if name in ("remat", "remat2", "checkpoint"):
            return jax.checkpoint(
                self._body(parameters["jaxpr"], path),
                prevent_cse=parameters["prevent_cse"],
                policy=parameters["policy"],
            )(*inputs)
        if name == "scan":
            return self._scan(parameters, inputs, path)
        if name == "cond":
            return self._cond(parameters, inputs, path)
        # The derivative rule of the original function is not that of the changed one.
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

        carry, (stacked, recorded) = jax.lax.scan(
            step,
            inputs[count : count + carried],
            inputs[count + carried :],
            length=parameters["length"],
            reverse=parameters["reverse"],
            unroll=parameters["unroll"],
        )
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
    """Placeholder for what a branch that was not taken would have recorded."""
    number = jnp.nan if jnp.issubdtype(shape.dtype, jnp.inexact) else 0
    return jnp.full(shape.shape, number, shape.dtype)


def hoist(program: Program, value: int, sites: Sequence[Site]) -> tuple[Site, ...]:
    """Hoists sites to the call where they cover every use inside the called program.

    Then one filter serves all of them, and a function with its own derivative keeps it.

    Args:
      program: that the sites are in.
      value: number of what is read there.
      sites: where it is read.

    Returns:
      The sites, as far outside as possible.

    Example:
      >>> from segalias_jax.tracing.operations import read_jaxpr
      >>> closed = jax.make_jaxpr(jax.jit(lambda x: x + 1))(1.0)
      >>> hoist(read_jaxpr(closed), 0, [((0, 0), 0)])
      (((0,), 0),)
    """
    found = set(sites)
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
        if inside and all(_covered(site, found, path) for site in inside):
            found = {site for site in found if site[0][: len(path)] != path}
            found |= {(path, position) for position, read in enumerate(given) if read == value}
    return tuple(sorted(found))


def _covered(site: Site, sites: set[Site], path: tuple[int, ...]) -> bool:
    """Whether a site is one of some, or inside of a call at one of them."""
    inner = site[0]
    return site in sites or any(
        inner[: len(outer)] == outer and len(path) < len(outer) < len(inner) for outer, _ in sites
    )
