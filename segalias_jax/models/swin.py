"""Swin Transformer, with an optional filter before each stride and an optional mixer in each block.

Images, and maps in front of a merging or of windows, are padded by zeros at the bottom and at the
right to whole patches, pairs and windows. Padding happens before maps are shifted, as
mmsegmentation and transformers do it; timm shifts first, so that at sizes that windows do not fill
pixels of opposite borders meet in one of its windows. Along an axis that a single window covers
nothing is shifted, as in timm and in the original network for images of 224 pixels; mmsegmentation
shifts there too, which only cuts that window into pieces.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
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
from segalias_jax.typing import Array, Bool, Float, Int

SWINS = {
    "swin_tiny": (96, (2, 2, 6, 2)),
    "swin_small": (96, (2, 2, 18, 2)),
    "swin_base": (128, (2, 2, 18, 2)),
}
"""Channels of the first stage and number of blocks per stage, by name."""

WINDOW = 7
"""Pixels along each side of a window."""

_HEAD_CHANNELS = 32  # of every published Swin
_EPSILON = 1e-5

# Published as cut off at +-2, a hundred deviations: nothing is ever cut.
_kernel_init = jax.nn.initializers.normal(0.02)


def merging_order(channels: int) -> Int[np.ndarray, " n"]:
    """Returns where the channels of a merged pixel stand in mmsegmentation's order.

    Four pixels become one of four times as many channels: ours, as in the original network and in
    timm, go through a pixel's own channels first, then down, then right; those of mmsegmentation
    right, then down, and through channels last.

    Args:
      channels: of each of the four pixels.

    Returns:
      For each of our channels, its number there.

    Example:
      >>> merging_order(2).tolist()
      [0, 4, 2, 6, 1, 5, 3, 7]
    """
    theirs = np.arange(4 * channels).reshape(channels, 2, 2)
    return theirs.transpose(2, 1, 0).reshape(-1)


def relative_positions() -> Int[np.ndarray, "n n"]:
    """Returns the row of the table of biases that each pair of pixels of a window takes.

    i(p, q) = (y_p - y_q + 6) 13 + (x_p - x_q + 6)

    Example:
      >>> relative_positions()[0, :2].tolist()
      [84, 83]
    """
    y, x = np.divmod(np.arange(WINDOW**2), WINDOW)
    most = WINDOW - 1
    return (y[:, None] - y + most) * (2 * WINDOW - 1) + (x[:, None] - x + most)


def apart(height: int, width: int, shift: tuple[int, int]) -> Bool[np.ndarray, "w n n"]:
    """Returns which pixels of each window of a shifted map do not belong together.

    What a shift moves across a border of the map stays apart from what was there before.

    Args:
      height: of the map, whole windows.
      width: of the map, whole windows.
      shift: rows and columns by which it was rolled up and to the left.

    Returns:
      True for pairs of pixels that must not see each other, by window.

    Example:
      >>> apart(14, 7, (3, 0)).any((1, 2)).tolist()
      [False, True]
    """
    moved = [np.arange(n) >= n - s for n, s in zip((height, width), shift, strict=True)]
    kinds = 2 * moved[0][:, None] + moved[1]
    kinds = kinds.reshape(height // WINDOW, WINDOW, width // WINDOW, WINDOW).transpose(0, 2, 1, 3)
    kinds = kinds.reshape(-1, WINDOW**2)
    return kinds[:, :, None] != kinds[:, None]


class WindowAttention(nnx.Module):
    """Self-attention of the pixels of each 7x7 window, by several heads, and a projection.

    y = project(softmax(q k^T / sqrt(d) + bias) v),  q, k, v = qkv(x)

    bias is one number for each head and each relative position of two pixels. Pixels that pad the
    map take part, as published.

    Args:
      channels: number of channels, preserved.
      heads: number of heads, of d = channels / heads channels each.
      shifted: whether windows begin three pixels further down and to the right.
      rngs: random streams.

    Example:
      >>> attention = WindowAttention(8, heads=2, shifted=True, rngs=nnx.Rngs(0))
      >>> attention(jnp.ones((1, 9, 16, 8))).shape
      (1, 9, 16, 8)
    """

    def __init__(self, channels: int, *, heads: int, shifted: bool, rngs: nnx.Rngs):
        conv = functools.partial(Conv, use_bias=True, kernel_init=_kernel_init, rngs=rngs)
        self.heads, self.shifted = heads, shifted
        self.qkv, self.project = conv(channels, 3 * channels), conv(channels, channels)
        table = _kernel_init(rngs.params(), ((2 * WINDOW - 1) ** 2, heads), jnp.float32)
        self.relative_position_bias_table = nnx.Param(table)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies it, in the type of `x`."""
        height, width = ops.image_size(x)
        vertical, horizontal = (
            WINDOW // 2 if self.shifted and side > WINDOW else 0 for side in (height, width)
        )
        x = _pad_to_multiples(x, WINDOW)
        if vertical or horizontal:
            x = jnp.roll(x, (-vertical, -horizontal), (1, 2))
        batch, rows, columns, channels = x.shape
        split = (batch, rows // WINDOW, WINDOW, columns // WINDOW, WINDOW, channels)
        windows = x.reshape(split).transpose(0, 1, 3, 2, 4, 5)
        count = split[1] * split[3]
        windows = windows.reshape(batch * count, WINDOW, WINDOW, channels)
        separate = apart(rows, columns, (vertical, horizontal)) if vertical or horizontal else None
        y = self._attend(self.qkv(windows), separate)
        y = self.project(y.reshape(batch * count, WINDOW, WINDOW, channels))
        y = y.reshape(batch, split[1], split[3], WINDOW, WINDOW, channels)
        y = y.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, channels)
        if vertical or horizontal:
            y = jnp.roll(y, (vertical, horizontal), (1, 2))
        return y[:, :height, :width]

    def _attend(self, qkv: Array, separate: np.ndarray | None) -> Array:
        windows, pixels = qkv.shape[0], WINDOW**2
        qkv = qkv.reshape(windows, pixels, 3, self.heads, -1).transpose(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        query = query * query.shape[-1] ** -0.5
        logits = jnp.einsum("whqd,whkd->whqk", query, key)
        bias = self.relative_position_bias_table[...][relative_positions().reshape(-1)]
        bias = bias.reshape(pixels, pixels, self.heads).transpose(2, 0, 1)
        logits = logits.astype(bias.dtype) + bias
        if separate is not None:
            shape = logits.shape
            count = len(separate)
            logits = logits.reshape(windows // count, count, *shape[1:])
            # As published: -100, not minus infinity.
            logits = logits + np.where(separate, np.float32(-100), np.float32(0))[:, None]
            logits = logits.reshape(shape)
        weights = jax.nn.softmax(logits, axis=-1).astype(qkv.dtype)
        return jnp.einsum("whqk,whkd->wqhd", weights, value)


class SwinBlock(nnx.Module):
    """Attention within windows, then a small network on each pixel, each beside a shortcut.

    y = x + drop_path(mixer(attention(norm1(x))));  z = y + drop_path(project(gelu(expand(norm2(y)))))

    Args:
      channels: number of channels, preserved; four times as many inside of the network.
      heads: of the attention.
      shifted: whether its windows are shifted.
      drop_path: probability that training drops each branch, for each sample by itself.
      make_mixer: builds the mixer for a number of channels, or returns None.
      rngs: random streams "params" and "dropout".
    """  # noqa: E501

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        shifted: bool,
        drop_path: float = 0.0,
        make_mixer: MakeMixer = no_mixer,
        rngs: nnx.Rngs,
    ):
        conv = functools.partial(Conv, use_bias=True, kernel_init=_kernel_init, rngs=rngs)
        self.norm1 = LayerNorm(channels, epsilon=_EPSILON)
        self.attention = WindowAttention(channels, heads=heads, shifted=shifted, rngs=rngs)
        self.mixer = make_mixer(channels)
        self.norm2 = LayerNorm(channels, epsilon=_EPSILON)
        self.expand = conv(channels, 4 * channels)
        self.project = conv(4 * channels, channels)
        self.drop_path = make_drop_path(drop_path, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the block, in the type of `x`."""
        y = self.attention(self.norm1(x))
        y = y if self.mixer is None else self.mixer(y)
        x = x + (y if self.drop_path is None else self.drop_path(y))
        y = self.project(jax.nn.gelu(self.expand(self.norm2(x)), approximate=False))
        return x + (y if self.drop_path is None else self.drop_path(y))


class PatchMerging(nnx.Module):
    """Four neighboring pixels become one: their channels joined, normalized and projected.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      rngs: random streams.

    Example:
      >>> PatchMerging(4, 8, rngs=nnx.Rngs(0))(jnp.ones((1, 5, 6, 4))).shape
      (1, 3, 3, 8)
    """

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        self.norm = LayerNorm(4 * in_channels, epsilon=_EPSILON)
        self.reduce = Conv(4 * in_channels, out_channels, kernel_init=_kernel_init, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Returns half as many rows and columns, rounded up."""
        batch, height, width, channels = (x := _pad_to_multiples(x, 2)).shape
        pieces = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
        merged = pieces.transpose(0, 1, 3, 4, 2, 5)
        merged = merged.reshape(batch, height // 2, width // 2, 4 * channels)
        return self.reduce(self.norm(merged))


class Swin(nnx.Module):
    """A transformer on windows that shift from block to block, as an encoder.

    `downsample="daf"` puts a de-aliasing filter right before each patch merging, which reads 2x2
    pixels of C channels and writes one of 2 C: its sampling rate sets the cutoff. `mixer="freqmix"`
    puts FreqMix after the attention of every block of stages 2, 3 and 4, where a mixer with
    `mixer_start="identity"` leaves a pretrained network as it is. Both are off by default. There is
    neither "flc" nor "awd" here: they take the stride's place, and a merging of 2x2 pixels that
    does not stride has no pixel in its middle.

    Sizes are rounded up at each stride, by rows and columns of zeros. Norms divide by
    sqrt(variance + 1e-5), as in timm, mmsegmentation and transformers. Sizes of images must be
    known when a program is exported, as they say how many windows there are.

    Args:
      name: "swin_tiny", "swin_small" or "swin_base".
      width: channels of the first stage; None for the network's own. Each 32 channels of a stage
        are a head of its attention, and fewer than 64 a single one.
      downsample: "none", "daf", "blur3", "blur5", "blur7" (binomial), "adaptive_blur" (3x3, 8
        groups) or "awd_keep" (adaptive weighted downsampling without its stride).
      mixer: "none" or "freqmix".
      cutoff: of the filter, in cycles per pixel; None takes each stage's own Nyquist
        frequency, from its equivalent sampling rate (2x2 kernel, stride 2, its channels).
      band: "symmetric", or "reference" for bands (and adaptive kernels) as published for ResNet.
      gate: of FreqMix.
      reduction: of FreqMix.
      mixer_cutoff: of FreqMix, in cycles per pixel; None takes the filter's.
      mixer_parts: gates of FreqMix: "spatial", "channel" or both.
      mixer_start: what its gates begin with, see `layers.FreqMix`.
      drop_path: probability that training drops the last block's branches; it grows from 0 at the
        first block in equal steps. Frozen blocks drop nothing.
      frozen_stages: what training leaves as it is: -1 nothing, 0 the stem, k the stem and stages 1
        to k, with what goes before them. No gradient enters it. Norms of the feature maps train.
      remat: stages, from 1, whose blocks are recomputed in the backward pass, which keeps less in
        memory.
      rngs: random streams "params" and "dropout".

    Raises:
      InputError: an unknown name, with the choices, or a number out of its range.

    Example:
      >>> net = Swin("swin_tiny", width=8, downsample="daf", rngs=nnx.Rngs(0))
      >>> net.channels, net.strides
      ((8, 16, 32, 64), (4, 8, 16, 32))

    Reference:
      Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV
      2021.
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
        check_choice("encoder", name, SWINS)
        check_choice("downsample", downsample, [d for d in DOWNSAMPLE if d not in STRIDING])
        check_choice("mixer", mixer, ("none", "freqmix"))
        check_mixer(mixer, cutoff=mixer_cutoff, parts=mixer_parts, start=mixer_start)
        check_remat(remat, 4)
        own_width, depths = SWINS[name]
        width = own_width if width is None else width
        if width >= 2 * _HEAD_CHANNELS and width % (width // _HEAD_CHANNELS):
            raise InputError(
                f"width is {width}, which {width // _HEAD_CHANNELS} heads cannot share; choose a "
                f"multiple of {_HEAD_CHANNELS}"
            )
        self.channels = tuple(width * 2**i for i in range(4))
        self.frozen_stages, self.remat = frozen_stages, remat
        self.stem = nnx.List(
            [
                Conv(
                    *(3, width, 4),
                    stride=4,
                    padding=0,
                    use_bias=True,
                    kernel_init=_kernel_init,
                    rngs=rngs,
                ),
                LayerNorm(width, epsilon=_EPSILON),
            ]
        )
        self.output_norms = nnx.List([LayerNorm(c, epsilon=_EPSILON) for c in self.channels])
        rates = drop_path_rates(drop_path, depths, frozen_stages=frozen_stages)
        downsamples, filters, stages = [], [], []
        for i, channels in enumerate(self.channels):
            make_mixer = no_mixer
            if i > 0:
                before = self.channels[i - 1]
                nyquist = stage_nyquist_frequency(before, channels, kernel_size=2)
                limit = nyquist if cutoff is None else cutoff
                filters.append(make_filter(downsample, before, cutoff=limit, band=band, rngs=rngs))
                downsamples.append(PatchMerging(before, channels, rngs=rngs))
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
                SwinBlock(
                    channels,
                    heads=max(channels // _HEAD_CHANNELS, 1),
                    shifted=k % 2 == 1,
                    drop_path=rate,
                    make_mixer=make_mixer,
                    rngs=rngs,
                )
                for k, rate in enumerate(rates[i])
            ]
            stages.append(nnx.List(blocks))
        self.downsamples, self.filters = nnx.List(downsamples), nnx.List(filters)
        self.stages = nnx.List(stages)
        freeze_norms(self, frozen_stages)

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the four stages' feature maps, each normalized, fine to coarse."""
        if not all(isinstance(side, int) for side in ops.image_size(x)):
            raise InputError(
                "the windows of a Swin depend on the size of the image; export it with a fixed size"
            )
        x = _pad_to_multiples(x, 4)
        for layer in self.stem:
            x = layer(x)
        x = stop_at(x, 0, self.frozen_stages)
        features = []
        for i, stage in enumerate(self.stages):
            with jax.named_scope(f"stage{i + 1}"):
                if i > 0:
                    x = self.downsamples[i - 1](apply_filter(self.filters[i - 1], x))
                for block in stage:
                    x = run_block(block, x, remat=i + 1 in self.remat)
            x = stop_at(x, i + 1, self.frozen_stages)
            features.append(self.output_norms[i](x))
        return tuple(features)


def _pad_to_multiples(x: Float[Array, "b h w c"], of: int) -> Float[Array, "b _ _ c"]:
    """Appends rows and columns of zeros."""
    height, width = x.shape[1:3]
    if not height % of and not width % of:
        return x
    return jnp.pad(x, ((0, 0), (0, -height % of), (0, -width % of), (0, 0)))
