"""The downsampling operators of a traced model, and the filters in front of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flax import nnx

from segalias_jax import layers
from segalias_jax.models.cost.scopes import ENCODER, part_of
from segalias_jax.tracing import DownsamplingOperator, Operation, Program, recognize
from segalias_jax.tracing.recognition import Found
from segalias_jax.tracing.sources import source_line

FILTERS = {
    layers.DeAliasingFilter: "daf",
    layers.FrequencyLowCut: "flc",
    layers.AdaptiveBlur: "adaptive_blur",
    layers.BlurPool: "blur",
    layers.AdaptiveWeightedDownsampling: "awd",
}
"""Filters by what recipes call them; of a blur, the number of taps follows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Downsampling(DownsamplingOperator):
    """A downsampling operator of a model: where it is, and the filter in front of it.

    Its `kind` is "conv", "pool", "flc" and other filters that stride, or "stage": all strided
    operators of a stage as one, from what enters the stage to what leaves the block that strides.

    Attributes:
      part: of the model, see `scopes.part_of`.
      filter: the filter before it at the same resolution, or "none".
      cutoff: of that filter in cycles per pixel, if it has one that is no parameter.

    Example:
      >>> from segalias_jax.models.cost.scopes import read_model
      >>> from segalias_jax.models.resnet import ResNet
      >>> net = nnx.eval_shape(lambda: ResNet("resnet18", width=8, rngs=nnx.Rngs(0)))
      >>> change = find_downsampling(net, read_model(net, (1, 64, 64, 3))[0])[4]
      >>> change.part, round(change.sampling_rate, 4), round(change.nyquist_frequency, 4)
      ('stage2', 0.7071, 0.3536)
    """

    part: str
    filter: str = "none"
    cutoff: float | None = None

    @classmethod
    def of(
        cls,
        operator: DownsamplingOperator,
        *,
        part: str,
        kind: str,
        filter: str = "none",
        cutoff: float | None = None,
    ) -> Downsampling:
        """Returns an operator with what is known of it in a model.

        Args:
          operator: as it stands in the program.
          part: of the model.
          kind: what the model's tables call it.
          filter: in front of it.
          cutoff: of that filter.
        """
        return cls(
            index=operator.index,
            name=operator.name,
            source=operator.source,
            kind=kind,
            input_shape=operator.input_shape,
            spatial_axes=operator.spatial_axes,
            channel_axis=operator.channel_axis,
            kernel_size=operator.kernel_size,
            stride=operator.stride,
            in_channels=operator.in_channels,
            out_channels=operator.out_channels,
            depth=operator.depth,
            members=operator.members,
            part=part,
            filter=filter,
            cutoff=cutoff,
        )

    @property
    def where(self) -> str:
        """Path of the innermost module around it, without the encoder's name; "" for a stage."""
        words = [word for word in self.name.split("/") if "." in word and ">" not in word]
        if self.kind == "stage":
            return ""
        return words[-1].removeprefix(f"{ENCODER}.") if words else self.name

    def to_json(self) -> dict[str, Any]:
        """Returns what tables show of it, as plain numbers."""
        return {
            "part": self.part,
            "where": self.where,
            "kind": self.kind,
            "kernel_size": max(self.kernel_size),
            "stride": max(self.stride),
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "filter": self.filter,
            "cutoff": self.cutoff,
            "sampling_rate": self.sampling_rate,
            "nyquist_frequency": self.nyquist_frequency,
        }


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
      >>> [(d.part, *d.kernel_size) for d in found][2:5]
      [('stage2', 3, 3), ('stage2', 1, 1), ('stage2', 3, 3)]
    """
    search = _Search(program, _filters(model))
    found: list[Downsampling] = []
    for operator in search.operators():
        if found and found[-1].part != operator.part:
            found += search.stage(found[-1].part, found)
        found.append(operator)
    return found + (search.stage(found[-1].part, found) if found else [])


def _filters(model: nnx.Module) -> dict[str, Any]:
    """Filters by the word that stands for them in scopes."""
    prefix = () if hasattr(model, ENCODER) else (ENCODER,)
    return {
        ".".join(map(str, prefix + path)): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, tuple(FILTERS))
    }


def _describe(module: Any) -> tuple[str, float | None]:
    """Name and cutoff of a filter."""
    name = FILTERS[type(module)]
    if isinstance(module, layers.BlurPool):
        name += str(module.kernel_size)
    if isinstance(module, layers.AdaptiveWeightedDownsampling) and module.stride == 1:
        name += "_keep"
    cutoff = getattr(module, "cutoff", None)
    if isinstance(module, layers.FrequencyLowCut):
        cutoff = 0.5 / module.stride
    return name, cutoff if isinstance(cutoff, float) else None


class _Search:
    """One walk over a program."""

    def __init__(self, program: Program, filters: Mapping[str, Any]):
        self.operations, self.image = program.operations, program.inputs[-1]
        self.filters = filters
        # Looked up by inputs, which are None for constants.
        self.makers: dict[int | None, Operation] = {
            v: o for o in self.operations for v in o.outputs
        }

    def operators(self) -> Iterator[Downsampling]:
        recognized = {found.operation.path: found for found in recognize(self.operations)}
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
                operator = found.operator
                kind = "conv" if operator.kind in ("conv", "patches") else "pool"
                filter, cutoff = self.filter_before(found)
                part = part_of(operation.scope)
                yield Downsampling.of(operator, part=part, kind=kind, filter=filter, cutoff=cutoff)

    def striding_filter(self, operation: Operation, name: str) -> Downsampling:
        module = self.filters[name]
        kind, cutoff = _describe(module)
        entering = self.entering(o for o in self.operations if self.filter_around(o) == name)
        # A filter in frequency computes each pixel from all of its row and column.
        size = getattr(module, "kernel_size", max(entering.shape[1:3]))
        return Downsampling(
            index=-1,
            name=operation.scope,
            source=source_line(operation.origin),
            kind=kind,
            input_shape=tuple(entering.shape),
            spatial_axes=(1, 2),
            channel_axis=3,
            kernel_size=(size, size),
            stride=(module.stride, module.stride),
            in_channels=entering.shape[-1],
            out_channels=entering.shape[-1],
            part=part_of(operation.scope),
            filter=kind,
            cutoff=cutoff,
        )

    def entering(self, inside: Iterable[Operation]) -> Any:
        """Type of the first feature map, or the image, that some operations read of others."""
        made: set[int | None] = set()
        for operation in inside:
            for value, kind in zip(operation.inputs, operation.input_types, strict=True):
                outside = value in self.makers or value == self.image
                if outside and value not in made and len(kind.shape) == 4:
                    return kind
            made.update(operation.outputs)
        raise ValueError("nothing enters")

    def stage(self, part: str, found: list[Downsampling]) -> list[Downsampling]:
        """The stage as one operator: its widest kernel, and the channels around its block."""
        own = [d for d in found if d.part == part]
        # What strides in stage 1 has no filter, as a stem's stride has none.
        if not part.startswith("stage") or part == "stage1":
            return []
        inside = [o for o in self.operations if part_of(o.scope) == part]
        entering, leaving = self.entering(inside), inside[-1].output_types[0]
        # Not what shrinks a map beside the stage's own, such as keys and values of an attention.
        own = [
            d
            for d in own
            if all(
                abs(d.input_shape[d.spatial_axes[k]] / d.stride[k] - leaving.shape[1 + k]) < 1
                for k in (0, 1)
            )
        ]
        if not own:
            return []
        widest = max(own, key=lambda d: (max(d.kernel_size), d.filter != "none"))
        total = dataclasses.replace(
            widest,
            name=part,
            source="",
            kind="stage",
            input_shape=tuple(entering.shape),
            spatial_axes=(1, 2),
            channel_axis=3,
            in_channels=entering.shape[-1],
            out_channels=self.written_around(widest, inside),
        )
        return [total]

    def written_around(self, found: Downsampling, inside: list[Operation]) -> int:
        """Channels of what leaves the block of a stage that an operator is in.

        Later blocks may change them again: they do not sample. Filters that stride belong to none.
        """
        words = found.name.split("/")
        block = next((word for word in words if word.startswith(f"{ENCODER}.")), None)
        if block is None:
            return found.out_channels
        within = [o for o in inside if block in o.scope.split("/") and block not in self.filters]
        return (within or inside)[-1].output_types[0].shape[-1]

    def filter_around(self, operation: Operation) -> str | None:
        words = operation.scope.split("/")
        return next((word for word in words if word in self.filters), None)

    def filter_before(self, found: Found) -> tuple[str, float | None]:
        """The filter that this operator's input has gone through at about the same resolution."""
        pixels = math.prod(found.operator.input_shape[:-1])
        waiting: list[int | None] = [found.operand]
        seen = set()
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
