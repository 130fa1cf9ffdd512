"""SegFormers beside what transformers and mmsegmentation compute, and all their names both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_networks import QUICK, draw, drawn_arrays, image
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.models.mit import MITS
from segalias_jax.torch_weights import convert, names
from segalias_jax.torch_weights.files import read_arrays, write_safetensors
from segalias_jax.torch_weights.load import fit_torch, torch_arrays

import record_segformer as recorded  # isort: skip  # found by drawn_networks

BLOCK = "backbone.layers.1.1.0."
# One block of mmsegmentation's, of 16 channels, and what stands around it.
NAMES = {
    "norm1.bias": (16,),
    "attn.attn.in_proj_weight": (48, 16),
    "attn.attn.in_proj_bias": (48,),
    "attn.attn.out_proj.weight": (16, 16),
    "attn.attn.out_proj.bias": (16,),
    "attn.sr.weight": (16, 16, 4, 4),
    "attn.norm.weight": (16,),
    "norm2.weight": (16,),
    "ffn.layers.0.weight": (64, 16, 1, 1),
    "ffn.layers.1.weight": (64, 1, 3, 3),
    "ffn.layers.4.bias": (16,),
    "../../0.projection.weight": (16, 8, 3, 3),
    "../../0.norm.bias": (16,),
    "../../2.weight": (16,),
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setitem(MITS, "mit_b0", (recorded.WIDTH, recorded.DEPTHS))


def make(**options):
    config = {"name": "segformer", "encoder": "mit_b0", "channels": recorded.CHANNELS}
    config |= {"auxiliary": False} | options
    return nnx.eval_shape(
        lambda: models.create_model(config, num_classes=recorded.CLASSES, rngs=nnx.Rngs(0))
    )


def of_transformers():
    """A model, a file of its weights, and these by path."""
    model = make()
    arrays = drawn_arrays(model)
    file = arrays | {"decode_head.batch_norm.num_batches_tracked": np.array(7)}
    filled, source = fit_torch(file, model, "/dev/null")
    assert (source.table, source.missing) == ("segformer", ())
    return model, arrays, filled


def of_mmsegmentation():
    """The same of the other decoder, whose encoder has the same weights."""
    model = make(lateral_norm=True)
    shapes = {path: np.empty(leaf.shape, np.int8) for path, leaf in names.leaves(model).items()}
    encoder = {path: a for path, a in of_transformers()[2].items() if path[0] == "encoder"}
    arrays = {
        name: array if name.startswith("backbone.") else draw(name, array.shape)
        for name, array in torch_arrays(model, shapes | encoder).items()
    }
    filled, source = fit_torch(arrays, model, "/dev/null")
    assert (source.table, source.missing) == ("mmsegmentation", ())
    return model, arrays, filled


def logits(model, filled):
    """At a quarter of the image's size."""
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    for path, leaf in nnx.to_flat_state(state):
        leaf.set_value(jnp.asarray(filled[path]))
    nnx.update(model, state)
    model.eval()
    graph, state = nnx.split(model)

    def run(state, x):
        model = nnx.merge(graph, state)
        return model.classifier(model.decoder(model.encoder(x)))

    return jax.jit(run, compiler_options=QUICK)(state, jnp.asarray(image(*recorded.SIZE)))


@pytest.mark.parametrize("kind", ["transformers", "mmsegmentation"])
def test_logits_and_names_there_and_back(kind):
    model, arrays, filled = of_transformers() if kind == "transformers" else of_mmsegmentation()
    back = torch_arrays(model, filled)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    with np.load(recorded.FILE) as file:
        expected = file[kind]
    found = np.asarray(logits(model, filled))[recorded.KEEP]
    assert found.shape == expected.shape and expected.std() > 0.1
    # Both round in float32, in other orders.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_names_of_mmsegmentation():
    _, arrays, _ = of_mmsegmentation()
    for name, shape in NAMES.items():
        at = BLOCK + name if "../" not in name else f"backbone.layers.1.{name.rpartition('/')[2]}"
        assert arrays[at].shape == shape, at
    # Queries, keys and values in the order of PyTorch's attention.
    apart = of_transformers()[1]
    kinds = [f"segformer.encoder.block.1.0.attention.self.{k}" for k in ("query", "key", "value")]
    for leaf in ("weight", "bias"):
        expected = np.concatenate([apart[f"{kind}.{leaf}"] for kind in kinds])
        np.testing.assert_array_equal(arrays[f"{BLOCK}attn.attn.in_proj_{leaf}"], expected)
    heads = {name for name in arrays if name.startswith("decode_head.")}
    norms = {f"bn.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")}
    layers = [
        f"decode_head.{layer}." for layer in (*(f"convs.{i}" for i in range(4)), "fusion_conv")
    ]
    assert heads == {layer + leaf for layer in layers for leaf in ("conv.weight", *norms)} | {
        "decode_head.conv_seg.weight",
        "decode_head.conv_seg.bias",
    }


