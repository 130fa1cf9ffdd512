"""Downsampling operators in a list of operations, whatever form they are written in.

Operators along one axis or three are left out: the equivalent sampling rate and the square band are
those of images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from segalias_jax.tracing.operations import LOOPS_AND_BRANCHES, Operation
from segalias_jax.tracing.operators import DownsamplingOperator
from segalias_jax.tracing.patches import follow_split, split_axes
from segalias_jax.tracing.sources import source_line

Site = tuple[tuple[int, ...], int]
"""Where a value is read: the path of an operation, and which of its inputs it is."""


@dataclasses.dataclass(frozen=True)
class Found:
    """An operator that stands in a program.

    Attributes:
      operator: what it is; its index and depth are not known yet.
      operation: the first of the operations that it consists of.
      operand: number of the value that enters it.
      sites: where that value is read.
      outputs: numbers of the values that hold its result, of fewer pixels than the operand.
      size: height and width of the result.
      places: number of output pixels, those of all samples together.

    Example:
      >>> [field.name for field in dataclasses.fields(Found)][2]
      'operand'
    """

    operator: DownsamplingOperator
    operation: Operation
    operand: int
    sites: tuple[Site, ...]
    outputs: tuple[int, ...]
    size: tuple[int, int]
    places: int


def recognize(operations: Sequence[Operation]) -> list[Found]:
    """Finds the downsampling operators of a program, see `tracing.find_operators`.

    Args:
      operations: of a `Program`.

    Returns:
      The operators in the order in which they run.

    Example:
      >>> import jax.numpy as jnp
      >>> from segalias_jax.tracing.operations import read_program
      >>> program = read_program(lambda x: x[:, ::2, ::2], jnp.ones((1, 8, 8, 3)))
      >>> [found.operator.kind for found in recognize(program.operations)]
      ['slice']
    """
    return list(_Search(operations).operators())


_POOLS = {"reduce_window_max": "max_pool", "reduce_window_sum": "avg_pool"}
_POOLS |= {"reduce_window_min": "min_pool", "reduce_window": "pool"}
_PRODUCTS = {"dot_general", "conv_general_dilated"}
_SUMS = {"add", "add_any", "mul", "div", "convert_element_type"}
_LAYOUT = {"reshape", "transpose", "convert_element_type", "squeeze", "copy", "copy_p"}
_LAYOUT |= {"sharding_constraint", "concatenate", "optimization_barrier"}
_PIXEL_NORM = _SUMS | _LAYOUT | {"sub", "square", "integer_pow", "sqrt", "rsqrt", "neg", "max"}
_PIXEL_NORM |= {"reduce_sum", "broadcast_in_dim", "pow", "select_n", "lt", "stop_gradient", "copy"}
"""What a normalization of each pixel's channels consists of."""


