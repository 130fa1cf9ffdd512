"""DINOv2: a plain vision transformer, whose patch embedding is its only strided operator.

Positions are those of 37x37 patches, for images of 518 pixels. For others they are interpolated as
transformers does it: to the number of patches, bicubic, without anti-aliasing. The original network
does the same with samples a tenth of a patch off; timm reduces them with anti-aliasing. At 518
pixels all are the same.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers import Conv, LayerNorm
from segalias_jax.models.stages import (
    Filter,
    apply_filter,
    check_remat,
    drop_path_rates,
    freeze_norms,
    make_drop_path,
    make_filter,
    run_block,
    stop_at,
)
from segalias_jax.typing import Array, Float

DINOV2S = {
    "dinov2_small": (384, (3, 3, 3, 3)),
    "dinov2_base": (768, (3, 3, 3, 3)),
}
"""Channels and number of blocks per stage, by name."""

PATCH = 14
"""Pixels along each side of a patch."""

GRID = 37
"""Patches along each side of the images that positions were learned for."""

DINOV2_FILTERS = ("none", "daf", "blur3", "blur5", "blur7")

_HEAD_CHANNELS = 64  # of every published network

# Published as cut off at +-2, a hundred deviations: nothing is ever cut.
_kernel_init = jax.nn.initializers.normal(0.02)

Tokens = Float[Array, "b 1 n c"]
"""The class token and all patches, as the pixels of a map of one row."""


class PatchEmbedding(nnx.Module):
    """An image as a token of its class and a map of patches, with positions.

    p = conv14x14(filter(x)) + positions,  t = class token + its position

    Args:
      channels: channels written.
      image_filter: what the image passes ahead of the convolution, which strides; None for nothing.
      rngs: random streams.

    Example:
      >>> token, patches = PatchEmbedding(4, image_filter=None, rngs=nnx.Rngs(0))(
      ...     jnp.ones((1, 28, 45, 3))
      ... )
      >>> token.shape, patches.shape
      ((1, 1, 1, 4), (1, 2, 3, 4))
    """

    def __init__(self, channels: int, *, image_filter: Filter | None, rngs: nnx.Rngs):
        self.filter = image_filter
        self.conv = Conv(
            *(3, channels, PATCH),
            stride=PATCH,
            padding=0,
            use_bias=True,
            kernel_init=_kernel_init,
            rngs=rngs,
        )
        self.cls_token = nnx.Param(jnp.zeros((1, 1, channels), jnp.float32))
        positions = _kernel_init(rngs.params(), (1, 1 + GRID**2, channels), jnp.float32)
        self.pos_embed = nnx.Param(positions)

    def __call__(
        self, x: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b 1 1 c"], Float[Array, "b h2 w2 c"]]:
        """Returns the token and the map, in the type of `x`."""
        patches = self.conv(x if self.filter is None else self.filter(x))
        positions, channels = self.pos_embed[...], patches.shape[-1]
        grid = positions[:, 1:].reshape(1, GRID, GRID, channels)
        grid = ops.resize_bicubic(grid, ops.image_size(patches))
        token = (self.cls_token[...] + positions[:, :1])[:, None].astype(x.dtype)
        token = jnp.broadcast_to(token, (x.shape[0], 1, 1, channels))
        return token, patches + grid.astype(x.dtype)


class SelfAttention(nnx.Module):
    """Self-attention of all tokens, by several heads, and a projection.

    y = project(softmax(q k^T / sqrt(d)) v),  q, k, v = qkv(x)

    Args:
      channels: number of channels, preserved.
      heads: number of heads, of d = channels / heads channels each.
      rngs: random streams.

    Example:
      >>> SelfAttention(8, heads=2, rngs=nnx.Rngs(0))(jnp.ones((1, 1, 5, 8))).shape
      (1, 1, 5, 8)
    """

    def __init__(self, channels: int, *, heads: int, rngs: nnx.Rngs):
        conv = functools.partial(Conv, use_bias=True, kernel_init=_kernel_init, rngs=rngs)
        self.heads = heads
        self.qkv, self.project = conv(channels, 3 * channels), conv(channels, channels)

    def __call__(self, x: Tokens) -> Tokens:
        """Applies it, in the type of `x`."""
        batch, _, tokens, channels = x.shape
        depth = channels // self.heads
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, depth)
        query, key, value = qkv[:, :, 0] * depth**-0.5, qkv[:, :, 1], qkv[:, :, 2]
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)
        wide = logits.astype(jnp.promote_types(x.dtype, jnp.float32))
        weights = jax.nn.softmax(wide, axis=-1).astype(x.dtype)
        return self.project(jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape))


class LayerScale(nnx.Module):
    """A factor for each channel, which begins with 1e-5.

    Args:
      channels: number of channels.

    Example:
      >>> LayerScale(2)(jnp.ones((1, 1, 1, 2))).tolist()
      [[[[9.999999747378752e-06, 9.999999747378752e-06]]]]

    Reference:
      Touvron et al., "Going Deeper with Image Transformers", ICCV 2021.
    """

    def __init__(self, channels: int):
        self.gamma = nnx.Param(jnp.full(channels, 1e-5, jnp.float32))

    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        """Multiplies, in the type of `x`."""
        return x * self.gamma[...].astype(x.dtype)


class DINOv2Block(nnx.Module):
    """Attention, then a small network on each token, each scaled and beside a shortcut.

    y = x + drop_path(scale1(attention(norm1(x))))
    z = y + drop_path(scale2(project(gelu(expand(norm2(y))))))

    Args:
      channels: number of channels, preserved; four times as many inside of the network.
      heads: of the attention.
      drop_path: probability that training drops each branch, for each sample by itself.
      rngs: random streams "params" and "dropout".
    """

    def __init__(self, channels: int, *, heads: int, drop_path: float = 0.0, rngs: nnx.Rngs):
        conv = functools.partial(Conv, use_bias=True, kernel_init=_kernel_init, rngs=rngs)
        self.norm1, self.norm2 = LayerNorm(channels), LayerNorm(channels)
        self.attention = SelfAttention(channels, heads=heads, rngs=rngs)
        self.scale1, self.scale2 = LayerScale(channels), LayerScale(channels)
        self.expand = conv(channels, 4 * channels)
        self.project = conv(4 * channels, channels)
        # One draw for all tokens and channels of a sample.
        self.drop_path = make_drop_path(drop_path, rngs=rngs)

    def __call__(self, x: Tokens) -> Tokens:
        """Applies the block, in the type of `x`."""
        y = self.scale1(self.attention(self.norm1(x)))
        x = x + (y if self.drop_path is None else self.drop_path(y))
        y = self.project(jax.nn.gelu(self.expand(self.norm2(x)), approximate=False))
        y = self.scale2(y)
        return x + (y if self.drop_path is None else self.drop_path(y))


class DINOv2(nnx.Module):
    """A vision transformer on patches of 14 pixels, as an encoder.

    Its four stages are blocks 1 to 3, 4 to 6, 7 to 9 and 10 to 12. None of them strides: all
    features have stride 14 and pass one norm, the network's last, as in timm and in transformers.

    What strides is the patch embedding, which reads 14x14 pixels of 3 channels: its sampling rate
    is min(14, sqrt(channels / 3)) / 14, for "dinov2_small" .81, so that it keeps what is below .40
    cycles per pixel, for "dinov2_base" 1: it keeps all. `downsample` puts a filter ahead of it, on
    the image. Other filters than those below learn kernels for groups of channels, which an image
    has not, or stride by 2, which it does not. There is no mixer: a mixer belongs to a filter ahead
    of its stage.

    Rows and columns that fill no patch, at the bottom and at the right, take no part, as in
    transformers. Images have 14 pixels along each axis at least. Norms divide by
    sqrt(variance + 1e-6).

    Args:
      name: "dinov2_small" or "dinov2_base".
      width: number of channels; None for the network's own. Each 64 channels are a head of the
        attention, and fewer than 128 a single one.
      downsample: filter ahead of the patch embedding: "none", "daf", "blur3", "blur5" or "blur7"
        (binomial).
      cutoff: of the filter, in cycles per pixel; None takes the patch embedding's own Nyquist
        frequency.
      band: "symmetric", or "reference" for bands as published for ResNet.
      drop_path: probability that training drops the last block's branches; it grows from 0 at the
        first block in equal steps. Frozen blocks drop nothing.
      frozen_stages: what training leaves as it is: -1 nothing, 0 the patch embedding with positions
        and class token, k that and stages 1 to k. No gradient enters it. The last norm trains.
      remat: stages, from 1, whose blocks are recomputed in the backward pass, which keeps less in
        memory.
      rngs: random streams "params" and "dropout".

    Raises:
      InputError: an unknown name, with the choices, or a number out of its range.

    Example:
      >>> net = DINOv2("dinov2_small", width=8, downsample="daf", rngs=nnx.Rngs(0))
      >>> net.channels, net.strides
      ((8, 8, 8, 8), (14, 14, 14, 14))

    Reference:
      Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024.
    """

    strides = (PATCH,) * 4

    def __init__(
        self,
        name: str,
        *,
        width: int | None = None,
        downsample: str = "none",
        cutoff: float | None = None,
        band: str = "symmetric",
        drop_path: float = 0.0,
        frozen_stages: int = -1,
        remat: tuple[int, ...] = (),
        rngs: nnx.Rngs,
    ):
        check_choice("encoder", name, DINOV2S)
        check_choice("downsample", downsample, DINOV2_FILTERS)
        check_remat(remat, 4)
        own_width, depths = DINOV2S[name]
        width = own_width if width is None else width
        heads = max(width // _HEAD_CHANNELS, 1)
        if width % heads:
            raise InputError(
                f"width is {width}, which {heads} heads cannot share; choose a multiple of "
                f"{_HEAD_CHANNELS}"
            )
        self.channels = (width,) * 4
        self.frozen_stages, self.remat = frozen_stages, remat
        nyquist = ops.nyquist_frequency(ops.equivalent_sampling_rate(PATCH, PATCH, 3, width))
        limit = nyquist if cutoff is None else cutoff
        image_filter = make_filter(downsample, 3, cutoff=limit, band=band, rngs=rngs)
        self.stem = PatchEmbedding(width, image_filter=image_filter, rngs=rngs)
        rates = drop_path_rates(drop_path, depths, frozen_stages=frozen_stages)
        stages = [
            nnx.List(
                [
                    DINOv2Block(
                        width,
                        heads=heads,
                        drop_path=rate,
                        rngs=rngs,
                    )
                    for rate in of_stage
                ]
            )
            for i, of_stage in enumerate(rates)
        ]
        self.stages = nnx.List(stages)
        self.output_norms = nnx.List([LayerNorm(width)])
        freeze_norms(self, frozen_stages)

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the patches after each stage, normalized."""
        height, width = ops.image_size(x)
        if any(side < PATCH for side in (height, width)):
            raise InputError(
                f"a DINOv2 needs {PATCH} pixels along each image axis, but the input has "
                f"{height}x{width}"
            )
        token, patches = self.stem(x)
        token, patches = (stop_at(y, 0, self.frozen_stages) for y in (token, patches))
        shape, features = patches.shape, []
        for i, stage in enumerate(self.stages):
            with jax.named_scope(f"stage{i + 1}"):
                if i > 0:
                    patches = apply_filter(None, patches)
                row = patches.reshape(shape[0], 1, shape[1] * shape[2], shape[3])
                tokens = jnp.concatenate([token, row], 2)
                for block in stage:
                    tokens = run_block(block, tokens, remat=i + 1 in self.remat)
                token, patches = tokens[:, :, :1], tokens[:, :, 1:].reshape(shape)
            token, patches = (stop_at(y, i + 1, self.frozen_stages) for y in (token, patches))
            features.append(self.output_norms[0](patches))
        return tuple(features)
