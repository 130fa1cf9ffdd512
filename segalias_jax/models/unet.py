"""U-Net: the plain encoder of double convolutions, and the decoder for it and any other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import check_choice
from segalias_jax.layers import ConvNormAct, UpConv
from segalias_jax.layers.upsample import UPSAMPLE
from segalias_jax.models.stages import (
    DOWNSAMPLE,
    Filter,
    apply_filter,
    check_remat,
    make_filter,
    run_block,
)
from segalias_jax.typing import Array, Float

DOUBLE_CONVS = {"double_conv": 5}
"""Number of stages of plain encoders, by name."""


class DoubleConv(nnx.Module):
    """Two 3x3 convolutions, each with batch normalization and ReLU.

    The published network has no norms, and cuts borders instead of padding them with zeros.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      rngs: random streams.

    Example:
      >>> nnx.eval_shape(lambda: DoubleConv(3, 8, rngs=nnx.Rngs(0))).conv2.conv.kernel.shape
      (3, 3, 8, 8)
    """

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        self.conv1 = ConvNormAct(in_channels, out_channels, 3, rngs=rngs)
        self.conv2 = ConvNormAct(out_channels, out_channels, 3, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Applies both."""
        return self.conv2(self.conv1(x))


class DoubleConvEncoder(nnx.Module):
    """The encoder of U-Net: double convolutions, with 2x2 max pooling in between.

    With a filter, maxima are taken at every pixel, filtered, and then every second one is kept:
    the maximum makes new high frequencies, so the filter follows it. Features handed to a decoder
    are the unfiltered ones. Sizes are rounded up at each pooling, so images may have any size
    that the filter takes.

    Args:
      name: "double_conv".
      width: channels of the first stage, doubled from stage to stage; None for the published 64.
      downsample: "none", "daf", "flc" (crops the spectrum), "blur3", "blur5", "blur7" (binomial),
        "adaptive_blur" (3x3, 8 groups), "awd" (adaptive weighted downsampling) or "awd_keep" (the
        same weights without its stride).
      cutoff: of "daf", in cycles per pixel; None for 1/4, the Nyquist frequency of a pooling,
        which leaves the number of channels as it is.
      band: "symmetric", or "reference" for bands (and adaptive kernels) as published for ResNet.
      remat: stages, from 1, that are recomputed in the backward pass, which saves memory.
      rngs: random streams.

    Raises:
      InputError: an unknown name, with the choices.

    Example:
      >>> make = lambda: DoubleConvEncoder("double_conv", width=8, rngs=nnx.Rngs(0))
      >>> net = nnx.eval_shape(make)
      >>> net.channels, net.strides
      ((8, 16, 32, 64, 128), (1, 2, 4, 8, 16))

    Reference:
      Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation",
      MICCAI 2015; Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019 (the
      order of maximum, filter and stride).
    """

    def __init__(
        self,
        name: str,
        *,
        width: int | None = None,
        downsample: str = "none",
        cutoff: float | None = None,
        band: str = "symmetric",
        remat: tuple[int, ...] = (),
        rngs: nnx.Rngs,
    ):
        check_choice("encoder", name, DOUBLE_CONVS)
        check_choice("downsample", downsample, DOWNSAMPLE)
        width, depth = 64 if width is None else width, DOUBLE_CONVS[name]
        self.channels = tuple(width * 2**i for i in range(depth))
        self.strides = tuple(2**i for i in range(depth))
        check_remat(remat, depth)
        self.remat = remat
        filters, stages, before = [], [], 3
        for i, channels in enumerate(self.channels):
            if i > 0:
                rate = ops.equivalent_sampling_rate(2, 2, before, before)
                limit = ops.nyquist_frequency(rate) if cutoff is None else cutoff
                filters.append(make_filter(downsample, before, cutoff=limit, band=band, rngs=rngs))
            stages.append(DoubleConv(before, channels, rngs=rngs))
            before = channels
        self.filters, self.stages = nnx.List(filters), nnx.List(stages)

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the stages' feature maps, fine to coarse, the first at the size of `x`."""
        features = []
        for i, stage in enumerate(self.stages):
            with jax.named_scope(f"stage{i + 1}"):
                if i > 0:
                    x = _halve(x, self.filters[i - 1])
                x = run_block(stage, x, remat=i + 1 in self.remat)
            features.append(x)
        return tuple(features)


class UNet(nnx.Module):
    """Goes up from the coarsest features, joined with the encoder's at each size.

    y_n = f_n;  y_i = double_conv([f_i, up(y_{i+1})])

    The result has the size of the encoder's finest map: that of the image for the encoder
    "double_conv", a quarter of it for a ResNet.

    Args:
      in_channels: channels of the encoder's features, fine to coarse.
      strides: pixels of the image per pixel of each feature map, fine to coarse.
      channels: channels of the result, doubled with each coarser map.
      upsample: "zeros", "nearest", "bilinear" or "transpose", see `layers.UpConv`.
      align_corners: of "bilinear", see `ops.resize_bilinear`.
      rngs: random streams.

    Raises:
      InputError: an unknown way of upsampling.

    Example:
      >>> run = lambda *f: UNet((8, 16), strides=(1, 2), channels=4, rngs=nnx.Rngs(0))(f)
      >>> jax.eval_shape(run, jnp.ones((1, 7, 8, 8)), jnp.ones((1, 4, 4, 16))).shape
      (1, 7, 8, 4)

    Reference:
      Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation",
      MICCAI 2015.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        strides: tuple[int, ...] = (4, 8, 16, 32),
        channels: int = 64,
        upsample: str = "bilinear",
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        check_choice("upsample", upsample, UPSAMPLE)
        self.channels = channels
        ups, mixes, below = [], [], in_channels[-1]
        for i in reversed(range(len(in_channels) - 1)):
            width = channels * 2**i
            # Maps of a dilated encoder can have one size; there nothing is to be doubled.
            method = upsample if strides[i + 1] > strides[i] else "nearest"
            ups.append(UpConv(below, width, method=method, align_corners=align_corners, rngs=rngs))
            mixes.append(DoubleConv(in_channels[i] + width, width, rngs=rngs))
            below = width
        self.ups, self.mixes = nnx.List(ups), nnx.List(mixes)

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map at the size of `features[0]`."""
        with jax.named_scope("unet"):
            y = features[-1]
            for up, mix, feature in zip(self.ups, self.mixes, features[-2::-1], strict=True):
                y = mix(jnp.concatenate([feature, up(y, ops.image_size(feature))], -1))
            return y


def _halve(x: Array, low_pass: Filter | None) -> Array:
    """Max pooling by 2, with a filter between the maximum and the stride.

    The maximum makes new frequencies, so a filter in front of it would not do. It is taken at every
    pixel then, and what strides is the selection of every second one. Without a filter the pooling
    itself is what strides.
    """
    if low_pass is None:
        return ops.max_pool_2x2(apply_filter(None, x))
    y = apply_filter(low_pass, ops.max_pool_2x2(x, stride=1))
    return y if low_pass.stride > 1 else ops.strided(y, (0, 0), ops.image_size(y), 2)
