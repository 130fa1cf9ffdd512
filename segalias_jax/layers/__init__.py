"""Flax NNX layers over `segalias_jax.ops`; Linen users take them through `flax.nnx.bridge`."""

from segalias_jax.layers.conv import BatchNorm, Conv, ConvNormAct
from segalias_jax.layers.dealias import BlurPool, DeAliasingFilter
from segalias_jax.layers.freqmix import FreqMix
from segalias_jax.layers.pyramid import PyramidPooling

__all__ = [
    "BatchNorm",
    "BlurPool",
    "Conv",
    "ConvNormAct",
    "DeAliasingFilter",
    "FreqMix",
    "PyramidPooling",
]
