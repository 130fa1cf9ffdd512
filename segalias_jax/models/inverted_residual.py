"""The block of EfficientNets and MobileNets: wide inside, narrow between blocks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers import BatchNorm, Conv
from segalias_jax.layers.conv import kaiming_normal
from segalias_jax.models.stages import (
    DOWNSAMPLE,
    STRIDING,
    MakeMixer,
    apply_filter,
    check_mixer,
    check_remat,
    freeze_norms,
    make_filter,
    mixer_factory,
    no_mixer,
    run_block,
    stage_nyquist_frequency,
    stop_at,
)
from segalias_jax.typing import Array, Float

FILTER_PLACES = ("block", "depthwise")
"""Where a filter stands: ahead of the block that strides, or inside, ahead of its convolution."""

Activation = Callable[[Array], Array]

# A depthwise kernel sees one channel, so that its number of inputs says what He et al. mean.
_depthwise_init = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def round_channels(channels: int | float) -> int:
    """Returns the nearest multiple of 8 that is at most a tenth smaller.

    Args:
      channels: wanted.

    Example:
      >>> [round_channels(channels) for channels in (3, 17.6, 28)]
      [8, 16, 32]
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


@dataclasses.dataclass(frozen=True)
class Style:
    """What all blocks of a network have in common.

    Attributes:
      padding: of strided convolutions, see `layers.Conv`.
      epsilon: of batch norms.
      momentum: of batch norms.
      squeeze_activation: between the two layers of `SqueezeExcite`.
      gate: behind them, from 0 to 1.

    Example:
      >>> Style().padding is None
      True
    """

    padding: str | None = None
    epsilon: float = 1e-5
    momentum: float = 0.1
    squeeze_activation: Activation = jax.nn.relu
    gate: Activation = jax.nn.sigmoid


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """Sizes of one block.

    Attributes:
      kernel_size: of the depthwise convolution, in pixels.
      stride: of the depthwise convolution, in pixels.
      hidden: channels of the depthwise convolution; as many as are read: nothing widens.
      out_channels: channels written.
      squeezed: channels inside of `SqueezeExcite`; 0 for none.
      activation: within the block.

    Example:
      >>> BlockSpec(3, 1, hidden=96, out_channels=24).squeezed
      0
    """

    kernel_size: int
    stride: int
    hidden: int
    out_channels: int
    squeezed: int = 0
    activation: Activation = jax.nn.relu


class ConvNorm(nnx.Module):
    """Convolution without bias, mixer, batch normalization, activation.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      kernel_size: side length, in pixels.
      stride: step, in pixels.
      depthwise: whether each channel has a kernel of its own.
      activation: behind the norm; None for none.
      make_mixer: builds the mixer for a number of channels, or returns None.
      style: of the network.
      rngs: random streams.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activation: Activation | None,
        make_mixer: MakeMixer = no_mixer,
        style: Style,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=style.padding if stride > 1 else None,
            groups=in_channels if depthwise else 1,
            kernel_init=_depthwise_init if depthwise else kaiming_normal,
            rngs=rngs,
        )
        self.mixer = make_mixer(out_channels)
        self.norm = BatchNorm(out_channels, epsilon=style.epsilon, momentum=style.momentum)
        self.activation = activation

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies them in order."""
        y = self.conv(x)
        y = self.norm(y if self.mixer is None else self.mixer(y))
        return y if self.activation is None else self.activation(y)


class SqueezeExcite(nnx.Module):
    """Weighs channels by what their means say.

    y[c] = x[c] gate(W2 act(W1 mean(x) + b1) + b2)[c]

    Args:
      channels: number of channels, preserved.
      hidden: length of the vector in between.
      style: of the network.
      rngs: random streams.

    Reference:
      Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    def __init__(self, channels: int, hidden: int, *, style: Style, rngs: nnx.Rngs):
        self.squeeze = Conv(channels, hidden, use_bias=True, rngs=rngs)
        self.excite = Conv(hidden, channels, use_bias=True, rngs=rngs)
        self.activation, self.gate = style.squeeze_activation, style.gate

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the weighted map."""
        mean = x.mean((1, 2), keepdims=True)
        return x * self.gate(self.excite(self.activation(self.squeeze(mean))))


