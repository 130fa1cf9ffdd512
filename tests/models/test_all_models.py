"""Every model of the tables: shapes, gradients, types, parameters, initial weights."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import models, ops
from segalias_jax.models import hrnet

TINY = {"width": 8, "channels": 8, "auxiliary_channels": 8, "dilations": (1, 2, 3)}
TINY |= {"low_level_channels": 4, "pyramid_channels": 8, "dropout": 0.0}


class Waves(nnx.Module):
    """An encoder without parameters that costs nothing: one wave of the image in each channel."""

    channels, strides = (8, 16, 32, 64), (4, 8, 16, 32)

    def __init__(self, name, *, rngs):
        pass

    def __call__(self, x):
        first = [x[:, ::s, ::s, :1] for s in self.strides]
        return tuple(
            jnp.sin(f * jnp.arange(1, c + 1, dtype=x.dtype) / 8)
            for f, c in zip(first, self.channels, strict=True)
        )


@pytest.fixture(autouse=True)
def waves(monkeypatch):
    monkeypatch.setitem(models.ENCODERS, "waves", Waves)


def tiny(name, encoder, **config):
    """A narrow model's configuration, of those keys that are read."""
    read = set().union(
        *map(keywords, (models.MODELS[name], models.ENCODERS[encoder], models.Segmenter))
    )
    options = {key: value for key, value in TINY.items() if key in read}
    return options | {"name": name, "encoder": encoder} | config


def keywords(cls):
    return set(inspect.signature(cls.__init__).parameters)


def create(config, num_classes=5, key=0):
    return models.create_model(config, num_classes=num_classes, rngs=nnx.Rngs(key))


def filled(config):
    """A model in evaluation mode with random numbers in every leaf, so that none is without use."""
    model = nnx.eval_shape(lambda: create(config))
    random = np.random.default_rng(0)
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        if isinstance(leaf, nnx.RngState):
            leaf.set_value(jax.random.key(0) if path[-1] == "key" else jnp.uint32(0))
            continue
        values = 0.1 * random.normal(size=leaf.shape)
        if path[-1] == "kernel":
            values *= 10 * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        elif path[-1] != "bias" and path[-1] != "mean":
            values = 1 + np.abs(values)
        leaf.set_value(jnp.asarray(values, leaf.dtype))
    model.eval()
    return model


def compiled(function, model, x):
    """Runs a function of a model; what runs once need not be fast, but quick to compile."""
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    graph, state = nnx.split(model)
    run = jax.jit(lambda state, x: function(nnx.merge(graph, state), x), compiler_options=quick)
    return run(state, x)


def logits_and_gradient(model, x):
    def loss(model):
        outputs = model.with_auxiliary(x)
        flat = jnp.concatenate([y.ravel() for y in jax.tree.leaves(outputs)])
        return jnp.sum(flat * jnp.sin(jnp.arange(flat.size))), outputs[0]

    gradient, logits = nnx.grad(loss, has_aux=True)(model)
    return logits, gradient


# Encoders have tests of their numbers of their own; this is the one that compiles soonest.
CASES = [*((name, "waves") for name in models.MODELS), ("semantic_fpn", "resnet18")]


@pytest.mark.parametrize("name, encoder", CASES)
def test_forward_and_backward(name, encoder):
    model = filled(tiny(name, encoder))
    x = jax.random.normal(jax.random.key(1), (2, 33, 65, 3))
    logits, gradient = compiled(logits_and_gradient, model, x)
    assert logits.shape == (2, 33, 65, 5) and logits.dtype == jnp.float32
    assert bool(jnp.isfinite(logits).all())
    for path, g in nnx.to_flat_state(gradient):
        values = np.asarray(g[...])  # jax would compile these questions for every shape
        assert np.isfinite(values).all() and values.any(), path
    short = compiled(lambda model, x: model(x), model, x.astype(jnp.bfloat16))
    assert short.dtype == jnp.float32
    # bfloat16 keeps 8 bits: 0.4 % in each of some twenty layers.
    bound = 0.05 * float(jnp.abs(logits).max())
    np.testing.assert_allclose(short, logits, rtol=0, atol=bound)


# The members of a family differ in numbers only, but ResNet has two kinds of blocks.
SMALLEST = {cls: name for name, cls in reversed(models.ENCODERS.items())}.values()


