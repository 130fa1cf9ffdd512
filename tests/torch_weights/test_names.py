"""Key tables against the names and shapes of the published networks."""

import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.models.convnext import ConvNeXt
from segalias_jax.torch_weights.load import torch_arrays
from segalias_jax.torch_weights.names import from_torch, key_table, leaves, to_torch

NAMES = json.loads((Path(__file__).parents[1] / "golden" / "d_full_names.json").read_text())
PUBLISHED = {"band": "reference", "gate": "corner", "cutoff": 0.35}
NETWORKS = {
    "baseline_uper128": {},
    "baseline_uper512": {"channels": 512},
    "blur3_uper128": {"downsample": "blur3"},
    "adablur_uper128": {"downsample": "adaptive_blur"},
    "freqmix_daf_uper128": {"downsample": "daf", "mixer": "freqmix"},
}


def abstract(num_classes=19, **config):
    return nnx.eval_shape(
        lambda: models.create_model(config, num_classes=num_classes, rngs=nnx.Rngs(0))
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_names_and_shapes_are_the_published_ones(network):
    model = abstract(**PUBLISHED | NETWORKS[network])
    values = {path: np.empty(v.shape, np.float32) for path, v in leaves(model).items()}
    ours = {name: list(array.shape) for name, array in torch_arrays(model, values).items()}
    assert ours == NAMES["baseline_uper128"] | NAMES[network]


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
def test_no_name_stands_for_two_leaves(encoder):
    model = abstract(encoder=encoder, downsample="adaptive_blur", mixer="freqmix")
    assert len(key_table(model)) == len(leaves(model))


def test_what_computes_otherwise_has_other_names():
    """Published weights must not load into gates or kernels that mean something else."""
    names = key_table(abstract(downsample="adaptive_blur", mixer="freqmix"))
    assert not [name for name in names if ".att." in name or "AdaD" in name]


@pytest.mark.parametrize(
    "options", [{"mixer_start": "identity"}, {"mixer_parts": ("channel",)}], ids=str
)
def test_gates_of_another_scale_or_alone_have_other_names(options):
    model = abstract(encoder="resnet18", mixer="freqmix", **PUBLISHED | options)
    names = key_table(model)
    assert not [name for name in names if ".att." in name]
    assert len(names) == len(leaves(model))


@pytest.mark.parametrize(
    "name", ["layer2.0.att.channel_att_low.1.weight", "conv.weight", "stages.0.mlp.fc1.weight"]
)
@pytest.mark.parametrize("channels", [33, 64])
def test_layout_there_and_back(name, channels):
    array = np.random.default_rng(0).normal(size=(1, 1, channels, 4))
    np.testing.assert_array_equal(from_torch(name, to_torch(name, array)), array)


def test_the_published_gate_reads_its_input_rolled():
    """W' roll(v) = W v, for the weights W' that a published file holds."""
    weights, v = np.random.default_rng(0).normal(size=(2, 1, 1, 33, 4))[0], np.arange(33.0)
    there = to_torch("channel_att_low.1.weight", weights)[:, :, 0, 0]
    np.testing.assert_allclose(there @ np.roll(v, 33 // 2), weights[0, 0].T @ v)


def test_unknown_decoder():
    model = abstract()
    model.decoder = nnx.List([])
    with pytest.raises(InputError, match="no PyTorch names are known for the decoder"):
        key_table(model)


def encoder(make):
    return nnx.eval_shape(lambda: make(nnx.Rngs(0)))


def test_torchvision_names():
    net = encoder(lambda rngs: models.ResNet("resnet50", variant="v1b", rngs=rngs))
    shapes = torch_shapes(net)
    assert shapes["conv1.weight"] == (64, 3, 7, 7) and shapes["bn1.running_var"] == (64,)
    assert shapes["layer4.0.downsample.0.weight"] == (2048, 1024, 1, 1)
    assert shapes["layer4.0.downsample.1.running_mean"] == (2048,)
    assert shapes["layer3.5.bn3.bias"] == (1024,)
    assert len(shapes) == 265  # of 320, less a counter for each of 53 norms, and the classifier


def test_pooled_shortcuts_count_their_pooling():
    shapes = torch_shapes(encoder(lambda r: models.ResNet("resnet18", variant="v1d", rngs=r)))
    assert shapes["layer2.0.downsample.1.weight"] == (128, 64, 1, 1)
    assert shapes["layer2.0.downsample.2.running_mean"] == (128,)
    assert shapes["stem.7.weight"] == (64,)


def test_timm_names():
    net = encoder(lambda rngs: ConvNeXt("convnext_tiny", mixer="freqmix", rngs=rngs))
    shapes = torch_shapes(net)
    expected = {
        "stem.0.weight": (96, 3, 4, 4),
        "stem.1.bias": (96,),
        "stages.1.downsample.0.weight": (96,),
        "stages.1.downsample.1.weight": (192, 96, 2, 2),
        "stages.2.blocks.8.conv_dw.weight": (384, 1, 7, 7),
        "stages.2.blocks.8.norm.weight": (384,),
        "stages.2.blocks.8.mlp.fc1.weight": (1536, 384),
        "stages.2.blocks.8.mlp.fc2.weight": (384, 1536),
        "stages.2.blocks.8.gamma": (384,),
        "stages.2.blocks.8.mixer.low_gate.expand.weight": (384, 24, 1, 1),
        "norm3.weight": (768,),
    }
    assert {name: shapes[name] for name in expected} == expected
    assert len(shapes) == len(leaves(net))


def test_convnext_inside_a_segmenter_has_mmsegmentations_names():
    model = abstract()
    model.encoder = encoder(lambda rngs: ConvNeXt("convnext_tiny", rngs=rngs))
    table = key_table(model)
    expected = {
        "backbone.downsample_layers.0.0.weight": ("stem", 0, "kernel"),
        "backbone.downsample_layers.3.1.bias": ("downsamples", 2, "bias"),
        "backbone.stages.2.8.depthwise_conv.weight": ("stages", 2, 8, "depthwise", "kernel"),
        "backbone.stages.2.8.pointwise_conv2.bias": ("stages", 2, 8, "project", "bias"),
        "backbone.stages.0.0.gamma": ("stages", 0, 0, "gamma"),
        "backbone.norm0.weight": ("output_norms", 0, "scale"),
    }
    assert {name: table[name][1:] for name in expected} == expected
    assert len(table) == len(leaves(model))


def torch_shapes(model):
    values = {path: np.empty(v.shape, np.int8) for path, v in leaves(model).items()}
    return {name: array.shape for name, array in torch_arrays(model, values).items()}
