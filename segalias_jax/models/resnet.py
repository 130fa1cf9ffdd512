"""ResNet v1c, with an optional filter ahead of each stride and an optional mixer in each block."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
from flax import nnx

from segalias_jax import layers, ops
from segalias_jax.errors import InputError
from segalias_jax.layers import BatchNorm, Conv, ConvNormAct
from segalias_jax.typing import Array, Float

DOWNSAMPLE = ("none", "daf", "flc", "blur3", "blur5", "blur7", "adaptive_blur")
MIXERS = ("none", "freqmix")

MakeMixer = Callable[[int], nnx.Module | None]


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut; the mixer follows the second one.

    Args:
      in_channels: channels read.
      planes: channels written.
      stride: of the first convolution, in pixels.
      make_mixer: builds the mixer for a number of channels, or returns None.
      rngs: random streams.
    """

    expansion = 1

    def __init__(
        self, in_channels: int, planes: int, *, stride: int, make_mixer: MakeMixer, rngs: nnx.Rngs
    ):
        self.conv1 = Conv(in_channels, planes, 3, stride=stride, rngs=rngs)
        self.norm1 = BatchNorm(planes)
        self.conv2 = Conv(planes, planes, 3, rngs=rngs)
        self.mixer = make_mixer(planes)
        self.norm2 = BatchNorm(planes, scale_init=0.0)
        self.shortcut = _shortcut(in_channels, planes, stride, rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies the block."""
        y = jax.nn.relu(self.norm1(self.conv1(x)))
        y = self.conv2(y)
        y = y if self.mixer is None else self.mixer(y)
        return jax.nn.relu(self.norm2(y) + (x if self.shortcut is None else self.shortcut(x)))


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the mixer follows the 3x3 one.

    Args:
      in_channels: channels read.
      planes: channels of the 3x3 convolution; four times as many are written.
      stride: of the 3x3 convolution, in pixels.
      make_mixer: builds the mixer for a number of channels, or returns None.
      rngs: random streams.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, planes: int, *, stride: int, make_mixer: MakeMixer, rngs: nnx.Rngs
    ):
        out_channels = planes * self.expansion
        self.conv1 = Conv(in_channels, planes, rngs=rngs)
        self.norm1 = BatchNorm(planes)
        self.conv2 = Conv(planes, planes, 3, stride=stride, rngs=rngs)
        self.mixer = make_mixer(planes)
        self.norm2 = BatchNorm(planes)
        self.conv3 = Conv(planes, out_channels, rngs=rngs)
        self.norm3 = BatchNorm(out_channels, scale_init=0.0)
        self.shortcut = _shortcut(in_channels, out_channels, stride, rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies the block."""
        y = jax.nn.relu(self.norm1(self.conv1(x)))
        y = self.conv2(y)
        y = y if self.mixer is None else self.mixer(y)
        y = self.conv3(jax.nn.relu(self.norm2(y)))
        return jax.nn.relu(self.norm3(y) + (x if self.shortcut is None else self.shortcut(x)))


class Projection(nnx.Module):
    """The shortcut of a block that changes size: 1x1 strided convolution and a norm.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      stride: step, in pixels.
      rngs: random streams.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, rngs: nnx.Rngs):
        self.conv = Conv(in_channels, out_channels, stride=stride, rngs=rngs)
        self.norm = BatchNorm(out_channels)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Projects."""
        return self.norm(self.conv(x))


def _shortcut(in_channels: int, out_channels: int, stride: int, rngs: nnx.Rngs):
    if stride == 1 and in_channels == out_channels:
        return None
    return Projection(in_channels, out_channels, stride=stride, rngs=rngs)


VARIANTS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(nnx.Module):
    """Residual network with a deep stem (v1c): the baseline and the paper's encoder in one class.

    `downsample="daf"` puts a de-aliasing filter at the *input* of stages 2, 3 and 4, so that both
    the residual branch and the strided shortcut see filtered features; the features handed to a
    decoder are the unfiltered ones. `mixer="freqmix"` puts FreqMix after the 3x3 convolution
    (the second one of basic blocks) of every block of stages 2, 3 and 4. Both are off by default.

    Args:
      variant: "resnet18", "resnet34", "resnet50" or "resnet101".
      width: channels of the first stage's 3x3 convolutions; 64 in the published networks.
      downsample: "none", "daf", "flc" (crops the spectrum, in place of the stage's stride),
        "blur3", "blur5", "blur7" (binomial) or "adaptive_blur" (3x3, 8 groups).
      mixer: "none" or "freqmix".
      cutoff: of filter and mixer, in cycles per pixel; None takes each stage's own Nyquist
        frequency, from its equivalent sampling rate (3x3 kernel, stride 2, its channels).
      band: "symmetric", or "reference" for bands (and adaptive kernels) as published.
      gate: of FreqMix.
      reduction: of FreqMix.
      rngs: random streams.

    Raises:
      InputError: an unknown name; the message lists the choices.

    Example:
      >>> import jax.numpy as jnp
      >>> net = ResNet("resnet18", width=8, downsample="daf", rngs=nnx.Rngs(0))
      >>> [f.shape for f in net(jnp.ones((1, 64, 64, 3)))][-1], net.strides
      ((1, 2, 2, 64), (4, 8, 16, 32))

    Reference:
      He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; He et al., "Bag of
      Tricks for Image Classification with Convolutional Neural Networks", CVPR 2019 (stem).
    """

    def __init__(
        self,
        variant: str,
        *,
        width: int = 64,
        downsample: str = "none",
        mixer: str = "none",
        cutoff: float | None = None,
        band: str = "symmetric",
        gate: str = "energy",
        reduction: int = 16,
        rngs: nnx.Rngs,
    ):
        _check_choice("encoder", variant, VARIANTS)
        _check_choice("downsample", downsample, DOWNSAMPLE)
        _check_choice("mixer", mixer, MIXERS)
        block, depths = VARIANTS[variant]
        self.channels = tuple(width * 2**i * block.expansion for i in range(4))
        self.strides = (4, 8, 16, 32)
        self.stem = _stem(width, rngs)
        filters, stages, in_channels = [], [], width
        for i, (depth, out_channels) in enumerate(zip(depths, self.channels, strict=True)):
            nyquist = stage_nyquist_frequency(in_channels, out_channels)
            limit = {"cutoff": nyquist if cutoff is None else cutoff, "band": band}
            make_mixer = _no_mixer
            if i > 0:
                filters.append(_make_filter(downsample, in_channels, rngs=rngs, **limit))
                if mixer == "freqmix":
                    options = {"gate": gate, "reduction": reduction, "rngs": rngs} | limit
                    make_mixer = functools.partial(layers.FreqMix, **options)
            strided = i > 0 and downsample != "flc"
            planes, stride = out_channels // block.expansion, 2 if strided else 1
            blocks = [block(in_channels, planes, stride=stride, make_mixer=make_mixer, rngs=rngs)]
            for _ in range(1, depth):
                blocks.append(
                    block(out_channels, planes, stride=1, make_mixer=make_mixer, rngs=rngs)
                )
            stages.append(nnx.List(blocks))
            in_channels = out_channels
        self.filters, self.stages = nnx.List(filters), nnx.List(stages)

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the four stages' feature maps, fine to coarse."""
        for layer in self.stem:
            x = layer(x)
        x = ops.max_pool(x, 3, stride=2, padding=1)
        features = []
        for i, stage in enumerate(self.stages):
            with jax.named_scope(f"stage{i + 1}"):
                if i > 0 and self.filters[i - 1] is not None:
                    x = self.filters[i - 1](x)
                for block in stage:
                    x = block(x)
            features.append(x)
        return tuple(features)


def stage_nyquist_frequency(in_channels: int, out_channels: int) -> float:
    """Nyquist frequency of a stage change: 3x3 kernel, stride 2, in cycles per pixel.

    Example:
      >>> round(stage_nyquist_frequency(256, 512), 4)
      0.3536
    """
    return ops.nyquist_frequency(ops.equivalent_sampling_rate(3, 2, in_channels, out_channels))


def _stem(width: int, rngs: nnx.Rngs) -> nnx.List:
    half = width // 2
    return nnx.List(
        [
            ConvNormAct(3, half, 3, stride=2, rngs=rngs),
            ConvNormAct(half, half, 3, rngs=rngs),
            ConvNormAct(half, width, 3, rngs=rngs),
        ]
    )


def _no_mixer(channels: int) -> None:
    return None


def _make_filter(
    name: str, channels: int, *, cutoff: float, band: str, rngs: nnx.Rngs
) -> nnx.Module | None:
    if name == "none":
        return None
    if name == "flc":
        return layers.FrequencyLowCut(2, band=band)
    if name == "adaptive_blur":
        softmax = "all" if band == "reference" else "group"
        return layers.AdaptiveBlur(channels, softmax=softmax, rngs=rngs)
    if name.startswith("blur"):
        return layers.BlurPool(int(name.removeprefix("blur")))
    return layers.DeAliasingFilter(cutoff, band=band)


def _check_choice(key: str, value: str, choices) -> None:
    if value not in choices:
        raise InputError(f"{key} is {value!r}; choose one of {', '.join(choices)}")
