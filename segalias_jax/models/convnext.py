"""ConvNeXt, with an optional filter before each stride and an optional mixer in each block."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers import Conv, LayerNorm, SmoothConvolutionBranch
from segalias_jax.layers.freqmix import FREQMIX_PARTS
from segalias_jax.models.stages import (
    DOWNSAMPLE,
    STRIDING,
    MakeMixer,
    apply_filter,
    check_mixer,
    check_remat,
    drop_path_rates,
    freeze_norms,
    make_drop_path,
    make_filter,
    mixer_factory,
    no_mixer,
    run_block,
    stage_nyquist_frequency,
    stop_at,
)
from segalias_jax.typing import Array, Float

CONVNEXTS = {
    "convnext_tiny": (96, (3, 3, 9, 3)),
    "convnext_small": (96, (3, 3, 27, 3)),
    "convnext_base": (128, (3, 3, 27, 3)),
}
"""Channels of the first stage and number of blocks per stage, by name."""

# Published as cut off at +-2, a hundred deviations: nothing is ever cut.
_kernel_init = jax.nn.initializers.normal(0.02)


class ConvNeXtBlock(nnx.Module):
    """A 7x7 convolution of each channel, then a small network on each pixel, and a shortcut.

    y = x + drop_path(gamma project(gelu(expand(norm(mixer(depthwise(x) + branch(x)))))))

    Args:
      channels: number of channels, preserved; four times as many in between.
      drop_path: probability that training drops the branch, for each sample by itself.
      make_mixer: builds the mixer for a number of channels, or returns None.
      branched: whether there is a branch, a `layers.SmoothConvolutionBranch`. As it mixes channels,
        it does not fold into a convolution of each channel.
      rngs: random streams "params" and "dropout".
    """

    def __init__(
        self,
        channels: int,
        *,
        drop_path: float = 0.0,
        make_mixer: MakeMixer = no_mixer,
        branched: bool = False,
        rngs: nnx.Rngs,
    ):
        conv = functools.partial(Conv, use_bias=True, kernel_init=_kernel_init, rngs=rngs)
        self.depthwise = conv(channels, channels, 7, groups=channels)
        self.mixer = make_mixer(channels)
        self.branch = SmoothConvolutionBranch(channels, rngs=rngs) if branched else None
        self.norm = LayerNorm(channels)
        self.expand = conv(channels, 4 * channels)
        self.project = conv(4 * channels, channels)
        self.gamma = nnx.Param(jnp.full(channels, 1e-6, jnp.float32))
        self.drop_path = make_drop_path(drop_path, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the block, in the type of `x`."""
        y = self.depthwise(x) if self.branch is None else self.depthwise(x) + self.branch(x)
        y = y if self.mixer is None else self.mixer(y)
        y = jax.nn.gelu(self.expand(self.norm(y)), approximate=False)
        y = self.project(y) * self.gamma[...].astype(x.dtype)
        return x + (y if self.drop_path is None else self.drop_path(y))


