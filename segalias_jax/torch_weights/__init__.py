"""PyTorch weights: key tables both ways, files, loading and conversion."""

from segalias_jax.torch_weights.load import Source, load_torch
from segalias_jax.torch_weights.names import DECODERS, ENCODERS, EncoderNames, key_table

__all__ = ["DECODERS", "ENCODERS", "EncoderNames", "Source", "key_table", "load_torch"]