class _Search:
    """One walk over a program."""

    def __init__(self, operations: Sequence[Operation]):
        self.operations = operations
        # Looked up by inputs, which are None for constants; none of them is made or read here.
        self.makers: dict[int | None, Operation] = {v: o for o in operations for v in o.outputs}
        self.readers: dict[int | None, list[Operation]] = {}
        for operation in operations:
            for value in set(operation.inputs) - {None}:
                self.readers.setdefault(value, []).append(operation)

    def operators(self) -> Iterator[Found]:
        done = set()
        for operation in self.operations:
            found = None
            if not operation.inputs or not self.is_given(operation.inputs[0]):
                continue
            if operation.name == "conv_general_dilated":
                found = self.convolution(operation)
            elif operation.name in _POOLS:
                found = self.pooling(operation)
            elif operation.name == "slice":
                axes = _strided_axes(operation)
                if axes is not None and operation.path not in done:
                    family = self.family(operation)
                    found = self.slices(family, axes)
                    done |= {o.path for o in family}
            elif operation.name == "reshape":
                found = self.split(operation)
            if found is not None:
                yield found

    def is_given(self, value: int | None) -> bool:
        """Whether a value depends on anything that a function reads.

        Libraries pool an image of ones to count what a window at the border covers.
        """
        waiting, seen = [value], set[int | None]([None])
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            maker = self.makers.get(one)
            if maker is None or maker.name in LOOPS_AND_BRANCHES:
                return True
            waiting += maker.inputs
        return False

    def convolution(self, operation: Operation) -> Found | None:
        parameters, kernel = operation.parameters, operation.input_types[1].shape
        numbers, stride = parameters["dimension_numbers"], parameters["window_strides"]
        backwards = max(parameters["lhs_dilation"]) > 1 or parameters["batch_group_count"] > 1
        if len(stride) != 2 or min(stride) == 1 or backwards:
            return None
        read, written = operation.input_types[0].shape, operation.output_types[0].shape
        height, width = (
            1 + (kernel[axis] - 1) * step
            for axis, step in zip(numbers.rhs_spec[2:], parameters["rhs_dilation"], strict=True)
        )
        _, feature, *axes = numbers.lhs_spec
        return self.found(
            [operation],
            "conv",
            axes=(axes[0], axes[1]),
            channel=feature,
            size=(height, width),
            stride=(stride[0], stride[1]),
            in_channels=read[feature],
            out_channels=written[numbers.out_spec[1]],
            out_size=(written[numbers.out_spec[2]], written[numbers.out_spec[3]]),
        )

    def pooling(self, operation: Operation) -> Found | None:
        parameters, shape = operation.parameters, operation.input_types[0].shape
        stride, window = parameters["window_strides"], parameters["window_dimensions"]
        axes = _pair([axis for axis, step in enumerate(stride) if step > 1])
        if axes is None or max(parameters["base_dilation"]) > 1:
            return None
        rows, columns = axes
        height, width = (
            1 + (window[axis] - 1) * parameters["window_dilation"][axis] for axis in axes
        )
        channel = channel_axis(len(shape), axes)
        channels = 1 if channel is None else shape[channel]
        written = operation.output_types[0].shape
        covered = height >= shape[rows] and width >= shape[columns]
        if covered and written[rows] == written[columns] == 1:
            return None  # a mean of the whole image samples nothing
        return self.found(
            [operation],
            _POOLS[operation.name],
            axes=axes,
            channel=channel,
            size=(height, width),
            stride=(stride[rows], stride[columns]),
            in_channels=channels,
            out_channels=channels,
            out_size=(written[rows], written[columns]),
        )

    def family(self, operation: Operation) -> list[Operation]:
        """Slices of the same value and stride, in one branch of the program, that meet.

        Those that meet only after a matrix product or convolution are operators of their own, such
        as two 1x1 convolutions of one map.
        """
        alike = [
            o
            for o in self.readers[operation.inputs[0]]
            if o.name == "slice"
            and o.parameters["strides"] == operation.parameters["strides"]
            and o.path[:-1] == operation.path[:-1]
        ]
        reached = {o.path: self.before_products(o.outputs[0]) for o in alike}
        family, values = [], reached[operation.path]
        while len(joined := [o for o in alike if reached[o.path] & values]) > len(family):
            family, values = joined, set().union(*(reached[o.path] for o in joined))
        return family

    def before_products(self, value: int) -> set[int]:
        """All that is computed from a value without a matrix product or convolution."""
        found, waiting = {value}, [value]
        while waiting:
            for reader in self.readers.get(waiting.pop(), ()):
                new = set() if reader.name in _PRODUCTS else set(reader.outputs) - found
                found |= new
                waiting += new
        return found

    def slices(self, family: list[Operation], axes: tuple[int, int]) -> Found:
        """Of one offset before a 1x1 convolution, of several in a pooling."""
        operation, strides = family[0], family[0].parameters["strides"]
        (rows, columns), written = axes, operation.output_types[0].shape
        channel = channel_axis(len(operation.input_types[0].shape), axes)
        channels = 1 if channel is None else written[channel]
        starts = [[o.parameters["start_indices"][axis] for o in family] for axis in axes]
        height, width = (1 + max(start) - min(start) for start in starts)
        kind, out = self.purpose(family, channels)
        return self.found(
            family,
            kind,
            axes=axes,
            channel=channel,
            size=(height, width),
            stride=(strides[rows], strides[columns]),
            in_channels=channels,
            out_channels=out,
            out_size=(written[rows], written[columns]),
        )

    def purpose(self, family: list[Operation], channels: int) -> tuple[str, int]:
        """What slices are for, and the number of channels that results."""
        value, count = family[0].outputs[0], channels
        if len(family) > 1:
            names = {reader.name for o in family for reader in self.readers.get(o.outputs[0], ())}
            if names and names <= {"max", "ge", "gt", "ne", "select_n"}:
                return "max_pool", channels
            if names and names <= _SUMS:
                own_kernels = all(self.meets_a_tap(o.outputs[0]) for o in family)
                return "conv" if own_kernels else "avg_pool", channels
            if names != {"concatenate"}:
                return "slice", channels
            count *= len(family)
        places = math.prod(family[0].output_types[0].shape) // channels
        product = self.product(value, count, places)
        if len(family) > 1:
            return "patches", product or self.product_after_norm(value, count, places) or count
        return ("conv", product) if product else ("slice", channels)

    def meets_a_tap(self, value: int) -> bool:
        """Whether each channel of a value meets a number of its own, of a depthwise kernel."""
        readers = self.readers.get(value, ())
        if len(readers) != 1 or readers[0].name != "mul":
            return False
        (factor,) = [v for v in readers[0].inputs if v != value][:1] or (None,)
        maker = self.makers.get(factor)
        if maker is None or maker.name != "broadcast_in_dim":
            return False
        return sum(n > 1 for n in maker.input_types[0].shape) == 1 and self.is_given(factor)

    def product(self, value: int, channels: int, places: int) -> int | None:
        """Channels that the matrix product (or 1x1 convolution) of a value's pixels has."""
        reader = self.next_computation(value)
        if reader is None:
            return None
        if reader.name == "dot_general":
            (contracted, _), _ = reader.parameters["dimension_numbers"]
            summed = math.prod(reader.input_types[0].shape[axis] for axis in contracted)
        elif reader.name == "conv_general_dilated":
            kernel, numbers = reader.input_types[1].shape, reader.parameters["dimension_numbers"]
            sides = [kernel[axis] for axis in numbers.rhs_spec[2:]]
            summed = kernel[numbers.rhs_spec[1]] if set(sides) == {1} else 0
        else:
            return None
        written = math.prod(reader.output_types[0].shape)
        return written // places if summed == channels and written % places == 0 else None

    def product_after_norm(self, value: int, channels: int, places: int) -> int | None:
        """The same where each pixel's channels are normalized in between, as in patch merging."""
        (joined,) = self.readers.get(value, ())[:1] or (None,)
        if joined is not None and joined.name == "concatenate":
            value = joined.outputs[0]
        reached = self.before_products(value)
        inside = [r for v in reached for r in self.readers.get(v, ()) if r.name not in _PRODUCTS]
        if not inside or not all(reader.name in _PIXEL_NORM for reader in inside):
            return None
        products = {r.path: r for v in reached for r in self.readers.get(v, ())}
        products = [r for r in products.values() if r.name in _PRODUCTS]
        if len(products) != 1 or products[0].name != "dot_general":
            return None
        (contracted, _), _ = products[0].parameters["dimension_numbers"]
        read, written = products[0].input_types[0].shape, products[0].output_types[0].shape
        if math.prod(read[axis] for axis in contracted) != channels:
            return None
        return math.prod(written) // places

    def next_computation(self, value: int) -> Operation | None:
        """The one operation that reads a value, after changes of its layout."""
        while len(self.readers.get(value, ())) == 1:
            reader = self.readers[value][0]
            if reader.name not in _LAYOUT:
                return reader
            value = reader.outputs[0]
        return None

    def split(self, operation: Operation) -> Found | None:
        """Image axes cut into pieces, which become channels or are pooled."""
        shape = operation.input_types[0].shape
        axes = split_axes(shape, operation.output_types[0].shape)
        if axes is None:
            return None
        channel = channel_axis(len(shape), axes)
        end = follow_split(operation, axes, channel, self.readers)
        if end is None:
            return None
        channels = out = 1 if channel is None else shape[channel]
        if end.kind == "patches":
            places = math.prod(shape) // (channels * math.prod(end.size))
            out = channels * math.prod(end.size)
            out = (
                end.out_channels
                or self.product(end.value, out, places)
                or self.product_after_norm(end.value, out, places)
                or out
            )
        (rows, columns), (height, width) = axes, end.size
        return self.found(
            [operation],
            end.kind,
            axes=axes,
            channel=channel,
            size=end.size,
            stride=end.size,
            in_channels=channels,
            out_channels=out,
            out_size=(shape[rows] // height, shape[columns] // width),
        )

    def found(
        self,
        family: list[Operation],
        kind: str,
        *,
        axes: tuple[int, int],
        channel: int | None,
        size: tuple[int, int],
        stride: tuple[int, int],
        in_channels: int,
        out_channels: int,
        out_size: tuple[int, int],
    ) -> Found:
        first = family[0]
        operand, sites, shape = self.before_padding(family, axes)
        operator = DownsamplingOperator(
            index=-1,
            name=first.scope,
            module=first.module,
            source=source_line(first.origin),
            kind=kind,
            input_shape=shape,
            spatial_axes=axes,
            channel_axis=channel,
            kernel_size=size,
            stride=stride,
            in_channels=in_channels,
            out_channels=out_channels,
        )
        others = [n for a, n in enumerate(shape) if a not in (*axes, channel)]
        outputs = tuple(value for operation in family for value in operation.outputs)
        places = math.prod(others) * math.prod(out_size)
        return Found(operator, first, operand, sites, outputs, out_size, places)

    def before_padding(
        self, family: list[Operation], axes: tuple[int, int]
    ) -> tuple[int, tuple[Site, ...], tuple[int, ...]]:
        """What enters the operator: what is padded, where only the operator reads that."""
        first = family[0]
        value = first.inputs[0]
        assert value is not None, "operators() leaves out what reads a constant"
        maker = self.makers.get(value)
        padded = maker.inputs[0] if maker is not None and maker.name == "pad" else None
        if (
            maker is not None
            and padded is not None
            and self.readers[value] == family
            and all(
                pad == (0, 0, 0) if axis not in axes else min(pad) >= 0 and pad[2] == 0
                for axis, pad in enumerate(maker.parameters["padding_config"])
            )
        ):
            return padded, ((maker.path, 0),), maker.input_types[0].shape
        return value, tuple((o.path, 0) for o in family), first.input_types[0].shape


def channel_axis(rank: int, axes: tuple[int, int]) -> int | None:
    """Guesses where channels are: after the image axes, else right before them.

    Args:
      rank: number of axes.
      axes: those of the image.

    Returns:
      The axis; None where there are no others.

    Example:
      >>> channel_axis(4, (1, 2)), channel_axis(4, (2, 3)), channel_axis(2, (0, 1))
      (3, 1, None)
    """
    if max(axes) < rank - 1:
        return rank - 1
    return min(axes) - 1 if min(axes) > 0 else None


def _strided_axes(operation: Operation) -> tuple[int, int] | None:
    """The two axes along which a slice strides."""
    strides = operation.parameters["strides"] or ()
    return _pair([axis for axis, step in enumerate(strides) if step > 1])


def _pair(axes: list[int]) -> tuple[int, int] | None:
    return (axes[0], axes[1]) if len(axes) == 2 else None
