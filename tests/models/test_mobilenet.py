"""MobileNets beside torchvision's recorded features, and their numbers."""

import jax
import pytest
from flax import nnx
from inverted_residual_records import check_recorded

from segalias_jax.models.mobilenet import MobileNet


@pytest.mark.parametrize(
    "name, channels, count",
    [
        ("mobilenet_v2", (24, 32, 96, 320), 1_811_712),
        ("mobilenet_v3_large", (24, 40, 112, 960), 2_971_952),
        ("mobilenet_v3_small", (16, 24, 48, 576), 927_008),
    ],
)
def test_numbers(name, channels, count):
    """Those of torchvision without the classifier and, of V2, the last convolution."""
    network = nnx.eval_shape(lambda: MobileNet(name, rngs=nnx.Rngs(0)))
    assert network.channels == channels
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) == count


def test_features_are_those_of_torchvision():
    check_recorded("mobilenet_v3_small")
