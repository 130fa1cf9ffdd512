"""ONNX models of traced JAX functions: one rule for each operation.

A traced network consists of some fifty operations, so each is written down here, with the package
onnx alone: the converter that there is for JAX needs an older orbax-checkpoint than this
package. What a rule does not cover is refused by its name. Operations on constants are computed at
once, and symbolic lengths when the program runs (`onnx_dimensions`).

ONNX convolutions put channels first; the transpositions around them cancel in optimizing runtimes.
ONNX has no assertion, so a program does not refuse an image whose sides are outside of the
manifest's `sides`.
"""

from __future__ import annotations

import dataclasses
import math
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.export.onnx_graph import Graph, Tensor, Value, onnx, onnx_type, value_info
from segalias_jax.export.onnx_indexing import INDEXING
from segalias_jax.export.onnx_loops import LOOPS

OPSET = 18


def to_onnx(function: Callable, inputs: Mapping[str, jax.ShapeDtypeStruct], outputs: Sequence[str]):
    """Writes a function of arrays as an ONNX model.

    Args:
      function: traceable; what it closes over become constants.
      inputs: names of its arguments in order, their shapes and types; axes may be symbolic.
      outputs: names of its results in order.

    Returns:
      An `onnx.ModelProto`, checked.

    Raises:
      InputError: an operation that has no rule.

    Example:
      >>> shape = jax.ShapeDtypeStruct((1, 4), np.float32)
      >>> to_onnx(jax.nn.relu, {"x": shape}, ["y"])  # doctest: +SKIP
    """
    closed = jax.make_jaxpr(function)(*inputs.values())
    fixed = all(isinstance(side, int) for array in inputs.values() for side in array.shape[1:])
    graph = Graph(ELEMENTWISE, RULES, shared=not fixed)
    values = {}
    for variable, (name, array) in zip(closed.jaxpr.invars, inputs.items(), strict=True):
        values[variable] = Tensor(name, array.shape, array.shape)
        graph.dimensions.read_from(name, array.shape)
    found = graph.convert(closed.jaxpr, closed.consts, values)
    for name, value in zip(outputs, found, strict=True):
        graph.node("Identity", [graph.full(value)], value.shape, name=name)
    avals = zip(outputs, closed.out_avals, strict=True)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "segalias_jax",
            [value_info(name, array) for name, array in inputs.items()],
            [value_info(name, array) for name, array in avals],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model


def _convert_type(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    return graph.cast(inputs[0], equation.params["new_dtype"])


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
    result = equation.outvars[0].aval
    return graph.where(where, yes, no, result.shape, result.dtype)


def _clamp(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    least, value, most = inputs
    above = graph.elementwise("Max", [value, least], equation.outvars[0].aval.shape)
    return graph.elementwise("Min", [above, most], above.shape)


def _remainder(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    """With the sign of the dividend, as in JAX."""
    return graph.elementwise("Mod", inputs, equation.outvars[0].aval.shape, fmod=1)


def _not_equal(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    equal = graph.elementwise("Equal", inputs, equation.outvars[0].aval.shape)
    return graph.elementwise("Not", [equal], equal.shape)


def _logical(operator: str) -> Callable:
    def rule(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
        result = equation.outvars[0].aval
        if result.dtype != bool:
            raise InputError("ONNX export has no rule for operations on bits")
        return graph.elementwise(operator, inputs, result.shape)

    return rule


def _dimension(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
    """A symbolic length as a value."""
    number, to = graph.scalar(equation.params["dim"]), equation.outvars[0].aval.dtype
    return graph.node("Cast", [number], (), to=onnx_type(to))


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


def _reduce(operator: str) -> Callable:
    def rule(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
        names = [graph.full(inputs[0]), graph.integers(*equation.params["axes"])]
        return graph.node(operator, names, equation.outvars[0].aval.shape, keepdims=0)

    return rule


def _reduce_truth(operator: str) -> Callable:
    def rule(graph: Graph, inputs: list[Value], equation: Any) -> Tensor:
        shape = equation.outvars[0].aval.shape
        axes = list(map(int, equation.params["axes"]))
        return graph.reduce_truth(operator, inputs[0], axes, shape)

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
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "cos": "Cos",
    "sin": "Sin",
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

RULES = (
    INDEXING
    | LOOPS
    | {
        "and": _logical("And"),
        "broadcast_in_dim": _broadcast,
        "clamp": _clamp,
        "concatenate": _concatenate,
        "conv_general_dilated": _convolution,
        "convert_element_type": _convert_type,
        "copy": _identity,
        "dim_as_value": _dimension,
        "dot_general": _dot,
        "erfc": _erfc,
        "expand_dims": _reshape,
        "integer_pow": _integer_pow,
        "ne": _not_equal,
        "not": _logical("Not"),
        "or": _logical("Or"),
        "reduce_and": _reduce_truth("ReduceMin"),
        "reduce_max": _reduce("ReduceMax"),
        "reduce_or": _reduce_truth("ReduceMax"),
        "reduce_sum": _reduce("ReduceSum"),
        "reduce_window_max": _max_pool,
        "rem": _remainder,
        "reshape": _reshape,
        "rsqrt": _rsqrt,
        "select_n": _select,
        "square": _square,
        "squeeze": _reshape,
        "stack": _stack,
        "stop_gradient": _identity,
        "transpose": _transpose,
    }
)
