"""A traced function as one flat list of operations, and what each of them costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from segalias_jax.tracing.modules import scope_and_module


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """One primitive operation of a traced function.

    Attributes:
      name: of the primitive, such as "dot_general".
      scope: named scopes around it, outer ones first, joined by "/".
      module: path of the flax.nnx module that it is in, see `noting_modules`; "" for none.
      inputs: numbers of the values read; None for constants written into the program.
      outputs: numbers of the values written.
      input_types: shape and type of each input.
      output_types: shape and type of each output.
      parameters: of the primitive.
      times: how often it runs, in loops of known length.
      path: places of the equations that lead to it, from the outermost program inwards; after
        that of a `cond` or `while` follows the number of the program that it runs. () where a
        loop or a `cond` hands out what it computed.
      origin: of the equation, as JAX keeps it.

    Example:
      >>> add = read_program(lambda x: x + 1, 2.0).operations[0]
      >>> add.name, add.inputs, add.outputs
      ('add', (0, None), (1,))
    """

    name: str
    scope: str
    module: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    input_types: tuple[Any, ...]
    output_types: tuple[Any, ...]
    parameters: Mapping[str, Any]
    times: int
    path: tuple[int, ...]
    origin: Any


@dataclasses.dataclass(frozen=True)
class Program:
    """All operations of a traced function, in the order in which they run.

    Attributes:
      inputs: numbers of the values that are the function's arguments, leaf by leaf.
      outputs: numbers of the values that it returns; None for constants.
      operations: what it does.
      calls: by the path of an equation that calls a program once, as `jit` does: the values that
        it hands in, and those that it gets back.

    Example:
      >>> program = read_program(lambda x: (x * x, x), 2.0)
      >>> program.inputs, program.outputs, len(program.operations)
      ((0,), (1, 0), 1)
    """

    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...]
    operations: tuple[Operation, ...]
    calls: Mapping[tuple[int, ...], tuple[tuple[int | None, ...], tuple[int | None, ...]]]


def read_program(function: Callable[..., Any], *arguments: Any) -> Program:
    """Traces a function and lists its operations, those of functions that it calls included.

    Bodies of `jit`, `remat`, `custom_jvp`, `custom_vjp` and the like stand where they are called.
    The body of a `scan` is listed once, with its number of rounds; that of a `while` loop once.
    Of the branches of a `cond` the one with the most FLOPs is listed. An operation with the name
    of a loop or `cond` stands where values enter its rounds and where they leave it.

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
    return read_jaxpr(jax.make_jaxpr(function)(*arguments))


