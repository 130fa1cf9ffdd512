"""Encoders with the weights of `golden/drawn.py`, in by name and out again, and recordings."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax.torch_weights import names
from segalias_jax.torch_weights.load import fit_torch, torch_arrays

# Recordings are made where nothing of this is installed: their files import each other by name.
sys.path.insert(0, str(Path(__file__).parent / "golden"))
from drawn import draw, image  # noqa: E402

__all__ = ["assert_recorded", "draw", "drawn_arrays", "features", "fill", "image"]

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def drawn_arrays(net):
    """Weights of an abstract encoder by their PyTorch names."""
    shapes = {path: np.empty(leaf.shape, np.int8) for path, leaf in names.leaves(net).items()}
    return {name: draw(name, array.shape) for name, array in torch_arrays(net, shapes).items()}


def fill(net, file, *, table, given):
    """Fills an abstract encoder from a file of PyTorch, and compares what is written then."""
    filled, source = fit_torch(file, net, "/dev/null")
    assert source.table == table
    back = torch_arrays(net, filled)
    assert back.keys() == given.keys()
    for name, array in given.items():
        np.testing.assert_array_equal(back[name], array)
    state = nnx.state(net, nnx.Any(nnx.Param, nnx.BatchStat))
    for path, leaf in nnx.to_flat_state(state):
        leaf.set_value(jnp.asarray(filled[path]))
    nnx.update(net, state)
    net.eval()
    return net


def features(net, image):
    """What an encoder returns; compiled quickly, as it runs once."""
    graph, state = nnx.split(net)
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=QUICK)
    return run(state, jnp.asarray(image))


def assert_recorded(found, file, keep, *, relative):
    """Compares features with those of a file, relative to the largest."""
    with np.load(file) as expected:
        assert len(found) == len(expected.files)
        for i, feature in enumerate(found):
            recorded = expected[f"stage{i + 1}"]
            feature = np.asarray(feature)[keep]
            assert feature.shape == recorded.shape and recorded.std() > 0.1
            largest = np.abs(recorded).max()
            np.testing.assert_allclose(feature, recorded, rtol=0, atol=relative * largest)
