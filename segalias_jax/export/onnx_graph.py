"""Builds ONNX graphs: nodes, constants, and values that are broadcast as late as possible.

ONNX's elementwise operators broadcast by themselves, as JAX's do not: a traced program has an
explicit broadcast before each. So a `Tensor` keeps the shape it is held in, and is expanded only
where an operator needs all of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from segalias_jax.errors import InputError
from segalias_jax.export.onnx_dimensions import Dimensions
from segalias_jax.typing import Side

onnx: Any  # None where it is not installed, which `require_onnx` says before anything is written
try:
    import onnx
except ImportError:
    onnx = None


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Attributes:
      name: in the graph.
      shape: as in JAX.
      held: shape in the graph, in which axes may still have length 1 and be broadcast later.
    """

    name: str
    shape: tuple[Any, ...]
    held: tuple[Any, ...]


Value = Tensor | np.ndarray


def require_onnx() -> None:
    """Raises where the library that writes ONNX files is missing.

    Raises:
      InputError: it is.

    Example:
      >>> require_onnx()  # doctest: +SKIP
    """
    if onnx is None:
        raise InputError("ONNX files need the package onnx; pip install 'segalias_jax[onnx]'")


def onnx_type(dtype: Any) -> int:
    """Returns ONNX's number of a type of numbers.

    Example:
      >>> onnx_type("float32")  # doctest: +SKIP
      1
    """
    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def value_info(name: str, array: Any) -> Any:
    """Returns name, type and shape of an input or output; symbolic lengths are given by their text.

    Args:
      name: in the graph.
      array: with a shape and a dtype.
    """
    shape = [side if isinstance(side, int) else str(side) for side in array.shape]
    return onnx.helper.make_tensor_value_info(name, onnx_type(array.dtype), shape)


