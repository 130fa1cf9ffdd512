"""The OCR decoder against its equations, its two heads, and its names in mmsegmentation."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import models
from segalias_jax.models.ocr import OCR
from segalias_jax.torch_weights import names


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def layer(module, x):
    """A 1x1 convolution, a norm by running statistics, ReLU; in float64."""
    kernel, norm = np.asarray(module.conv.kernel, np.float64)[0, 0], module.norm
    scale, bias, mean, var = (np.asarray(p) for p in (norm.scale, norm.bias, norm.mean, norm.var))
    return np.maximum(scale * (x @ kernel - mean) / np.sqrt(var + 1e-5) + bias, 0)


def drawn(make):
    """A module in evaluation mode with random numbers in every leaf."""
    module, random = nnx.eval_shape(make), np.random.default_rng(0)
    for path, leaf in nnx.to_flat_state(nnx.state(module, nnx.Any(nnx.Param, nnx.BatchStat))):
        values = random.normal(size=leaf.shape)
        if path[-1] == "kernel":
            values *= (2 / np.prod(leaf.shape[:-1])) ** 0.5
        leaf.set_value(jnp.asarray(1 + values**2 if path[-1] == "var" else values, jnp.float32))
    module.eval()
    return module


def test_equals_its_equations():
    """On one map, which need not be resized, with a 3x3 kernel that looks at its middle only."""
    decoder = drawn(lambda: OCR((6,), channels=8, num_classes=5, rngs=nnx.Rngs(0)))
    kernel = decoder.bottleneck.conv.kernel
    middle = np.zeros(kernel.shape, np.float32)
    middle[1, 1] = kernel[1, 1]
    kernel.set_value(jnp.asarray(middle))
    f = np.random.default_rng(1).normal(size=(2, 3, 7, 6)).astype(np.float32)
    y, (logits,) = nnx.jit(lambda decoder, f: decoder.with_auxiliary((f,)))(decoder, jnp.asarray(f))

    p = f.reshape(2, 21, 6).astype(np.float64)
    of_regions = np.asarray(decoder.classifier.kernel[...], np.float64)[0, 0]
    expected_logits = layer(decoder.region_mix, p) @ of_regions + np.asarray(
        decoder.classifier.bias
    )
    decoder.bottleneck.conv.kernel.set_value(jnp.asarray(middle[1:2, 1:2]))
    x = layer(decoder.bottleneck, p)
    regions = softmax(expected_logits, 1).transpose(0, 2, 1) @ x
    attention = decoder.attention
    query = layer(attention.query[1], layer(attention.query[0], x))
    key = layer(attention.key[1], layer(attention.key[0], regions))
    weights = softmax(query @ key.transpose(0, 2, 1) / 2, 2)  # four channels: the root is 2
    found = layer(attention.out, weights @ layer(attention.value, regions))
    expected = layer(attention.mix, np.concatenate([found, x], 2))
    for ours, theirs in ((logits, expected_logits), (y, expected)):
        theirs = theirs.reshape(ours.shape)
        # Ten layers of float32.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def make(**options):
    config = {"name": "ocr", "encoder": "resnet18", "width": 8, "channels": 8}
    return lambda: models.create_model(config | options, num_classes=5, rngs=nnx.Rngs(0))


def test_regions_are_trained_with_and_without_an_auxiliary_head():
    x = jax.ShapeDtypeStruct((1, 33, 65, 3), jnp.float32)
    for auxiliary in (True, False):
        model = nnx.eval_shape(make(auxiliary=auxiliary))
        logits, others = nnx.eval_shape(lambda model, x: model.with_auxiliary(x), model, x)
        assert len(others) == 1 + auxiliary
        assert {a.shape for a in (logits, *others)} == {(1, 33, 65, 5)}


def test_names_are_those_of_a_cascade():
    table = names.key_table(nnx.eval_shape(make(auxiliary=False)))
    expected = {
        "0.convs.0.conv.weight": ("decoder", "region_mix", "conv", "kernel"),
        "0.conv_seg.bias": ("decoder", "classifier", "bias"),
        "1.conv_seg.bias": ("classifier", "conv", "bias"),
        "1.bottleneck.bn.weight": ("decoder", "bottleneck", "norm", "scale"),
    }
    block = "1.object_context_block"
    for theirs, ours in (
        ("query_project.1", ("query", 1)),
        ("key_project.0", ("key", 0)),
        ("value_project", ("value",)),
        ("out_project", ("out",)),
        ("bottleneck", ("mix",)),
    ):
        at = ("decoder", "attention", *ours, "norm", "var")
        expected[f"{block}.{theirs}.bn.running_var"] = at
    for name, path in expected.items():
        assert table[f"decode_head.{name}"] == path
    heads = {name for name in table if not name.startswith("backbone.")}
    assert all(name.startswith(("decode_head.0.", "decode_head.1.")) for name in heads)
