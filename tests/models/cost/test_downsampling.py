"""Where models downsample, by the table of the method and for every filter."""

import math

import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.models.cost.downsampling import find_downsampling
from segalias_jax.models.cost.scopes import read_model


def operators(size=(64, 64), **options):
    encoder = options.pop("encoder", "resnet18")
    net = nnx.eval_shape(lambda: models.ResNet(encoder, width=8, rngs=nnx.Rngs(0), **options))
    return find_downsampling(net, read_model(net, (1, *size, 3))[0])


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
def test_stages_of_a_resnet(encoder):
    """3x3, stride 2, twice the channels: sqrt(2) / 2 and sqrt(2) / 4."""
    stages = [d for d in operators(encoder=encoder) if d.kind == "stage"]
    assert [d.part for d in stages] == ["stage2", "stage3", "stage4"]
    for stage in stages:
        assert stage.out_channels == 2 * stage.in_channels
        assert math.isclose(stage.sampling_rate, 2**0.5 / 2)
        assert math.isclose(stage.nyquist_frequency, 2**0.5 / 4)


def test_operators_in_order():
    found = [
        (d.where, d.kind, *d.kernel_size, d.stride, d.in_channels, d.out_channels)
        for d in operators(encoder="resnet50")
    ]
    assert found[:5] == [
        ("stem.0.conv", "conv", 3, 3, (2, 2), 3, 4),
        ("encoder", "pool", 3, 3, (2, 2), 8, 8),
        ("stages.1.0.conv2", "conv", 3, 3, (2, 2), 16, 16),
        ("stages.1.0.shortcut.conv", "conv", 1, 1, (2, 2), 32, 64),
        ("", "stage", 3, 3, (2, 2), 32, 64),
    ]
    assert len(found) == 11


@pytest.mark.parametrize(
    "downsample, size",
    [("daf", (65, 71)), ("blur5", (64, 64)), ("adaptive_blur", (65, 71)), ("awd_keep", (64, 64))],
)
def test_filters_ahead(downsample, size):
    found = operators(size, downsample=downsample, mixer="freqmix")
    assert [d.filter for d in found] == ["none"] * 2 + [downsample] * 9
    cutoff = 2**0.5 / 4 if downsample == "daf" else None
    assert [d.cutoff for d in found[2:]] == [pytest.approx(cutoff)] * 9


def test_cutoff_in_use():
    assert {d.cutoff for d in operators(downsample="daf", cutoff=0.2)} == {None, 0.2}


def test_a_filter_that_strides_is_an_operator():
    found = [d for d in operators(downsample="flc") if d.part == "stage2"]
    assert [d.kind for d in found] == ["flc", "stage"]
    assert (found[0].in_channels, found[0].nyquist_frequency, found[0].cutoff) == (8, 0.25, 0.25)
    assert (found[1].in_channels, found[1].out_channels) == (8, 16)


def test_weighted_means_that_stride():
    found = [d for d in operators(downsample="awd", mixer="scb") if d.part == "stage2"]
    assert [d.kind for d in found] == ["awd", "stage"]
    assert (found[0].filter, found[0].kernel_size, found[0].cutoff) == ("awd", (3, 3), None)
    assert found[0].nyquist_frequency == 0.25


class Pooled(nnx.Module):
    """Averages 2x2 pixels by strided slices, as shortcuts of some networks do."""

    def __call__(self, x):
        return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def test_pooling_by_slices():
    net = Pooled()
    (found,) = find_downsampling(net, read_model(net, (1, 8, 8, 3))[0])
    assert (found.kind, found.kernel_size, found.stride) == ("pool", (2, 2), (2, 2))
    assert (found.in_channels, found.out_channels) == (3, 3)


def test_plain_numbers():
    """What is written to JSON: names, sides and steps as before, each operator's own rate."""
    stage = [d for d in operators(downsample="daf") if d.kind == "stage"][0].to_json()
    assert stage == {
        "part": "stage2",
        "where": "",
        "kind": "stage",
        "kernel_size": 3,
        "stride": 2,
        "in_channels": 8,
        "out_channels": 16,
        "filter": "daf",
        "cutoff": 2**0.5 / 4,
        "sampling_rate": 2**0.5 / 2,
        "nyquist_frequency": 2**0.5 / 4,
    }
