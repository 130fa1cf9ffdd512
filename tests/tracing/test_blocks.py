"""Parallel operators as one, from what enters both to where they meet."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

from segalias_jax import models
from segalias_jax.models.convnext import CONVNEXTS
from segalias_jax.models.resnet import RESNETS
from segalias_jax.tracing import filtered_by_default, find_operators

IMAGE = jax.ShapeDtypeStruct((1, 65, 64, 3), jnp.float32)


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Networks with one or two blocks a stage."""
    for name, (block, _) in RESNETS.items():
        monkeypatch.setitem(RESNETS, name, (block, (2, 2, 1, 1)))
    monkeypatch.setitem(CONVNEXTS, "convnext_tiny", (8, (1, 2, 1, 1)))


def operators(encoder, **options):
    net = nnx.eval_shape(lambda: encoder(width=8, rngs=nnx.Rngs(0), **options))
    net.eval()
    graph, state = nnx.split(net)
    return find_operators(lambda s, x: nnx.merge(graph, s, copy=True)(x), state, IMAGE)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "resnet18"},
        {"name": "resnet18", "downsample": "daf", "remat": (2, 3), "mixer": "freqmix"},
        {"name": "resnet50", "variant": "v1d"},
    ],
)
def test_stages_of_a_resnet(options):
    found = operators(models.ResNet, **options)
    blocks = [o for o in found if o.kind == "block"]
    expansion = 1 if options["name"] == "resnet18" else 4
    assert [o.index for o in blocks] == [4, 7, 10] and len(found) == 11
    assert [o.name for o in blocks] == ["stage2", "stage3", "stage4"]
    assert [o.depth for o in found] == [0, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    for i, block in enumerate(blocks):
        channels = 8 * expansion * 2**i
        assert block.members == (block.index - 2, block.index - 1)
        assert (block.in_channels, block.out_channels) == (channels, 2 * channels)
        assert block.input_shape == (1, (17, 9, 5)[i], (16, 8, 4)[i], channels)
        assert block.nyquist_frequency == pytest.approx(2**0.5 / 4)


def test_a_convnext_has_none():
    """Filters of our own stand ahead of the same three convolutions, at the same frequency."""
    found = operators(models.ConvNeXt, name="convnext_tiny")
    chosen = filtered_by_default(found)
    assert [o.index for o in chosen] == [1, 2, 3]
    frequency = models.stage_nyquist_frequency(8, 16, kernel_size=2)
    assert {o.nyquist_frequency for o in chosen} == {frequency}
    assert [(o.kind, o.kernel_size, o.depth) for o in found] == [
        ("conv", (4, 4), 0),
        ("conv", (2, 2), 1),
        ("conv", (2, 2), 2),
        ("conv", (2, 2), 3),
    ]


def convolve(x, kernel, stride=2):
    return lax.conv(x, kernel, (stride, stride), "SAME")


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3, 3), (1, 1, 2, 2), "SAME")


def kernel(inputs, outputs):
    return jnp.ones((outputs, inputs, 3, 3))


def test_branches_that_are_concatenated():
    """As in Inception: three of them, the channels of all."""

    def function(x):
        y = jax.nn.relu(x)
        long = convolve(convolve(y, kernel(4, 5), 1), kernel(5, 6))
        return jnp.concatenate([convolve(y, kernel(4, 2)), long, pool(y)], 1)

    *members, block = find_operators(function, jnp.ones((2, 4, 16, 16)))
    assert len(members) == 3 and block.members == (0, 1, 2)
    assert (block.in_channels, block.out_channels) == (4, 12)


def test_what_meets_after_more_operators_is_no_block():
    """Two networks, joined at their ends, and what enters each of them twice strided."""

    def function(x):
        one, other = x, x
        for _ in range(2):
            one, other = convolve(one, kernel(4, 4)), pool(other)
        return one + other

    assert [o.kind for o in find_operators(function, jnp.ones((2, 4, 16, 16)))] == [
        "conv",
        "max_pool",
        "conv",
        "max_pool",
    ]


def test_pyramids_are_no_blocks():
    """Coarse and fine maps that are summed come from operators of different sizes."""

    def function(x):
        fine = convolve(x, kernel(4, 4))
        coarse = convolve(fine, kernel(4, 4))
        return fine + jnp.repeat(jnp.repeat(coarse, 2, 2), 2, 3)

    assert [o.kind for o in find_operators(function, jnp.ones((2, 4, 16, 16)))] == ["conv"] * 2


def test_right_behind_another_operator():
    def function(x):
        y = pool(x)
        return convolve(y, kernel(4, 4)) + y[:, :, ::2, ::2]

    found = find_operators(function, jnp.ones((2, 4, 16, 16)))
    assert [(o.kind, o.depth) for o in found][1:] == [("conv", 1), ("slice", 1), ("block", 1)]


def test_two_images():
    """What is computed from the second one alone is found, too."""

    def function(one, other):
        return convolve(one, kernel(4, 4)) * (convolve(other, kernel(4, 4)) + pool(other))

    found = find_operators(function, jnp.ones((2, 4, 16, 16)), jnp.ones((2, 4, 16, 16)))
    assert [(o.kind, o.members) for o in found][2:] == [("max_pool", ()), ("block", (1, 2))]
