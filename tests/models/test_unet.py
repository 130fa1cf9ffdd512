"""U-Net beside an independent one, and its encoder at any size and with any filter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import layers, models, ops
from segalias_jax.errors import InputError
from segalias_jax.models.cost.downsampling import find_downsampling
from segalias_jax.models.cost.scopes import read_model
from segalias_jax.models.stages import DOWNSAMPLE
from segalias_jax.models.unet import DoubleConvEncoder, UNet, _halve
from segalias_jax.torch_weights.names import key_table


def encoder(**options):
    return DoubleConvEncoder("double_conv", **({"width": 8} | options), rngs=nnx.Rngs(0))


def conv(in_channels, out_channels):
    return 9 * in_channels * out_channels + 2 * out_channels


def test_number_of_parameters():
    """The published 64 to 1024 channels, whose transposed convolutions have 4 c c' weights."""
    widths = (64, 128, 256, 512, 1024)
    down = sum(conv(a, b) + conv(b, b) for a, b in zip((3, *widths[:-1]), widths, strict=True))
    up = sum((4 * 2 * c + 1) * c + conv(2 * c, c) + conv(c, c) for c in (64, 128, 256, 512))
    config = {"name": "unet", "encoder": "double_conv", "upsample": "transpose", "auxiliary": False}
    model = nnx.eval_shape(lambda: models.create_model(config, num_classes=2, rngs=nnx.Rngs(0)))
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert count == down + up + 2 * (64 + 1)


