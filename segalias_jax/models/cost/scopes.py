"""Traced programs of models, whose operations say which module they belong to.

Modules only lend their paths as named scopes while they are traced; all else is read from the
program.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax.tracing import Program, read_program

ENCODER = "encoder"
_STEM = "stem"
OTHER = "other"
_SCOPE = "scope_name"  # attribute of a module while it is traced


def read_model(
    model: nnx.Module, image_shape: tuple[int, int, int, int]
) -> tuple[Program, dict[int, int]]:
    """Traces a model's forward pass in evaluation mode, with its auxiliary head if it has one.

    The path of each module around an operation, joined by dots, is a word of its scope.

    Args:
      model: a `Segmenter` or an encoder, abstract ones too; not changed.
      image_shape: `(batch, height, width, channels)` of the float32 input.

    Returns:
      The program, and the number of elements of each parameter by the number of its value.

    Example:
      >>> from segalias_jax import layers
      >>> make = lambda: layers.ConvNormAct(3, 8, 3, rngs=nnx.Rngs(0))
      >>> program, parameters = read_model(nnx.eval_shape(make), (1, 8, 8, 3))
      >>> program.operations[0].scope, sum(parameters.values()) == 3 * 3 * 3 * 8 + 2 * 8
      ('encoder/encoder.conv', True)
    """
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)
    prefix = () if hasattr(model, ENCODER) else (ENCODER,)

    def forward(parameters: Any, rest: Any, image: jax.Array) -> Any:
        copy = nnx.merge(graph, parameters, rest, copy=True)
        copy.eval()
        with _named_calls(copy, prefix):
            return getattr(copy, "with_auxiliary", copy)(image)

    image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
    program = read_program(forward, parameters, rest, image)
    sizes = [leaf.size for leaf in jax.tree.leaves(parameters)]
    return program, dict(zip(program.inputs, sizes, strict=False))


def part_of(scope: str) -> str:
    """Names the part of a model that a scope belongs to.

    Args:
      scope: of an operation.

    Returns:
      "stage1" and so on, "stem" for the rest of the encoder, else the model's attribute, such as
      "decoder"; "other" for what stands in no module.

    Example:
      >>> [part_of(s) for s in ("encoder", "encoder/stage2/encoder.stem", "decoder", "a,ab->b")]
      ['stem', 'stage2', 'decoder', 'other']
    """
    words = scope.split("/")
    stages = [word for word in words if re.fullmatch(r"stage\d+", word)]
    if stages:
        return stages[0]
    first = words[0].split(".")[0]
    if not first.isidentifier():
        return OTHER
    return _STEM if first == ENCODER else first


@contextlib.contextmanager
def _named_calls(model: nnx.Module, prefix: tuple[str, ...]) -> Iterator[None]:
    """Puts the path of each module around its call, while a model is traced."""
    classes = set()
    for path, module in nnx.iter_modules(model):
        if callable(module):
            # An attribute, which copies of the module keep that `nnx.remat` makes.
            setattr(module, _SCOPE, ".".join(map(str, prefix + path)))
            classes.add(type(module))
    originals = {cls: cls.__call__ for cls in classes if "__call__" in vars(cls)}
    for cls, call in originals.items():
        cls.__call__ = _in_scope(call)
    try:
        yield
    finally:
        for cls, call in originals.items():
            cls.__call__ = call


def _in_scope(call: Any) -> Any:
    @functools.wraps(call)
    def scoped(self, *arguments, **options):
        name = getattr(self, _SCOPE, "")
        with jax.named_scope(name) if name else contextlib.nullcontext():
            return call(self, *arguments, **options)

    return scoped
