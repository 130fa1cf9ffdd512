"""HRNet beside what timm computes, where its filters and mixers stand, and its names both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_networks import assert_recorded, drawn_arrays, features, fill, image
from flax import nnx

from segalias_jax import layers
from segalias_jax.errors import InputError
from segalias_jax.models import hrnet
from segalias_jax.models.hrnet import HRNETS, HRNet
from segalias_jax.torch_weights import names

import record_hrnet as recorded  # isort: skip  # found by drawn_networks


def abstract(name="hrnet_w18", **options):
    return nnx.eval_shape(lambda: HRNet(name, rngs=nnx.Rngs(0), **options))


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setitem(HRNETS, "hrnet_w18", (recorded.WIDTH, recorded.DEPTHS))
    monkeypatch.setattr(hrnet, "BLOCKS", recorded.BLOCKS)


def modules(net, kind):
    return [module for _, module in nnx.iter_modules(net) if isinstance(module, kind)]


def test_numbers_of_parameters_filters_and_names():
    """Those of timm up to the branches; the wider network has the same modules."""
    net = abstract(downsample="daf")
    leaves = jax.tree.leaves(nnx.state(net, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == recorded.COUNTS["hrnet_w18"]
    assert len(modules(net, layers.DeAliasingFilter)) == 3 + 47
    np.testing.assert_allclose([f.cutoff for f in net.filters], [0.0938, 0.3536, 0.3536], atol=5e-5)
    assert set(names.key_table(net).values()) == names.leaves(net).keys()


@pytest.mark.parametrize("kind", recorded.CASES)
def test_features_are_those_of_timm(kind, narrow):
    """With copied pixels as in timm, or interpolated ones, at sizes that strides do not divide."""
    net = abstract(upsample=kind)
    arrays = drawn_arrays(net)
    # What an image network has beyond the encoder is left out.
    extra = {
        "incre_modules.0.0.conv1.weight": np.ones((2, 2, 1, 1)),
        "downsamp_modules.0.0.bias": np.ones(2),
        "final_layer.0.bias": np.ones(2),
        "classifier.bias": np.ones(9),
        "bn1.num_batches_tracked": np.array(7),
    }
    fill(net, arrays | extra, table="timm", given=arrays)
    found = features(net, image(*recorded.CASES[kind]))
    # Both round in float32, in other orders; 2e-6 of the largest is seen.
    assert_recorded(found, recorded.FILES[kind], recorded.KEEP, relative=1e-5)


def test_a_filter_stands_ahead_of_every_stride_behind_the_stem(narrow):
    """Each by its own sampling rate: min(3, sqrt(out / in)) / 2."""
    net = abstract(downsample="daf")
    last = net.stages[3][0].exchange.paths[3][0]
    np.testing.assert_allclose([f.cutoff for f in last.filters], [0.25, 0.25, 0.5])
    strided = [conv for conv in modules(net, layers.Conv) if conv.stride == 2]
    # Of exchanges there are one of two branches, two of three, and one of four.
    assert len(strided) - 2 == len(modules(net, layers.DeAliasingFilter)) == 3 + 1 + 2 * 4 + 10
    assert not modules(abstract(), layers.DeAliasingFilter)


def test_mixers_stand_in_all_branches_but_the_finest(narrow):
    net = abstract(downsample="daf", mixer="freqmix")
    cutoffs = [f.cutoff for f in net.filters]
    for stage in list(net.stages)[1:]:
        for module in stage:
            finest, *mixers = [branch[0].mixer for branch in module.branches]
            assert finest is None
            assert [m.cutoff for m in mixers] == cutoffs[: len(mixers)]
    smooth = modules(abstract(mixer="scb"), layers.SmoothConvolutionBranch)
    assert len(smooth) == 1 + 2 + 2 * 3 + 4


@pytest.mark.parametrize(
    "options, heights",
    [
        ({"downsample": "awd"}, [18, 9, 5, 3]),
        ({"downsample": "flc"}, [18, 9, 5, 3]),
        # The published band has as many samples as bins: 9 become 4.
        ({"downsample": "flc", "band": "reference"}, [18, 9, 4, 2]),
    ],
)
def test_filters_may_stride(options, heights, narrow):
    """Whichever way to a branch is taken, its size is the same."""
    net = abstract(**options)
    shape = jax.ShapeDtypeStruct((1, 72, 96, 3), jnp.float32)
    found = nnx.eval_shape(lambda n, x: n(x), net, shape)
    assert [f.shape[1] for f in found] == heights


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "hrnet_w32"}, "choose one of hrnet_w18, hrnet_w48"),
        ({"downsample": "adaptive_blur"}, "8 groups do not divide the 4 channels of hrnet_w18"),
        ({"upsample": "zeros"}, "upsample is 'zeros'; choose one of bilinear, nearest"),
        ({"frozen_stages": 5}, "frozen_stages is 5; choose one of"),
    ],
)
def test_what_cannot_be(options, message, narrow):
    with pytest.raises(InputError, match=message):
        abstract(**options)
