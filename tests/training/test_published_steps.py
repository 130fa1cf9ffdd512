"""Three updates in float64 against those of the published code: loss, optimizer, statistics."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import published
import pytest
from flax import nnx
from golden.recipe import recipe_array, recipe_input

from segalias_jax.losses import cross_entropy, segmentation_loss
from segalias_jax.training.optimizer import create_optimizer
from segalias_jax.training.state import merge_model, split_model

NETWORK = {
    "width": 16,
    "channels": 16,
    "auxiliary_channels": 32,
    "band": "reference",
    "cutoff": 0.35,
    "gate": "corner",
    "dropout": 0.0,
}
FASTER = (("decoder", 2.0), ("classifier", 2.0), ("auxiliary", 2.0), ("mixer", 2.0))
# Options of the model, and shape and seed of the images.
RUNS = {
    "baseline_n4": ({}, (4, 3, 128, 192), 650),
    "daf_n3_ac1": ({"downsample": "daf", "align_corners": True}, (3, 3, 65, 97), 660),
    "freqmix_daf_n2": ({"downsample": "daf", "mixer": "freqmix"}, (2, 3, 128, 192), 640),
}


def make_step(graph, optimizer, x, label):
    def losses(parameters, statistics):
        model = merge_model(graph, parameters, statistics)
        model.train()
        logits, (auxiliary,) = model.with_auxiliary(x)
        parts = cross_entropy(logits, label), 0.4 * cross_entropy(auxiliary, label)
        total = segmentation_loss(logits, (auxiliary,), label)
        return total, (split_model(model)[2], parts)

    def step(parameters, statistics, state):
        gradients, (statistics, parts) = jax.grad(losses, has_aux=True)(parameters, statistics)
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), statistics, state, parts, gradients

    return step


@pytest.mark.parametrize("run", RUNS)
def test_three_updates(golden, golden_json, run):
    if run == "baseline_n4" and "SEGALIAS_GOLDEN" not in os.environ:
        pytest.skip("what it has, the others have too; it runs beside the complete recordings")
    recorded = golden(f"d_train_{run}")
    order = json.loads(golden_json(f"d_train_{run}").read_text())["param_names"]
    options, shape, seed = RUNS[run]
    with jax.enable_x64(True):
        model = published.create_published(NETWORK | options, recipe_array, np.float64)
        names = published.published_names(model)
        graph, parameters, statistics = split_model(model)
        optimizer = create_optimizer(
            "sgd",
            lambda step, factor=1.0: 0.01 * factor,
            momentum=0.9,
            weight_decay=5e-4,
            rate_multipliers=FASTER,
        )
        x = jnp.asarray(np.moveaxis(recipe_input(shape, seed), 1, -1), jnp.float64)
        label = jnp.asarray(recorded["label"][:, 0], jnp.int32)
        step = make_step(graph, optimizer, x, label)
        state = optimizer.init(parameters)
        traced = jax.jit(step).trace(parameters, statistics, state)
        assert "f32[" not in str(traced.jaxpr), "something is computed in float32"
        step = traced.lower().compile()

        def norms(tree):
            flat = nnx.traversals.flatten_mapping(tree)
            by_name = {names[path]: float(jnp.linalg.norm(leaf)) for path, leaf in flat.items()}
            return np.array([by_name[name] for name in order])

        for i in range(3):
            parameters, statistics, state, parts, gradients = step(parameters, statistics, state)
            for part, key in zip(parts, ("decode", "aux"), strict=True):
                np.testing.assert_allclose(part, recorded[f"s{i}.{key}.loss_ce"], rtol=1e-9)
            np.testing.assert_allclose(norms(gradients), recorded[f"s{i}.gradnorm"], rtol=1e-7)
            expected = recorded[f"s{i}.paramnorm_after"]
            np.testing.assert_allclose(norms(parameters), expected, rtol=1e-7)
            if i == 0:
                check_statistics(statistics, names, recorded)


def check_statistics(statistics, names, recorded):
    flat = nnx.traversals.flatten_mapping(statistics)
    ours = {names[path]: leaf for path, leaf in flat.items() if path in names}
    compared = [key for key in recorded.files if key.startswith("s0.post.")]
    assert len(compared) > 10
    for key in compared:
        np.testing.assert_allclose(ours[key.removeprefix("s0.post.")], recorded[key], rtol=1e-7)
