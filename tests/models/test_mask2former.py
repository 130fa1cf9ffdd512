"""Mask2Former beside what transformers computes, with all its names both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_networks import QUICK, drawn_arrays, image
from flax import nnx

from segalias_jax import models, profile_aliasing
from segalias_jax.errors import InputError
from segalias_jax.models.resnet import RESNETS
from segalias_jax.models.swin import SWINS
from segalias_jax.torch_weights import convert, names
from segalias_jax.torch_weights.files import read_arrays, write_safetensors
from segalias_jax.torch_weights.load import fit_torch, torch_arrays

import record_mask2former as recorded  # isort: skip  # found by drawn_networks

SIZES = {
    "channels": recorded.CHANNELS,
    "queries": recorded.QUERIES,
    "pixel_layers": recorded.LAYERS["pixel"],
    "decoder_layers": recorded.LAYERS["query"],
    "pixel_feedforward": recorded.FEEDFORWARD["pixel"],
    "feedforward": recorded.FEEDFORWARD["query"],
}
LITTLE = {"pixel_layers": 1, "decoder_layers": 1}
ENCODERS = {
    "resnet": {"encoder": "resnet50", "variant": "v1b", "width": recorded.WIDTHS["resnet"]},
    "swin": {"encoder": "swin_tiny"},
}
UNREAD = {  # in files, and of no use
    "resnet": {
        "criterion.empty_weight": np.ones(recorded.CLASSES + 1),
        "model.pixel_level_module.encoder.embedder.embedder.normalization.num_batches_tracked": (
            np.array(7)
        ),
    },
    "swin": {
        "model.pixel_level_module.encoder.swin.layernorm.bias": np.ones(64),
        "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attention.self."
        "relative_position_index": np.zeros((49, 49), np.int64),
    },
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    block = RESNETS["resnet50"][0]
    monkeypatch.setitem(RESNETS, "resnet50", (block, recorded.DEPTHS["resnet"]))
    monkeypatch.setitem(SWINS, "swin_tiny", (recorded.WIDTHS["swin"], recorded.DEPTHS["swin"]))


def make(num_classes=recorded.CLASSES, **config):
    config = {"name": "mask2former"} | SIZES | config
    return models.create_universal(config, num_classes=num_classes, rngs=nnx.Rngs(0))


def abstract(**config):
    return nnx.eval_shape(lambda: make(**config))


def filled(kind):
    """The recorded network; names there and back are compared."""
    model = abstract(**ENCODERS[kind])
    arrays = drawn_arrays(model)
    found, source = fit_torch(arrays | UNREAD[kind], model, "/dev/null")
    assert (source.table, source.missing) == ("mask2former", ())
    back = torch_arrays(model, found)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    for path, leaf in nnx.to_flat_state(state):
        leaf.set_value(jnp.asarray(found[path]))
    nnx.update(model, state)
    model.eval()
    return model


@pytest.mark.parametrize("kind", ["resnet", "swin"])
def test_transformers_tells_the_same(kind):
    graph, state = nnx.split(filled(kind))
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=QUICK)
    y = run(state, jnp.asarray(image(*recorded.SIZES[kind])))
    pairs = [*y.auxiliary, models.Segments(y.class_logits, y.mask_logits)]
    with np.load(recorded.FILE) as file:
        classes, masks = file[f"{kind}/classes"], file[f"{kind}/masks"]
    assert len(pairs) == len(classes) == SIZES["decoder_layers"] + 1
    for pair, *expected in zip(pairs, classes, masks, strict=True):
        for found, theirs in zip(
            (pair.class_logits, np.asarray(pair.mask_logits)[recorded.KEEP]), expected, strict=True
        ):
            assert found.shape == theirs.shape and theirs.std() > 0.1
            # Recorded in float64; float32 has 3e-6 of the largest after four layers.
            np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def small(**config):
    """A network with random numbers in every leaf, which costs no compiling; evaluates."""
    sizes = {"encoder": "resnet18", "width": 4} | LITTLE
    model, random = abstract(**sizes | config), np.random.default_rng(0)
    for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))):
        draw = random.uniform if path[-1] == "var" else random.standard_normal
        leaf.set_value(jnp.asarray(draw(size=leaf.shape), jnp.float32) / leaf.shape[-1] ** 0.5)
    model.eval()
    return model


def test_gradients_reach_all_parameters():
    graph, state, rest = nnx.split(small(remat=(2,)), nnx.Param, ...)
    image = jax.random.normal(jax.random.key(0), (1, 33, 47, 3))

    def loss(state):
        y = nnx.merge(graph, state, rest, copy=True)(image)
        return sum(jnp.sin(3 * part).mean() for part in (*y[:2], *y.auxiliary[0]))

    for path, leaf in nnx.to_flat_state(jax.jit(jax.grad(loss), compiler_options=QUICK)(state)):
        gradient = np.asarray(leaf[...])
        assert np.isfinite(gradient).all() and gradient.any(), path


def test_only_the_encoder_filters_and_programs_can_be_saved():
    model = small(downsample="daf")
    report = profile_aliasing(model, jax.random.normal(jax.random.key(0), (1, 64, 96, 3)))
    # Shortcuts' 1x1 convolutions cannot carry what the filters let through.
    scores = {
        (o.operator.name or o.operator.module): o.score
        for o in report.operators
        if o.operator.kernel_size == (3, 3)
    }
    assert {name.split(".")[0] for name in scores} == {"encoder", "stage2", "stage3", "stage4"}
    assert all(score < 1e-9 for name, score in scores.items() if name.startswith("stage"))
    graph, state = nnx.split(model)
    # As plain arrays: jax saves no named tuples.
    program = jax.jit(lambda x: jax.tree.leaves(nnx.merge(graph, state)(x)))
    shape = jax.export.symbolic_shape("b, 64, 96, 3")
    exported = jax.export.export(program)(jax.ShapeDtypeStruct(shape, jnp.float32))
    back = jax.export.deserialize(exported.serialize())
    assert [str(x.shape) for x in back.out_avals[:2]] == ["(b, 7, 6)", "(b, 7, 16, 24)"]


@pytest.mark.parametrize(
    "config, size",
    [
        ({"encoder": "convnext_tiny", "width": 8, "downsample": "daf"}, (97, 129)),
        ({"encoder": "dinov2_small", "width": 64}, (56, 70)),
        ({"encoder": "resnet18", "width": 8, "output_stride": 8}, (45, 71)),
    ],
    ids=lambda value: value["encoder"] if isinstance(value, dict) else "",
)
def test_all_kinds_of_encoders(config, size):
    model = abstract(**LITTLE, **config)
    image = jnp.zeros((2, *size, 3), jnp.bfloat16)
    y, features = nnx.eval_shape(lambda model, x: (model(x), model.encoder(x)), model, image)
    read = [f for f, s in zip(features, model.encoder.strides, strict=True) if s >= 4]
    expected = [(2, 7, recorded.CLASSES + 1), (2, 7, *read[0].shape[1:3])]
    for pair in (y[:2], *y.auxiliary):
        assert [part.shape for part in pair] == expected
        assert {part.dtype for part in pair} == {jnp.dtype("float32")}
    assert len(y.auxiliary) == 1


def test_published_sizes():
    """Parameters of transformers' network for COCO on a Swin-T, less those of its Swin-T."""
    defaults = {key: getattr(models.ModelConfig, key) for key in SIZES}
    model = nnx.eval_shape(
        lambda: models.Mask2Former(
            models.ResNet("resnet50", variant="v1b", width=64, rngs=nnx.Rngs(0)),
            num_classes=80,
            rngs=nnx.Rngs(0),
        )
    )
    head = [leaf.size for path, leaf in names.leaves(model).items() if path[0] != "encoder"]
    # Of the decoders, only what reads the encoder's channels depends on it.
    wider = 256 * (sum((256, 512, 1024, 2048)) - sum((96, 192, 384, 768)))
    assert sum(head) - wider == 47_423_179 - 27_522_234
    assert defaults == {"channels": None, "queries": 100, "pixel_layers": 6} | {
        "decoder_layers": 9,
        "pixel_feedforward": 1024,
        "feedforward": 2048,
    }


