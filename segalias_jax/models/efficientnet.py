"""EfficientNet and EfficientNet-Lite, with an optional filter before strides, and mixers."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import check_choice
from segalias_jax.layers.freqmix import FREQMIX_PARTS
from segalias_jax.models.inverted_residual import (
    BlockSpec,
    InvertedResidualEncoder,
    Layout,
    Style,
    round_channels,
)
from segalias_jax.typing import Array, Float

EFFICIENTNETS = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
    "efficientnet_lite3": (1.2, 1.4),
    "efficientnet_lite4": (1.4, 1.8),
    "efficientnet_b0": (1.0, 1.0),
    "efficientnet_b1": (1.0, 1.1),
    "efficientnet_b2": (1.1, 1.2),
    "efficientnet_b3": (1.2, 1.4),
    "efficientnet_b4": (1.4, 1.8),
}
"""Factors of channels and of numbers of blocks, by name."""

# Kernel, stride, factor inside, channels and blocks of each group of the smallest networks. Stages
# are the stem with group 0, and groups 1, 2, 3 with 4, and 5 with 6.
_GROUPS = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class EfficientNet(InvertedResidualEncoder):
    """Networks of inverted residuals, scaled in width and depth together, as an encoder.

    "lite" ones have ReLU6; the others SiLU and `SqueezeExcite` in every block. Features are those
    behind blocks 2, 4, 10 and 15 of the smallest networks, 24, 40, 112 and 320 channels wide, with
    strides 4, 8, 16 and 32. Convolutions pad as TensorFlow does, so that n pixels become
    ceil(n / 2), batch norms have its epsilon of 1e-3.

    `downsample="daf"` puts a de-aliasing filter in front of the strided block of stages 2, 3 and 4;
    what strides ahead of stage 2 stays as it is, as in a ResNet. `filter_place` says where:

    - "block": the block is the operator, and the filter stands at its narrow input. Its width
      counts: the equivalent sampling rate is min(k, sqrt(C_out / C_in)) / 2 of the channels
      between blocks.
    - "depthwise": the strided convolution is the operator, and the filter stands inside the block,
      ahead of it, on six times as many channels. Those count, as many before as after: the rate is
      1/2 and the cutoff 1/4. The activation makes new frequencies behind the first place, of
      which nothing is left behind this one.

    `mixer="freqmix"` puts FreqMix behind the depthwise convolution, ahead of its norm, in every
    block of stages 2, 3 and 4. With pretrained parameters, choose `mixer_start="identity"`: its
    gates begin with a quarter of the signal otherwise. There is no "scb" here.

    Args:
      name: "efficientnet_lite0" to "efficientnet_lite4", "efficientnet_b0" to "efficientnet_b4".
      width: channels of stage 1, which scale all others; None for the network's own.
      downsample: "none", "daf", "flc" (crops the spectrum, in place of the stride), "blur3",
        "blur5", "blur7" (binomial), "adaptive_blur" (3x3, 8 groups), "awd" (adaptive weighted
        downsampling, in place of the stride) or "awd_keep" (the same weights in front of it).
      filter_place: "block" or "depthwise".
      mixer: "none" or "freqmix".
      cutoff: of the filter, in cycles per pixel; None takes each operator's own Nyquist frequency.
      band: "symmetric", or "reference" for bands (and adaptive kernels) as published for ResNet.
      gate: of FreqMix.
      reduction: of FreqMix.
      mixer_cutoff: of FreqMix, in cycles per pixel; None takes the filter's.
      mixer_parts: gates of FreqMix: "spatial", "channel" or both.
      mixer_start: what its gates begin with, see `layers.FreqMix`.
      drop_path: probability that training drops the last block's branch; it grows from 0 at the
        first block in equal steps. Frozen blocks, and blocks without a shortcut, drop nothing.
      frozen_stages: what training leaves as it is, statistics too: -1 nothing, 0 the stem with the
        blocks of its resolution, k those and stages 1 to k, with the filters before them. No
        gradient enters it.
      frozen_norm: whether training leaves all batch norms and their statistics as they are.
      remat: stages, from 1, whose blocks are recomputed in the backward pass, which keeps less in
        memory.
      rngs: random streams.

    Raises:
      InputError: an unknown name, with the choices, or a number out of its range.

    Example:
      >>> make = lambda: EfficientNet("efficientnet_lite0", downsample="daf", rngs=nnx.Rngs(0))
      >>> net = nnx.eval_shape(make)
      >>> net.channels, [round(layer.cutoff, 3) for layer in net.filters]
      ((24, 40, 112, 320), [0.323, 0.354, 0.327])

    Reference:
      Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
      2019; Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow Blog 2020.
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
        check_choice("encoder", name, EFFICIENTNETS)
        self.lite = "lite" in name
        groups = _groups(name, width)
        self.groups = tuple(len(group) for group in groups)
        stem = 32 if self.lite and width is None else round_channels(32 * _factor(name, width))
        layout = Layout(
            stem=stem,
            stem_activation=_activation(name),
            stem_blocks=groups[0],
            stages=(groups[1], groups[2], groups[3] + groups[4], groups[5] + groups[6]),
            style=Style(padding="same", epsilon=1e-3, squeeze_activation=jax.nn.silu),
        )
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

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the four stages' feature maps, fine to coarse, of a normalized image.

        That is (u - mean) / deviation of ImageNet, u from 0 to 255, whatever the network. "lite"
        ones were trained on (u - 127) / 128, to which they bring it themselves.
        """
        if self.lite:
            mean, deviation = (jnp.asarray(c) for c in (ops.IMAGENET_MEAN, ops.IMAGENET_STD))
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            x = ((wide * deviation + (mean - 127)) / 128).astype(x.dtype)
        return super().__call__(x)


def _activation(name: str):
    return jax.nn.relu6 if "lite" in name else jax.nn.silu


def _factor(name: str, width: int | None) -> float:
    """Factor of all channels."""
    return EFFICIENTNETS[name][0] if width is None else width / _GROUPS[1][3]


def _groups(name: str, width: int | None) -> list[tuple[BlockSpec, ...]]:
    """Blocks of each group; of "lite" networks the first and the last do not get deeper."""
    factor, deeper = _factor(name, width), EFFICIENTNETS[name][1]
    lite = "lite" in name
    before = 32 if lite and width is None else round_channels(32 * factor)
    groups = []
    for i, (kernel_size, stride, expansion, channels, repeats) in enumerate(_GROUPS):
        kept = lite and i in (0, len(_GROUPS) - 1)
        blocks = []
        for j in range(repeats if kept else math.ceil(repeats * deeper)):
            blocks.append(
                BlockSpec(
                    kernel_size,
                    stride if j == 0 else 1,
                    hidden=before * expansion,
                    out_channels=round_channels(channels * factor),
                    squeezed=0 if lite else max(before // 4, 1),
                    activation=_activation(name),
                )
            )
            before = blocks[-1].out_channels
        groups.append(tuple(blocks))
    return groups
