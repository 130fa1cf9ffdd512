"""Blocks and encoders against recordings of the published code."""

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
from flax import nnx
from golden.recipe import recipe_array

from segalias_jax import layers, models
from segalias_jax.errors import InputError
from segalias_jax.models.blocks import Bottleneck


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("case", ["n1_32x32", "n3_33x47"])
def test_published_bottleneck(golden, assert_recorded, mode, case):
    z = golden("d_nybottleneck_s2")
    with jax.enable_x64(True):
        rngs = nnx.Rngs(0)
        block = Bottleneck(
            64,
            32,
            stride=2,
            rngs=rngs,
            make_mixer=lambda c: layers.FreqMix(c, gate="corner", band="reference", rngs=rngs),
        )
        published.load_published(block, lambda name, _: z[f"w.{name}"], np.float64)
        getattr(block, mode)()
        x, cotangent = (
            jnp.asarray(np.moveaxis(z[f"{k}_{case}"], 1, -1), jnp.float64) for k in ("x", "ct")
        )
        graph, params, rest = nnx.split(block, nnx.Param, ...)

        @jax.jit
        def run(params, rest, x, cotangent):
            def forward(params, x):
                block = nnx.merge(graph, params, rest, copy=True)
                return block(x), nnx.state(block, nnx.BatchStat)

            y, pullback, stats = jax.vjp(forward, params, x, has_aux=True)
            return y, stats, *pullback(cotangent)

        y, stats, of_params, of_x = jax.device_get(run(params, rest, x, cotangent))
    assert_recorded(np.moveaxis(y, -1, 1), z[f"y_{mode}_{case}"], 1e-6)
    assert_recorded(np.moveaxis(of_x, -1, 1), z[f"gx_{mode}_{case}"], 2e-6)
    names = published.published_names(block)
    for path, gradient in nnx.to_flat_state(of_params):
        name = names[path]
        ours = published.to_torch(name, np.asarray(gradient[...]))
        # Recorded in float32: the gradient ahead of a norm in training cancels to rounding.
        assert_recorded(ours, z[f"gw_{mode}_{case}.{name}"], 1e-5, name)
    if mode == "train":
        for path, stat in nnx.to_flat_state(stats):
            name = names[path]
            assert_recorded(stat[...], z[f"post_{case}.{name}"], 1e-6, name)


SMALL = {
    "d_small_baseline": {},
    "d_small_daf": {"downsample": "daf"},
    "d_small_freqmix_daf": {"downsample": "daf", "mixer": "freqmix"},
}


EVEN, ODD = "n1_64x96", "n2_65x97"


@pytest.mark.parametrize(
    ("name", "align_corners", "case"),
    [
        ("d_small_baseline", False, EVEN),
        ("d_small_daf", True, EVEN),
        ("d_small_daf", True, ODD),
        ("d_small_freqmix_daf", False, ODD),
        ("d_small_freqmix_daf", True, EVEN),
    ],
)
def test_published_network(golden, name, align_corners, case):
    """A whole segmenter: features, heads and logits; others, wider, are in test_published.py."""
    z = golden(name)
    config = dict(
        SMALL[name],
        encoder="resnet50",
        width=16,
        channels=16,
        auxiliary_channels=32,
        cutoff=0.35,
        band="reference",
        gate="corner",
        align_corners=align_corners,
    )
    model = published.create_published(config, recipe_array)
    model.eval()

    @nnx.jit
    def run(model, x):
        features = model.encoder(x)
        heads = model.classifier(model.decoder(features)), model.auxiliary(features[-2])
        return features, *heads, model(x)

    features, decoder, auxiliary, logits = run(
        model, jnp.asarray(np.moveaxis(z[f"x_{case}"], 1, -1))
    )
    for i, feature in enumerate(features):
        compare(feature[..., :16], z[f"feat{i}_{case}"])
    compare(auxiliary, z[f"aux_{case}"])
    tag = f"ac{int(align_corners)}_{case}"
    compare(decoder, z[f"decoder_{tag}"])
    compare(logits, z[f"logits_{tag}"])


def compare(ours, recorded):
    # Both sides round in float32, in another order: 1e-4 on logits of size 20.
    ours = np.moveaxis(ours, -1, 1)
    ours = ours if ours.shape == recorded.shape else ours.reshape(-1)[::7]
    bound = 1e-4 * max(1, np.abs(recorded).max() / 20)
    np.testing.assert_allclose(ours, recorded, rtol=0, atol=bound)


