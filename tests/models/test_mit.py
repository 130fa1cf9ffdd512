"""MiT beside what transformers computes, and its names both ways."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.models.mit import MITS, MiT
from segalias_jax.torch_weights import names
from segalias_jax.torch_weights.load import fit_torch, torch_arrays

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import record_mit  # noqa: E402

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def abstract(name="mit_b0", **options):
    return nnx.eval_shape(lambda: MiT(name, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize("name", ["mit_b0", "mit_b2"])
def test_number_of_parameters(name):
    """Those of transformers; deep ones take seconds to build."""
    leaves = jax.tree.leaves(nnx.state(abstract(name), nnx.Param))
    assert sum(leaf.size for leaf in leaves) == record_mit.COUNTS[name]


def test_features_are_those_of_transformers(monkeypatch):
    monkeypatch.setitem(MITS, "mit_b0", (record_mit.WIDTH, record_mit.DEPTHS))
    net = abstract()
    shapes = {path: np.empty(leaf.shape, np.int8) for path, leaf in names.leaves(net).items()}
    arrays = {
        name: record_mit.draw(name, array.shape)
        for name, array in torch_arrays(net, shapes).items()
    }
    # Files of image networks have a classifier, and a word in front of the encoder's names.
    file = {f"segformer.{name}": array for name, array in arrays.items()}
    filled, source = fit_torch(file | {"classifier.bias": np.ones(9)}, net, "/dev/null")
    assert source.table == "transformers"
    back = torch_arrays(net, filled)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    state = nnx.state(net, nnx.Param)
    for path, leaf in nnx.to_flat_state(state):
        leaf.set_value(jnp.asarray(filled[path]))
    nnx.update(net, state)
    graph, state = nnx.split(net)
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=QUICK)
    with np.load(record_mit.FILE) as expected:
        for i, feature in enumerate(run(state, record_mit.image())):
            recorded = expected[f"stage{i + 1}"]
            found = np.asarray(feature)[record_mit.KEEP]
            assert found.shape == recorded.shape and recorded.std() > 0.3
            # Both round in float32, in other orders; 1e-6 of the largest is seen.
            largest = np.abs(recorded).max()
            np.testing.assert_allclose(found, recorded, rtol=0, atol=5e-6 * largest)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "mit_b6"}, f"choose one of {', '.join(MITS)}"),
        ({"mixer": "scb"}, "mixer is 'scb'; choose one of none, freqmix"),
        ({"drop_path": 1.0}, r"drop_path is 1.0, but must lie in \[0, 1\)"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        abstract(**options)


def test_small_images_are_refused_and_filters_may_stride():
    for downsample in ("flc", "awd", "daf"):
        net = abstract(width=8, downsample=downsample)
        features = nnx.eval_shape(lambda n, x: n(x), net, jnp.ones((1, 29, 65, 3)))
        assert [f.shape[1:3] for f in features] == [(8, 17), (4, 9), (2, 5), (1, 3)]
    with pytest.raises(InputError, match="needs 29 pixels along each image axis, .* has 28x64"):
        nnx.eval_shape(lambda n, x: n(x), net, jnp.ones((1, 28, 64, 3)))
