"""Mix Transformer, with an optional filter before each stride and an optional mixer in each block.

Every stage ends with a norm, which the next stage reads: it belongs to the stage, behind its last
block. Norms divide by sqrt(variance + 1e-5), as in transformers.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers import Conv, LayerNorm
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

MITS = {
    "mit_b0": (32, (2, 2, 2, 2)),
    "mit_b1": (64, (2, 2, 2, 2)),
    "mit_b2": (64, (3, 4, 6, 3)),
    "mit_b3": (64, (3, 4, 18, 3)),
    "mit_b4": (64, (3, 8, 27, 3)),
    "mit_b5": (64, (3, 6, 40, 3)),
}
"""Channels of the first stage and number of blocks per stage, by name."""

_HEADS = (1, 2, 5, 8)  # by stage; channels grow likewise
_REDUCTIONS = (8, 4, 2, 1)
_SMALLEST = 29  # pixels: smaller images have no keys in stage 1
_EPSILON = 1e-5

_linear = jax.nn.initializers.normal(0.02)
_depthwise = jax.nn.initializers.normal((2 / 9) ** 0.5)  # Kaiming's, by one kernel's outputs


class ReducedAttention(nnx.Module):
    """Self-attention of all pixels, whose keys and values are those of a smaller map.

    y = project(softmax(q k^T / sqrt(d)) v),  q = query(x), k = key(z), v = value(z),
    z = norm(reduce(x)), or x without a reduction

    Args:
      channels: number of channels, preserved.
      heads: number of heads, of d = channels / heads channels each.
      reduction: side of the pixels that become one, by a convolution of that stride.
      rngs: random streams.

    Example:
      >>> attention = ReducedAttention(8, heads=2, reduction=4, rngs=nnx.Rngs(0))
      >>> attention(jnp.ones((1, 9, 16, 8))).shape
      (1, 9, 16, 8)
    """

    def __init__(self, channels: int, *, heads: int, reduction: int, rngs: nnx.Rngs):
        conv = functools.partial(Conv, use_bias=True, kernel_init=_linear, rngs=rngs)
        self.heads = heads
        self.query, self.key = conv(channels, channels), conv(channels, channels)
        self.value, self.project = conv(channels, channels), conv(channels, channels)
        reduces = reduction > 1
        reduce = functools.partial(Conv, stride=reduction, padding=0, use_bias=True, rngs=rngs)
        self.reduce = reduce(channels, channels, reduction) if reduces else None
        self.reduce_norm = LayerNorm(channels, epsilon=_EPSILON) if reduces else None

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies it, in the type of `x`."""
        z = x
        if self.reduce is not None and self.reduce_norm is not None:
            z = self.reduce_norm(self.reduce(x))
        query, key, value = (self._split(y) for y in (self.query(x), self.key(z), self.value(z)))
        query = query * query.shape[-1] ** -0.5
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)
        wide = logits.astype(jnp.promote_types(x.dtype, jnp.float32))
        weights = jax.nn.softmax(wide, axis=-1).astype(x.dtype)
        return self.project(jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape))

    def _split(self, y: Array) -> Array:
        """Pixels in a row, channels by head."""
        batch, height, width, channels = y.shape
        return y.reshape(batch, height * width, self.heads, channels // self.heads)


class MiTBlock(nnx.Module):
    """Attention, then a network with a 3x3 convolution of each channel, each beside a shortcut.

    y = x + drop_path(mixer(attention(norm1(x))))
    z = y + drop_path(project(gelu(depthwise(expand(norm2(y))))))

    Args:
      channels: number of channels, preserved; four times as many inside of the network.
      heads: of the attention.
      reduction: of the attention.
      drop_path: probability that training drops each branch, for each sample by itself.
      make_mixer: builds the mixer for a number of channels, or returns None.
      rngs: random streams "params" and "dropout".
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        reduction: int,
        drop_path: float = 0.0,
        make_mixer: MakeMixer = no_mixer,
        rngs: nnx.Rngs,
    ):
        conv = functools.partial(Conv, use_bias=True, rngs=rngs)
        inner = 4 * channels
        self.norm1 = LayerNorm(channels, epsilon=_EPSILON)
        self.attention = ReducedAttention(channels, heads=heads, reduction=reduction, rngs=rngs)
        self.mixer = make_mixer(channels)
        self.norm2 = LayerNorm(channels, epsilon=_EPSILON)
        self.expand = conv(channels, inner, kernel_init=_linear)
        self.depthwise = conv(inner, inner, 3, groups=inner, kernel_init=_depthwise)
        self.project = conv(inner, channels, kernel_init=_linear)
        self.drop_path = make_drop_path(drop_path, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the block, in the type of `x`."""
        y = self.attention(self.norm1(x))
        y = y if self.mixer is None else self.mixer(y)
        x = x + (y if self.drop_path is None else self.drop_path(y))
        y = self.depthwise(self.expand(self.norm2(x)))
        y = self.project(jax.nn.gelu(y, approximate=False))
        return x + (y if self.drop_path is None else self.drop_path(y))


class MiT(nnx.Module):
    """A transformer with overlapping patches and no positions, the encoder of SegFormer.

    `downsample="daf"` puts a de-aliasing filter right before each 3x3 convolution of stride 2 with
    which stages 2, 3 and 4 begin. `mixer="freqmix"` puts FreqMix after the attention of every block
    of these stages, where a mixer with `mixer_start="identity"` leaves a pretrained network as it
    is. Both are off by default. Keys and values of stages 1, 2 and 3 are those of maps that are
    8, 4 and 2 times smaller, each by a convolution as large as its stride: filters do not stand
    there, as what it returns is read by attention alone and is no feature map of the network.

    Sizes are rounded up at each stride, as PyTorch does. Images have 29 pixels along each axis at
    least.

    Args:
      name: "mit_b0" to "mit_b5".
      width: channels of the first stage; None for the network's own. Other stages have 2, 5 and 8
        times as many, each in as many heads.
      downsample: "none", "daf", "flc" (crops the spectrum, in place of the stride), "blur3",
        "blur5", "blur7" (binomial), "adaptive_blur" (3x3, 8 groups), "awd" (adaptive weighted
        downsampling, in place of the stride) or "awd_keep" (the same without a stride).
      mixer: "none" or "freqmix".
      cutoff: of the filter, in cycles per pixel; None takes each stage's own Nyquist
        frequency, from its equivalent sampling rate (3x3 kernel, stride 2, its channels).
      band: "symmetric", or "reference" for bands (and adaptive kernels) as published for ResNet.
      gate: of FreqMix.
      reduction: of FreqMix.
      mixer_cutoff: of FreqMix, in cycles per pixel; None takes the filter's.
      mixer_parts: gates of FreqMix: "spatial", "channel" or both.
      mixer_start: what its gates begin with, see `layers.FreqMix`.
      drop_path: probability that training drops the last block's branches; it grows from 0 at the
        first block in equal steps. Frozen blocks drop nothing.
      frozen_stages: what training leaves as it is: -1 nothing, 0 the stem, k the stem and stages 1
        to k, with their norms and what goes before them. No gradient enters it.
      remat: stages, from 1, whose blocks are recomputed in the backward pass, which keeps less in
        memory.
      rngs: random streams "params" and "dropout".

    Raises:
      InputError: an unknown name, with the choices, or a number out of its range.

    Example:
      >>> net = MiT("mit_b0", width=4, downsample="daf", rngs=nnx.Rngs(0))
      >>> net.channels, net.strides
      ((4, 8, 20, 32), (4, 8, 16, 32))

    Reference:
      Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
      Transformers", NeurIPS 2021.
    """

    strides = (4, 8, 16, 32)

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
        check_choice("encoder", name, MITS)
        check_choice("downsample", downsample, DOWNSAMPLE)
        check_choice("mixer", mixer, ("none", "freqmix"))
        check_mixer(mixer, cutoff=mixer_cutoff, parts=mixer_parts, start=mixer_start)
        check_remat(remat, 4)
        own_width, depths = MITS[name]
        width = own_width if width is None else width
        self.channels = tuple(width * heads for heads in _HEADS)
        self.frozen_stages, self.remat = frozen_stages, remat
        conv = functools.partial(Conv, use_bias=True, rngs=rngs)
        self.stem = nnx.List([conv(3, width, 7, stride=4), LayerNorm(width, epsilon=_EPSILON)])
        rates = drop_path_rates(drop_path, depths, frozen_stages=frozen_stages)
        stride = 1 if downsample in STRIDING else 2
        downsamples, filters, stages = [], [], []
        for i, channels in enumerate(self.channels):
            make_mixer = no_mixer
            if i > 0:
                before = self.channels[i - 1]
                nyquist = stage_nyquist_frequency(before, channels)
                limit = nyquist if cutoff is None else cutoff
                filters.append(make_filter(downsample, before, cutoff=limit, band=band, rngs=rngs))
                embed = [conv(before, channels, 3, stride=stride)]
                downsamples.append(nnx.List([*embed, LayerNorm(channels, epsilon=_EPSILON)]))
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
                MiTBlock(
                    channels,
                    heads=_HEADS[i],
                    reduction=_REDUCTIONS[i],
                    drop_path=rate,
                    make_mixer=make_mixer,
                    rngs=rngs,
                )
                for rate in rates[i]
            ]
            stages.append(nnx.List([*blocks, LayerNorm(channels, epsilon=_EPSILON)]))
        self.downsamples, self.filters = nnx.List(downsamples), nnx.List(filters)
        self.stages = nnx.List(stages)
        freeze_norms(self, frozen_stages)

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the four stages' feature maps, each normalized, fine to coarse."""
        height, width = ops.image_size(x)
        if any(side < _SMALLEST for side in (height, width)):
            raise InputError(
                f"a MiT needs {_SMALLEST} pixels along each image axis, but the input has "
                f"{height}x{width}"
            )
        for layer in self.stem:
            x = layer(x)
        x = stop_at(x, 0, self.frozen_stages)
        features = []
        for i, stage in enumerate(self.stages):
            with jax.named_scope(f"stage{i + 1}"):
                if i > 0:
                    x = apply_filter(self.filters[i - 1], x)
                    for layer in self.downsamples[i - 1]:
                        x = layer(x)
                for block in stage:
                    x = run_block(block, x, remat=i + 1 in self.remat)
            x = stop_at(x, i + 1, self.frozen_stages)
            features.append(x)
        return tuple(features)