def abstract(name, **options):
    return nnx.eval_shape(lambda: models.ResNet(name, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize(
    "name, count",
    [
        ("resnet18", 11_176_512),
        ("resnet34", 21_284_672),
        ("resnet50", 23_508_032),
        ("resnet101", 42_500_160),
        ("resnet152", 58_143_808),
    ],
)
def test_number_of_parameters(name, count):
    """Those of torchvision without the classifier."""
    leaves = jax.tree.leaves(nnx.state(abstract(name, variant="v1b"), nnx.Param))
    assert sum(leaf.size for leaf in leaves) == count


@pytest.mark.parametrize(
    "variant, output_stride, downsample",
    [
        ("v1b", 32, "daf"),
        ("v1c", 32, "flc"),
        ("v1d", 32, "flc"),
        ("v1c", 16, "flc"),
        ("v1b", 8, "none"),
        ("v1d", 16, "blur3"),
        ("v1d", 8, "adaptive_blur"),
        ("v1b", 32, "awd"),
        ("v1c", 16, "awd_keep"),
    ],
)
def test_sizes_are_what_strides_say(variant, output_stride, downsample):
    """Basic blocks with mixers; filters only where something is sampled."""
    network = abstract(
        "resnet18",
        width=8,
        variant=variant,
        output_stride=output_stride,
        downsample=downsample,
        mixer="freqmix",
    )
    image = jax.ShapeDtypeStruct((1, 65, 96, 3), jnp.bfloat16)
    features = nnx.eval_shape(lambda network, x: network(x), network, image)
    assert network.strides[-1] == output_stride
    for feature, channels, stride in zip(features, network.channels, network.strides, strict=True):
        assert feature.shape == (1, -(-65 // stride), 96 // stride, channels)
        assert feature.dtype == jnp.bfloat16
    strided = [b > a for a, b in zip(network.strides[:-1], network.strides[1:], strict=True)]
    assert [f is not None for f in network.filters] == [s and downsample != "none" for s in strided]
    cutoffs = {block.mixer.cutoff for stage in network.stages[1:] for block in stage}
    assert cutoffs == {models.stage_nyquist_frequency(8, 16)}


def test_where_the_first_variant_strides():
    """In the first convolution of a stage, where its filter does not."""

    def strides(**options):
        firsts = [stage[0] for stage in abstract("resnet50", width=8, **options).stages]
        return [(block.conv1.stride, block.conv2.stride) for block in firsts]

    assert strides(variant="v1a") == [(1, 1), *[(2, 1)] * 3]
    assert strides(variant="v1b") == [(1, 1), *[(1, 2)] * 3]
    for variant in ("v1a", "v1b"):
        assert strides(variant=variant, downsample="awd") == [(1, 1)] * 4


def test_branches_have_stride_and_dilation_of_what_they_stand_beside():
    net = abstract("resnet50", width=8, output_stride=16, mixer="scb")
    for block in (block for stage in net.stages for block in stage):
        assert block.mixer is None
        for name in ("stride", "dilation"):
            assert getattr(block.branch, name) == getattr(block.conv2, name)
    assert {block.branch.dilation for block in net.stages[3]} == {2}


def test_dilation_of_every_block():
    def of(name="resnet50", **options):
        stages = abstract(name, width=8, **options).stages
        return [[block.conv2.dilation for block in stage] for stage in stages[2:]]

    assert of() == [[1] * 6, [1] * 3]
    assert of(output_stride=16) == [[1] * 6, [2] * 3]
    assert of(output_stride=8) == [[2] * 6, [4] * 3]
    assert of(output_stride=8, contract_dilation=True) == [[1, *[2] * 5], [2, 4, 4]]
    assert of(output_stride=8, multi_grid=(1, 2, 4)) == [[2] * 6, [1, 2, 4]]
    contracted = of(output_stride=8, multi_grid=(4, 8, 16), contract_dilation=True)
    assert contracted == [[1, *[2] * 5], [4, 8, 16]]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "resnet51"}, r"encoder is 'resnet51'; did you mean 'resnet50'\? choose one of"),
        ({"variant": "v1e"}, "variant is 'v1e'; choose one of v1a, v1b, v1c, v1d"),
        ({"name": "resnet18", "variant": "v1a"}, "but for resnet18 that is 'v1b'; choose that"),
        ({"mixer": "scb", "mixer_cutoff": 0.3}, "mixer_cutoff is set, but mixer is 'scb'; leave"),
        ({"output_stride": 4}, "output_stride is 4; choose one of 32, 16, 8"),
        ({"multi_grid": (1, 2)}, "one positive dilation for each of the 3 blocks"),
        ({"contract_dilation": True}, "no stage is dilated as a whole"),
        (
            {"contract_dilation": True, "output_stride": 16, "multi_grid": (1, 2, 4)},
            "no stage is dilated as a whole",
        ),
        ({"frozen_stages": 5}, "frozen_stages is 5; choose one of -1, 0, 1, 2, 3, 4"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        abstract(**{"name": "resnet50", "width": 8} | options)


def test_no_gradient_enters_what_is_frozen():
    """Convolutions of forward and backward together, as traced."""

    def count(frozen_stages, of):
        network = abstract("resnet18", width=8, frozen_stages=frozen_stages)
        graph, *states = nnx.split(network, nnx.Param, ...)

        def total(parameters, rest, x):
            return sum(f.sum() for f in nnx.merge(graph, parameters, rest, copy=True)(x))

        image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        states = [nnx.to_pure_dict(state) for state in states]
        return str(jax.make_jaxpr(of(total))(*states, image)).count("conv_general_dilated[")

    forward = count(-1, lambda total: total)
    assert count(4, jax.grad) == forward > 0
    assert forward < count(3, jax.grad) < count(0, jax.grad) < count(-1, jax.grad)