class ConvNeXt(nnx.Module):
    """A network of depthwise convolutions and layer norms, as an encoder.

    `downsample="daf"` puts a de-aliasing filter right before each 2x2 convolution of stride 2,
    after its norm; `mixer="freqmix"` puts FreqMix after the 7x7 convolution of every block of
    stages 2, 3 and 4; `mixer="scb"` a smooth branch beside that convolution in every block. All are
    off by default. There is neither "flc" nor "awd" here: they take the stride's place, and a 2x2
    convolution that does not stride has no pixel in its middle.

    Sizes are rounded down at each stride, as PyTorch does: where a side is odd, its last row takes
    no part. Images have 32 pixels along each axis at least.

    Args:
      name: "convnext_tiny", "convnext_small" or "convnext_base".
      width: channels of the first stage; None for the network's own.
      downsample: "none", "daf", "blur3", "blur5", "blur7" (binomial), "adaptive_blur" (3x3, 8
        groups) or "awd_keep" (adaptive weighted downsampling without its stride).
      mixer: "none", "freqmix" or "scb".
      cutoff: of the filter, in cycles per pixel; None takes each stage's own Nyquist
        frequency, from its equivalent sampling rate (2x2 kernel, stride 2, its channels).
      band: "symmetric", or "reference" for bands (and adaptive kernels) as published for ResNet.
      gate: of FreqMix.
      reduction: of FreqMix.
      mixer_cutoff: of FreqMix, in cycles per pixel; None takes the filter's.
      mixer_parts: gates of FreqMix: "spatial", "channel" or both.
      mixer_start: what its gates begin with, see `layers.FreqMix`.
      drop_path: probability that training drops the last block's branch; it grows from 0 at the
        first block in equal steps. Frozen blocks drop nothing.
      frozen_stages: what training leaves as it is: -1 nothing, 0 the stem, k the stem and stages 1
        to k, with what goes before them. No gradient enters it. Norms of the feature maps train.
      remat: stages, from 1, whose blocks are recomputed in the backward pass, which keeps less in
        memory.
      rngs: random streams "params" and "dropout".

    Raises:
      InputError: an unknown name, with the choices, or a number out of its range.

    Example:
      >>> net = ConvNeXt("convnext_tiny", width=8, downsample="daf", rngs=nnx.Rngs(0))
      >>> net.channels, net.strides
      ((8, 16, 32, 64), (4, 8, 16, 32))

    Reference:
      Liu et al., "A ConvNet for the 2020s", CVPR 2022; Huang et al., "Deep Networks with
      Stochastic Depth", ECCV 2016 (drop path).
    """

    strides = (4, 8, 16, 32)
    # What a ConvNeXt V2 has of its own.
    sizes: ClassVar[dict[str, tuple[int, tuple[int, ...]]]] = CONVNEXTS
    make_block: ClassVar[Callable[..., nnx.Module]] = ConvNeXtBlock

    def __init__(
        self,
        name: str,
        *,
        width: int | None = None,
        downsample: str = "none",
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
        remat: tuple[int, ...] = (),
        rngs: nnx.Rngs,
    ):
        check_choice("encoder", name, self.sizes)
        check_choice("downsample", downsample, [d for d in DOWNSAMPLE if d not in STRIDING])
        check_mixer(mixer, cutoff=mixer_cutoff, parts=mixer_parts, start=mixer_start)
        check_remat(remat, 4)
        own_width, depths = self.sizes[name]
        width = own_width if width is None else width
        self.channels = tuple(width * 2**i for i in range(4))
        self.frozen_stages, self.remat = frozen_stages, remat
        conv = functools.partial(Conv, use_bias=True, kernel_init=_kernel_init, rngs=rngs)
        self.stem = nnx.List([conv(3, width, 4, stride=4, padding=0), LayerNorm(width)])
        self.downsample_norms = nnx.List([LayerNorm(c) for c in self.channels[:-1]])
        self.output_norms = nnx.List([LayerNorm(c) for c in self.channels])
        rates = drop_path_rates(drop_path, depths, frozen_stages=frozen_stages)
        downsamples, filters, stages = [], [], []
        for i, channels in enumerate(self.channels):
            make_mixer = no_mixer
            if i > 0:
                before = self.channels[i - 1]
                nyquist = stage_nyquist_frequency(before, channels, kernel_size=2)
                limit = nyquist if cutoff is None else cutoff
                filters.append(make_filter(downsample, before, cutoff=limit, band=band, rngs=rngs))
                downsamples.append(conv(before, channels, 2, stride=2, padding=0))
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
            blocks = [
                self.make_block(
                    channels,
                    drop_path=rate,
                    make_mixer=make_mixer,
                    branched=mixer == "scb",
                    rngs=rngs,
                )
                for rate in rates[i]
            ]
            stages.append(nnx.List(blocks))
        self.downsamples, self.filters = nnx.List(downsamples), nnx.List(filters)
        self.stages = nnx.List(stages)
        freeze_norms(self, frozen_stages)

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the four stages' feature maps, each normalized, fine to coarse."""
        height, width = x.shape[1:3]
        if any(side < self.strides[-1] for side in (height, width)):
            raise InputError(
                f"a ConvNeXt needs {self.strides[-1]} pixels along each image axis, but the input "
                f"has {height}x{width}"
            )
        for layer in self.stem:
            x = layer(x)
        x = stop_at(x, 0, self.frozen_stages)
        features = []
        for i, stage in enumerate(self.stages):
            with jax.named_scope(f"stage{i + 1}"):
                if i > 0:
                    x = apply_filter(self.filters[i - 1], self.downsample_norms[i - 1](x))
                    x = self.downsamples[i - 1](x)
                for block in stage:
                    x = run_block(block, x, remat=i + 1 in self.remat)
            x = stop_at(x, i + 1, self.frozen_stages)
            features.append(self.output_norms[i](x))
        return tuple(features)
