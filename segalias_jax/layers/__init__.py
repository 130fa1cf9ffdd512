"""Flax NNX layers over `segalias_jax.ops`; Linen users take them through `flax.nnx.bridge`."""

from segalias_jax.layers.conv import BatchNorm, Conv, ConvNormAct, SeparableConvNormAct
from segalias_jax.layers.dealias import AdaptiveBlur, BlurPool, DeAliasingFilter, FrequencyLowCut
from segalias_jax.layers.freqmix import FreqMix
from segalias_jax.layers.linear import Linear
from segalias_jax.layers.low_light import AdaptiveWeightedDownsampling, SmoothConvolutionBranch
from segalias_jax.layers.norm import GroupNorm, LayerNorm, ResponseNorm
from segalias_jax.layers.pyramid import AtrousPyramidPooling, PyramidPooling
from segalias_jax.layers.rank import MedianFilter
from segalias_jax.layers.upsample import UPSAMPLE, UpConv

__all__ = [
    "UPSAMPLE",
    "AdaptiveBlur",
    "AdaptiveWeightedDownsampling",
    "AtrousPyramidPooling",
    "BatchNorm",
    "BlurPool",
    "Conv",
    "ConvNormAct",
    "DeAliasingFilter",
    "FreqMix",
    "FrequencyLowCut",
    "GroupNorm",
    "LayerNorm",
    "Linear",
    "MedianFilter",
    "PyramidPooling",
    "ResponseNorm",
    "SeparableConvNormAct",
    "SmoothConvolutionBranch",
    "UpConv",
]