@pytest.mark.parametrize("encoder", [*SMALLEST, "resnet50"])
def test_every_encoder_forward_and_backward(encoder, monkeypatch):
    """Without numbers: sizes and types, in bfloat16; sizes that strides do not divide."""
    monkeypatch.setattr(hrnet, "BLOCKS", 1)
    monkeypatch.setitem(hrnet.HRNETS, "hrnet_w18", (18, (1, 1, 1, 1)))

    def loss(params, rest, x):
        model = nnx.merge(graph, params, rest, copy=True)
        model.eval()
        features = model.encoder(x)
        return model.classifier(model.decoder(features)).sum(), features

    model = nnx.eval_shape(lambda: create(tiny("fcn", encoder)))
    assert isinstance(model.encoder, models.Encoder)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    x = jax.ShapeDtypeStruct((2, 33, 65, 3), jnp.bfloat16)
    gradient, features = jax.eval_shape(jax.grad(loss, has_aux=True), params, rest, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}
    for feature, stride, channels in zip(
        features, model.encoder.strides, model.encoder.channels, strict=True
    ):
        # Some round up and some down.
        assert abs(feature.shape[1] - 33 / stride) < 1 and abs(feature.shape[2] - 65 / stride) < 1
        assert feature.shape[::3] == (2, channels)
    assert {f.dtype for f in features} == {jnp.dtype("bfloat16")}


