"""ConvNeXt as an encoder; the torch tests of weights hold what it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.models import Encoder
from segalias_jax.models.convnext import CONVNEXTS, ConvNeXt, ConvNeXtBlock


def abstract(name="convnext_tiny", **options):
    return nnx.eval_shape(lambda: ConvNeXt(name, rngs=nnx.Rngs(0), **options))


@pytest.fixture
def shallow(monkeypatch):
    """One block per stage."""
    monkeypatch.setitem(CONVNEXTS, "convnext_tiny", (8, (1, 1, 1, 1)))


@pytest.mark.parametrize(
    "name, count",
    [
        ("convnext_tiny", 27_818_592),
        ("convnext_small", 49_453_152),
        ("convnext_base", 87_564_416),
    ],
)
def test_number_of_parameters(name, count):
    """Those of timm without the head, and a norm for each feature map."""
    network = abstract(name)
    assert isinstance(network, Encoder)
    leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == count + 2 * sum(network.channels)


@pytest.mark.parametrize(
    "downsample, dtype",
    [("none", jnp.float32), ("daf", jnp.bfloat16), ("adaptive_blur", jnp.bfloat16)],
)
def test_sizes_are_rounded_down(shallow, downsample, dtype):
    network = abstract(width=8, downsample=downsample, mixer="freqmix", drop_path=0.1)
    image = jax.ShapeDtypeStruct((1, 47, 71, 3), dtype)
    features = nnx.eval_shape(lambda network, x: network(x), network, image)
    sizes = [(11, 17), (5, 8), (2, 4), (1, 2)]
    for feature, channels, size in zip(features, network.channels, sizes, strict=True):
        assert (feature.shape, feature.dtype) == ((1, *size, channels), dtype)
    assert [f is None for f in network.filters] == [downsample == "none"] * 3
    mixers = [block.mixer for stage in network.stages for block in stage]
    assert [m is None for m in mixers] == [True] + [False] * 3
    np.testing.assert_allclose([m.cutoff for m in mixers[1:]], 2**0.5 / 4)


def test_small_images_are_refused(shallow):
    with pytest.raises(InputError, match="needs 32 pixels along each image axis, .* has 31x64"):
        nnx.eval_shape(lambda n: n(jnp.ones((1, 31, 64, 3))), abstract(width=8))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "convnext_huge"}, f"choose one of {', '.join(CONVNEXTS)}"),
        ({"downsample": "flc"}, "downsample is 'flc'; choose one of none, daf, blur3,"),
        ({"downsample": "awd"}, "downsample is 'awd'; choose one of none, .* awd_keep"),
        ({"mixer": "x"}, "mixer is 'x'; choose one of none, freqmix"),
        ({"drop_path": 1.0}, r"drop_path is 1.0, but must lie in \[0, 1\)"),
        ({"frozen_stages": -2}, "frozen_stages is -2; choose one of"),
    ],
)
def test_what_cannot_be(shallow, options, message):
    with pytest.raises(InputError, match=message):
        abstract(**{"width": 8} | options)


def test_dropped_paths_grow_with_depth_and_frozen_blocks_drop_nothing():
    def rates(**options):
        stages = abstract(width=8, drop_path=0.34, **options).stages
        blocks = [block for stage in stages for block in stage]
        return [0.0 if b.drop_path is None else b.drop_path.rate for b in blocks]

    np.testing.assert_allclose(rates(), np.linspace(0, 0.34, 18))
    np.testing.assert_allclose(rates(frozen_stages=2)[:7], [0.0] * 6 + [0.12])


def test_a_path_is_dropped_for_a_whole_sample():
    block = ConvNeXtBlock(4, drop_path=0.5, rngs=nnx.Rngs(0))
    block.gamma.set_value(jnp.ones(4))
    x = jax.random.normal(jax.random.key(0), (16, 3, 3, 4))
    block.eval()
    branch = block(x) - x
    block.train()
    change = block(x) - x
    dropped = np.array([not c.any() for c in change])
    assert 0 < dropped.sum() < 16
    np.testing.assert_allclose(change[~dropped], 2 * branch[~dropped], rtol=1e-4, atol=1e-5)


def test_gradients_reach_what_trains_and_nothing_else(shallow):
    """Convolutions of forward and backward together, as traced: none behind the frozen stages."""
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)

    def products(frozen_stages, of):
        network = abstract(frozen_stages=frozen_stages)
        graph, state = nnx.split(network)
        total = lambda state, x: sum(f.sum() for f in nnx.merge(graph, state)(x))  # noqa: E731
        return str(jax.make_jaxpr(of(total))(state, image)).count("dot_general[")

    forward = products(-1, lambda total: total)
    assert products(4, jax.grad) == forward == 2 * 4
    # By their inputs and by their kernels.
    assert products(-1, jax.grad) == 3 * forward
    assert products(2, jax.grad) == forward + 2 * forward // 2
