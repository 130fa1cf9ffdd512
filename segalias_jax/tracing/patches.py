"""Image axes that a reshape cuts into pieces: patches that become channels, or are pooled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from segalias_jax.tracing.operations import Operation

_POOLED = {"reduce_max": "max_pool", "reduce_sum": "avg_pool", "reduce_min": "min_pool"}


@dataclasses.dataclass(frozen=True)
class _SplitEnd:
    """What becomes of the pieces of two axes.

    Attributes:
      kind: "patches" or a pooling.
      size: of the pieces, in pixels.
      value: number of the value that has patches as channels, or is pooled.
      out_channels: of a matrix product that sums over the pieces right away, else None.

    Example:
      >>> _SplitEnd("patches", (4, 4), 7).out_channels
    """

    kind: str
    size: tuple[int, int]
    value: int
    out_channels: int | None = None


def split_axes(before: Sequence[int], after: Sequence[int]) -> tuple[int, int] | None:
    """Axes that a reshape cuts in two, while all others stay.

    Args:
      before: shape.
      after: shape that it gets.

    Returns:
      The two axes of `before`, or None unless exactly two are cut, into more than one piece each.

    Example:
      >>> split_axes((2, 8, 12, 3), (2, 4, 2, 3, 4, 3))
      (1, 2)
    """
    if len(after) != len(before) + 2:
        return None
    axes, place = [], 0
    for axis, length in enumerate(before):
        if place < len(after) and after[place] == length:
            place += 1
        elif place + 1 < len(after) and after[place] * after[place + 1] == length:
            axes.append(axis)
            place += 2
        else:
            return None
    return (axes[0], axes[1]) if len(axes) == 2 and place == len(after) else None


def follow_split(
    operation: Operation,
    axes: tuple[int, int],
    channel: int | None,
    readers: Mapping[int | None, list[Operation]],
) -> _SplitEnd | None:
    """Looks what becomes of the pieces: channels, a sum over them, or something else.

    Args:
      operation: the reshape.
      axes: that it cuts.
      channel: axis of the channels.
      readers: of each value.

    Returns:
      What it is; None for anything else, such as windows of attention.

    Example:
      >>> from jax import ShapeDtypeStruct
      >>> import jax.numpy as jnp
      >>> from segalias_jax.tracing.operations import read_program
      >>> pool = lambda x: x.reshape(4, 2, 4, 2, 3).max((1, 3))
      >>> reshape, _ = operations = read_program(pool, jnp.ones((8, 8, 3))).operations
      >>> follow_split(reshape, (0, 1), 2, {reshape.outputs[0]: [operations[1]]}).kind
      'max_pool'
    """
    shape = operation.output_types[0].shape
    labels: list[tuple[str, ...]] = []
    for axis in range(len(operation.input_types[0].shape)):
        if axis in axes:
            labels += [("grid",), ("piece",)]
        else:
            labels.append(("channel",) if axis == channel else ("batch",))
    size = tuple(n for n, label in zip(shape, labels, strict=True) if label == ("piece",))
    whole = ["piece", "piece"] + ["channel"] * (channel is not None)
    value = operation.outputs[0]
    while len(readers.get(value, ())) == 1:
        reader = readers[value][0]
        if reader.name in _POOLED:
            summed = [labels[axis] for axis in reader.parameters["axes"]]
            pooled = summed == [("piece",)] * 2
            return _SplitEnd(_POOLED[reader.name], size, value) if pooled else None
        if reader.name == "dot_general":
            return _contracted(reader, value, labels, whole, size)
        if reader.name == "transpose":
            labels = [labels[axis] for axis in reader.parameters["permutation"]]
        elif reader.name == "reshape":
            merged = _merge(labels, reader.input_types[0].shape, reader.output_types[0].shape)
            if merged is None:
                return None
            labels = merged
        elif reader.name not in ("convert_element_type", "copy"):
            return None
        value = reader.outputs[0]
        if any(sorted(label) == sorted(whole) for label in labels):
            return _SplitEnd("patches", size, value)
    return None


def _contracted(
    reader: Operation,
    value: int,
    labels: list[tuple[str, ...]],
    whole: list[str],
    size: tuple[int, int],
) -> _SplitEnd | None:
    side = reader.inputs.index(value)
    contracted, batch = reader.parameters["dimension_numbers"]
    summed = sorted(part for axis in contracted[side] for part in labels[axis])
    if summed != sorted(whole):
        return None
    other = reader.input_types[1 - side].shape
    out = 1
    for axis, length in enumerate(other):
        if axis not in (*contracted[1 - side], *batch[1 - side]):
            out *= length
    return _SplitEnd("patches", size, value, out)


def _merge(
    labels: list[tuple[str, ...]], before: Sequence[int], after: Sequence[int]
) -> list[tuple[str, ...]] | None:
    """What the axes of a reshape consist of that only joins neighbors."""
    merged, axis = [], 0
    for length in after:
        if axis == len(before):
            return None
        parts, product = labels[axis], before[axis]
        axis += 1
        while product < length and axis < len(before):
            parts, product = parts + labels[axis], product * before[axis]
            axis += 1
        if product != length:
            return None
        merged.append(parts)
    return merged if axis == len(before) else None