class Graph:
    """Nodes and constants of an ONNX graph, filled from a jaxpr.

    Args:
      elementwise: ONNX operator by the name of a JAX one that works on single elements.
      rules: for other operations, `rule(graph, inputs, equation)` adds nodes and returns values.
      shared: whether an equal node or constant is reused. A program that computes the matrices of
        its lengths does so many times over; one that holds them has little to reuse.
    """

    def __init__(
        self, elementwise: Mapping[str, str], rules: Mapping[str, Callable], *, shared: bool = False
    ):
        self._elementwise, self._rules, self._shared = elementwise, rules, shared
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.dimensions = Dimensions(
            lambda operator, inputs, **p: self.node(operator, inputs, (1,), **p).name, self.constant
        )
        self._count = 0
        self._results: dict[tuple, str] = {}

    def convert(self, jaxpr: Any, constants: Sequence[Any], values: dict) -> list[Value]:
        """Adds all operations of a jaxpr and returns its results."""
        values |= {v: np.asarray(c) for v, c in zip(jaxpr.constvars, constants, strict=True)}

        def read(variable: Any) -> Value:
            if isinstance(variable, Literal):  # a plain number, whose type only `aval` says
                aval: Any = variable.aval
                return np.asarray(variable.val, aval.dtype)
            return values[variable]

        for equation in jaxpr.eqns:
            inputs = [read(variable) for variable in equation.invars]
            outputs = self._convert_one(equation, inputs)
            values |= dict(zip(equation.outvars, outputs, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _convert_one(self, equation: Any, inputs: list[Value]) -> list[Value]:
        name, parameters = equation.primitive.name, equation.params
        inner = _inner_jaxpr(name, parameters)
        if inner is not None:
            if name == "custom_linear_solve":
                lengths = parameters["const_lengths"]
                first = lengths.matvec + lengths.vecmat
                inputs = [*inputs[first : first + lengths.solve], inputs[-1]]
            arguments = dict(zip(inner.jaxpr.invars, inputs, strict=True))
            return self.convert(inner.jaxpr, inner.consts, arguments)
        shapes = [variable.aval.shape for variable in equation.outvars]
        fixed = all(isinstance(side, int) for shape in shapes for side in shape)
        known = fixed and all(isinstance(value, np.ndarray) for value in inputs)
        if known and name != "dim_as_value":  # whose value is that of a symbolic length
            outputs = equation.primitive.bind(*inputs, **parameters)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
            return [np.asarray(output) for output in outputs]
        if name in self._elementwise:
            return [self.elementwise(self._elementwise[name], inputs, shapes[0])]
        rule = self._rules.get(name)
        if rule is None:
            raise InputError(f"ONNX export has no rule for the operation {name!r}")
        outputs = rule(self, inputs, equation)
        return outputs if isinstance(outputs, list) else [outputs]

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        shape: Sequence[Any],
        *,
        name: str = "",
        held: Sequence[Any] | None = None,
        **attributes: Any,
    ) -> Tensor:
        """Adds an operation and returns its result."""
        key = (operator, *inputs, repr(attributes))
        known = None if name else self._results.get(key)
        if known is None:
            known = name or self._kept_name(key)
            self.nodes.append(onnx.helper.make_node(operator, list(inputs), [known], **attributes))
        return Tensor(known, tuple(shape), tuple(shape if held is None else held))

    def node_of_several(
        self, operator: str, inputs: Sequence[str], shapes: Sequence[Any], **attributes: Any
    ) -> list[Tensor]:
        """Adds an operation with several results and returns them."""
        names = [self.new_name() for _ in shapes]
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), names, **attributes))
        return [Tensor(name, tuple(s), tuple(s)) for name, s in zip(names, shapes, strict=True)]

    @contextlib.contextmanager
    def inner_nodes(self) -> Iterator[list[Any]]:
        """Yields a list of its own for the nodes of a loop's body, which nothing outside reads."""
        nodes, results = self.nodes, self._results
        self.nodes, self._results = [], dict(results)
        try:
            yield self.nodes
        finally:
            self.nodes, self._results = nodes, results

    def constant(self, array: np.ndarray) -> str:
        """Adds a constant and returns its name."""
        key = (array.dtype, array.shape, array.tobytes() if self._shared else None)
        name = self._results.get(key)
        if name is None:
            name = self._kept_name(key)
            self.constants.append(onnx.numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def integers(self, *numbers: Any) -> str:
        """Adds integers, some of which may be symbolic lengths, and returns their name."""
        if all(isinstance(number, int | np.integer) for number in numbers):
            return self.constant(np.asarray(numbers, np.int64))
        names = [self.dimensions.name(number) for number in numbers]
        return self.node("Concat", names, (len(names),), axis=0).name

    def scalar(self, number: Side) -> str:
        """Adds an integer or symbolic length as a scalar and returns its name."""
        if isinstance(number, int):
            return self.node("Constant", [], (), value_int=number).name
        return self.node("Squeeze", [self.dimensions.name(number)], ()).name

    def held(self, value: Value) -> tuple[str, tuple[Any, ...]]:
        """Returns the name of a value and its shape before broadcasting."""
        if isinstance(value, np.ndarray):
            return self.constant(value), value.shape
        return value.name, value.held

    def full(self, value: Value) -> str:
        """Returns the name of a value after broadcasting it to its full shape."""
        name, held = self.held(value)
        if held == value.shape:
            return name
        # `Expand` keeps the length of an axis for which 1 is asked.
        sides = [1 if a == b else b for a, b in zip(held, value.shape, strict=True)]
        return self.node("Expand", [name, self.integers(*sides)], value.shape).name

    def elementwise(
        self, operator: str, inputs: list[Value], shape: tuple[Any, ...], **attributes: Any
    ) -> Tensor:
        """Adds an elementwise operation, which broadcasts by itself."""
        names, helds = zip(*(self.held(value) for value in inputs), strict=True)
        held = tuple(
            next((side for side in sides if side != 1), 1)
            for sides in zip(*(h for h in helds if h), strict=True)
        )
        return self.node(operator, names, shape, held=held, **attributes)

    def cast(self, value: Value, dtype: Any) -> Tensor:
        """Adds a change of type."""
        name, held = self.held(value)
        return self.node("Cast", [name], value.shape, held=held, to=onnx_type(dtype))

    def where(
        self, condition: Value, yes: Value, no: Value, shape: tuple[Any, ...], dtype: Any
    ) -> Tensor:
        """Adds a choice between elements of one type."""
        if np.dtype(dtype).kind != "b":
            return self.elementwise("Where", [condition, yes, no], shape)
        # Runtimes choose between numbers only.
        numbers = [self.cast(value, np.uint8) for value in (yes, no)]
        return self.cast(self.elementwise("Where", [condition, *numbers], shape), dtype)

    def reduce_truth(self, operator: str, value: Value, axes: Sequence[int], shape: Any) -> Tensor:
        """Adds "ReduceMax" (any) or "ReduceMin" (all) of truth values."""
        # Runtimes reduce numbers only.
        names = [self.full(self.cast(value, np.int32)), self.integers(*axes)]
        return self.cast(self.node(operator, names, shape, keepdims=0), np.bool_)

    def transpose(self, name: str, order: Sequence[int], shape: Sequence[Any] = ()) -> Tensor:
        """Adds a transposition."""
        return self.node("Transpose", [name], shape, perm=list(map(int, order)))

    def reshape(self, name: str, shape: Sequence[Any], held: Sequence[Any] = ()) -> Tensor:
        """Adds a reshaping, whose first symbolic length the runtime infers."""
        sides = list(held or shape)
        symbolic = [axis for axis, side in enumerate(sides) if not isinstance(side, int)]
        for axis in symbolic[:1]:
            sides[axis] = -1
        return self.node("Reshape", [name, self.integers(*sides)], shape, held=held or shape)

    def slice(self, name: str, spans: Sequence[tuple[int, Side, Side, int]], shape: Any) -> Tensor:
        """Cuts (axis, start, stop, step) spans."""
        if not spans:
            return self.node("Identity", [name], shape)
        axes, starts, stops, steps = (self.integers(*column) for column in zip(*spans, strict=True))
        return self.node("Slice", [name, starts, stops, axes, steps], shape)

    def new_name(self) -> str:
        """Returns a name that nothing has."""
        self._count += 1
        return f"v{self._count}"

    def _kept_name(self, key: tuple) -> str:
        name = self.new_name()
        if self._shared:
            self._results[key] = name
        return name


def _inner_jaxpr(name: str, parameters: dict) -> Any:
    if name == "custom_linear_solve":
        return parameters["jaxprs"].solve
    if name in (
        "jit",
        "pjit",
        "closed_call",
        "core_call",
        "checkpoint",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
        "remat2",
    ):
        inner = next(
            parameters[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in parameters
        )
        return inner if hasattr(inner, "jaxpr") else ClosedJaxpr(inner, ())
    return None
