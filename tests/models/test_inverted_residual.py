"""The blocks of EfficientNets and MobileNets, and where filters and mixers stand among them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import layers
from segalias_jax.errors import InputError
from segalias_jax.models.inverted_residual import (
    BlockSpec,
    InvertedResidual,
    InvertedResidualEncoder,
    Layout,
    SqueezeExcite,
    Style,
)
from segalias_jax.models.stages import frozen_parameters, no_mixer, recording_filters

BLOCKS = [BlockSpec(3, 2, hidden=4 * c, out_channels=2 * c, squeezed=2) for c in (8, 16, 32, 64)]
TWO_EACH = tuple(
    (spec, BlockSpec(5, 1, hidden=3 * spec.out_channels, out_channels=spec.out_channels))
    for spec in BLOCKS
)


def make(stages=TWO_EACH, **options):
    options = {
        "downsample": "none",
        "filter_place": "block",
        "mixer": "none",
        "cutoff": None,
        "band": "symmetric",
        "gate": "energy",
        "reduction": 4,
        "mixer_cutoff": None,
        "mixer_parts": ("spatial", "channel"),
        "mixer_start": None,
        "drop_path": 0.0,
        "frozen_stages": -1,
        "frozen_norm": False,
        "remat": (),
    } | options
    layout = Layout(8, jax.nn.relu6, (), stages, style=Style(padding="same"))
    return InvertedResidualEncoder(layout, **options, rngs=nnx.Rngs(0))


abstract = functools.wraps(make)(lambda **options: nnx.eval_shape(lambda: make(**options)))


def seen_by_filters(**options):
    def run(state, x):
        with recording_filters() as seen:
            features = nnx.merge(graph, state)(x)
        return features, list(seen)

    graph, state = nnx.split(abstract(**options))
    return jax.eval_shape(run, state, jax.ShapeDtypeStruct((1, 63, 64, 3), jnp.float32))


def test_squeeze_excite():
    style = Style(squeeze_activation=jax.nn.silu)
    layer = SqueezeExcite(4, 2, style=style, rngs=nnx.Rngs(0))
    layer.squeeze.bias.set_value(jnp.asarray([0.3, -0.2]))
    x = np.asarray(jax.random.normal(jax.random.key(1), (2, 3, 5, 4)), np.float64)
    hidden = x.mean((1, 2)) @ np.asarray(layer.squeeze.kernel[0, 0], np.float64) + [0.3, -0.2]
    hidden = hidden / (1 + np.exp(-hidden))
    weights = 1 / (1 + np.exp(-hidden @ np.asarray(layer.excite.kernel[0, 0], np.float64)))
    expected = x * weights[:, None, None]
    # Sums over 15 pixels, in float32.
    np.testing.assert_allclose(layer(jnp.asarray(x, jnp.float32)), expected, atol=1e-6)


def test_a_block_has_a_shortcut_where_its_size_stays():
    block = functools.partial(
        InvertedResidual, 8, drop_path=0.5, make_mixer=no_mixer, style=Style(), rngs=nnx.Rngs(0)
    )
    kept = block(BlockSpec(3, 1, hidden=16, out_channels=8))
    assert kept.has_shortcut and kept.drop_path is not None
    for spec in (
        BlockSpec(3, 2, hidden=16, out_channels=8),
        BlockSpec(3, 1, hidden=16, out_channels=16),
    ):
        other = block(spec)
        assert not other.has_shortcut and other.drop_path is None
    assert block(BlockSpec(3, 1, hidden=8, out_channels=8)).expand is None
    # Without a branch, only the shortcut is left.
    kept.separable.project.norm.scale.set_value(jnp.zeros(8))
    x = jnp.ones((1, 4, 5, 8))
    np.testing.assert_array_equal(kept(x), x)


@pytest.mark.parametrize(
    "place, channels", [("block", (16, 32, 64)), ("depthwise", (64, 128, 256))]
)
@pytest.mark.parametrize("downsample", ["none", "daf", "awd"])
def test_where_filters_stand(place, channels, downsample):
    """Recomputed stages too: a filter is applied once, outside of what is computed again."""
    options = {"downsample": downsample, "filter_place": place}
    features, seen = seen_by_filters(**options, remat=(1, 2, 3, 4))
    assert [f.shape[1:] for f in features] == [(16, 16, 16), (8, 8, 32), (4, 4, 64), (2, 2, 128)]
    assert [before.shape[-1] for before, _ in seen] == list(channels)
    halved = downsample == "awd"
    assert [after.shape[1] for _, after in seen] == ([8, 4, 2] if halved else [16, 8, 4])


def test_cutoffs_follow_the_operator():
    """Twice the channels between blocks, a rate of sqrt(2) / 2; as many inside, of 1 / 2."""
    for place, cutoff in (("block", 2**0.5 / 4), ("depthwise", 0.25)):
        net = abstract(downsample="daf", mixer="freqmix", filter_place=place)
        mixers = [block.separable.depthwise.mixer for stage in net.stages for block in stage]
        assert [m is None for m in mixers] == [True] * 2 + [False] * 6
        for layer in (*net.filters, *mixers[2:]):
            np.testing.assert_allclose(layer.cutoff, cutoff)
    assert all(isinstance(layer, layers.DeAliasingFilter) for layer in net.filters)


def test_recomputation_and_the_mixer_behind_the_convolution():
    """Both halves of the first block; a mixer that passes all changes nothing."""
    x = jax.random.normal(jax.random.key(0), (2, 33, 40, 3))
    options = {"stages": ((BLOCKS[0],), (BLOCKS[1],)), "downsample": "daf"}
    options["filter_place"] = "depthwise"
    plain = make(**options)
    mixed = make(**options, mixer="freqmix", mixer_start="identity", remat=(1, 2))
    graph, params, rest = nnx.split(plain, nnx.Param, ...)
    target, own, others = nnx.split(mixed, nnx.Param, ...)
    flat, values = dict(nnx.to_flat_state(own)), dict(nnx.to_flat_state(params))
    for path, value in values.items():
        flat[path].set_value(value[...])
    own = nnx.from_flat_state(flat)

    def loss(graph, params, rest):
        net = nnx.merge(graph, params, rest, copy=True)
        return sum(jnp.sum(jnp.sin(f)) for f in net(x))

    gradient = jax.jit(jax.value_and_grad(loss, 1), static_argnums=0)
    first, second = gradient(graph, params, rest), gradient(target, own, others)
    np.testing.assert_allclose(first[0], second[0], rtol=1e-4)
    found = dict(nnx.to_flat_state(second[1]))
    for path, expected in nnx.to_flat_state(first[1]):
        largest = float(jnp.abs(expected[...]).max())
        # Norms of few pixels divide by small deviations, and enlarge what was rounded.
        np.testing.assert_allclose(found[path][...], expected[...], atol=1e-3 * largest + 1e-4)


def test_frozen_norms_everywhere():
    frozen = frozen_parameters(abstract(frozen_norm=True))
    assert frozen and all("/norm/" in path for path in frozen)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mixer": "scb"}, "convolve each channel by itself; choose 'none' or 'freqmix'"),
        ({"filter_place": "input"}, "filter_place"),
        ({"drop_path": 1.0}, r"must lie in \[0, 1\)"),
        ({"remat": (5,)}, "choose stages from 1 to 4"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        abstract(**options)
