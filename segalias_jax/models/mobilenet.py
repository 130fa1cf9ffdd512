"""MobileNetV2 and MobileNetV3, with an optional filter before strides, and mixers."""

from __future__ import annotations

import dataclasses

import jax
from flax import nnx

from segalias_jax.errors import check_choice
from segalias_jax.layers.freqmix import FREQMIX_PARTS
from segalias_jax.models.inverted_residual import (
    BlockSpec,
    InvertedResidualEncoder,
    Layout,
    Style,
    round_channels,
)


def _hard_sigmoid(x: jax.Array) -> jax.Array:
    """min(max(x + 3, 0), 6) / 6."""
    return jax.nn.relu6(x + 3) / 6


@dataclasses.dataclass(frozen=True)
class _Row:
    """One block: sizes at full width."""

    kernel_size: int
    hidden: int
    channels: int
    squeezes: bool
    activation: str
    stride: int


def _rows_of_v2() -> tuple[_Row, ...]:
    """Factor inside, channels, blocks and stride of each group, written out."""
    groups = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2))
    groups += ((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    rows, before = [], 32
    for factor, channels, count, stride in groups:
        for i in range(count):
            hidden = before * factor
            rows.append(_Row(3, hidden, channels, False, "relu6", stride if i == 0 else 1))
            before = channels
    return tuple(rows)


_V3_LARGE = (
    _Row(3, 16, 16, False, "relu", 1),
    _Row(3, 64, 24, False, "relu", 2),
    _Row(3, 72, 24, False, "relu", 1),
    _Row(5, 72, 40, True, "relu", 2),
    _Row(5, 120, 40, True, "relu", 1),
    _Row(5, 120, 40, True, "relu", 1),
    _Row(3, 240, 80, False, "hard_swish", 2),
    _Row(3, 200, 80, False, "hard_swish", 1),
    _Row(3, 184, 80, False, "hard_swish", 1),
    _Row(3, 184, 80, False, "hard_swish", 1),
    _Row(3, 480, 112, True, "hard_swish", 1),
    _Row(3, 672, 112, True, "hard_swish", 1),
    _Row(5, 672, 160, True, "hard_swish", 2),
    _Row(5, 960, 160, True, "hard_swish", 1),
    _Row(5, 960, 160, True, "hard_swish", 1),
)

_V3_SMALL = (
    _Row(3, 16, 16, True, "relu", 2),
    _Row(3, 72, 24, False, "relu", 2),
    _Row(3, 88, 24, False, "relu", 1),
    _Row(5, 96, 40, True, "hard_swish", 2),
    _Row(5, 240, 40, True, "hard_swish", 1),
    _Row(5, 240, 40, True, "hard_swish", 1),
    _Row(5, 120, 48, True, "hard_swish", 1),
    _Row(5, 144, 48, True, "hard_swish", 1),
    _Row(5, 288, 96, True, "hard_swish", 2),
    _Row(5, 576, 96, True, "hard_swish", 1),
    _Row(5, 576, 96, True, "hard_swish", 1),
)

_ACTIVATIONS = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "hard_swish": jax.nn.hard_swish,
}

# What PyTorch's networks have; TensorFlow's V3 moves by a hundredth, too.
_V2_STYLE = Style()
_V3_STYLE = Style(epsilon=1e-3, momentum=0.01, gate=_hard_sigmoid)

MOBILENETS = {
    "mobilenet_v2": (32, "relu6", _rows_of_v2(), None, _V2_STYLE),
    "mobilenet_v3_large": (16, "hard_swish", _V3_LARGE, 960, _V3_STYLE),
    "mobilenet_v3_small": (16, "hard_swish", _V3_SMALL, 576, _V3_STYLE),
}
"""Channels and activation of the stem, blocks, channels of the last convolution, and style."""


class MobileNet(InvertedResidualEncoder):
    """MobileNetV2 and V3, as torchvision has them, as an encoder.

    Features are those ahead of each stride: 24, 32, 96 and 320 channels wide (V2), 24, 40, 112 and
    960 (V3 large), 16, 24, 48 and 576 (V3 small), with strides 4, 8, 16 and 32. The last one of V3
    is behind its last 1x1 convolution. Convolutions pad alike on both sides; sizes are rounded up.

    Filters and mixers stand as in `EfficientNet`.

    Args:
      name: "mobilenet_v2", "mobilenet_v3_large" or "mobilenet_v3_small".
      width: channels of stage 1, which scale all others; None for the network's own.
      downsample: see `EfficientNet`, as are all others.
      filter_place: "block" or "depthwise".
      mixer: "none" or "freqmix".
      cutoff: of the filter, in cycles per pixel; None takes each operator's own Nyquist frequency.
      band: "symmetric" or "reference".
      gate: of FreqMix.
      reduction: of FreqMix.
      mixer_cutoff: of FreqMix, in cycles per pixel; None takes the filter's.
      mixer_parts: gates of FreqMix: "spatial", "channel" or both.
      mixer_start: what its gates begin with.
      drop_path: probability that training drops the last block's branch.
      frozen_stages: what training leaves as it is.
      frozen_norm: whether training leaves all batch norms and their statistics as they are.
      remat: stages, from 1, whose blocks are recomputed in the backward pass.
      rngs: random streams.

    Raises:
      InputError: an unknown name, with the choices, or a number out of its range.

    Example:
      >>> net = nnx.eval_shape(lambda: MobileNet("mobilenet_v3_large", rngs=nnx.Rngs(0)))
      >>> net.channels, net.strides
      ((24, 40, 112, 960), (4, 8, 16, 32))

    Reference:
      Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018; Howard
      et al., "Searching for MobileNetV3", ICCV 2019.
    """

    def __init__(
        self,
        name: str,
        *,
        width: int | None = None,
        downsample: str = "none",
        filter_place: str = "block",
        mixer: str = "none",
        cutoff: float | None = None,
        band: str = "symmetric",
        gate: str = "energy",
        reduction: int = 16,
        mixer_cutoff: float | None = None,
        mixer_parts: tuple[str, ...] = FREQMIX_PARTS,
        mixer_start: str | None = None,
        drop_path: float = 0.0,
        frozen_stages: int = -1,
        frozen_norm: bool = False,
        remat: tuple[int, ...] = (),
        rngs: nnx.Rngs,
    ):
        check_choice("encoder", name, MOBILENETS)
        layout = _layout(name, width)
        self.version = 2 if name == "mobilenet_v2" else 3
        super().__init__(
            layout,
            downsample=downsample,
            filter_place=filter_place,
            mixer=mixer,
            cutoff=cutoff,
            band=band,
            gate=gate,
            reduction=reduction,
            mixer_cutoff=mixer_cutoff,
            mixer_parts=mixer_parts,
            mixer_start=mixer_start,
            drop_path=drop_path,
            frozen_stages=frozen_stages,
            frozen_norm=frozen_norm,
            remat=remat,
            rngs=rngs,
        )


def _layout(name: str, width: int | None) -> Layout:
    """Blocks by stage: each begins with a stride, and what is ahead of all belongs to the stem."""
    stem, stem_activation, rows, last, style = MOBILENETS[name]
    published = next(row.channels for row in rows if row.stride == 2)

    def scaled(channels: int) -> int:
        return channels if width is None else round_channels(channels * width / published)

    stages: list[list[BlockSpec]] = [[]]
    for row in rows:
        spec = BlockSpec(
            row.kernel_size,
            row.stride,
            hidden=scaled(row.hidden),
            out_channels=scaled(row.channels),
            squeezed=round_channels(scaled(row.hidden) / 4) if row.squeezes else 0,
            activation=_ACTIVATIONS[row.activation],
        )
        if row.stride == 2:
            stages.append([])
        stages[-1].append(spec)
    return Layout(
        stem=scaled(stem),
        stem_activation=_ACTIVATIONS[stem_activation],
        stem_blocks=tuple(stages[0]),
        stages=tuple(tuple(stage) for stage in stages[1:]),
        last=None if last is None else scaled(last),
        style=style,
    )
