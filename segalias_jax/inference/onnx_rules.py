"""ONNX models of traced JAX functions: one rule for each operation.

Our networks are made of few operations, so each is written down here, with the package onnx alone;
what a rule does not cover is refused by its name. Operations on constants are computed at once.
ONNX convolutions put channels first; the transpositions around them cancel in optimizing runtimes.
"""

from __future__ import annotations

import dataclasses
import math
import string
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.inference.onnx_graph import Graph, Tensor, Value, onnx

OPSET = 18


def to_onnx(function: Callable, image: jax.ShapeDtypeStruct, *, input_name: str, output_name: str):
    """Writes a function of one array as an ONNX model.

    Args:
      function: traceable; what it closes over become constants.
      image: shape and type of its argument; the first axis may be symbolic.
      input_name: of the argument.
      output_name: of the result.

    Returns:
      An `onnx.ModelProto`, checked.

    Raises:
      InputError: an operation that has no rule.

    Example:
      >>> shape = jax.ShapeDtypeStruct((1, 4), np.float32)
      >>> to_onnx(jax.nn.relu, shape, input_name="x", output_name="y")  # doctest: +SKIP
    """
    closed = jax.make_jaxpr(function)(image)
    graph = Graph(ELEMENTWISE, RULES)
    (argument,), (result,) = closed.jaxpr.invars, closed.jaxpr.outvars
    values = {argument: Tensor(input_name, image.shape, image.shape)}
    (value,) = graph.convert(closed.jaxpr, closed.consts, values)
    graph.node("Identity", [graph.full(value)], result.aval.shape, name=output_name)
    types = onnx.helper.np_dtype_to_tensor_dtype
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "segalias_jax",
            [
                onnx.helper.make_tensor_value_info(
                    input_name, types(np.dtype(image.dtype)), graph.dimensions(image.shape)
                )
            ],
            [
                onnx.helper.make_tensor_value_info(
                    output_name,
                    types(np.dtype(result.aval.dtype)),
                    graph.dimensions(result.aval.shape),
                )
            ],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model


def _convert_type(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    name, held = graph.held(inputs[0])
    to = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(equation.params["new_dtype"]))
    return graph.node("Cast", [name], inputs[0].shape, held=held, to=to)