class Separable(nnx.Module):
    """Convolves each channel, weighs the channels, and projects, without activation behind it.

    y = project(excite(act(norm(mixer(depthwise(x))))))

    The mixer stands ahead of a norm, which takes up what it changes of the scale; behind the
    projection it would change what pretrained parameters expect by nearly all of it.

    Args:
      spec: of the block.
      make_mixer: builds the mixer for a number of channels, or returns None.
      style: of the network.
      rngs: random streams.
    """

    def __init__(self, spec: BlockSpec, *, make_mixer: MakeMixer, style: Style, rngs: nnx.Rngs):
        conv = functools.partial(ConvNorm, style=style, rngs=rngs)
        self.depthwise = conv(
            spec.hidden,
            spec.hidden,
            spec.kernel_size,
            stride=spec.stride,
            depthwise=True,
            activation=spec.activation,
            make_mixer=make_mixer,
        )
        excite = functools.partial(SqueezeExcite, spec.hidden, style=style, rngs=rngs)
        self.excite = excite(spec.squeezed) if spec.squeezed else None
        self.project = conv(spec.hidden, spec.out_channels, activation=None)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies them in order."""
        y = self.depthwise(x)
        return self.project(y if self.excite is None else self.excite(y))


class InvertedResidual(nnx.Module):
    """Widens each pixel, then `Separable`, and a shortcut where the size stays.

    y = separable(expand(x)) + x

    Args:
      in_channels: channels read.
      spec: of the block.
      drop_path: probability that training drops all but the shortcut, for each sample by itself.
      make_mixer: builds the mixer for a number of channels, or returns None.
      style: of the network.
      rngs: random streams "params" and "dropout".

    Reference:
      Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
    """

    def __init__(
        self,
        in_channels: int,
        spec: BlockSpec,
        *,
        drop_path: float,
        make_mixer: MakeMixer,
        style: Style,
        rngs: nnx.Rngs,
    ):
        widen = functools.partial(ConvNorm, activation=spec.activation, style=style, rngs=rngs)
        widens = spec.hidden != in_channels
        self.expand = widen(in_channels, spec.hidden) if widens else None
        self.separable = Separable(spec, make_mixer=make_mixer, style=style, rngs=rngs)
        self.has_shortcut = spec.stride == 1 and spec.out_channels == in_channels
        # One draw for all pixels and channels of a sample.
        dropped = drop_path if self.has_shortcut else 0.0
        self.drop_path = (
            nnx.Dropout(dropped, broadcast_dims=(1, 2, 3), rngs=rngs) if dropped else None
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies the block."""
        y = self.separable(x if self.expand is None else self.expand(x))
        y = y if self.drop_path is None else self.drop_path(y)
        return x + y if self.has_shortcut else y


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a network of such blocks consists of.

    Attributes:
      stem: channels of the first convolution, 3x3 with stride 2.
      stem_activation: behind it.
      stem_blocks: of the resolution of the stem.
      stages: blocks of the four stages; the first of each strides.
      last: channels of a 1x1 convolution at the end of stage 4; None for none.
      style: of all.

    Example:
      >>> spec = BlockSpec(3, 2, hidden=8, out_channels=8)
      >>> Layout(8, jax.nn.relu, (), ((spec,),) * 4).channels
      (8, 8, 8, 8)
    """

    stem: int
    stem_activation: Activation
    stem_blocks: tuple[BlockSpec, ...]
    stages: tuple[tuple[BlockSpec, ...], ...]
    last: int | None = None
    style: Style = Style()

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the feature maps."""
        channels = [stage[-1].out_channels for stage in self.stages]
        return (*channels[:-1], channels[-1] if self.last is None else self.last)


