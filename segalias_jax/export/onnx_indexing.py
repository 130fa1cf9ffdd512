"""Rules of the ONNX export for parts of arrays: slices, windows, borders, positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.export.onnx_graph import Graph, Tensor, Value, onnx_type
from segalias_jax.typing import Side


def _split(graph: Graph, inputs: list[Value], equation: Any) -> list[Value]:
    axis, name = equation.params["axis"], graph.full(inputs[0])
    stops = np.cumsum(equation.params["sizes"]).tolist()
    starts = [0, *stops[:-1]]
    return [
        graph.slice(name, [(axis, start, stop, 1)], variable.aval.shape)
        for start, stop, variable in zip(starts, stops, equation.outvars, strict=True)
    ]


def _slice(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    p, shape = equation.params, inputs[0].shape
    steps = p["strides"] or [1] * len(shape)
    spans = [
        (axis, start, stop, step)
        for axis, (start, stop, step) in enumerate(
            zip(p["start_indices"], p["limit_indices"], steps, strict=True)
        )
        if (start, stop, step) != (0, shape[axis], 1)
    ]
    return graph.slice(graph.full(inputs[0]), spans, equation.outvars[0].aval.shape)


def _rev(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    spans = [(axis, -1, -(2**31), -1) for axis in equation.params["dimensions"]]
    return graph.slice(graph.full(inputs[0]), spans, inputs[0].shape)


def _pad(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    value, filler = inputs
    lows, highs, between = zip(*equation.params["padding_config"], strict=True)
    fixed = all(isinstance(side, int | np.integer) for side in (*lows, *highs))
    if any(between) or not fixed or min(*lows, *highs) < 0 or not isinstance(filler, np.ndarray):
        raise InputError("ONNX export pads by constants at the borders only")
    names = [graph.full(value), graph.integers(*lows, *highs), graph.constant(filler)]
    return graph.node("Pad", names, equation.outvars[0].aval.shape)


def _gather(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    """Gathers a window, or positions along some axes and all of the others."""
    value, places = inputs
    p, numbers = equation.params, equation.params["dimension_numbers"]
    shape, taken = equation.outvars[0].aval.shape, numbers.collapsed_slice_dims
    if len(places.shape) == 1:
        axes = numbers.start_index_map
        if isinstance(places, np.ndarray):
            starts = zip(axes, places.tolist(), strict=True)
            spans = [(d, at, at + p["slice_sizes"][d], 1) for d, at in starts]
            cut = graph.slice(graph.full(value), spans, p["slice_sizes"])
        else:
            cut = _window(graph, value, axes, _long(graph, places), p["slice_sizes"])
        return graph.reshape(cut.name, shape)
    batching = numbers.operand_batching_dims
    rest = [d for d in range(len(value.shape)) if d not in (*taken, *batching)]
    if not all(p["slice_sizes"][d] == value.shape[d] for d in rest):
        raise InputError("ONNX export gathers along whole axes only")
    # The positions' axes of the result; `offset_dims` says where the others are.
    first = [axis for axis in range(len(shape)) if axis not in numbers.offset_dims]
    columns = [numbers.start_index_map.index(d) for d in taken]
    if isinstance(places, np.ndarray) and not batching:
        positions = graph.constant(places[..., columns].astype(np.int64))
    elif len(first) == 1 and first == list(taken):  # along one axis, which stays where it was
        positions = graph.reshape(_long(graph, places), (shape[first[0]],)).name
        return graph.node("Gather", [graph.full(value), positions], shape, axis=first[0])
    else:
        names = [_long(graph, places), graph.integers(*columns)]
        positions = graph.node("Gather", names, (), axis=-1).name
    if batching:  # each row of positions has its own part of the value: a position more
        grid, axes = places.shape[:-1], numbers.start_indices_batching_dims
        rows = [_along(graph, (*grid, 1), axis) for axis in axes]
        positions = graph.node("Concat", [*rows, positions], (), axis=-1).name
    before = list(map(int, (*batching, *taken, *rest)))
    name = graph.transpose(graph.full(value), before).name
    found = graph.node("GatherND", [name, positions], ())
    order = np.argsort([*first, *numbers.offset_dims]).tolist()
    return graph.transpose(found.name, order, shape)


def _along(graph: Graph, shape: Sequence[int], axis: int) -> str:
    """Returns the name of the positions along an axis of an array."""
    held = [1] * len(shape)
    held[axis] = shape[axis]
    name = graph.constant(np.arange(shape[axis]).reshape(held))
    return graph.full(Tensor(name, tuple(shape), tuple(held)))


def _dynamic_slice(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    value, *places = inputs
    sizes = equation.params["slice_sizes"]
    axes = [axis for axis, size in enumerate(sizes) if size != value.shape[axis]]
    if not axes:
        return graph.node("Identity", [graph.full(value)], sizes)
    firsts = [graph.reshape(_long(graph, places[axis]), (1,)).name for axis in axes]
    starts = graph.node("Concat", firsts, (len(axes),), axis=0).name
    return _window(graph, value, axes, starts, sizes)


def _window(
    graph: Graph, value: Value, axes: Sequence[int], starts: str, sizes: Sequence[Side]
) -> Tensor:
    """Cuts a window; one that reaches over an end is moved inside, as JAX does."""
    lengths = graph.integers(*(sizes[axis] for axis in axes))
    last = [value.shape[axis] - sizes[axis] for axis in axes]
    starts = graph.node("Min", [starts, graph.integers(*last)], ()).name
    starts = graph.node("Max", [starts, graph.integers(0)], ()).name
    stops = graph.node("Add", [starts, lengths], ()).name
    names = [graph.full(value), starts, stops, graph.integers(*axes)]
    return graph.node("Slice", names, sizes)


def _long(graph: Graph, value: Value) -> str:
    """Returns the name of integers cast to int64, which ONNX takes as positions."""
    return graph.node("Cast", [graph.full(value)], (), to=onnx_type(np.int64)).name


def _iota(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    p, shape = equation.params, equation.outvars[0].aval.shape
    held = [1] * len(shape)
    held[p["dimension"]] = length = shape[p["dimension"]]
    numbers = [graph.scalar(number) for number in (0, length, 1)]
    places = graph.node("Range", numbers, (length,)).name
    places = graph.node("Cast", [places], (length,), to=onnx_type(p["dtype"])).name
    return graph.reshape(places, shape, tuple(held))


def _top_k(graph: Graph, inputs: list[Value], equation: Any) -> list[Value]:
    """The largest, by falling value; of equal ones the first, in ONNX as in JAX."""
    p, shape = equation.params, equation.outvars[0].aval.shape
    names = [graph.full(inputs[0]), graph.integers(p["k"])]
    values, places = graph.node_of_several("TopK", names, [shape] * 2, axis=p["axis"])
    to = onnx_type(equation.outvars[1].aval.dtype)
    return [values, graph.node("Cast", [places.name], shape, to=to)]


def _scatter(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    """Replaces single numbers; of two numbers for one place either may win, as in JAX."""
    value, places, numbers = inputs
    about, mode = equation.params["dimension_numbers"], equation.params["mode"]
    if about.update_window_dims or about.operand_batching_dims:
        raise InputError("ONNX export replaces single numbers only, not windows of an array")
    # JAX leaves out places that are not inside, where ONNX counts them from the end or fails.
    if mode != jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS:
        raise InputError(f"ONNX export replaces numbers in 'promise_in_bounds' alone, not {mode}")
    order = np.argsort(about.scatter_dims_to_operand_dims).tolist()
    places = graph.node("Gather", [_long(graph, places), graph.integers(*order)], (), axis=-1).name
    names = [graph.full(value), places, graph.full(numbers)]
    return graph.node("ScatterND", names, equation.outvars[0].aval.shape)


INDEXING = {
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "iota": _iota,
    "pad": _pad,
    "rev": _rev,
    "scatter": _scatter,
    "slice": _slice,
    "split": _split,
    "top_k": _top_k,
}
