"""Parallel downsampling operators as one block, and how deep in a network each operator stands.

A residual block that strides does so twice, in its branch and in its shortcut; what is sampled is
what enters both, and that is what the paper filters, not the input of each strided convolution. The
block is found from the program alone: its operators have the same stride and return equally many
pixels, their results meet in one sum or concatenation, and all that they read comes through one
value of the same size, the last one that all of them depend on, with no other operator in between.
The image is the largest argument that an operator's input is computed from; parameters are no part
of that flow.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from segalias_jax.tracing.operations import Operation
from segalias_jax.tracing.operators import DownsamplingOperator
from segalias_jax.tracing.recognition import Found, Site
from segalias_jax.tracing.sources import source_line

_MEETINGS = {"add", "add_any", "sub", "mul", "max", "concatenate", "select_n"}


def with_blocks(operations: Sequence[Operation], found: Sequence[Found]) -> list[Found]:
    """Adds blocks to the operators that they consist of, and numbers all in running order.

    Args:
      operations: of a `Program`.
      found: its operators, of `recognize`.

    Returns:
      The operators with index and depth; a block follows the last of its members.

    Example:
      >>> import jax
      >>> from segalias_jax.tracing.operations import read_program
      >>> from segalias_jax.tracing.recognition import recognize
      >>> from segalias_jax.ops import average_pool_2x2
      >>> def block(x):
      ...     y = jax.numpy.tanh(x)
      ...     return average_pool_2x2(x) + jax.lax.slice(y, (0,) * 4, y.shape, (1, 2, 2, 1))
      >>> operations = read_program(block, jax.numpy.ones((1, 8, 8, 3))).operations
      >>> [f.operator.kind for f in with_blocks(operations, recognize(operations))]
      ['avg_pool', 'slice', 'block']
    """
    flow = _Flow(operations, found)
    order: list[tuple[Found, tuple[Found, ...]]] = [(f, ()) for f in found]
    for members in flow.groups():
        block = flow.block(members)
        if block is not None:
            place = max(i for i, (f, _) in enumerate(order) if f in members)
            order.insert(place + 1, (block, tuple(members)))
    numbers = {id(f): index for index, (f, _) in enumerate(order)}
    depths: dict[int, int] = {}
    for f in found:
        depths[id(f)] = max((depths[id(g)] + 1 for g in found if flow.leads(g, f)), default=0)
    numbered = []
    for index, (f, members) in enumerate(order):
        deep = min(depths[id(g)] for g in members or (f,))
        inside = tuple(numbers[id(g)] for g in members)
        operator = dataclasses.replace(f.operator, index=index, depth=deep, members=inside)
        numbered.append(dataclasses.replace(f, operator=operator))
    return numbered


class _Flow:
    """How the image flows through a program; sets of values are kept as bits of integers."""

    def __init__(self, operations: Sequence[Operation], found: Sequence[Found]):
        self.operations, self.found = operations, found
        self.makers = {v: o for o in operations for v in o.outputs}
        self.types: dict[int, Any] = {}
        for operation in operations:
            read = zip(operation.inputs, operation.input_types, strict=True)
            written = zip(operation.outputs, operation.output_types, strict=True)
            self.types |= {value: kind for value, kind in (*read, *written) if value is not None}
        self.images: set[int] = set()
        self._follow()
        for f in found:
            if f.operand not in self.ancestors:
                self.images.add(self._image_of(f))
                self._follow()

    def _image_of(self, f: Found) -> int:
        """The largest argument that an operator's input is computed from."""
        waiting, seen, leaves = [f.operand], set(), []
        while waiting:
            value = waiting.pop()
            if value in seen:
                continue
            seen.add(value)
            maker = self.makers.get(value)
            if maker is None:
                leaves.append(value)
                continue
            # Kernels of convolutions may be larger than images.
            read = maker.inputs[:1] if maker.name == "conv_general_dilated" else maker.inputs
            waiting += [v for v in read if v is not None]
        size = {value: math.prod(self.types[value].shape) for value in leaves}
        return max(leaves, key=lambda value: size[value], default=f.operand)

    def _follow(self) -> None:
        """Updates what each value is computed from, itself included, and what dominates it."""
        self.ancestors = {value: 1 << value for value in self.images}
        self.dominators = dict(self.ancestors)
        for operation in self.operations:
            read = [v for v in operation.inputs if v in self.ancestors]
            if not read:
                continue
            ancestors, dominators = 0, self.dominators[read[0]]
            for value in read:
                ancestors |= self.ancestors[value]
                dominators &= self.dominators[value]
            for value in operation.outputs:
                self.ancestors[value] = ancestors | 1 << value
                self.dominators[value] = dominators | 1 << value

    def leads(self, first: Found, second: Found) -> bool:
        """Whether what one operator returns reaches the other."""
        return any(self.ancestors[second.operand] >> value & 1 for value in first.outputs)

    def groups(self) -> list[list[Found]]:
        """Operators whose results meet, by the one that runs first; and where they do."""
        made_by = {v: i for i, f in enumerate(self.found) for v in f.outputs}
        behind: dict[int, frozenset[int]] = {}
        together = {i: {i} for i in range(len(self.found))}
        self.meetings: dict[int, Operation] = {}
        for operation in self.operations:
            read = [behind[v] for v in operation.inputs if v in behind]
            union = frozenset().union(*read)
            for value in operation.outputs:
                own = made_by.get(value)
                behind[value] = union if own is None else frozenset({own})
            if operation.name not in _MEETINGS:
                continue
            for i, j in self._pairs(read):
                if together[i] is not together[j]:
                    joined = together[i] | together[j]
                    together |= dict.fromkeys(joined, joined)
                    self.meetings |= dict.fromkeys(joined, operation)
        different = {min(group): group for group in together.values() if len(group) > 1}
        return [[self.found[i] for i in sorted(group)] for group in different.values()]

    def _pairs(self, read: list[frozenset[int]]) -> Iterator[tuple[int, int]]:
        for place, first in enumerate(read):
            for second in read[place + 1 :]:
                for i in first - second:
                    for j in second - first:
                        a, b = self.found[i], self.found[j]
                        alike = a.operator.stride == b.operator.stride and a.size == b.size
                        if alike and self._parallel(a, b):
                            yield i, j

    def _parallel(self, a: Found, b: Found) -> bool:
        """Whether both follow one value with no other operator in between."""
        common = self.dominators[a.operand] & self.dominators[b.operand]
        related = self.leads(a, b) or self.leads(b, a)
        return common > 0 and not related and not self._between(common.bit_length() - 1, [a, b])

    def block(self, members: list[Found]) -> Found | None:
        """Several operators as one, from the last value that all of them depend on."""
        common = -1
        for f in members:
            common &= self.dominators[f.operand]
        while common > 0:
            value = common.bit_length() - 1
            common ^= 1 << value
            if self._between(value, members):
                return None
            layout = self._layout(value, members)
            if layout is not None:
                return self._as_one(value, layout, members)
        return None

    def _between(self, value: int, members: list[Found]) -> bool:
        return any(
            self.leads(f, member)
            and any(v != value and self.ancestors[v] >> value & 1 for v in f.outputs)
            for f in self.found
            for member in members
        )

    def _layout(self, value: int, members: list[Found]) -> DownsamplingOperator | None:
        """The member whose axes a value has."""
        shape = tuple(self.types[value].shape)
        for f in members:
            axes = f.operator.spatial_axes
            same = len(shape) == len(f.operator.input_shape) and all(
                shape[axis] == f.operator.input_shape[axis] for axis in axes
            )
            if value == f.operand or same:
                return f.operator
        return None

    def _as_one(
        self, value: int, layout: DownsamplingOperator, members: list[Found]
    ) -> Found | None:
        meeting = self.meetings[self.found.index(members[0])]
        sites = tuple(self._sites(value, members))
        if any(path == () for path, _ in sites):  # it enters by way of a loop's results
            return None
        shape = tuple(self.types[value].shape)
        channel = layout.channel_axis
        out = math.prod(meeting.output_types[0].shape) // members[0].places
        kinds = [f.operator for f in members]
        height, width = (max(o.kernel_size[axis] for o in kinds) for axis in (0, 1))
        operator = DownsamplingOperator(
            index=-1,
            name=_common_start([operator.name for operator in kinds], "/"),
            module=_common_start([operator.module for operator in kinds], "."),
            source=source_line(meeting.origin),
            kind="block",
            input_shape=shape,
            spatial_axes=layout.spatial_axes,
            channel_axis=channel,
            kernel_size=(height, width),
            stride=layout.stride,
            in_channels=1 if channel is None else shape[channel],
            out_channels=out,
        )
        first = members[0]
        return Found(
            operator, first.operation, value, sites, meeting.outputs, first.size, first.places
        )

    def _sites(self, value: int, members: list[Found]) -> Iterator[Site]:
        """Where a value is read on its way to the members."""
        own = {site for f in members for site in f.sites}
        wanted = 0
        for f in members:
            wanted |= self.ancestors[f.operand]
        for operation in self.operations:
            reached = any(wanted >> v & 1 for v in operation.outputs)
            for position, read in enumerate(operation.inputs):
                if read == value and (reached or (operation.path, position) in own):
                    yield operation.path, position


def _common_start(names: list[str], mark: str) -> str:
    words = zip(*(name.split(mark) for name in names), strict=False)
    return mark.join(same[0] for same in itertools.takewhile(lambda w: len(set(w)) == 1, words))
