"""Swin beside what transformers computes, where its windows end, and its names both ways."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.models.swin import SWINS, Swin, WindowAttention
from segalias_jax.torch_weights import names
from segalias_jax.torch_weights.load import fit_torch, torch_arrays

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import record_swin  # noqa: E402

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def abstract(name="swin_tiny", **options):
    return nnx.eval_shape(lambda: Swin(name, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize(
    "name, count",
    [("swin_tiny", 27_517_818), ("swin_small", 48_835_722), ("swin_base", 86_741_176)],
)
def test_number_of_parameters(name, count):
    """Those of timm without the classifier and its norm, and a norm for each feature map."""
    network = abstract(name)
    leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == count + 2 * sum(network.channels)


@pytest.fixture
def narrow(monkeypatch):
    """The recorded network, with timm's names, filled from them."""
    monkeypatch.setitem(SWINS, "swin_tiny", (record_swin.WIDTH, record_swin.DEPTHS))
    net = abstract()
    shapes = {path: np.empty(leaf.shape, np.int8) for path, leaf in names.leaves(net).items()}
    arrays = {
        name: record_swin.draw(name, array.shape)
        for name, array in torch_arrays(net, shapes).items()
    }
    # What an image network has beyond the encoder is left out.
    extra = {"norm.weight": np.ones(128), "head.fc.bias": np.ones(9)}
    filled, source = fit_torch(arrays | extra, net, "/dev/null")
    assert source.table == "timm"
    back = torch_arrays(net, filled)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    state = nnx.state(net, nnx.Param)
    for path, leaf in nnx.to_flat_state(state):
        leaf.set_value(jnp.asarray(filled[path]))
    nnx.update(net, state)
    return net


def test_features_are_those_of_transformers(narrow):
    graph, state = nnx.split(narrow)
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=QUICK)
    features = run(state, record_swin.image())
    with np.load(record_swin.FILE) as expected:
        for i, feature in enumerate(features):
            recorded = expected[f"stage{i + 1}"]
            found = np.asarray(feature)[record_swin.KEEP]
            assert found.shape == recorded.shape and recorded.std() > 0.3
            # Both round in float32, in other orders; 1e-6 of the largest is seen.
            largest = np.abs(recorded).max()
            np.testing.assert_allclose(found, recorded, rtol=0, atol=5e-6 * largest)


@pytest.mark.parametrize("shifted", [False, True])
def test_a_pixel_is_seen_within_its_window(shifted):
    """Windows of 7 rows; shifted ones begin at row 3, and the map's borders do not meet."""
    attention = WindowAttention(4, heads=1, shifted=shifted, rngs=nnx.Rngs(0))
    attention.qkv.kernel.set_value(30 * attention.qkv.kernel[...])
    run = jax.jit(attention.__call__, compiler_options=QUICK)
    x = jax.random.normal(jax.random.key(0), (1, 17, 5, 4))
    starts = [0, 3, 10, 17] if shifted else [0, 7, 14, 17]
    plain = run(x)
    for start, stop in zip(starts[:-1], starts[1:], strict=True):
        changed = jnp.any(run(x.at[0, start, 2].add(1.0)) != plain, axis=(0, 2, 3))
        assert jnp.nonzero(changed)[0].tolist() == list(range(start, stop))


def test_names_inside_a_segmenter_are_those_of_mmsegmentation():
    config = {"encoder": "swin_tiny", "auxiliary": False}
    model = nnx.eval_shape(lambda: models.create_model(config, num_classes=2, rngs=nnx.Rngs(0)))
    random = np.random.default_rng(0)
    values = {
        path: random.uniform(0.5, 1, leaf.shape).astype(np.float32)
        for path, leaf in names.leaves(model).items()
    }
    arrays = torch_arrays(model, values)
    shapes = {
        "patch_embed.projection.weight": (96, 3, 4, 4),
        "patch_embed.norm.bias": (96,),
        "stages.0.blocks.1.norm1.weight": (96,),
        "stages.0.blocks.1.attn.w_msa.relative_position_bias_table": (169, 3),
        "stages.0.blocks.1.attn.w_msa.relative_position_index": (49, 49),
        "stages.0.blocks.1.attn.w_msa.qkv.weight": (288, 96),
        "stages.0.blocks.1.attn.w_msa.proj.weight": (96, 96),
        "stages.2.blocks.5.ffn.layers.0.0.weight": (1536, 384),
        "stages.2.blocks.5.ffn.layers.1.weight": (384, 1536),
        "stages.2.downsample.norm.weight": (1536,),
        "stages.2.downsample.reduction.weight": (768, 1536),
        "norm3.weight": (768,),
    }
    for name, shape in shapes.items():
        assert arrays[f"backbone.{name}"].shape == shape, name
    # Channels of its joined pixels: theirs are those of one channel of the four pixels in a row.
    kernel = values["encoder", "downsamples", 0, "reduce", "kernel"][0, 0].reshape(2, 2, 96, 192)
    theirs = arrays["backbone.stages.0.downsample.reduction.weight"].reshape(192, 96, 2, 2)
    np.testing.assert_array_equal(theirs, kernel.transpose(3, 2, 1, 0))
    back, source = fit_torch(arrays, model, "/dev/null")
    assert source.table == "mmsegmentation" and back.keys() == values.keys()
    for path, array in values.items():
        np.testing.assert_array_equal(back[path], array)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "swin_huge"}, f"choose one of {', '.join(SWINS)}"),
        ({"downsample": "flc"}, "downsample is 'flc'; choose one of none, daf, blur3,"),
        ({"mixer": "scb"}, "mixer is 'scb'; choose one of none, freqmix"),
        ({"drop_path": 1.0}, r"drop_path is 1.0, but must lie in \[0, 1\)"),
        ({"width": 100}, "width is 100, which 3 heads cannot share; choose a multiple of 32"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        abstract(**options)


def test_a_program_needs_the_size_of_its_images():
    net = abstract(width=8)
    shape = jax.export.symbolic_shape("1, height, 64, 3", constraints=["height >= 32"])
    with pytest.raises(InputError, match="export it with a fixed size"):
        nnx.eval_shape(lambda net, x: net(x), net, jax.ShapeDtypeStruct(shape, jnp.float32))
