"""EfficientNets and MobileNets beside timm and torchvision, names both ways, places of filters."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.models.efficientnet import EFFICIENTNETS, EfficientNet
from segalias_jax.models.mobilenet import MobileNet
from segalias_jax.models.stages import recording_filters
from segalias_jax.torch_weights import names
from segalias_jax.torch_weights.load import fit_torch, torch_arrays

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import record_efficientnet as recorded  # noqa: E402

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def abstract(name="efficientnet_lite0", **options):
    make = EfficientNet if name.startswith("efficient") else MobileNet
    return nnx.eval_shape(lambda: make(name, rngs=nnx.Rngs(0), **options))


def filled(name):
    """A network filled from the names of others, of which nothing is lost on the way back."""
    net = abstract(name)
    shapes = {path: np.empty(leaf.shape, np.int8) for path, leaf in names.leaves(net).items()}
    arrays = {
        key: recorded.draw(key, array.shape) for key, array in torch_arrays(net, shapes).items()
    }
    # What an image network has beyond the encoder is left out.
    of_timm = name.startswith("efficient")
    head = "classifier.bias" if of_timm else "classifier.1.bias"
    values, source = fit_torch(arrays | {head: np.ones(9)}, net, "/dev/null")
    assert source.table == ("timm" if of_timm else "torchvision")
    back = torch_arrays(net, values)
    assert back.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(back[key], array)
    state = nnx.state(net, nnx.Any(nnx.Param, nnx.BatchStat))
    for path, leaf in nnx.to_flat_state(state):
        leaf.set_value(jnp.asarray(values[path], jnp.float64))
    nnx.update(net, state)
    net.eval()
    return nnx.split(net)


@pytest.mark.parametrize("name", recorded.NAMES)
def test_features_are_those_of_others(name):
    with jax.enable_x64(True), np.load(recorded.path(name)) as expected:
        graph, state = filled(name)
        run = jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=QUICK)
        for size in recorded.SIZES:
            x = recorded.image(size).astype(np.float64)
            if "lite" in name:  # what timm was given is (u - 127) / 128
                x = (x * 128 + 127 - np.asarray(ops.IMAGENET_MEAN)) / np.asarray(ops.IMAGENET_STD)
            for i, feature in enumerate(run(state, jnp.asarray(x))):
                theirs = expected[f"{size[1]}.{i}"]
                ours = np.asarray(feature)[recorded.KEEP]
                assert ours.shape == theirs.shape and theirs.std() > 0.1
                # Computed in float64 there too, and stored in float32.
                np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-7 * theirs.max())


def test_number_of_parameters():
    """Of Lite0, timm counts 4,652,008 with a head of 320 x 1280 + 2 x 1280 + 1281 x 1000."""
    leaves = jax.tree.leaves(nnx.state(abstract(), nnx.Param))
    assert sum(leaf.size for leaf in leaves) == 4_652_008 - 320 * 1280 - 2 * 1280 - 1281 * 1000


@pytest.mark.parametrize("place", ["block", "depthwise"])
def test_filters_stand_ahead_of_what_strides(place):
    """Their cutoffs are those of the operator's own channels: of the block, or of its inside."""
    net = abstract(width=8, downsample="daf", filter_place=place)

    def run(state, x):
        network = nnx.merge(graph, state)
        with recording_filters() as seen:
            network(x)
        return list(seen)

    graph, state = nnx.split(net)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = [x.shape for x, _ in jax.eval_shape(run, state, x)]
    wide = 6 if place == "depthwise" else 1
    assert [shape[-1] for shape in shapes] == [wide * c for c in net.channels[:3]]
    assert [shape[1] for shape in shapes] == [16, 8, 4]
    for i, layer in enumerate(net.filters):
        first = net.stages[i + 1][0].separable.project.conv.kernel.shape[-1]
        ratio = 1.0 if place == "depthwise" else first / net.channels[i]
        assert layer.cutoff == pytest.approx(min(0.25 * ratio**0.5, 0.5))


def test_what_it_does_not_know_is_refused():
    for options in ({"filter_place": "stem"}, {"mixer": "scb"}, {"downsample": "blur9"}):
        with pytest.raises(InputError, match=next(iter(options.values()))):
            abstract(width=8, **options)
    with pytest.raises(InputError, match="efficientnet_b4"):
        abstract("efficientnet_b9")
    assert len(EFFICIENTNETS) == 10