def test_files_become_checkpoints_and_files_again(tmp_path):
    """The number of classes is that of the file; an encoder alone can be read, too."""
    model = abstract(**LITTLE, **ENCODERS["swin"])
    config = {"name": "mask2former"} | SIZES | LITTLE | ENCODERS["swin"]
    arrays = drawn_arrays(model)
    write_safetensors(tmp_path / "w.safetensors", arrays, {})
    convert.convert(tmp_path / "w.safetensors", tmp_path / "w", config)
    convert.export(tmp_path / "w", tmp_path / "back.safetensors", config)
    back = read_arrays(tmp_path / "back.safetensors")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    of_timm = drawn_arrays(model.encoder)
    found, source = fit_torch(of_timm, model, "/dev/null")
    assert source.table == "timm" and {path[0] for path in found} == {"encoder"}
    assert len(found) == len(of_timm)


@pytest.mark.parametrize(
    "config, message",
    [
        (
            {"channels": 36},
            "channels is 36; mask2former needs a multiple of its 8 heads, even, and",
        ),
        ({"channels": 12}, "channels is 12; mask2former needs a multiple of its 8 heads"),
        ({"dilations": (1, 2)}, r"dilations is \(1, 2\), which neither mask2former nor resnet18"),
        ({"queries": 0}, "queries is 0; it must be at least 1"),
        ({"pretrained": "r50"}, "pretrained: create_universal makes random parameters"),
        ({"name": "panoptic_deeplab", **dict.fromkeys(SIZES)}, "models.create_panoptic builds"),
    ],
)
def test_errors(config, message):
    config = {"encoder": "resnet18", "name": "mask2former"} | SIZES | config
    config = {key: value for key, value in config.items() if value is not None}
    with pytest.raises(InputError, match=message):
        nnx.eval_shape(lambda: models.create_universal(config, num_classes=3, rngs=nnx.Rngs(0)))


def test_what_has_no_counterpart_is_refused():
    class Coarse:
        channels, strides = (8, 8, 8), (2, 4, 8)

        def __call__(self, x):
            return x, x, x

    with pytest.raises(InputError, match="strides are 2, 4, 8, but mask2former reads 3 of 4 or mo"):
        models.Mask2Former(Coarse(), num_classes=1, rngs=nnx.Rngs(0))
    model = abstract(encoder="resnet18", **LITTLE)
    with pytest.raises(InputError, match="no PyTorch names are known for mask2former on ResNet; b"):
        names.key_table(model)
    model = abstract(**ENCODERS["swin"], **LITTLE)
    arrays = drawn_arrays(model)
    gone = "model.pixel_level_module.encoder.encoder.layers.1.blocks.0.attention.self.key.bias"
    file = {name: array for name, array in arrays.items() if name != gone} | {"fc.bias": np.ones(2)}
    with pytest.raises(InputError, match=r"does not have: fc.bias, .*query.bias.* nothing fills"):
        fit_torch(file, model, "/dev/null")
