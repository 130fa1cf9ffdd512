"""What a model costs: parameters, operations and activations per part, and where it downsamples."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.models.cost.downsampling import Downsampling, find_downsampling
from segalias_jax.models.cost.scopes import OTHER, part_of, read_model
from segalias_jax.notebook import ShownInNotebooks
from segalias_jax.tracing import Operation, Program, flops

_PRODUCTS = ("conv_general_dilated", "dot_general")
_AUXILIARY = "auxiliary"

CONVENTIONS = (
    "A multiply-add is 2 FLOPs. Products: convolutions, padding included, and matrix products; "
    "GFLOP: also sums, poolings and element-wise arithmetic. Activations: what convolutions, "
    "matrix products and poolings write. Forward pass in evaluation mode; the auxiliary part runs "
    "in training only and is in no total but that of parameters. Other: outside any module, such "
    "as the resizing of logits. Rate: equivalent sampling rate, in samples per pixel; Nyquist "
    "frequency and cutoff in cycles per pixel."
)


@dataclasses.dataclass(frozen=True)
class Part:
    """Cost of one part of a model.

    Attributes:
      name: "stem", "stage1", ..., "decoder", "classifier", "auxiliary" or "other".
      parameters: numbers that training changes.
      flops: operations of the forward pass.
      product_flops: those of convolutions and matrix products.
      activation_bytes: written by convolutions, matrix products and poolings.

    Example:
      >>> Part("stem", 10, 200, 180, 64).flops
      200
    """

    name: str
    parameters: int = 0
    flops: int = 0
    product_flops: int = 0
    activation_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the backend says of the compiled forward pass, without the auxiliary part.

    Attributes:
      platform: such as "cpu".
      flops: its count of operations, or None.
      temporary_bytes: memory for intermediate results at its peak, or None.
      argument_bytes: memory of parameters and image, or None.

    Example:
      >>> Compiled("cpu", 1e9, None, None).platform
      'cpu'
    """

    platform: str
    flops: float | None
    temporary_bytes: int | None
    argument_bytes: int | None