def original(arrays):
    """A file of the original code's, made of one of transformers."""
    file = {}
    for name, array in arrays.items():
        if ".self.value." in name:
            continue
        if ".self.key." in name:
            value = arrays[name.replace(".key.", ".value.")]
            name, array = name.replace(".self.key.", ".self.kv."), np.concatenate([array, value])
        name = name.replace("segformer.encoder.", "backbone.")
        for i in range(4):
            for theirs, ours in (
                (f"patch_embed{i + 1}.", f"patch_embeddings.{i}."),
                (f"block{i + 1}.", f"block.{i}."),
                (f"backbone.norm{i + 1}.", f"backbone.layer_norm.{i}."),
                (f"linear_c{i + 1}.", f"linear_c.{i}."),
            ):
                name = name.replace(ours, theirs)
        for theirs, ours in (
            ("attn.proj.", "attention.output.dense."),
            ("attn.norm.", "attention.self.layer_norm."),
            ("attn.q.", "attention.self.query."),
            ("attn.", "attention.self."),
            ("norm", "layer_norm_"),
            ("norm", "layer_norm"),
            ("mlp.fc", "mlp.dense"),
            ("linear_fuse.bn.", "batch_norm."),
            ("linear_fuse.conv.weight", "linear_fuse.weight"),
            ("decode_head.linear_pred.", "decode_head.classifier."),
        ):
            name = name.replace(ours, theirs)
        file[name] = array
    return file


def test_original_files_are_read():
    model, arrays, filled = of_transformers()
    file = original(arrays)
    for name in ("backbone.block2.0.attn.kv.weight", "backbone.norm4.bias"):
        assert name in file
    assert {n for n in file if n.startswith("decode_head.linear_c1.")} == {
        "decode_head.linear_c1.proj.weight",
        "decode_head.linear_c1.proj.bias",
    }
    unread = {"decode_head.conv_seg.weight": np.ones((5, 6, 1, 1), np.float32)}
    found, source = fit_torch(file | unread, model, "/dev/null")
    assert source.table == "segformer" and found.keys() == filled.keys()
    for path, array in filled.items():
        np.testing.assert_array_equal(found[path], array)


@pytest.mark.parametrize("kind", ["transformers", "mmsegmentation", "original", "backbone"])
def test_an_encoder_is_filled_from_each(kind):
    _, arrays, filled = (
        of_mmsegmentation() if kind in ("mmsegmentation", "backbone") else (of_transformers())
    )
    arrays = original(arrays) if kind == "original" else arrays
    if kind == "backbone":  # of mmsegmentation, by itself
        prefix = "backbone."
        arrays = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    encoder = make().encoder
    found, _ = fit_torch(arrays, encoder, "/dev/null")
    for path, leaf in names.leaves(encoder).items():
        np.testing.assert_array_equal(found[path], filled["encoder", *path])
        assert found[path].shape == leaf.shape


def test_what_is_missing_or_too_much_is_named():
    model, arrays, _ = of_mmsegmentation()
    gone = f"{BLOCK}attn.attn.in_proj_weight"
    file = {name: array for name, array in arrays.items() if name != gone} | {"a": np.ones(2)}
    with pytest.raises(
        InputError, match=r"does not have: a; .*attention/value/kernel \(from .*2.weight"
    ):
        fit_torch(file, model, "/dev/null")
    with pytest.raises(InputError, match="names that the model does not have"):
        fit_torch(arrays, make(), "/dev/null")  # mmsegmentation's has norms


@pytest.mark.parametrize(
    "options",
    [{}, {"lateral_norm": True}, {"name": "ocr", "encoder": "resnet18", "width": 8}],
    ids=lambda options: "-".join(map(str, options)) or "published",
)
def test_files_become_checkpoints_and_files_again(options, tmp_path):
    """The number of classes is that of the file."""
    model = make(**options)
    config = {"name": "segformer", "encoder": "mit_b0", "channels": recorded.CHANNELS}
    config |= {"auxiliary": False} | options
    arrays = drawn_arrays(model)
    write_safetensors(tmp_path / "w.safetensors", arrays, {})
    convert.convert(tmp_path / "w.safetensors", tmp_path / "w", config)
    convert.export(tmp_path / "w", tmp_path / "back.safetensors", config)
    back = read_arrays(tmp_path / "back.safetensors")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
