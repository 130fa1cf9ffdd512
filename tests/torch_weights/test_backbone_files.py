"""Files of image networks in an encoder or a segmenter; without torch."""

import jax
import numpy as np
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.checkpoints import load_torch
from segalias_jax.errors import InputError
from segalias_jax.models.blocks import BasicBlock
from segalias_jax.models.convnext import CONVNEXTS, ConvNeXt
from segalias_jax.models.resnet import RESNETS
from segalias_jax.torch_weights.files import write_safetensors
from segalias_jax.torch_weights.load import fit_torch, torch_arrays
from segalias_jax.torch_weights.names import leaves

pytest.importorskip("safetensors")


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """One block per stage."""
    monkeypatch.setitem(RESNETS, "resnet18", (BasicBlock, (1, 1, 1, 1)))
    monkeypatch.setitem(CONVNEXTS, "convnext_tiny", (8, (1, 1, 1, 1)))


def resnet(variant, rngs):
    return models.ResNet("resnet18", width=8, variant=variant, rngs=rngs)


def convnext(rngs):
    return ConvNeXt("convnext_tiny", rngs=rngs)


def random_arrays(make):
    """An abstract network and random weights for it, in PyTorch's naming."""
    model, random = nnx.eval_shape(lambda: make(nnx.Rngs(0))), np.random.default_rng(0)
    values = {
        path: abs(random.normal(size=leaf.shape)).astype(np.float32)
        for path, leaf in leaves(model).items()
    }
    return model, torch_arrays(model, values)


def test_a_file_fills_an_encoder(tmp_path):
    _, arrays = random_arrays(lambda rngs: resnet("v1b", rngs))
    fc = {"fc.weight": np.zeros((10, 64), np.float32), "fc.bias": np.zeros(10, np.float32)}
    write_safetensors(tmp_path / "r18.safetensors", arrays | fc, {})
    encoder = nnx.eval_shape(lambda: resnet("v1b", nnx.Rngs(0)))
    source = load_torch(tmp_path / "r18.safetensors", encoder)
    assert (source.table, source.missing) == ("torchvision", ())
    there = {path: np.asarray(leaf[...]) for path, leaf in leaves(encoder).items()}
    back = torch_arrays(encoder, there)
    jax.tree.map(np.testing.assert_array_equal, back, arrays)


@pytest.mark.parametrize("file", ["v1b", "v1c", "v1d"])
@pytest.mark.parametrize("model", ["v1b", "v1c", "v1d"])
def test_a_file_of_another_variant_is_told(file, model):
    _, arrays = random_arrays(lambda rngs: resnet(file, rngs))
    encoder, _ = random_arrays(lambda rngs: resnet(model, rngs))
    if file == model:
        filled, source = fit_torch(arrays, encoder, "/dev/null")
        assert filled.keys() == leaves(encoder).keys()
        assert source.table == ("torchvision" if file == "v1b" else "open-mmlab")
    else:
        with pytest.raises(InputError, match=f"its names are those of variant='{file}'$"):
            fit_torch(arrays, encoder, "/dev/null")


def test_norms_of_feature_maps_may_be_missing_but_not_in_part():
    model, arrays = random_arrays(convnext)
    assert fit_torch(arrays, model, "/dev/null")[1].missing == ()
    head = {f"head.{name}.bias": np.zeros(3, np.float32) for name in ("norm", "fc")}
    classifier = {k: v for k, v in arrays.items() if not k.startswith("norm")} | head
    filled, source = fit_torch(classifier, model, "/dev/null")
    assert (source.table, source.missing) == ("timm", ("output_norm",))
    assert leaves(model).keys() - filled.keys() == {
        ("output_norms", i, leaf) for i in range(4) for leaf in ("scale", "bias")
    }
    with pytest.raises(InputError, match=r"output_norms/0/scale \(from norm0.weight\)$"):
        fit_torch({k: v for k, v in arrays.items() if k != "norm0.weight"}, model, "/dev/null")


def test_a_backbone_fills_the_encoder_of_a_segmenter():
    encoder, arrays = random_arrays(convnext)
    model = nnx.eval_shape(lambda: models.create_model(SMALL, num_classes=3, rngs=nnx.Rngs(0)))
    model.encoder = encoder
    classifier = {k: v for k, v in arrays.items() if not k.startswith("norm")}
    filled, source = fit_torch(classifier, model, "/dev/null")
    assert source.missing == ("decoder", "head", "auxiliary", "output_norm")
    assert {path[0] for path in filled} == {"encoder"}
    np.testing.assert_array_equal(
        filled["encoder", "stages", 1, 0, "expand", "kernel"][0, 0].T,
        arrays["stages.1.blocks.0.mlp.fc1.weight"],
    )


SMALL = {"encoder": "resnet18", "width": 8, "channels": 8, "auxiliary": False}
