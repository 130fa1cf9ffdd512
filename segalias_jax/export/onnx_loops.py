"""Rules of the ONNX export for loops: `while`, and `scan` with a fixed number of rounds.

Both become a `Loop`, whose body is a graph of its own that reads what is outside of it by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.export.onnx_graph import Graph, Tensor, Value, onnx, value_info

# Of a round: whether there is another one, the state after it, and what is collected.
_Round = tuple[Value, Sequence[Value], Sequence[Value]]


def _while(graph: Graph, inputs: list[Value], equation: Any) -> list[Value]:
    p = equation.params
    first = p["cond_nconsts"]
    of_condition, rest = inputs[:first], inputs[first:]
    of_body, state = rest[: p["body_nconsts"]], rest[p["body_nconsts"] :]

    batch = p["cond_jaxpr"].out_avals[0].shape

    def goes_on(state: Sequence[Value]) -> Value:
        (found,) = _called(graph, p["cond_jaxpr"], [*of_condition, *state])
        return found

    def any_goes_on(state: Sequence[Value]) -> Value:
        rows = goes_on(state)
        return graph.reduce_truth("ReduceMax", rows, range(len(batch)), ()) if batch else rows

    def body(_: Tensor, state: list[Value]) -> _Round:
        after = _called(graph, p["body_jaxpr"], [*of_body, *state])
        if batch:  # a row of a batch whose own loop has ended stays as it is
            rows = graph.full(goes_on(state))
            after = [
                graph.where(_rows(graph, rows, aval.shape, batch), new, old, aval.shape, aval.dtype)
                for new, old, aval in zip(after, state, p["body_jaxpr"].out_avals, strict=True)
            ]
        return any_goes_on(after), after, []

    return _loop(graph, "", graph.full(any_goes_on(state)), state, body, equation)


def _rows(graph: Graph, name: str, shape: Sequence[int], batch: Sequence[int]) -> Tensor:
    """A truth value for each row of a batch, as one for each element of an array."""
    return graph.reshape(name, shape, (*batch, *[1] * (len(shape) - len(batch))))


def _scan(graph: Graph, inputs: list[Value], equation: Any) -> list[Value]:
    p = equation.params
    if p["reverse"]:
        raise InputError("ONNX export has no rule for loops that run backwards")
    first, carried = p["num_consts"], p["num_consts"] + p["num_carry"]
    constants, state, sequences = inputs[:first], inputs[first:carried], inputs[carried:]
    whole = [graph.full(value) for value in sequences]

    def body(step: Tensor, state: list[Value]) -> _Round:
        items = [
            graph.node("Gather", [name, step.name], value.shape[1:], axis=0)
            for name, value in zip(whole, sequences, strict=True)
        ]
        found = _called(graph, p["jaxpr"], [*constants, *state, *items])
        return np.asarray(True), found[: p["num_carry"]], found[p["num_carry"] :]

    rounds = graph.constant(np.asarray(p["length"], np.int64))
    return _loop(graph, rounds, graph.constant(np.asarray(True)), state, body, equation)


def _called(graph: Graph, jaxpr: Any, arguments: Sequence[Value]) -> list[Value]:
    return graph.convert(
        jaxpr.jaxpr, jaxpr.consts, dict(zip(jaxpr.jaxpr.invars, arguments, strict=True))
    )


def _loop(
    graph: Graph,
    rounds: str,
    begins: str,
    state: list[Value],
    body: Callable[[Tensor, list[Value]], _Round],
    equation: Any,
) -> list[Value]:
    """Adds a loop of `rounds` rounds, "" for any number, while its condition holds."""
    results = [variable.aval for variable in equation.outvars]
    if not all(isinstance(side, int) for result in results for side in result.shape):
        raise InputError("ONNX export has loops over arrays of fixed sizes only")
    initial = [graph.full(value) for value in state]
    step, condition = graph.new_name(), graph.new_name()
    kept = [Tensor(graph.new_name(), value.shape, value.shape) for value in state]
    infos = [value_info(one.name, aval) for one, aval in zip(kept, results, strict=False)]
    with graph.inner_nodes() as nodes:
        again, after, collected = body(Tensor(step, (), ()), list(kept))
        # Results are nodes of the body, even where they are constants or come from outside.
        named = [
            graph.node("Identity", [graph.full(value)], value.shape).name
            for value in (again, *after, *collected)
        ]
    rows = [
        result.update(shape=result.shape[1:]) if k >= len(state) else result
        for k, result in enumerate(results)
    ]
    truth, number = jax.ShapeDtypeStruct((), bool), jax.ShapeDtypeStruct((), np.int64)
    inner = onnx.helper.make_graph(
        nodes,
        "round",
        [value_info(step, number), value_info(condition, truth), *infos],
        [value_info(name, one) for name, one in zip(named, [truth, *rows], strict=True)],
    )
    shapes = [result.shape for result in results]
    return list(graph.node_of_several("Loop", [rounds, begins, *initial], shapes, body=inner))


LOOPS = {"scan": _scan, "while": _while}
