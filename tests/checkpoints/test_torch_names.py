"""Key tables against the names and shapes of the published networks."""

import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.checkpoints.torch_load import torch_arrays
from segalias_jax.checkpoints.torch_names import from_torch, key_table, leaves, to_torch
from segalias_jax.errors import InputError

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


@pytest.mark.parametrize("encoder", sorted(models.ENCODERS))
def test_no_name_stands_for_two_leaves(encoder):
    model = abstract(encoder=encoder, downsample="adaptive_blur", mixer="freqmix")
    assert len(key_table(model)) == len(leaves(model))


def test_what_computes_otherwise_has_other_names():
    """Published weights must not load into gates or kernels that mean something else."""
    names = key_table(abstract(downsample="adaptive_blur", mixer="freqmix"))
    assert not [name for name in names if ".att." in name or "AdaD" in name]


@pytest.mark.parametrize("name", ["layer2.0.att.channel_att_low.1.weight", "conv.weight"])
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
