"""Recorded features of PyTorch networks, and ours with the same weights."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import models
from segalias_jax.torch_weights.names import from_torch, key_table, leaves, to_torch

sys.path.insert(0, str(Path(__file__).parent / "golden"))
import record_inverted_residual as recorded  # noqa: E402
from recipe import recipe_array  # noqa: E402


def check_recorded(name):
    """Raises unless an encoder's features are those recorded, with weights by the same recipe."""
    net = nnx.eval_shape(lambda: models.ENCODERS[name](name, rngs=nnx.Rngs(0)))
    by_path = {path: key for key, path in key_table(net).items()}
    shapes = {path: leaf.shape for path, leaf in leaves(net).items()}
    state = nnx.state(net, nnx.Any(nnx.Param, nnx.BatchStat))
    for path, leaf in nnx.to_flat_state(state):
        key = by_path[path]
        shape = to_torch(key, np.empty(shapes[path], np.int8)).shape
        leaf.set_value(jnp.asarray(from_torch(key, recipe_array(key, shape))))
    nnx.update(net, state)
    net.eval()
    graph, state = nnx.split(net)
    features = jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, recorded.image(name))
    with np.load(recorded.FILE) as expected:
        for i, feature in enumerate(features):
            values = expected[f"{name}.{i}"]
            assert values.std() > 0 and recorded.kept(feature).shape == values.shape
            # Rounded in float32 at every layer, to 3e-6 of the largest.
            largest = expected[f"{name}.{i}.largest"]
            np.testing.assert_allclose(recorded.kept(feature), values, atol=1e-5 * largest)
