"""ConvNeXt V2 beside what timm computes, and its names both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_networks import assert_recorded, drawn_arrays, features, fill, image
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.models.convnextv2 import CONVNEXTV2S, ConvNeXtV2, ConvNeXtV2Block
from segalias_jax.torch_weights import names

import record_convnextv2 as recorded  # isort: skip  # found by drawn_networks


def abstract(name="convnextv2_tiny", **options):
    return nnx.eval_shape(lambda: ConvNeXtV2(name, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize("name", CONVNEXTV2S)
def test_number_of_parameters(name):
    """Those of timm, whose classifier has one norm where we have one for each feature map."""
    network = abstract(name)
    leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
    norms = 2 * sum(network.channels) - 2 * network.channels[-1]
    assert sum(leaf.size for leaf in leaves) == recorded.COUNTS[name] + norms


def test_features_are_those_of_timm(monkeypatch):
    monkeypatch.setitem(CONVNEXTV2S, "convnextv2_tiny", (recorded.WIDTH, recorded.DEPTHS))
    net = abstract()
    arrays = drawn_arrays(net)
    # What an image network has beyond the encoder is left out.
    extra = {"head.norm.weight": np.ones(64), "head.fc.bias": np.ones(9)}
    fill(net, arrays | extra, table="timm", given=arrays)
    # Both round in float32, in other orders; 1e-6 of the largest is seen.
    found = features(net, image(*recorded.SIZE))
    assert_recorded(found, recorded.FILE, recorded.KEEP, relative=5e-6)


def test_names_inside_a_segmenter():
    config = {"encoder": "convnextv2_tiny", "auxiliary": False}
    model = nnx.eval_shape(lambda: models.create_model(config, num_classes=2, rngs=nnx.Rngs(0)))
    table = names.key_table(model)
    at = ("encoder", "stages", 2, 8)
    assert table["backbone.stages.2.8.grn.weight"] == (*at, "response", "scale")
    assert table["backbone.stages.2.8.pointwise_conv2.weight"] == (*at, "project", "kernel")


def test_a_path_is_dropped_for_a_whole_sample():
    block = ConvNeXtV2Block(4, drop_path=0.5, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (16, 3, 3, 4))
    block.eval()
    branch = block(x) - x
    block.train()
    change = block(x) - x
    dropped = np.array([not c.any() for c in change])
    assert 0 < dropped.sum() < 16
    np.testing.assert_allclose(change[~dropped], 2 * branch[~dropped], rtol=1e-4, atol=1e-5)


def test_what_cannot_be():
    with pytest.raises(InputError, match=f"choose one of {', '.join(CONVNEXTV2S)}"):
        abstract("convnext_tiny")
    with pytest.raises(InputError, match="downsample is 'flc'; choose one of none, daf, blur3,"):
        abstract(downsample="flc")
    net = abstract(width=8)
    with pytest.raises(InputError, match="needs 32 pixels along each image axis"):
        nnx.eval_shape(lambda n: n(jnp.ones((1, 31, 64, 3))), net)
