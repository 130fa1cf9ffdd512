"""Flax NNX layers over `segalias_jax.ops`; Linen users take them through `flax.nnx.bridge`."""

from segalias_jax.layers.conv import BatchNorm, Conv, ConvNormAct
from segalias_jax.layers.dealias import AdaptiveBlur, BlurPool, DeAliasingFilter, FrequencyLowCut
from segalias_jax.layers.freqmix import FreqMix
from segalias_jax.layers.norm import LayerNorm
from segalias_jax.layers.pyramid import PyramidPooling

__all__ = [
    "AdaptiveBlur",
    "BatchNorm",
    "BlurPool",
    "Conv",
    "ConvNormAct",
    "DeAliasingFilter",
    "FreqMix",
    "FrequencyLowCut",
    "LayerNorm",
    "PyramidPooling",
]