def _rsqrt(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    root = graph.elementwise("Sqrt", inputs, equation.outvars[0].aval.shape)
    return graph.elementwise("Reciprocal", [root], root.shape)


def _square(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    return graph.elementwise("Mul", [inputs[0]] * 2, inputs[0].shape)


def _integer_pow(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    exponent = np.asarray(equation.params["y"], equation.outvars[0].aval.dtype)
    return graph.elementwise("Pow", [inputs[0], exponent], inputs[0].shape)


def _erfc(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    erf = graph.elementwise("Erf", inputs, inputs[0].shape)
    one = np.asarray(1, equation.outvars[0].aval.dtype)
    return graph.elementwise("Sub", [one, erf], erf.shape)


def _select(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    where, no, yes = inputs
    return graph.elementwise("Where", [where, yes, no], equation.outvars[0].aval.shape)


def _identity(graph: Graph, inputs: list[Value], equation: Any) -> Value:
    return inputs[0]


def _broadcast(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    shape, at = equation.outvars[0].aval.shape, equation.params["broadcast_dimensions"]
    name, held = graph.held(inputs[0])
    wanted = [1] * len(shape)
    for axis, side in zip(at, held, strict=True):
        wanted[axis] = side
    if list(held) == wanted:
        return Tensor(name, shape, held)
    return graph.reshape(name, shape, tuple(wanted))


def _reshape(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    return graph.reshape(graph.full(inputs[0]), equation.outvars[0].aval.shape)


def _transpose(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    shape, order = equation.outvars[0].aval.shape, equation.params["permutation"]
    name, held = graph.held(inputs[0])
    return dataclasses.replace(
        graph.transpose(name, order, shape), held=tuple(held[axis] for axis in order)
    )


def _concatenate(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    names = [graph.full(value) for value in inputs]
    axis = equation.params["dimension"]
    return graph.node("Concat", names, equation.outvars[0].aval.shape, axis=axis)


def _stack(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    shape, axis = equation.outvars[0].aval.shape, equation.params["axis"]
    single = [*shape[:axis], 1, *shape[axis + 1 :]]
    parts = [graph.reshape(graph.full(value), single).name for value in inputs]
    return graph.node("Concat", parts, shape, axis=axis)


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
    if any(between) or min(*lows, *highs) < 0 or not isinstance(filler, np.ndarray):
        raise InputError("ONNX export pads by constants at the borders only")
    names = [graph.full(value), graph.integers(*lows, *highs), graph.constant(filler)]
    return graph.node("Pad", names, equation.outvars[0].aval.shape)


def _gather(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    """Windows at a constant position, or constant positions along some axes and all of others."""
    value, places = inputs
    p, numbers = equation.params, equation.params["dimension_numbers"]
    shape, taken = equation.outvars[0].aval.shape, numbers.collapsed_slice_dims
    if isinstance(places, np.ndarray) and places.ndim == 1:
        starts = zip(numbers.start_index_map, places.tolist(), strict=True)
        spans = [(d, at, at + p["slice_sizes"][d], 1) for d, at in starts]
        cut = graph.slice(graph.full(value), spans, p["slice_sizes"])
        return graph.reshape(cut.name, shape)
    rest = [d for d in range(len(value.shape)) if d not in taken]
    whole = all(p["slice_sizes"][d] == value.shape[d] for d in rest)
    if not isinstance(places, np.ndarray) or not whole or numbers.operand_batching_dims:
        raise InputError("ONNX export gathers at constant positions only")
    columns = [numbers.start_index_map.index(d) for d in taken]
    name = graph.transpose(graph.full(value), [*taken, *rest]).name
    positions = graph.constant(places[..., columns].astype(np.int64))
    found = graph.node("GatherND", [name, positions], ())
    # Now the positions' axes come first; `offset_dims` says where the others belong.
    first = [axis for axis in range(len(shape)) if axis not in numbers.offset_dims]
    order = np.argsort([*first, *numbers.offset_dims]).tolist()
    return graph.transpose(found.name, order, shape)


def _reduce(operator: str) -> Callable:
    def rule(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
        names = [graph.full(inputs[0]), graph.integers(*equation.params["axes"])]
        return graph.node(operator, names, equation.outvars[0].aval.shape, keepdims=0)

    return rule


def _dot(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    shape = equation.outvars[0].aval.shape
    names = [graph.full(value) for value in inputs]
    left, right = (len(value.shape) for value in inputs)
    if (tuple(left_sum), tuple(right_sum), right) == ((left - 1,), (0,), 2) and not left_batch:
        return graph.node("MatMul", names, shape)
    letters = iter(string.ascii_letters)
    a = [next(letters) for _ in range(left)]
    b = [next(letters) for _ in range(right)]
    for i, j in zip((*left_sum, *left_batch), (*right_sum, *right_batch), strict=True):
        b[j] = a[i]
    out = [a[i] for i in left_batch]
    out += [x for i, x in enumerate(a) if i not in (*left_sum, *left_batch)]
    out += [x for j, x in enumerate(b) if j not in (*right_sum, *right_batch)]
    equation_text = f"{''.join(a)},{''.join(b)}->{''.join(out)}"
    return graph.node("Einsum", names, shape, equation=equation_text)


def _convolution(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    value, kernel = inputs
    p, numbers = equation.params, equation.params["dimension_numbers"]
    if p["batch_group_count"] != 1 or not isinstance(kernel, np.ndarray):
        raise InputError("ONNX export convolves with constant kernels only")
    kernel = kernel.transpose(numbers.rhs_spec)
    name = graph.transpose(graph.full(value), numbers.lhs_spec).name
    if set(p["lhs_dilation"]) == {1}:
        operator, attributes = "Conv", _convolution_attributes(p)
    else:
        operator, attributes = "ConvTranspose", _transposed_attributes(p, kernel.shape[2:])
        kernel = np.flip(kernel, (2, 3)).swapaxes(0, 1)
    found = graph.node(operator, [name, graph.constant(kernel)], (), **attributes)
    order = np.argsort(numbers.out_spec).tolist()
    return graph.transpose(found.name, order, equation.outvars[0].aval.shape)


def _convolution_attributes(p: dict[str, Any]) -> dict[str, Any]:
    lows, highs = zip(*p["padding"], strict=True)
    if min(*lows, *highs) < 0:
        raise InputError("ONNX export has no rule for convolutions that cut the image")
    return {
        "pads": [*lows, *highs],
        "strides": list(p["window_strides"]),
        "dilations": list(p["rhs_dilation"]),
        "group": p["feature_group_count"],
    }


def _transposed_attributes(p: dict[str, Any], kernel: tuple[int, ...]) -> dict[str, Any]:
    """Zeros between pixels, then a convolution: the transpose of a strided one."""
    lows, highs = zip(*p["padding"], strict=True)
    first = [side - 1 - low for side, low in zip(kernel, lows, strict=True)]
    last = [side - 1 - high for side, high in zip(kernel, highs, strict=True)]
    plain = set(p["window_strides"]) == set(p["rhs_dilation"]) == {1}
    if not plain or p["feature_group_count"] != 1 or min(first) < 0:
        raise InputError("ONNX export has no rule for such a transposed convolution")
    return {
        "pads": [*first, *(max(side, 0) for side in last)],
        "output_padding": [max(-side, 0) for side in last],
        "strides": list(p["lhs_dilation"]),
    }


def _max_pool(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    p = equation.params
    lows, highs = zip(*p["padding"], strict=True)
    per_channel = all(
        p[key][0] == p[key][-1] == 1 for key in ("window_dimensions", "window_strides")
    )
    dilated = math.prod(p["base_dilation"]) * math.prod(p["window_dilation"]) != 1
    if len(p["window_dimensions"]) != 4 or not per_channel or dilated:
        raise InputError("ONNX export pools over height and width only")
    name = graph.transpose(graph.full(inputs[0]), (0, 3, 1, 2)).name
    found = graph.node(
        "MaxPool",
        [name],
        (),
        kernel_shape=list(p["window_dimensions"][1:3]),
        strides=list(p["window_strides"][1:3]),
        pads=[*lows[1:3], *highs[1:3]],
    )
    return graph.transpose(found.name, (0, 2, 3, 1), equation.outvars[0].aval.shape)


ELEMENTWISE = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "pow": "Pow",
    "neg": "Neg",
    "abs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "erf": "Erf",
    "tanh": "Tanh",
    "sqrt": "Sqrt",
    "logistic": "Sigmoid",
    "gt": "Greater",
    "lt": "Less",
    "ge": "GreaterOrEqual",
    "le": "LessOrEqual",
    "eq": "Equal",
}

RULES = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "convert_element_type": _convert_type,
    "copy": _identity,
    "dot_general": _dot,
    "erfc": _erfc,
    "expand_dims": _reshape,
    "gather": _gather,
    "integer_pow": _integer_pow,
    "pad": _pad,
    "reduce_max": _reduce("ReduceMax"),
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_window_max": _max_pool,
    "reshape": _reshape,
    "rev": _rev,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "square": _square,
    "squeeze": _reshape,
    "stack": _stack,
    "stop_gradient": _identity,
    "transpose": _transpose,
}
