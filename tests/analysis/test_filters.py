"""How alike filters are, against a plain double loop and closed forms."""

import numpy as np
import pytest
from flax import nnx

from segalias_jax.analysis import orthogonality
from segalias_jax.errors import InputError
from segalias_jax.models.convnext import ConvNeXt
from segalias_jax.models.resnet import ResNet


def by_hand(kernel):
    """Every pair by itself."""
    vectors = [np.asarray(kernel[..., i], np.float64).ravel() for i in range(kernel.shape[-1])]
    cosines = [
        abs(a @ b) / np.sqrt((a @ a) * (b @ b))
        for i, a in enumerate(vectors)
        for b in vectors[i + 1 :]
    ]
    return np.mean(cosines)


def test_resnet_lists_what_strides():
    net = ResNet("resnet18", width=8, downsample="daf", rngs=nnx.Rngs(0))
    found = orthogonality(net)
    assert list(found.operators) == [
        "stages.1.0.conv1",
        "stages.1.0.shortcut.conv",
        "stages.2.0.conv1",
        "stages.2.0.shortcut.conv",
        "stages.3.0.conv1",
        "stages.3.0.shortcut.conv",
        "stem.0.conv",
    ]
    for name, value in found.operators.items():
        module = net
        for word in name.split("."):
            module = module[int(word)] if word.isdigit() else getattr(module, word)
        assert value == pytest.approx(by_hand(module.kernel[...]), rel=1e-12)
    assert float(found) == found.mean
    assert f"| mean | {found.mean:.4f} |" in found.table()


def test_random_filters_are_as_alike_as_their_length_says():
    # E|cos| of two random directions in d dimensions is about sqrt(2 / (pi d)).
    conv = nnx.Conv(64, 128, (3, 3), strides=(2, 2), rngs=nnx.Rngs(0))
    expected = np.sqrt(2 / (np.pi * 9 * 64))
    assert orthogonality(conv).mean == pytest.approx(expected, rel=0.02)


def test_depthwise_convolutions_are_left_out_and_patch_embeddings_are_not():
    net = ConvNeXt("convnext_tiny", width=8, rngs=nnx.Rngs(0))
    assert len(orthogonality(net).operators) == 4
    depthwise = nnx.Conv(8, 8, (3, 3), strides=2, feature_group_count=8, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="Conv has no convolution with a stride and one group"):
        orthogonality(depthwise)


def test_zero_filters_and_single_ones_have_no_angle():
    conv = nnx.Conv(2, 3, (2, 2), strides=(2, 2), rngs=nnx.Rngs(0))
    conv.kernel[...] = 0 * conv.kernel[...]
    assert orthogonality(conv).mean == 0
    single = nnx.Conv(2, 1, (2, 2), strides=(2, 2), rngs=nnx.Rngs(0))
    assert orthogonality(single).mean == 0