def read_jaxpr(closed: ClosedJaxpr, *, every_branch: bool = False) -> Program:
    """Lists the operations of a program that is traced already, see `read_program`.

    Args:
      closed: of `jax.make_jaxpr`.
      every_branch: lists all branches of a `cond`, one after the other.

    Returns:
      The program.

    Example:
      >>> closed = jax.make_jaxpr(lambda i: jax.lax.cond(i > 0, abs, lambda x: x + 1, i))(1)
      >>> [operation.name for operation in read_jaxpr(closed, every_branch=True).operations][2:]
      ['add', 'abs', 'cond']
    """
    reader = _Reader(every_branch)
    inputs = tuple(reader.new(v) for v in closed.jaxpr.invars)
    for variable in closed.jaxpr.constvars:
        reader.new(variable)
    operations = tuple(reader.read(closed.jaxpr, _Place()))
    outputs = tuple(reader.number(v) for v in closed.jaxpr.outvars)
    return Program(inputs, outputs, operations, reader.calls)


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


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a program is called."""

    path: tuple[int, ...] = ()
    scope: str = ""
    module: str = ""
    times: int = 1


class _Reader:
    """Numbers values, and goes down into called programs."""

    def __init__(self, every_branch: bool):
        self.every_branch = every_branch
        self.numbers: dict[Any, int | None] = {}
        self.calls: dict[tuple[int, ...], Any] = {}
        self.count = 0

    def new(self, variable: Any) -> int:
        self.numbers[variable] = self.count
        self.count += 1
        return self.count - 1

    def number(self, variable: Any) -> int | None:
        return None if isinstance(variable, Literal) else self.numbers.get(variable)

    def read(self, jaxpr: Jaxpr, around: _Place) -> Iterator[Operation]:
        for i, equation in enumerate(jaxpr.eqns):
            inner, module = scope_and_module(equation.source_info.name_stack)
            scope = "/".join(filter(None, (around.scope, inner)))
            place = _Place((*around.path, i), scope, module or around.module, around.times)
            inputs = tuple(self.number(v) for v in equation.invars)
            called = called_programs(equation)
            if called:
                yield from self.enter(equation, called, inputs, place)
            else:
                yield self.operation(equation, inputs, equation.invars, equation.outvars, place)

    def operation(
        self,
        equation: Any,
        inputs: tuple[int | None, ...],
        read: Sequence[Any],
        written: Sequence[Any],
        place: _Place,
    ) -> Operation:
        return Operation(
            name=equation.primitive.name,
            scope=place.scope,
            module=place.module,
            inputs=inputs,
            outputs=tuple(self.new(v) for v in written),
            input_types=tuple(v.aval for v in read),
            output_types=tuple(v.aval for v in written),
            parameters=equation.params,
            times=place.times,
            path=place.path,
            origin=equation.source_info,
        )

    def enter(
        self,
        equation: Any,
        called: list[Jaxpr],
        inputs: tuple[int | None, ...],
        place: _Place,
    ) -> Iterator[Operation]:
        name = equation.primitive.name
        if name == "scan":
            place = dataclasses.replace(place, times=place.times * equation.params["length"])
        given = inputs[1:] if name == "cond" else inputs  # the first one chooses
        found = []
        for i, jaxpr in enumerate(called):
            inner = (
                dataclasses.replace(place, path=(*place.path, i)) if name in BRANCHING else place
            )
            operations = [*self.hand_in(equation, jaxpr, given, inner), *self.read(jaxpr, inner)]
            found.append((operations, jaxpr.outvars, tuple(map(self.number, jaxpr.outvars))))
        if name == "cond" and not self.every_branch:
            found = [max(found, key=lambda branch: sum(map(flops, branch[0])))]
        for operations, _, _ in found:
            yield from operations
        if name in LOOPS_AND_BRANCHES:
            read = [variable for _, variables, _ in found for variable in variables]
            leaving = tuple(number for _, _, numbers in found for number in numbers)
            place = dataclasses.replace(place, path=())
            yield self.operation(equation, leaving, read, equation.outvars, place)
            return
        self.calls[place.path] = (inputs, found[-1][2])
        # A body that is read twice (jit caches them) gets new numbers each time.
        for variable, number in zip(equation.outvars, found[-1][2], strict=True):
            self.numbers[variable] = number

    def hand_in(
        self, equation: Any, jaxpr: Jaxpr, given: tuple[int | None, ...], place: _Place
    ) -> Iterator[Operation]:
        """Numbers what a called program reads; what a loop carries or slices is new."""
        for variable in jaxpr.constvars:
            self.new(variable)
        if equation.primitive.name == "while":  # its parts read some of its inputs, in any order
            for variable in jaxpr.invars:
                self.new(variable)
            return
        constants = len(given)
        if equation.primitive.name == "scan":
            constants, _ = scan_counts(equation.params)
        self.numbers |= dict(zip(jaxpr.invars[:constants], given[:constants], strict=True))
        if constants < len(given):
            entering = (None,) * constants + given[constants:]
            read, written = equation.invars, jaxpr.invars[constants:]
            yield self.operation(equation, entering, read, written, place)


def scan_counts(parameters: Mapping[str, Any]) -> tuple[int, int]:
    """Counts what a `scan` reads whole in every round, and what it carries on.

    Args:
      parameters: of its equation.

    Returns:
      The two numbers of values.

    Example:
      >>> body = lambda carry, x: (carry + x, None)
      >>> closed = jax.make_jaxpr(lambda x: jax.lax.scan(body, 0.0, x))(jax.numpy.ones(3))
      >>> scan_counts(closed.eqns[0].params)
      (0, 1)
    """
    if "num_consts" in parameters:
        return parameters["num_consts"], parameters["num_carry"]
    constants, carried, _ = parameters["ft_in"].unpack()  # as of jax 0.12
    return len(constants), len(carried)


BRANCHING = ("cond", "while")
"""Operations that run several programs."""
LOOPS_AND_BRANCHES = ("cond", "scan", "while")
"""Operations whose results are not those of one program that runs once."""


def called_programs(equation: Any) -> list[Jaxpr]:
    """Lists the programs that an equation runs; a loop's body stands last.

    Args:
      equation: of a traced program.

    Returns:
      The programs.

    Example:
      >>> closed = jax.make_jaxpr(jax.jit(lambda x: x + 1))(1)
      >>> [len(program.eqns) for program in called_programs(closed.eqns[0])]
      [1]
    """
    if equation.primitive.name.startswith(("reduce", "scatter", "select_and", "sort")):
        return []  # these apply theirs to pairs of numbers
    found = []
    for name in ("cond_jaxpr", "body_jaxpr", "branches", "jaxpr", "call_jaxpr"):
        value = equation.params.get(name, ())
        for jaxpr in value if isinstance(value, tuple | list) else (value,):
            found.append(jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr)
    return found
