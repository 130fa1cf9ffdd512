"""What a downsampling operator is, in any program and any layout."""

from __future__ import annotations

import dataclasses

from segalias_jax import ops


@dataclasses.dataclass(frozen=True)
class DownsamplingOperator:
    """An operator that returns fewer pixels than it reads, along both image axes.

    Attributes:
      index: its place among the operators of a function, in the order in which they run.
      name: named scopes around it, outer ones first, joined by "/"; "" where there are none.
      module: path of the flax.nnx module that it is in, such as "layer1.0.conv"; "" outside of
        such modules.
      source: "file.py:line" of what calls it, see `find_operators`.
      kind: "conv" (a strided slice before a matrix product is a 1x1 one), "max_pool",
        "avg_pool" (also weighted), "min_pool", "pool" (of another function), "slice", "patches"
        (neighboring pixels become channels) or "block": parallel operators whose results meet,
        as one, from what enters all of them to where they meet.
      input_shape: of what enters it, in the operator's own layout and before any padding.
      spatial_axes: of height and width in `input_shape`.
      batch_axes: the other axes of `input_shape`, but for that of channels.
      channel_axis: of `input_shape`; None where all axes but those of the image are batch axes.
      kernel_size: height and width of what one output pixel is computed from.
      stride: rows and columns from one output pixel to the next.
      in_channels: channels read.
      out_channels: channels written.
      depth: number of operators, at most, that the image has gone through before it.
      members: of a block, the indices of its operators.

    Example:
      >>> axes = dict(input_shape=(1, 64, 64, 256), spatial_axes=(1, 2), channel_axis=3)
      >>> sizes = dict(kernel_size=(3, 3), stride=(2, 2), in_channels=256, out_channels=512)
      >>> conv = DownsamplingOperator(0, "stage2", "net.py:7", "conv", **axes, **sizes)
      >>> round(conv.nyquist_frequency, 4), conv.batch_axes
      (0.3536, (0,))
    """

    index: int
    name: str
    source: str
    kind: str
    input_shape: tuple[int, ...]
    spatial_axes: tuple[int, int]
    channel_axis: int | None
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    in_channels: int
    out_channels: int
    depth: int = 0
    members: tuple[int, ...] = ()
    module: str = ""

    @property
    def batch_axes(self) -> tuple[int, ...]:
        """All axes that are neither of the image nor of channels."""
        others = (*self.spatial_axes, self.channel_axis)
        return tuple(axis for axis in range(len(self.input_shape)) if axis not in others)

    @property
    def sampling_rate(self) -> float:
        """The lesser of both axes' equivalent sampling rates, `ops.equivalent_sampling_rate`."""
        return min(
            ops.equivalent_sampling_rate(size, step, self.in_channels, self.out_channels)
            for size, step in zip(self.kernel_size, self.stride, strict=True)
        )

    @property
    def nyquist_frequency(self) -> float:
        """What that rate can carry, in cycles per pixel, `ops.nyquist_frequency`."""
        return ops.nyquist_frequency(self.sampling_rate)
