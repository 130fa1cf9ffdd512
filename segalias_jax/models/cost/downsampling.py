"""The downsampling operators of a traced model, and the filters ahead of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flax import nnx

from segalias_jax import layers, ops
from segalias_jax.models.cost.scopes import ENCODER, part_of
from segalias_jax.tracing import Operation, Program, recognize

FILTERS = {
    layers.DeAliasingFilter: "daf",
    layers.FrequencyLowCut: "flc",
    layers.AdaptiveBlur: "adaptive_blur",
    layers.BlurPool: "blur",
}
"""Filters by what recipes call them; of a blur, the number of taps follows."""


@dataclasses.dataclass(frozen=True)
class Downsampling:
    """An operator that returns fewer pixels than it reads.

    Attributes:
      part: of the model, see `scopes.part_of`.
      where: path of the innermost module that it stands in.
      kind: "conv", "pool", "flc" and other filters that stride, or "stage": all strided
        operators of a stage as one, from what enters the stage to what leaves it.
      kernel_size: side length of what one output pixel is computed from.
      stride: pixels from one output to the next.
      in_channels: channels read.
      out_channels: channels written.
      filter: the filter ahead of it at the same resolution, or "none".
      cutoff: of that filter in cycles per pixel, if it has one that is no parameter.

    Example:
      >>> change = Downsampling("stage2", "", "stage", 3, 2, 256, 512, "none", None)
      >>> round(change.sampling_rate, 4), round(change.nyquist_frequency, 4)
      (0.7071, 0.3536)
    """

    part: str
    where: str
    kind: str
    kernel_size: int
    stride: int
    in_channels: int
    out_channels: int
    filter: str
    cutoff: float | None

    @property
    def sampling_rate(self) -> float:
        """Its equivalent sampling rate, `ops.equivalent_sampling_rate`."""
        return ops.equivalent_sampling_rate(
            self.kernel_size, self.stride, self.in_channels, self.out_channels
        )

    @property
    def nyquist_frequency(self) -> float:
        """What that rate can carry, in cycles per pixel."""
        return ops.nyquist_frequency(self.sampling_rate)


def find_downsampling(model: nnx.Module, program: Program) -> list[Downsampling]:
    """Lists a model's downsampling operators in the order in which they run.

    These are what `tracing.recognize` finds, and filters that stride themselves.

    Args:
      model: the model; may be abstract.
      program: of `scopes.read_model`.

    Returns:
      The operators; those of a stage are followed by the stage as one operator.

    Example:
      >>> from segalias_jax.models.cost.scopes import read_model
      >>> from segalias_jax.models.resnet import ResNet
      >>> net = nnx.eval_shape(lambda: ResNet("resnet18", width=8, rngs=nnx.Rngs(0)))
      >>> found = find_downsampling(net, read_model(net, (1, 64, 64, 3))[0])
      >>> [f"{d.part} {d.kernel_size}x{d.kernel_size}" for d in found][:5]
      ['stem 3x3', 'stem 3x3', 'stage2 3x3', 'stage2 1x1', 'stage2 3x3']
    """
    search = _Search(program, _filters(model))
    found: list[Downsampling] = []
    for operator in search.operators():
        if found and found[-1].part != operator.part:
            found += search.stage(found[-1].part, found)
        found.append(operator)
    return found + (search.stage(found[-1].part, found) if found else [])


def _filters(model: nnx.Module) -> dict[str, nnx.Module]:
    """Filters by the word that stands for them in scopes."""
    prefix = () if hasattr(model, ENCODER) else (ENCODER,)
    return {
        ".".join(map(str, prefix + path)): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, tuple(FILTERS))
    }


def _describe(module: nnx.Module) -> tuple[str, float | None]:
    name = FILTERS[type(module)]
    if isinstance(module, layers.BlurPool):
        name += str(module.kernel_size)
    cutoff = getattr(module, "cutoff", None)
    if isinstance(module, layers.FrequencyLowCut):
        cutoff = 0.5 / module.stride
    return name, cutoff if isinstance(cutoff, float) else None


class _Search:
    """One walk over a program."""

    def __init__(self, program: Program, filters: Mapping[str, nnx.Module]):
        self.operations, self.image = program.operations, program.inputs[-1]
        self.filters = filters
        self.makers = {v: o for o in self.operations for v in o.outputs}

    def operators(self) -> Iterator[Downsampling]:
        recognized = {found.operation.path: found.operator for found in recognize(self.operations)}
        done = set()
        for operation in self.operations:
            name = self.filter_around(operation)
            if name is not None:
                if self.filters[name].stride > 1 and name not in done:
                    done.add(name)
                    yield self.striding_filter(operation, name)
                continue
            found = recognized.get(operation.path)
            if found is not None:
                kind = "conv" if found.kind in ("conv", "patches") else "pool"
                size, stride = max(found.kernel_size), max(found.stride)
                channels = found.in_channels, found.out_channels
                yield self.operator(operation, kind, size, stride, *channels)

    def operator(
        self, operation: Operation, kind: str, size: int, stride: int, channels: int, out: int
    ) -> Downsampling:
        return Downsampling(
            part_of(operation.scope),
            _module_of(operation.scope),
            kind,
            size,
            stride,
            channels,
            out,
            *self.filter_ahead(operation),
        )

    def striding_filter(self, operation: Operation, name: str) -> Downsampling:
        module = self.filters[name]
        kind, cutoff = _describe(module)
        # A filter in frequency computes each pixel from all of its row and column.
        entering = self.entering(o for o in self.operations if self.filter_around(o) == name)
        size = getattr(module, "kernel_size", max(entering.shape[1:3]))
        channels = entering.shape[-1]
        found = self.operator(operation, kind, size, module.stride, channels, channels)
        return dataclasses.replace(found, filter=kind, cutoff=cutoff)

    def entering(self, inside: Iterable[Operation]) -> Any:
        """Type of the first feature map that some operations read of others."""
        made: set[int] = set()
        for operation in inside:
            for value, kind in zip(operation.inputs, operation.input_types, strict=True):
                outside = value in self.makers or value == self.image
                if outside and value not in made and len(kind.shape) == 4:
                    return kind
            made.update(operation.outputs)
        raise ValueError("nothing enters")

    def stage(self, part: str, found: list[Downsampling]) -> list[Downsampling]:
        """The stage as one operator: its widest kernel, and the channels around it."""
        own = [d for d in found if d.part == part]
        if not part.startswith("stage"):
            return []
        inside = [o for o in self.operations if part_of(o.scope) == part]
        widest = max(own, key=lambda d: (d.kernel_size, d.filter != "none"))
        total = Downsampling(
            part,
            "",
            "stage",
            widest.kernel_size,
            widest.stride,
            self.entering(inside).shape[-1],
            inside[-1].output_types[0].shape[-1],
            widest.filter,
            widest.cutoff,
        )
        return [total]

    def filter_around(self, operation: Operation) -> str | None:
        words = operation.scope.split("/")
        return next((word for word in words if word in self.filters), None)

    def filter_ahead(self, operation: Operation) -> tuple[str, float | None]:
        """The filter that this operator's input has gone through at about the same resolution."""
        pixels = math.prod(operation.input_types[0].shape[:-1])
        waiting, seen = [operation.inputs[0]], set()
        while waiting:
            maker = self.makers.get(waiting.pop())
            if maker is None or maker in seen:
                continue
            seen.add(maker)
            name = self.filter_around(maker)
            if name is not None:
                return _describe(self.filters[name])
            for value, kind in zip(maker.inputs, maker.input_types, strict=True):
                # Padding changes the number of pixels, but not by half.
                if pixels / 2 < math.prod(kind.shape[:-1]) < 2 * pixels:
                    waiting.append(value)
        return "none", None


def _module_of(scope: str) -> str:
    """Path of the innermost module, without the encoder's own name."""
    words = [word for word in scope.split("/") if "." in word and ">" not in word]
    return words[-1].removeprefix(f"{ENCODER}.") if words else scope
