"""The pyramid against recorded maps and gradients, at odd sizes."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from golden.recipe_instances import recipe_array, recipe_input

from segalias_jax.models import FeaturePyramid
from segalias_jax.torch_weights.names import from_torch, to_torch

CHANNELS = (8, 12, 16, 24)


def recorded_name(path):
    part, level, leaf = path
    block = "inner_blocks" if part == "laterals" else "layer_blocks"
    return f"{block}.{level}.0.{'weight' if leaf == 'kernel' else 'bias'}"


def test_recorded_maps_and_gradients(golden):
    recorded = golden("i_fpn")
    pyramid = nnx.eval_shape(
        lambda: FeaturePyramid(CHANNELS, pyramid_channels=16, rngs=nnx.Rngs(0))
    )
    graph, state = nnx.split(pyramid, nnx.Param, ...)[:2]
    for path, leaf in nnx.to_flat_state(state):
        name = recorded_name(path)
        shape = to_torch(name, np.empty(leaf.shape, np.int8)).shape
        leaf.set_value(jnp.asarray(from_torch(name, recipe_array(name, shape))))
    features = tuple(jnp.asarray(np.moveaxis(recorded[f"x_{i}"], 1, -1)) for i in range(4))

    @jax.jit
    def run(state, features):
        def levels(state, features):
            maps = nnx.merge(graph, state).levels(features)
            return (*maps, maps[-1][:, ::2, ::2])

        maps, pull = jax.vjp(levels, state, features)
        slopes = tuple(
            jnp.asarray(np.moveaxis(recipe_input(np.moveaxis(m, -1, 1).shape, 3100 + i), 1, -1))
            for i, m in enumerate(maps)
        )
        return maps, pull(slopes)

    maps, (of_state, of_features) = run(state, features)
    found = {f"y_{'pool' if i == 4 else i}": np.moveaxis(m, -1, 1) for i, m in enumerate(maps)}
    found |= {f"gx_{i}": np.moveaxis(g, -1, 1) for i, g in enumerate(of_features)}
    for path, leaf in nnx.to_flat_state(of_state):
        name = recorded_name(path)
        found[f"g_{name}"] = to_torch(name, np.asarray(leaf[...]))
    names = [name for name in recorded.files if not name.startswith("x_")]
    assert len(names) >= 17
    for name in names:
        # Relative to the largest: gradients are sums over up to 2,520 pixels.
        bound = 1e-5 * max(1, np.abs(recorded[name]).max() / 10)
        np.testing.assert_allclose(found[name], recorded[name], rtol=0, atol=bound, err_msg=name)
