"""Decoders in mmsegmentation's layout: its names and shapes, and the same logits from them."""

import json
from pathlib import Path

import numpy as np
import published
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.checkpoints import load_torch
from segalias_jax.torch_weights.files import read_arrays
from segalias_jax.torch_weights.load import torch_arrays
from segalias_jax.torch_weights.names import leaves

# Heads of the common configurations on a ResNet-50, with 19 classes.
NAMES = json.loads(Path(__file__).with_name("mmsegmentation_names.json").read_text())
SIZES = {"upernet": 512, "fcn": 512, "pspnet": 512, "deeplabv3plus": 512, "semantic_fpn": 128}
CHANNELS = (256, 512, 1024, 2048)
SMALL = {"encoder": "resnet18", "width": 8, "channels": 8, "auxiliary_channels": 6}
# Options of ours, of the PyTorch network, and whether corners are aligned.
NETWORKS = {
    "upernet": ({}, {}, False),
    "fcn": ({"num_convs": 3}, {"convs": 3}, True),
    "pspnet": ({"pool_scales": (1, 4)}, {"scales": (1, 4)}, True),
    "deeplabv3plus": (
        {"dilations": (1, 2, 3), "low_level_channels": 4, "auxiliary_stage": 2},
        {"dilations": (1, 2, 3), "low": 4, "auxiliary_stage": 2},
        False,
    ),
    "semantic_fpn": ({"pyramid_channels": 6}, {"pyramid": 6}, True),
}


def unfold(names):
    """Shapes of all arrays, from those of convolutions and the channels of norms."""
    stats = ("weight", "bias", "running_mean", "running_var")
    for name, shape in names.items():
        if name.endswith(".bn"):
            yield from ((f"{name}.{leaf}", tuple(shape)) for leaf in stats)
        else:
            yield name, tuple(shape)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_of_every_decoder(name):
    config = {"name": name, "channels": SIZES[name]}
    model = nnx.eval_shape(lambda: models.create_model(config, num_classes=19, rngs=nnx.Rngs(0)))
    values = {path: np.empty(v.shape, np.float16) for path, v in leaves(model).items()}
    shapes = {name: array.shape for name, array in torch_arrays(model, values).items()}
    heads = {name: shape for name, shape in shapes.items() if not name.startswith("backbone.")}
    assert heads == dict(unfold(NAMES[name]))


@pytest.mark.parametrize("name", NAMES)
def test_the_list_is_that_of_the_networks_below(name):
    torch = pytest.importorskip("torch")
    import torch_networks

    with torch.device("meta"):
        net = torch_networks.build(name, CHANNELS, SIZES[name], 19)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    counters = {key for key in shapes if key.endswith("num_batches_tracked")}
    assert {key: shapes[key] for key in shapes.keys() - counters} == dict(unfold(NAMES[name]))


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_random_weights_there_and_back(name, tmp_path):
    torch = pytest.importorskip("torch")
    import torch_networks

    ours, theirs, align_corners = NETWORKS[name]
    torch.manual_seed(0)
    net = torch_networks.build(
        name, (8, 16, 32, 64), 8, 5, align_corners=align_corners, auxiliary=6, **theirs
    )
    net.backbone = torch_networks.ResNet18(8)
    for key, value in net.state_dict().items():
        if ".bn" in key or value.ndim == 1:
            value.copy_(torch.rand(value.shape) + 0.5)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    config = SMALL | ours | {"name": name, "align_corners": align_corners}
    model = published.create_published(config, lambda _, shape: np.zeros(shape), num_classes=5)
    load_torch(tmp_path / "w.pth", model)
    model.eval()
    x = np.random.default_rng(0).normal(size=(2, 33, 65, 3)).astype(np.float32)
    logits, (auxiliary,) = nnx.jit(lambda model, x: model.with_auxiliary(x))(model, x)
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(x).permute(0, 3, 1, 2))
    for y, z in zip((logits, auxiliary), expected, strict=True):
        z = z.permute(0, 2, 3, 1).numpy()
        # Both round in float32, in another order.
        np.testing.assert_allclose(y, z, rtol=0, atol=1e-5 * np.abs(z).max())
        assert z.std() > 1e-3 * np.abs(z).max()  # not a constant

    values = {path: np.asarray(leaf[...]) for path, leaf in leaves(model).items()}
    back = torch_arrays(model, values)
    arrays = read_arrays(tmp_path / "w.pth")
    assert back.keys() == {key for key in arrays if not key.endswith("num_batches_tracked")}
    for key, array in back.items():
        np.testing.assert_array_equal(array, arrays[key], err_msg=key)