class InvertedResidualEncoder(nnx.Module):
    """Four stages of inverted residuals, as an encoder: what `EfficientNet` and `MobileNet` share.

    Args:
      layout: blocks of the stages.
      downsample: filter, see `EfficientNet`, as all others.
      filter_place: "block" or "depthwise".
      mixer: "none" or "freqmix".
      cutoff: of the filter.
      band: of filter and FreqMix.
      gate: of FreqMix.
      reduction: of FreqMix.
      mixer_cutoff: of FreqMix.
      mixer_parts: of FreqMix.
      mixer_start: of FreqMix.
      drop_path: of the last block.
      frozen_stages: what is not trained.
      frozen_norm: whether no norm is.
      remat: stages that are recomputed.
      rngs: random streams.

    Raises:
      InputError: an unknown name, with the choices, or a number out of its range.
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self,
        layout: Layout,
        *,
        downsample: str,
        filter_place: str,
        mixer: str,
        cutoff: float | None,
        band: str,
        gate: str,
        reduction: int,
        mixer_cutoff: float | None,
        mixer_parts: tuple[str, ...],
        mixer_start: str | None,
        drop_path: float,
        frozen_stages: int,
        frozen_norm: bool,
        remat: tuple[int, ...],
        rngs: nnx.Rngs,
    ):
        check_choice("downsample", downsample, DOWNSAMPLE)
        check_choice("filter_place", filter_place, FILTER_PLACES)
        check_mixer(mixer, cutoff=mixer_cutoff, parts=mixer_parts, start=mixer_start)
        check_remat(remat, 4)
        if mixer == "scb":
            raise InputError(
                "mixer is 'scb', a branch beside a convolution of all channels, but such blocks "
                "convolve each channel by itself; choose 'none' or 'freqmix'"
            )
        if not 0 <= drop_path < 1:
            raise InputError(f"drop_path is {drop_path}, but must lie in [0, 1)")
        self.channels, style = layout.channels, layout.style
        self.filter_place, self.frozen_stages, self.remat = filter_place, frozen_stages, remat
        block = functools.partial(InvertedResidual, style=style, rngs=rngs)
        stem: list[nnx.Module] = [
            ConvNorm(
                3,
                layout.stem,
                3,
                stride=2,
                activation=layout.stem_activation,
                style=style,
                rngs=rngs,
            )
        ]
        before = layout.stem
        for spec in layout.stem_blocks:
            stem.append(block(before, spec, drop_path=0.0, make_mixer=no_mixer))
            before = spec.out_channels
        counts = [len(stage) for stage in layout.stages]
        rates = np.split(np.linspace(0, drop_path, sum(counts)), np.cumsum(counts)[:-1])
        filters, stages = [], []
        for i, specs in enumerate(layout.stages):
            make_mixer, first = no_mixer, specs[0]
            if i > 0:
                read, written = before, first.out_channels
                if filter_place == "depthwise":
                    read = written = first.hidden
                nyquist = stage_nyquist_frequency(read, written, kernel_size=first.kernel_size)
                limit = nyquist if cutoff is None else cutoff
                filters.append(make_filter(downsample, read, cutoff=limit, band=band, rngs=rngs))
                if downsample in STRIDING:
                    specs = (dataclasses.replace(first, stride=1), *specs[1:])
                make_mixer = mixer_factory(
                    mixer,
                    cutoff=limit if mixer_cutoff is None else mixer_cutoff,
                    band=band,
                    gate=gate,
                    reduction=reduction,
                    parts=mixer_parts,
                    start=mixer_start,
                    rngs=rngs,
                )
            blocks: list[nnx.Module] = []
            for spec, rate in zip(specs, rates[i], strict=True):
                rate = float(rate) * (i >= frozen_stages)
                blocks.append(block(before, spec, drop_path=rate, make_mixer=make_mixer))
                before = spec.out_channels
            stages.append(nnx.List(blocks))
        if layout.last is not None:
            stages[-1].append(
                ConvNorm(
                    before, layout.last, activation=specs[-1].activation, style=style, rngs=rngs
                )
            )
        self.stem, self.filters, self.stages = nnx.List(stem), nnx.List(filters), nnx.List(stages)
        freeze_norms(self, frozen_stages, everywhere=frozen_norm)

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the four stages' feature maps, fine to coarse."""
        for layer in self.stem:
            x = layer(x)
        x = stop_at(x, 0, self.frozen_stages)
        features = []
        for i, (first, *others) in enumerate(self.stages):
            remat = i + 1 in self.remat
            with jax.named_scope(f"stage{i + 1}"):
                if i > 0 and self.filter_place == "depthwise":
                    # Its two halves by themselves: a filter is never recomputed.
                    x = apply_filter(self.filters[i - 1], run_block(first.expand, x, remat=remat))
                    x = run_block(first.separable, x, remat=remat)
                else:
                    x = x if i == 0 else apply_filter(self.filters[i - 1], x)
                    x = run_block(first, x, remat=remat)
                for block in others:
                    x = run_block(block, x, remat=remat)
            x = stop_at(x, i + 1, self.frozen_stages)
            features.append(x)
        return tuple(features)
