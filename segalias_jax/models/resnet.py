"""ResNet, with an optional filter before each stride and an optional mixer in each block."""

from __future__ import annotations

import functools

import jax
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers import ConvNormAct
from segalias_jax.layers.freqmix import FREQMIX_PARTS
from segalias_jax.models.blocks import BasicBlock, Bottleneck
from segalias_jax.models.stages import (
    DOWNSAMPLE,
    STRIDING,
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

RESNETS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
"""Block and number of blocks per stage, by name."""

VARIANTS = ("v1a", "v1b", "v1c", "v1d")

# Strides and dilations of the stages, by output stride.
_STRIDES = {
    32: ((1, 2, 2, 2), (1, 1, 1, 1)),
    16: ((1, 2, 2, 1), (1, 1, 1, 2)),
    8: ((1, 2, 1, 1), (1, 1, 2, 4)),
}


class ResNet(nnx.Module):
    """Residual network: the baseline and the paper's encoder in one class.

    `downsample="daf"` puts a de-aliasing filter at the *input* of stages 2, 3 and 4, so that both
    the residual branch and the strided shortcut see filtered features; the features handed to a
    decoder are the unfiltered ones. `mixer="freqmix"` puts FreqMix after the 3x3 convolution
    (the second one of basic blocks) of every block of stages 2, 3 and 4; `mixer="scb"` puts a
    smooth branch beside that convolution in every block, of stage 1 too, which `fold_branches`
    folds into it after training. All are off by default.

    An `output_stride` below 32 replaces the strides of the last stages by dilation. Where nothing
    is sampled nothing folds, so there is no filter before such a stage; its mixers stay, and
    split at the frequency that they have where the stage strides.

    Args:
      name: "resnet18", "resnet34", "resnet50", "resnet101" or "resnet152".
      width: channels of the first stage's 3x3 convolutions; None for the published 64.
      variant: "v1b": a 7x7 convolution as stem; "v1a": v1b, and the first convolution of a
        bottleneck strides, not the 3x3 one ("caffe" elsewhere; files of such weights are for BGR
        bytes less their mean, and changed for normalized RGB when they are read); "v1c": three 3x3
        ones as stem; "v1d": v1c, and strided shortcuts average 2x2 pixels instead of dropping three
        of four.
      output_stride: pixels of the image per pixel of the last feature map: 32, 16 or 8.
      multi_grid: dilation of each block of the last stage, in place of the stage's own, such as
        (1, 2, 4); () for none.
      contract_dilation: whether the first block of a dilated stage has half its dilation.
      downsample: "none", "daf", "flc" (crops the spectrum, in place of the stage's stride),
        "blur3", "blur5", "blur7" (binomial), "adaptive_blur" (3x3, 8 groups), "awd" (adaptive
        weighted downsampling, in place of the stage's stride) or "awd_keep" (the same weights
        without a stride, in front of it).
      mixer: "none", "freqmix" or "scb".
      cutoff: of the filter, in cycles per pixel; None takes each stage's own Nyquist
        frequency, from its equivalent sampling rate (3x3 kernel, stride 2, its channels).
      band: "symmetric", or "reference" for bands (and adaptive kernels) as published.
      gate: of FreqMix.
      reduction: of FreqMix.
      mixer_cutoff: of FreqMix, in cycles per pixel; None takes the filter's.
      mixer_parts: gates of FreqMix: "spatial", "channel" or both.
      mixer_start: what its gates begin with, see `layers.FreqMix`.
      frozen_stages: what training leaves as it is, statistics too: -1 nothing, 0 the stem, k the
        stem and stages 1 to k, with the filters before them. No gradient enters it.
      frozen_norm: whether training leaves all batch norms and their statistics as they are.
      remat: stages, from 1, whose blocks are recomputed in the backward pass, which keeps less in
        memory.
      rngs: random streams.

    Raises:
      InputError: an unknown name, with the choices, or numbers that do not fit the network.

    Example:
      >>> import jax.numpy as jnp
      >>> net = ResNet("resnet18", width=8, output_stride=16, downsample="daf", rngs=nnx.Rngs(0))
      >>> [f.shape for f in net(jnp.ones((1, 64, 64, 3)))][-1], net.strides
      ((1, 4, 4, 64), (4, 8, 16, 16))

    Reference:
      He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; He et al., "Bag of
      Tricks for Image Classification with Convolutional Neural Networks", CVPR 2019 (v1c, v1d);
      Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017.
    """

    def __init__(
        self,
        name: str,
        *,
        width: int | None = None,
        variant: str = "v1c",
        output_stride: int = 32,
        multi_grid: tuple[int, ...] = (),
        contract_dilation: bool = False,
        downsample: str = "none",
        mixer: str = "none",
        cutoff: float | None = None,
        band: str = "symmetric",
        gate: str = "energy",
        reduction: int = 16,
        mixer_cutoff: float | None = None,
        mixer_parts: tuple[str, ...] = FREQMIX_PARTS,
        mixer_start: str | None = None,
        frozen_stages: int = -1,
        frozen_norm: bool = False,
        remat: tuple[int, ...] = (),
        rngs: nnx.Rngs,
    ):
        check_choice("encoder", name, RESNETS)
        check_choice("variant", variant, VARIANTS)
        check_choice("downsample", downsample, DOWNSAMPLE)
        check_mixer(mixer, cutoff=mixer_cutoff, parts=mixer_parts, start=mixer_start)
        check_remat(remat, 4)
        block, depths = RESNETS[name]
        make_block = block
        if variant == "v1a":
            if block is not Bottleneck:
                raise InputError(f"variant is 'v1a', but for {name} that is 'v1b'; choose that")
            make_block = functools.partial(Bottleneck, stride_first=True)
        width = 64 if width is None else width
        strides, dilations = _layout(output_stride, depths, tuple(multi_grid), contract_dilation)
        self.channels = tuple(width * 2**i * block.expansion for i in range(4))
        self.strides = (4, 8, 8 * strides[2], 8 * strides[2] * strides[3])
        self.variant, self.frozen_stages, self.remat = variant, frozen_stages, remat
        self.stem = _stem(width, variant, rngs)
        filters, stages, in_channels = [], [], width
        for i, (stride, out_channels) in enumerate(zip(strides, self.channels, strict=True)):
            nyquist = stage_nyquist_frequency(in_channels, out_channels)
            limit = nyquist if cutoff is None else cutoff
            make_mixer = no_mixer
            if i > 0:
                chosen = downsample if stride > 1 else "none"
                filters.append(make_filter(chosen, in_channels, cutoff=limit, band=band, rngs=rngs))
                stride = 1 if chosen in STRIDING else stride
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
            blocks = []
            for j, dilation in enumerate(dilations[i]):
                blocks.append(
                    make_block(
                        in_channels,
                        out_channels // block.expansion,
                        stride=stride if j == 0 else 1,
                        dilation=dilation,
                        pool_shortcut=variant == "v1d",
                        make_mixer=make_mixer,
                        branched=mixer == "scb",
                        rngs=rngs,
                    )
                )
                in_channels = out_channels
            stages.append(nnx.List(blocks))
        self.filters, self.stages = nnx.List(filters), nnx.List(stages)
        freeze_norms(self, frozen_stages, everywhere=frozen_norm)

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the four stages' feature maps, fine to coarse."""
        for layer in self.stem:
            x = layer(x)
        x = stop_at(ops.max_pool(x, 3, stride=2, padding=1), 0, self.frozen_stages)
        features = []
        for i, stage in enumerate(self.stages):
            with jax.named_scope(f"stage{i + 1}"):
                if i > 0:
                    x = apply_filter(self.filters[i - 1], x)
                for block in stage:
                    x = run_block(block, x, remat=i + 1 in self.remat)
            x = stop_at(x, i + 1, self.frozen_stages)
            features.append(x)
        return tuple(features)


def _layout(
    output_stride: int, depths: tuple[int, ...], multi_grid: tuple[int, ...], contract: bool
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Stride of each stage, and dilation of each of its blocks."""
    check_choice("output_stride", output_stride, _STRIDES)
    if multi_grid and (len(multi_grid) != depths[-1] or min(multi_grid) < 1):
        raise InputError(
            f"multi_grid is {multi_grid}; give one positive dilation for each of the "
            f"{depths[-1]} blocks of the last stage"
        )
    strides, dilations = _STRIDES[output_stride]
    if contract and max(dilations[:-1] if multi_grid else dilations) == 1:
        raise InputError(
            "contract_dilation is on, but no stage is dilated as a whole; leave it out, or take "
            "a smaller output_stride"
        )
    blocks = [
        ((dilation + 1) // 2 if contract else dilation,) + (dilation,) * (depth - 1)
        for dilation, depth in zip(dilations, depths, strict=True)
    ]
    return strides, [*blocks[:-1], multi_grid or blocks[-1]]


def _stem(width: int, variant: str, rngs: nnx.Rngs) -> nnx.List:
    if variant in ("v1a", "v1b"):
        return nnx.List([ConvNormAct(3, width, 7, stride=2, rngs=rngs)])
    half = width // 2
    return nnx.List(
        [
            ConvNormAct(3, half, 3, stride=2, rngs=rngs),
            ConvNormAct(half, half, 3, rngs=rngs),
            ConvNormAct(half, width, 3, rngs=rngs),
        ]
    )