@pytest.mark.parametrize("upsample", ["zeros", "transpose"])  # resizing is of any size by itself
def test_any_size(upsample):
    config = {"name": "unet", "encoder": "double_conv", "width": 8, "channels": 4}
    config |= {"upsample": upsample, "auxiliary_channels": 4}
    model = nnx.eval_shape(lambda: models.create_model(config, num_classes=3, rngs=nnx.Rngs(0)))
    for size in ((1, 2), (31, 33)):
        x = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
        features, logits = nnx.eval_shape(lambda m, x: (m.encoder(x), m(x)), model, x)
        assert logits.shape == (2, *size, 3)
        for i, feature in enumerate(features):
            assert feature.shape == (2, -(-size[0] // 2**i), -(-size[1] // 2**i), 8 * 2**i)


@pytest.mark.parametrize("downsample", DOWNSAMPLE)
def test_every_filter_keeps_the_sizes(downsample):
    net = nnx.eval_shape(lambda: encoder(downsample=downsample))
    x = jax.ShapeDtypeStruct((1, 65, 70, 3), jnp.bfloat16)
    features = nnx.eval_shape(lambda net, x: net(x), net, x)
    assert [f.shape[1:3] for f in features] == [(65, 70), (33, 35), (17, 18), (9, 9), (5, 5)]
    assert {f.dtype for f in features} == {jnp.dtype("bfloat16")}


def test_filters_stand_between_the_maximum_and_the_stride():
    x = jax.random.normal(jax.random.key(0), (2, 9, 12, 8))
    pooled = ops.max_pool_2x2(x)
    np.testing.assert_array_equal(_halve(x, None), pooled)
    np.testing.assert_array_equal(_halve(x, layers.BlurPool(1)), pooled)
    maxima = ops.max_pool_2x2(x, stride=1)
    np.testing.assert_array_equal(
        _halve(x, layers.BlurPool(3)), ops.binomial_blur(maxima, 3)[:, ::2, ::2]
    )
    np.testing.assert_array_equal(
        _halve(x, layers.FrequencyLowCut(2)), ops.frequency_low_cut(maxima, 2)
    )


@pytest.mark.parametrize("downsample, size", [("none", 2), ("daf", 1), ("blur3", 1)])
def test_summary_finds_the_poolings(downsample, size, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    net = nnx.eval_shape(lambda: encoder(downsample=downsample))
    found = find_downsampling(net, read_model(net, (1, 64, 64, 3))[0])
    pools = [d for d in found if d.kind == "pool"]
    assert [(d.part, d.stride, d.in_channels) for d in pools] == [
        (f"stage{i + 2}", (2, 2), 8 * 2**i) for i in range(4)
    ]
    assert {(*d.kernel_size, d.filter) for d in pools} == {(size, size, downsample)}
    assert {d.cutoff for d in pools} == {0.25 if downsample == "daf" else None}
    assert {d.nyquist_frequency for d in pools} == {0.25}


@pytest.mark.parametrize(
    "name, output_stride, upsample",
    [("resnet18", 32, "zeros"), ("resnet18", 8, "transpose")],
)
def test_residual_encoders(name, output_stride, upsample):
    config = {"name": "unet", "encoder": name, "width": 8, "channels": 4, "upsample": upsample}
    config |= {"output_stride": output_stride, "downsample": "daf", "auxiliary": False}

    def run(x):
        model = models.create_model(config, num_classes=3, rngs=nnx.Rngs(0))
        methods.append([up.method for up in model.decoder.ups])
        return model(x), model.decoder(model.encoder(x))

    methods = []
    logits, y = jax.eval_shape(run, jax.ShapeDtypeStruct((1, 65, 71, 3), jnp.float32))
    assert logits.shape == (1, 65, 71, 3) and y.shape == (1, 17, 18, 4)
    # Maps of a dilated encoder have one size, and are not doubled.
    dilated = 2 if output_stride == 8 else 0
    assert methods == [["nearest"] * dilated + [upsample] * (3 - dilated)]


@pytest.mark.parametrize("upsample", ["bilinear", "transpose"])
def test_against_torch(upsample):
    torch = pytest.importorskip("torch")
    align_corners = upsample == "bilinear"
    F = torch.nn.functional
    config = {"name": "unet", "encoder": "double_conv", "width": 8, "channels": 4}
    config |= {"upsample": upsample, "align_corners": align_corners, "auxiliary": False}
    model = nnx.eval_shape(lambda: models.create_model(config, num_classes=3, rngs=nnx.Rngs(0)))
    model.eval()
    rng = np.random.default_rng(0)
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        if isinstance(leaf, nnx.RngState):
            leaf.set_value(jax.random.key(0) if path[-1] == "key" else jnp.uint32(0))
            continue
        values = rng.normal(size=leaf.shape)
        positive = path[-1] in ("var", "scale")
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if path[-1] == "kernel" else 0.1
        leaf.set_value(jnp.float32(1 + abs(0.1 * values) if positive else scale * values))

    def array(parameter):
        return torch.tensor(np.asarray(parameter[...]))

    def mix(x, block):
        for part in (block.conv1, block.conv2):
            x = F.conv2d(x, array(part.conv.kernel).permute(3, 2, 0, 1), padding=1)
            norm = [array(getattr(part.norm, key)) for key in ("mean", "var", "scale", "bias")]
            x = F.relu(F.batch_norm(x, *norm))
        return x

    def up(x, layer, size):
        kernel, bias = array(layer.kernel), array(layer.bias)
        if upsample == "transpose":
            y = F.conv_transpose2d(x, kernel.permute(2, 3, 0, 1), bias, stride=2)
            return y[:, :, : size[0], : size[1]]
        x = F.conv2d(x, kernel.permute(3, 2, 0, 1), bias)
        return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)

    x = rng.normal(size=(2, 21, 38, 3)).astype(np.float32)
    y, skips = torch.tensor(x).permute(0, 3, 1, 2), []
    for i, stage in enumerate(model.encoder.stages):
        y = F.max_pool2d(y, 2, ceil_mode=True) if i else y
        y = mix(y, stage)
        skips.append(y)
    for step, stage, skip in zip(
        model.decoder.ups, model.decoder.mixes, skips[-2::-1], strict=True
    ):
        y = mix(torch.cat([skip, up(y, step, skip.shape[2:])], 1), stage)
    head = model.classifier.conv
    y = F.conv2d(y, array(head.kernel).permute(3, 2, 0, 1), array(head.bias))
    expected = y.permute(0, 2, 3, 1).numpy()
    # float32 on both sides through 18 convolutions of up to 1152 terms.
    scale = np.abs(expected).max()
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    graph, state = nnx.split(model)
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=quick)
    np.testing.assert_allclose(run(state, x), expected, atol=1e-5 * scale)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="downsample is 'sinc'; choose one of none, daf"):
        encoder(downsample="sinc")
    with pytest.raises(InputError, match="encoder is 'plain'; choose one of double_conv"):
        DoubleConvEncoder("plain", rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="upsample is 'cubic'; choose one of zeros"):
        UNet((8, 16), upsample="cubic", rngs=nnx.Rngs(0))


def test_no_torch_names():
    with pytest.raises(InputError, match="no PyTorch names are known for the encoder Double"):
        key_table(nnx.eval_shape(encoder))
    config = {"name": "unet", "encoder": "resnet18", "width": 8}
    model = nnx.eval_shape(lambda: models.create_model(config, num_classes=2, rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match="no PyTorch names are known for the decoder UNet"):
        key_table(model)
    # Those of its encoder are, so that image networks can be what it starts from.
    assert "layer4.1.conv2.weight" in key_table(model.encoder)


def test_gradient_of_an_unoptimized_program_is_finite(monkeypatch):
    """Without optimization XLA recomputes what is pooled, rounded otherwise."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    net = encoder()
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))

    def loss(params):
        features = nnx.merge(graph, params, rest, copy=True)(x)
        return sum(jnp.sum(jnp.sin(feature)) for feature in features)

    options = {"xla_backend_optimization_level": 0}
    program = jax.jit(jax.grad(loss)).lower(params).compile(compiler_options=options)
    for path, slope in jax.tree_util.tree_leaves_with_path(program(params)):
        assert bool(jnp.isfinite(slope).all()), jax.tree_util.keystr(path)
