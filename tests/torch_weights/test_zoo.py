"""The table of published weights: every line is whole, and fits the encoder that it names."""

import re

import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.torch_weights.names import table_name
from segalias_jax.torch_weights.zoo import KINDS, ZOO, find, is_name


@pytest.mark.parametrize("name", ZOO)
def test_lines_are_whole(name):
    weights = ZOO[name]
    assert is_name(name) and name.partition(":")[0] in KINDS
    assert weights.address.startswith("https://") or weights.package in weights.address
    assert re.fullmatch(r"([0-9a-f]{8}|[0-9a-f]{64})?", weights.sha256)
    # Digits that are known are in the file's name: nothing was typed from memory.
    assert weights.sha256[:8] in weights.file
    assert weights.license and weights.source and weights.table
    assert weights.encoder in models.ENCODERS
    models.ModelConfig(encoder=weights.encoder, **weights.settings)


def test_every_encoder_of_the_table_has_the_names_that_it_says():
    kinds = {(w.encoder, tuple(w.settings.items())): w for w in ZOO.values()}
    seen = set()
    for weights in kinds.values():
        make = models.ENCODERS[weights.encoder]
        variant = {k: v for k, v in weights.settings.items() if k == "variant"}
        if (make, *variant.values()) in seen or weights.table == "mmsegmentation":
            continue
        seen.add((make, *variant.values()))
        name, kept = weights.encoder, weights.name
        encoder = nnx.eval_shape(
            lambda make=make, name=name, variant=variant: make(name, **variant, rngs=nnx.Rngs(0))
        )
        assert table_name(encoder, alone=True) == weights.table, kept


def test_names_of_files_on_the_hub():
    weights = find("hf:timm/resnet18.a1_in1k/onnx/model.safetensors")
    assert weights.address.endswith("/timm/resnet18.a1_in1k/resolve/main/onnx/model.safetensors")
    assert weights.file == "model.safetensors" and not weights.sha256 and not weights.encoder
    for name in ("hf:timm/model.pth", "hf:a/b/../c.pth", "hf:a/b/c.onnx", "hf:a//c.pth", "hf:a/b"):
        with pytest.raises(InputError, match="names no file of weights; write hf:ORG/REPO/FILE"):
            find(name)


def test_unknown_and_shortened_names():
    assert find("timm:convnext_small").name == "timm:convnext_small.fb_in1k"
    with pytest.raises(InputError, match="choose one of timm:convnext_tiny.fb_in1k, timm:convn"):
        find("timm:convnext_tiny")
    with pytest.raises(InputError, match="did you mean 'torchvision:resnet50'"):
        find("torchvision:resnet5")
    assert not is_name("runs/a") and not is_name("pip/a")