SIZES = {
    "rounded up": ((17, 25), (9, 13), (5, 7), (3, 4)),
    "rounded down": ((16, 24), (8, 12), (4, 6), (2, 3)),
    "dilated": ((17, 25), (9, 13), (9, 13), (9, 13)),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", models.MODELS)
def test_every_decoder_returns_one_map_of_the_size_that_it_says(name, sizes):
    decoder = nnx.eval_shape(lambda: create(tiny(name, "waves")).decoder)
    decoder.eval()
    features = [
        jax.ShapeDtypeStruct((2, *size, c), jnp.bfloat16)
        for size, c in zip(sizes, Waves.channels, strict=True)
    ]
    graph, state = nnx.split(decoder)
    y = jax.eval_shape(lambda state, *f: nnx.merge(graph, state)(f), state, *features)
    at = features[int(re.search(r"features\[(-?\d)\]", type(decoder).__call__.__doc__)[1])]
    assert y.shape == (*at.shape[:3], decoder.channels) and y.dtype == jnp.bfloat16


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("name", models.MODELS)
def test_align_corners_reaches_every_resizing(name, align_corners, monkeypatch):
    seen, resize = [], ops.resize_bilinear

    def spy(x, size, *, align_corners=None):
        seen.append(align_corners)
        return resize(x, size, align_corners=align_corners)

    monkeypatch.setattr(ops, "resize_bilinear", spy)
    config = tiny(name, "waves", align_corners=align_corners)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    jax.eval_shape(lambda x: create(config).with_auxiliary(x), x)
    assert len(seen) >= 2 and set(seen) == {align_corners}


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_auxiliary_head_on_any_stage(stage):
    def run(x):
        model = create(tiny("fcn", "waves", auxiliary_stage=stage))
        kernels.append(model.auxiliary.mix.conv.kernel.shape)
        return model.with_auxiliary(x)

    kernels = []
    x = jax.ShapeDtypeStruct((1, 33, 65, 3), jnp.float32)
    _, (logits,) = jax.eval_shape(run, x)
    assert kernels == [(3, 3, Waves.channels[stage - 1], 8)]
    assert logits.shape == (1, 33, 65, 5)


def test_heads_of_a_feature_pyramid_follow_the_strides():
    """A dilated encoder's maps need fewer doublings, and so fewer convolutions."""

    def make():
        return models.SemanticFPN((8,) * 4, strides=(4, 8, 8, 16), channels=4, rngs=nnx.Rngs(0))

    decoder = nnx.eval_shape(make)
    assert [len(head) for head in decoder.heads] == [1, 1, 1, 2]
    features = [jax.ShapeDtypeStruct((1, n, n, 8), jnp.float32) for n in (17, 9, 9, 5)]
    assert jax.eval_shape(lambda *f: make()(f), *features).shape == (1, 17, 17, 4)


def conv(in_channels, out_channels, size):
    """Parameters of a convolution without bias and its norm."""
    return in_channels * out_channels * size**2 + 2 * out_channels


def separable(in_channels, out_channels):
    return 9 * in_channels + 2 * in_channels + conv(in_channels, out_channels, 1)


# Of the published sizes, on a ResNet-50's 256, 512, 1024 and 2048 channels.
DECODERS = {
    "upernet": 4 * conv(2048, 128, 1)
    + conv(2048 + 4 * 128, 128, 3)
    + sum(conv(c, 128, 1) + conv(128, 128, 3) for c in (256, 512, 1024))
    + conv(4 * 128, 128, 3),
    "fcn": conv(2048, 512, 3) + conv(512, 512, 3) + conv(2048 + 512, 512, 3),
    "pspnet": 4 * conv(2048, 512, 1) + conv(2048 + 4 * 512, 512, 3),
    "deeplabv3plus": 2 * conv(2048, 512, 1)
    + 3 * separable(2048, 512)
    + conv(5 * 512, 512, 3)
    + conv(256, 48, 1)
    + separable(512 + 48, 512)
    + separable(512, 512),
    "semantic_fpn": sum((c + 1) * 256 for c in (256, 512, 1024, 2048))
    + 4 * (256 * 9 + 1) * 256
    + 4 * conv(256, 128, 3)
    + 3 * conv(128, 128, 3),
    "lr_aspp": conv(2048, 128, 1) + 2048 * 128,
    "unet": sum(
        (below + 1) * c + conv(skip + c, c, 3) + conv(c, c, 3)
        for below, skip, c in ((2048, 1024, 256), (256, 512, 128), (128, 256, 64))
    ),
    "ocr": conv(3840, 3840, 1)
    + 19 * (3840 + 1)
    + conv(3840, 512, 3)
    + 3 * conv(512, 256, 1)
    + 2 * conv(256, 256, 1)
    + conv(256, 512, 1)
    + conv(2 * 512, 512, 1),
    "segformer": sum((c + 1) * 256 for c in (256, 512, 1024, 2048)) + conv(4 * 256, 256, 1),
}


def count(module):
    return sum(p.size for p in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.mark.parametrize("name", models.MODELS)
def test_parameters_of_every_decoder(name):
    model = nnx.eval_shape(lambda: create({"name": name}, num_classes=19))
    assert count(model.decoder) == DECODERS[name]
    assert count(model.classifier) == 19 * (model.decoder.channels + 1)
    assert count(model.auxiliary) == conv(1024, 256, 3) + 19 * (256 + 1)


def test_parameters_of_a_residual_network():
    """As published for image networks, less the classifier; the deep stem has 19,232 more."""
    model = nnx.eval_shape(lambda: create(tiny("fcn", "resnet18", width=64)))
    assert count(model.encoder) == 11_176_512 + 19_232


def test_initial_weights_are_the_published_ones():
    """Kaiming by the outputs for what has a norm behind it, 0.01 for classifiers, else Xavier."""
    key = jax.random.key(0, impl="rbg")  # compiles much faster than the default

    @nnx.jit
    def make(key):
        return {name: create(tiny(name, "waves", channels=32), key=key) for name in models.MODELS}

    for name, model in make(key).items():
        for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param)):
            values = np.asarray(leaf[...])
            if path[-1] != "kernel":
                assert np.all(values == (1 if path[-1] == "scale" else 0)), path
                continue
            height, width, inputs, outputs = values.shape
            if "classifier" in path:
                deviation = 0.01
            elif name == "semantic_fpn" and path[1] in ("laterals", "outputs"):
                deviation = np.sqrt(2 / (height * width * (inputs + outputs)))
                assert np.abs(values).max() <= deviation * np.sqrt(3), path  # uniform
            elif name == "segformer" and path[1] == "laterals":
                deviation = 0.02
            else:
                deviation = np.sqrt(2 / (height * width * outputs))
            # Five times the standard error of a mean and a deviation from as many numbers.
            error = 5 / np.sqrt(values.size)
            assert abs(values.std() / deviation - 1) < error / np.sqrt(2), path
            assert abs(values.mean()) < deviation * error, path


def test_residual_branches_start_at_zero():
    @jax.jit  # only what is returned is computed
    def scales():
        encoder = models.ResNet("resnet18", width=8, rngs=nnx.Rngs(0))
        blocks = [block for stage in encoder.stages for block in stage]
        return [(block.norm1.scale[...], block.norm2.scale[...]) for block in blocks]

    for first, last in scales():
        assert np.all(first == 1) and np.all(last == 0)


def test_every_key_of_a_model_is_read_by_one():
    tables = models.MODELS | models.ENCODERS | models.DETECTORS | models.PANOPTIC
    made = [*(tables | models.UNIVERSAL).values(), models.Segmenter]
    own = {"name", "encoder", "auxiliary", "pretrained", "imports"}
    read = set().union(*map(keywords, made)) | own
    assert set(vars(models.ModelConfig())) <= read
