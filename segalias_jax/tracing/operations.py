"""A traced function as one flat list of operations, and what each of them costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """One primitive operation of a traced function.

    Attributes:
      name: of the primitive, such as "dot_general".
      scope: named scopes around it, outer ones first, joined by "/".
      inputs: numbers of the values read; None for constants written into the program.
      outputs: numbers of the values written.
      input_types: shape and type of each input.
      output_types: shape and type of each output.
      parameters: of the primitive.
      times: how often it runs, in loops of known length.

    Example:
      >>> add = read_program(lambda x: x + 1, 2.0).operations[0]
      >>> add.name, add.inputs, add.outputs
      ('add', (0, None), (1,))
    """

    name: str
    scope: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    input_types: tuple[Any, ...]
    output_types: tuple[Any, ...]
    parameters: Mapping[str, Any]
    times: int = 1


@dataclasses.dataclass(frozen=True)
class Program:
    """All operations of a traced function, in the order in which they run.

    Attributes:
      inputs: numbers of the values that are the function's arguments, leaf by leaf.
      outputs: numbers of the values that it returns; None for constants.
      operations: what it does.

    Example:
      >>> program = read_program(lambda x: (x * x, x), 2.0)
      >>> program.inputs, program.outputs, len(program.operations)
      ((0,), (1, 0), 1)
    """

    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...]
    operations: tuple[Operation, ...]


def read_program(function: Callable[..., Any], *arguments: Any) -> Program:
    """Traces a function and lists its operations, those of functions that it calls included.

    Bodies of `jit`, `remat`, `custom_jvp`, `custom_vjp` and the like stand where they are called.
    The body of a `scan` is listed once, with its number of rounds; that of a `while` loop once.
    Of the branches of a `cond` the one with the most FLOPs is listed.

    Args:
      function: any function that can be traced.
      *arguments: its arguments: arrays, or their `jax.ShapeDtypeStruct`; nothing is computed.

    Returns:
      The program.

    Example:
      >>> program = read_program(jax.jit(lambda x: jax.nn.relu(x @ x)), jax.numpy.ones((4, 4)))
      >>> [operation.name for operation in program.operations]
      ['dot_general', 'max']
    """
    closed = jax.make_jaxpr(function)(*arguments)
    reader = _Reader()
    inputs = tuple(reader.new(v) for v in closed.jaxpr.invars)
    for variable in closed.jaxpr.constvars:
        reader.new(variable)
    operations = tuple(reader.read(closed.jaxpr, "", 1))
    outputs = tuple(reader.number(v) for v in closed.jaxpr.outvars)
    return Program(inputs, outputs, operations)


def flops(operation: Operation) -> int:
    """Counts the floating-point operations of one operation, all rounds of its loop included.

    A multiply-add counts as two. Convolutions (padding is not left out) and matrix products count
    2 x outputs x summands, windows and sums one per element read, other arithmetic one per element
    written; what moves, compares or converts numbers counts nothing.

    Args:
      operation: of a `Program`.

    Returns:
      The number.

    Example:
      >>> product = read_program(lambda a, b: a @ b, *[jax.numpy.ones((8, 8))] * 2)
      >>> flops(product.operations[0]) == 2 * 8**3
      True
    """
    written = sum(_size(t) for t in operation.output_types)
    if operation.name == "conv_general_dilated":
        kernel = operation.input_types[1]
        numbers = operation.parameters["dimension_numbers"]
        summands = _size(kernel) // kernel.shape[numbers.rhs_spec[0]]
        count = 2 * written * summands
    elif operation.name == "dot_general":
        (contracted, _), _ = operation.parameters["dimension_numbers"]
        count = 2 * written * math.prod(operation.input_types[0].shape[i] for i in contracted)
    elif operation.name.startswith("reduce_window"):
        count = written * math.prod(operation.parameters["window_dimensions"])
    elif operation.name in _REDUCTIONS:
        count = _size(operation.input_types[0])
    else:
        count = written if operation.name in _ARITHMETIC else 0
    return count * operation.times


_REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "cumsum", "argmax"}
_ARITHMETIC = set(
    "add sub mul div rem neg abs max min sign floor ceil round exp exp2 expm1 log log1p sqrt rsqrt "
    "cbrt tanh logistic erf erf_inv erfc sin cos tan pow integer_pow square add_any".split()
)


def _size(of: Any) -> int:
    return math.prod(of.shape)


class _Reader:
    """Numbers values, and goes down into called programs."""

    def __init__(self):
        self.numbers: dict[Any, int] = {}
        self.count = 0

    def new(self, variable: Any) -> int:
        self.numbers[variable] = self.count
        self.count += 1
        return self.count - 1

    def number(self, variable: Any) -> int | None:
        return None if isinstance(variable, Literal) else self.numbers.get(variable)

    def read(self, jaxpr: Jaxpr, scope: str, times: int) -> Iterator[Operation]:
        for equation in jaxpr.eqns:
            inner = "/".join(filter(None, (scope, str(equation.source_info.name_stack))))
            inputs = tuple(self.number(v) for v in equation.invars)
            called = _called(equation)
            if called:
                yield from self._enter(equation, called, inputs, inner, times)
                continue
            outputs = tuple(self.new(v) for v in equation.outvars)
            yield Operation(
                name=equation.primitive.name,
                scope=inner,
                inputs=inputs,
                outputs=outputs,
                input_types=tuple(v.aval for v in equation.invars),
                output_types=tuple(v.aval for v in equation.outvars),
                parameters=equation.params,
                times=times,
            )

    def _enter(
        self,
        equation: Any,
        called: list[Jaxpr],
        inputs: tuple[int | None, ...],
        scope: str,
        times: int,
    ) -> Iterator[Operation]:
        if equation.primitive.name == "cond":
            inputs = inputs[1:]  # the first one chooses
        rounds = equation.params["length"] if equation.primitive.name == "scan" else 1
        found = []
        for jaxpr in called:
            if len(jaxpr.invars) == len(inputs):
                given = inputs
            else:  # a while loop's parts read some of its inputs, the carried ones last
                given = (None,) * len(jaxpr.invars)
            inner = dict(zip(jaxpr.invars, given, strict=True))
            self.numbers |= inner
            for variable in jaxpr.constvars:
                self.new(variable)
            operations = list(self.read(jaxpr, scope, times * rounds))
            found.append((operations, [self.number(v) for v in jaxpr.outvars]))
        if equation.primitive.name == "cond":
            found = [max(found, key=lambda branch: sum(map(flops, branch[0])))]
        for operations, _ in found:
            yield from operations
        # A body that is read twice (jit caches them) gets new numbers each time.
        for variable, number in zip(equation.outvars, found[-1][1], strict=True):
            self.numbers[variable] = number


def _called(equation: Any) -> list[Jaxpr]:
    """Programs that an equation runs; a loop's body stands last."""
    if equation.primitive.name.startswith(("reduce", "scatter", "select_and", "sort")):
        return []  # these apply theirs to pairs of numbers
    found = []
    for name in ("cond_jaxpr", "body_jaxpr", "branches", "jaxpr", "call_jaxpr"):
        value = equation.params.get(name, ())
        for jaxpr in value if isinstance(value, Sequence) else (value,):
            found.append(jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr)
    return found
