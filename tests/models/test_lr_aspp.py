"""LR-ASPP beside its definition with a classifier for each of the two feature maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.models.lr_aspp import LRASPP
from segalias_jax.models.segmenter import Classifier


def test_two_classifiers_are_one():
    with jax.enable_x64(True):
        decoder = LRASPP((3, 4, 5), strides=(4, 8, 16), channels=6, rngs=nnx.Rngs(0))
        head = Classifier(decoder.channels, 2, dropout=0.0, rngs=nnx.Rngs(1))
        decoder.mix.norm.mean.set_value(jnp.linspace(-0.5, 0.5, 6))
        decoder.eval()
        keys = jax.random.split(jax.random.key(2), 3)
        sizes = ((18, 26, 3), (9, 13, 4), (5, 7, 5))
        features = tuple(
            jax.random.normal(k, (2, *size), jnp.float64)
            for k, size in zip(keys, sizes, strict=True)
        )
        found = head(decoder(features))
        low, high = (np.asarray(f) for f in features[1:])
        # As published: both classified by themselves.
        mixed = high @ np.asarray(decoder.mix.conv.kernel[0, 0], np.float64)
        mean = np.asarray(decoder.mix.norm.mean[...], np.float64)
        mixed = np.maximum((mixed - mean) / np.sqrt(1 + 1e-5), 0)
        pooled = high.mean((1, 2)) @ np.asarray(decoder.gate.kernel[0, 0], np.float64)
        gated = mixed / (1 + np.exp(-pooled))[:, None, None]
        up = np.asarray(ops.resize_bilinear(jnp.asarray(gated), (9, 13)))
        weights = np.asarray(head.conv.kernel[0, 0], np.float64)
        expected = up @ weights[:6] + low @ weights[6:]
        # Resizing has matrices of float32 weights.
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_needs_features_of_stride_8():
    with pytest.raises(InputError, match=r"strides are \(4, 16\)"):
        LRASPP((3, 4), strides=(4, 16), rngs=nnx.Rngs(0))