@dataclasses.dataclass(frozen=True)
class Summary(ShownInNotebooks):
    """Complexity of a model for one image shape.

    Attributes:
      image_shape: `(batch, height, width, channels)`.
      parts: in the order in which they run.
      downsampling: operators in the order in which they run.
      compiled: of the compiled program, if it was asked for.

    Example:
      >>> Summary((1, 8, 8, 3), (Part("stem", 10, 200, 180, 64),), (), None).total.parameters
      10
    """

    image_shape: tuple[int, int, int, int]
    parts: tuple[Part, ...]
    downsampling: tuple[Downsampling, ...]
    compiled: Compiled | None

    @property
    def total(self) -> Part:
        """All parameters; operations and activations without the auxiliary part."""
        running = [part for part in self.parts if part.name != _AUXILIARY]
        return Part(
            "total",
            parameters=sum(part.parameters for part in self.parts),
            flops=sum(part.flops for part in running),
            product_flops=sum(part.product_flops for part in running),
            activation_bytes=sum(part.activation_bytes for part in running),
        )

    def table(self) -> str:
        """Returns everything as text, at most 100 columns wide."""
        batch, height, width, channels = self.image_shape
        parts = [f"input: {batch} x {height} x {width} x {channels}, float32", ""]
        parts += _align(
            ("part", "parameters", "GFLOP", "of products", "activations MB"),
            [_part_row(part) for part in (*self.parts, self.total)],
        )
        parts += ["", *_compiled_lines(self)]
        if self.downsampling:
            parts += ["", "downsampling operators:"]
            parts += _align(
                ("part", "where", "", "channels", "rate", "Nyquist", "filter", "cutoff"),
                [_downsampling_row(operator) for operator in self.downsampling],
                text=(0, 1, 2, 6),
            )
        return "\n".join([*parts, "", *textwrap.wrap(CONVENTIONS, 98)])

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain numbers, for `json.dumps`."""
        content = dataclasses.asdict(self) | {"total": dataclasses.asdict(self.total)}
        content["downsampling"] = [operator.to_json() for operator in self.downsampling]
        return content | {"conventions": CONVENTIONS}


def summarize(model: nnx.Module, image_shape: Sequence[int], *, compiled: bool = False) -> Summary:
    """Counts what a model costs, per part, and lists its downsampling operators.

    Everything is read from the traced forward pass: nothing is computed, and the model may be
    abstract (`nnx.eval_shape`).

    Args:
      model: a model of `create_model`, or an encoder; not changed.
      image_shape: `(batch, height, width, 3)` of the float32 images.
      compiled: whether the forward pass is compiled as well, for the backend's own numbers; this
        takes seconds.

    Returns:
      The numbers; `table()` shows them.

    Raises:
      InputError: an image shape that is not four positive numbers.

    Example:
      >>> from segalias_jax.models import create_model
      >>> make = lambda: create_model({"encoder": "resnet18"}, num_classes=19, rngs=nnx.Rngs(0))
      >>> summary = summarize(nnx.eval_shape(make), (1, 64, 64, 3))
      >>> [part.name for part in summary.parts][:3], summary.downsampling[0].where
      (['stem', 'stage1', 'stage2'], 'stem.0.conv')
    """
    shape = tuple(image_shape)
    if len(shape) != 4 or min(shape) < 1:
        raise InputError(
            f"the image shape is {shape}; give (batch, height, width, channels), all positive"
        )
    program, parameters = read_model(model, shape)
    return Summary(
        image_shape=shape,
        parts=_parts(program, parameters, hasattr(model, "with_auxiliary")),
        downsampling=tuple(find_downsampling(model, program)),
        compiled=_compile(model, shape) if compiled else None,
    )


def _parts(program: Program, parameters: dict[int, int], with_auxiliary: bool) -> tuple[Part, ...]:
    """Sums over the operations of each part; parameters belong to the part that reads them first.

    Everything is read from the traced program, not from modules: in whatever form an operator is
    computed, its operations, parameters and resolution are there.
    """
    needed = _needed(program) if with_auxiliary else None
    sums: dict[str, Part] = {}
    unread: dict[int | None, int] = {**parameters}  # inputs that are constants are None
    for operation in program.operations:
        used = needed is None or operation in needed
        name = part_of(operation.scope) if used else _AUXILIARY
        count = flops(operation)
        so_far = sums.get(name, Part(name))
        sums[name] = Part(
            name,
            parameters=so_far.parameters + sum(unread.pop(v, 0) for v in operation.inputs),
            flops=so_far.flops + count,
            product_flops=so_far.product_flops + (count if operation.name in _PRODUCTS else 0),
            activation_bytes=so_far.activation_bytes + _activation_bytes(operation),
        )
    if unread:
        other = sums.get(OTHER, Part(OTHER))
        unowned = other.parameters + sum(unread.values())
        sums[OTHER] = dataclasses.replace(other, parameters=unowned)
    names = sorted(sums, key=lambda name: (name == _AUXILIARY, name == OTHER))
    return tuple(sums[name] for name in names if sums[name] != Part(name))


def _needed(program: Program) -> set[Operation]:
    """Operations that the first output, the logits, depends on."""
    makers: dict[int | None, Operation] = {
        value: operation for operation in program.operations for value in operation.outputs
    }
    found: set[Operation] = set()
    waiting = [program.outputs[0]]
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is not None and maker not in found:
            found.add(maker)
            waiting += maker.inputs
    return found


def _activation_bytes(operation: Operation) -> int:
    if operation.name not in _PRODUCTS and not operation.name.startswith("reduce_window"):
        return 0
    sizes = [math.prod(t.shape) * t.dtype.itemsize for t in operation.output_types]
    return operation.times * sum(sizes)


def _compile(model: nnx.Module, shape: tuple[int, int, int, int]) -> Compiled:
    graph, state = nnx.split(model)

    def forward(state: Any, image: jax.Array) -> Any:
        copy = nnx.merge(graph, state, copy=True)
        copy.eval()
        return copy(image)

    program = jax.jit(forward).lower(state, jax.ShapeDtypeStruct(shape, jnp.float32)).compile()
    costs, memory = program.cost_analysis() or {}, program.memory_analysis()
    return Compiled(
        platform=jax.default_backend(),
        flops=costs.get("flops"),
        temporary_bytes=getattr(memory, "temp_size_in_bytes", None),
        argument_bytes=getattr(memory, "argument_size_in_bytes", None),
    )


def _align(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[int] = (0,)
) -> list[str]:
    """Lines of a table whose columns are as wide as they need; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i in text else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]


def _part_row(part: Part) -> tuple[str, ...]:
    return (
        part.name,
        f"{part.parameters:,}",
        f"{part.flops / 1e9:.3f}",
        f"{part.product_flops / 1e9:.3f}",
        f"{part.activation_bytes / 1e6:.2f}",
    )


def _downsampling_row(operator: Downsampling) -> tuple[str, ...]:
    side = max(operator.kernel_size)
    size = f"{side}x{side}/{max(operator.stride)}"
    whole = operator.kind == "stage"
    return (
        operator.part,
        "(as one operator)" if whole else operator.where,
        size if whole else f"{operator.kind} {size}",
        f"{operator.in_channels} -> {operator.out_channels}",
        f"{operator.sampling_rate:.4f}",
        f"{operator.nyquist_frequency:.4f}",
        operator.filter,
        "-" if operator.cutoff is None else f"{operator.cutoff:.4f}",
    )


def _compiled_lines(summary: Summary) -> list[str]:
    compiled, counted = summary.compiled, summary.total.flops
    if compiled is None:
        return ["nothing compiled"]
    lines = [f"compiled forward pass ({compiled.platform}):"]
    if compiled.flops:
        ratio = compiled.flops / counted
        lines.append(
            f"  GFLOP           {compiled.flops / 1e9:10.3f}  {ratio:.3f} of those counted"
        )
    for title, size in (
        ("temporary MB", compiled.temporary_bytes),
        ("arguments MB", compiled.argument_bytes),
    ):
        lines.append(f"  {title:15} {'unknown' if size is None else f'{size / 1e6:.2f}':>10}")
    return lines
