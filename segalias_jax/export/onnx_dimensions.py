"""Symbolic lengths as sums and products in an ONNX graph, which computes them when it runs.

They are read by their text, which is what `jax.export.symbolic_shape` takes: the type of such a
length is not public.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Sequence

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.typing import Side

_OPERATORS = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
_FUNCTIONS = {"max": "Max", "min": "Min", "mod": "Mod"}


class Dimensions:
    """Symbolic lengths of `jax.export` as int64 tensors of one element.

    Each expression is computed once, from the shape of the program's input.

    Args:
      add: `add(operator, inputs, **attributes)` adds a node and returns the name of its result.
      constant: adds an array and returns its name.
    """

    def __init__(self, add: Callable[..., str], constant: Callable[[np.ndarray], str]):
        self._add, self._constant = add, constant
        self._axes: dict[str, tuple[str, int]] = {}
        self._names: dict[str, str] = {}

    def read_from(self, name: str, shape: Sequence[Side]) -> None:
        """Takes variables from the axes of a value whose shape they are."""
        self._axes |= {str(side): (name, axis) for axis, side in enumerate(shape)}

    def name(self, length: Side) -> str:
        """Returns the name of a length, and adds its nodes where they are new."""
        # The text has sums of products of variables, powers and functions of two such sums.
        return self._visit(ast.parse(str(length).replace("^", "**"), mode="eval").body)

    def _visit(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        if text not in self._names:
            self._names[text] = self._compute(node)
        return self._names[text]

    def _compute(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=int(number)):
                return self._constant(np.asarray([number]))
            case ast.Name(id=variable) if variable in self._axes:
                name, axis = self._axes[variable]
                return self._add("Shape", [name], start=axis, end=axis + 1)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._add("Neg", [self._visit(operand)])
            case ast.BinOp(left=base, op=ast.Pow(), right=ast.Constant(value=int(exponent))):
                factors = [self._visit(base)] * exponent
                return functools.reduce(lambda a, b: self._add("Mul", [a, b]), factors)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
                names = [self._visit(left), self._visit(right)]
                return self._add(_OPERATORS[type(operator)], names)
            case ast.Call(func=ast.Name(id="floordiv"), args=[left, right]):
                # Rounded down, where ONNX rounds towards zero; `Mod` leaves nothing to round.
                names = [self._visit(left), self._visit(right)]
                whole = self._add("Sub", [names[0], self._add("Mod", names)])
                return self._add("Div", [whole, names[1]])
            case ast.Call(func=ast.Name(id=function), args=[left, right]) if function in _FUNCTIONS:
                return self._add(_FUNCTIONS[function], [self._visit(left), self._visit(right)])
        raise InputError(f"ONNX export cannot compute the length {ast.unparse(node)}")
