"""What a model starts from: names, PyTorch files and folders through one resolver."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_weights import SMALL
from weights_server import *  # noqa: F403

from segalias_jax import models
from segalias_jax.checkpoints import start
from segalias_jax.checkpoints.pretrained import save_weights
from segalias_jax.errors import InputError
from segalias_jax.torch_weights import zoo
from segalias_jax.torch_weights.convert import convert
from segalias_jax.torch_weights.files import sha256, write_safetensors
from segalias_jax.torch_weights.load import Source, checkpoint_names, torch_arrays
from segalias_jax.torch_weights.names import leaves

TINY = SMALL | {"variant": "v1b", "mixer": "freqmix", "downsample": "daf"}


def create(**config):
    return models.create_model(TINY | config, num_classes=5, rngs=nnx.Rngs(0))


def plain():
    return create(mixer="none")


@pytest.fixture(scope="module")
def trees():
    """A state of zeros, and what makes its model."""
    model = nnx.eval_shape(create)
    paths = checkpoint_names(model)
    state = {"parameters": {}, "statistics": {}}
    for at, leaf in leaves(model).items():
        *parents, last = paths[at].split("/")
        node = state
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = jnp.zeros(leaf.shape)
    return state


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A file as torchvision has it, of a ResNet-18 of width 8 with its classifier."""
    make = lambda: models.ResNet("resnet18", width=8, variant="v1b", rngs=nnx.Rngs(0))  # noqa: E731
    net, random = nnx.eval_shape(make), np.random.default_rng(0)
    values = {
        at: abs(random.normal(size=leaf.shape)).astype(np.float32)
        for at, leaf in leaves(net).items()
    }
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    classifier = {"fc.weight": np.zeros((7, 64), np.float32), "fc.bias": np.zeros(7, np.float32)}
    arrays = torch_arrays(net, values)
    write_safetensors(path, arrays | classifier, {})
    return path, arrays


def test_a_file_fills_an_encoder_in_memory(trees, backbone):
    path, arrays = backbone
    filled, source, told = start.fill(str(path), trees, create)
    encoder = filled["parameters"]["encoder"]
    kernel = encoder["stem"]["0"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, arrays["conv1.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(
        filled["statistics"]["encoder"]["stem"]["0"]["norm"]["var"], arrays["bn1.running_var"]
    )
    mixer = encoder["stages"]["1"]["0"]["mixer"]
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(mixer))
    assert source == Source(
        "tiny.safetensors",
        sha256(path),
        "torchvision",
        ("head", "auxiliary", "mixer", "filter", "decoder"),
    )
    whole = len(jax.tree.leaves(trees))
    assert told.startswith(f"{len(arrays)} of {whole} arrays from {path}, random in head, auxil")
    assert told.endswith(f"decoder, mixer (torchvision names in {path}, sha256 {sha256(path)})")


def test_a_name_does_what_its_file_does(trees, backbone, server, mirror, monkeypatch):
    path, _ = backbone
    digits = sha256(path)
    weights = dataclasses.replace(
        zoo.find("torchvision:resnet18"),
        name="torchvision:tiny",
        address=f"https://download.pytorch.org/tiny-{digits[:8]}.safetensors",
        sha256=digits[:8],
    )
    monkeypatch.setitem(zoo.ZOO, weights.name, weights)
    server.put(mirror(weights.address), path.read_bytes())
    by_name, source, told = start.fill(weights.name, trees, create)
    by_path = start.fill(str(path), trees, create)[0]
    jax.tree.map(np.testing.assert_array_equal, by_name, by_path)
    assert (source.name, source.sha256) == (weights.name, digits)
    assert f"arrays from {weights.name}, random in head" in told
    # As a feature extractor: the settings that the weights need are set.
    encoder = models.create_encoder(
        "resnet18", pretrained=weights.name, settings={"width": 8}, rngs=nnx.Rngs(1)
    )
    kernel = by_name["parameters"]["encoder"]["stem"]["0"]["conv"]["kernel"]
    np.testing.assert_array_equal(encoder.stem[0].conv.kernel, kernel)
    assert encoder.variant == "v1b" and encoder.channels == (8, 16, 32, 64)


def test_all_of_a_network_where_that_is_asked_for(trees, backbone):
    with pytest.raises(InputError, match=r"does not fit the model: .*decoder/\S* is absent there"):
        start.fill(str(backbone[0]), strip_mixers(trees), plain, whole=True)


def test_folders_as_before(trees, backbone, tmp_path):
    convert(backbone[0], tmp_path / "w", TINY | {"mixer": "none"})
    filled, source, told = start.fill(str(tmp_path / "w"), strip_mixers(trees), plain)
    assert source.file == "tiny.safetensors" and "tiny.safetensors, torchvision" in told
    assert (filled["parameters"]["encoder"]["stem"]["0"]["conv"]["kernel"] > 0).any()
    run = tmp_path / "run"
    names = {"parameters/encoder/a": np.ones(2, np.float32)}
    save_weights(run, names, Source("a.pth", "e3b0", "timm", ()))
    (run / "source.json").unlink()
    state = {"parameters": {"encoder": {"a": jnp.zeros(2)}}, "statistics": {}}
    assert start.fill(str(run), state, plain)[1] == Source(str(run), "", "segalias_jax", ())


def strip_mixers(tree):
    if not isinstance(tree, dict):
        return tree
    return {key: strip_mixers(value) for key, value in tree.items() if key != "mixer"}


def test_an_encoder_out_of_whole_networks(tmp_path, abstract_model, state_dict):
    arrays = state_dict()
    write_safetensors(tmp_path / "w.safetensors", arrays, {})
    convert(tmp_path / "w.safetensors", tmp_path / "w", SMALL)
    expected = arrays["backbone.stem.0.weight"].transpose(2, 3, 1, 0)
    for name in ("w.safetensors", "w"):
        encoder = nnx.eval_shape(lambda: models.ResNet("resnet18", width=8, rngs=nnx.Rngs(0)))
        source = start.fill_encoder(str(tmp_path / name), encoder)
        np.testing.assert_array_equal(encoder.stem[0].conv.kernel, expected)
        np.testing.assert_array_equal(
            encoder.stages[3][1].norm2.var, arrays["backbone.layer4.1.bn2.running_var"]
        )
        assert source.file == "w.safetensors"


def test_weights_of_another_model_are_refused_before_a_fetch(server):
    name = "torchvision:resnet50"
    assert start.required_settings("a/b.pth") == {}
    start.check_settings(name, {"encoder": "resnet50", "variant": "v1b", "width": 8})
    with pytest.raises(InputError, match="needs encoder='resnet50', not 'resnet18' and variant="):
        start.check_settings(name, {"encoder": "resnet18", "variant": "v1c"})
    with pytest.raises(InputError, match="needs encoder='resnet50', not 'resnet18'"):
        models.create_encoder("resnet18", pretrained=name, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="setting of resnet18 is 'channels'; choose one of"):
        models.create_encoder("resnet18", settings={"channels": 8}, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="encoder is 'resnet19'; did you mean 'resnet18'"):
        models.create_encoder("resnet19", rngs=nnx.Rngs(0))
    assert not server.asked
