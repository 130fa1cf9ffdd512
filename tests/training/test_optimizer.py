"""Updates against torch.optim, and which parameters get which rate."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segalias_jax.errors import InputError
from segalias_jax.training.optimizer import create_optimizer, parameter_paths, rate_multiplier

GOLDEN = Path(__file__).parents[1] / "golden" / "f_lr_and_paramwise.json"
DOUBLED = (("decoder", 2.0), ("auxiliary", 2.0), ("mixer", 2.0))
START = {
    "encoder": {"kernel": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)},
    "decoder": {0: {"bias": np.array([0.5, -0.25], np.float32)}},
}


def rate(step, factor=1.0):
    return factor * 0.1 / (step + 1)


def gradients(step):
    return jax.tree.map(lambda x: np.cos(3 * x + step).astype(np.float32), START)


def run_ours(config, steps):
    optimizer = create_optimizer(schedule=rate, **config)
    parameters = jax.tree.map(jnp.asarray, START)
    state = optimizer.init(parameters)
    for step in range(steps):
        updates, state = optimizer.update(gradients(step), state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    return jax.tree.leaves(parameters)


def run_torch(torch, make, steps):
    leaves = [torch.nn.Parameter(torch.tensor(leaf)) for leaf in jax.tree.leaves(START)]
    factors = [rate_multiplier(path, DOUBLED) for path in parameter_paths(START)]
    optimizer = make([{"params": [leaf]} for leaf in leaves])
    for step in range(steps):
        for leaf, gradient in zip(leaves, jax.tree.leaves(gradients(step)), strict=True):
            leaf.grad = torch.tensor(gradient)
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = rate(step, factor)
        optimizer.step()
    return [leaf.detach().numpy() for leaf in leaves]


@pytest.mark.parametrize("name, tolerance", [("sgd", 2e-6), ("adamw", 2e-5)])
def test_steps_equal_torch(name, tolerance):
    torch = pytest.importorskip("torch")
    config = {"name": name, "momentum": 0.9, "weight_decay": 0.05, "rate_multipliers": DOUBLED}
    make = {
        "sgd": lambda groups: torch.optim.SGD(groups, lr=1.0, momentum=0.9, weight_decay=0.05),
        "adamw": lambda groups: torch.optim.AdamW(groups, lr=1.0, weight_decay=0.05),
    }[name]
    for ours, theirs in zip(run_ours(config, 6), run_torch(torch, make, 6), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance)


def test_doubled_parameters_are_the_recorded_ones():
    recorded = json.loads(GOLDEN.read_text())["paramwise"]
    ours = {"decode_head": "decoder", "auxiliary_head": "auxiliary", r"\batt\b": "mixer"}
    for factor, names in [(1.0, recorded["lr1"]), (2.0, recorded["lr2"])]:
        for name in names:
            path = name
            for theirs, here in ours.items():
                path = re.sub(theirs, here, path)
            assert rate_multiplier(path.replace(".", "/"), DOUBLED) == factor, name


def test_weight_decay_acts_on_every_parameter_as_recorded():
    recorded = json.loads(GOLDEN.read_text())["paramwise"]
    assert recorded["weight_decay_values"] == [5e-4]
    config = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "rate_multipliers": ()}
    optimizer = create_optimizer(schedule=lambda step, factor: 1.0, **config)
    zeros = jax.tree.map(np.zeros_like, START)
    updates, _ = optimizer.update(zeros, optimizer.init(START), START)
    for update, leaf in zip(jax.tree.leaves(updates), jax.tree.leaves(START), strict=True):
        np.testing.assert_allclose(update, -5e-4 * leaf, rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_frozen_parameters_have_no_update_and_no_state(name):
    config = {"name": name, "momentum": 0.9, "weight_decay": 0.1, "rate_multipliers": DOUBLED}
    frozen = create_optimizer(schedule=rate, **config, frozen={"decoder/0/bias"})
    free = create_optimizer(schedule=rate, **config)
    states = [frozen.init(START), free.init(START)]
    updates, state = frozen.update(gradients(0), states[0], START)
    expected, _ = free.update(gradients(0), states[1], START)
    assert not updates["decoder"][0]["bias"].any()
    ours, theirs = (u["encoder"]["kernel"] for u in (updates, expected))
    np.testing.assert_allclose(ours, theirs, rtol=3e-7)  # rounding of one order or another
    assert not [path for path in parameter_paths(state) if "decoder" in path]


def test_first_matching_substring_counts():
    assert rate_multiplier("decoder/mixer", (("mixer", 3.0), ("decoder", 2.0))) == 3.0


def test_unknown_name_lists_the_choices():
    config = {"name": "sdg", "momentum": 0.9, "weight_decay": 0.0, "rate_multipliers": ()}
    with pytest.raises(InputError, match="^name is 'sdg'; choose one of sgd, adamw"):
        create_optimizer(schedule=rate, **config)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("momentum", 1.0, "momentum is 1.0; it must be at least 0 and below 1"),
        ("weight_decay", -0.1, "weight_decay is -0.1; it must be at least 0"),
        ("clip_norm", float("nan"), "clip_norm is nan; it must be at least 0"),
    ],
)
def test_values_that_cannot_be_name_their_key(key, value, message):
    config = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.0, "rate_multipliers": ()}
    with pytest.raises(InputError, match=f"^{message}"):
        create_optimizer(schedule=rate, **(config | {key: value}))


def test_clipping_scales_all_gradients_by_one_factor():
    config = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "rate_multipliers": ()}
    norm = float(optax.tree.norm(gradients(0)))
    for limit, factor in ((0.5 * norm, 0.5), (2 * norm, 1.0), (0.0, 1.0)):
        optimizer = create_optimizer(
            schedule=lambda step, factor: 1.0, **(config | {"clip_norm": limit})
        )
        updates, _ = optimizer.update(gradients(0), optimizer.init(START), START)
        for update, gradient in zip(*map(jax.tree.leaves, (updates, gradients(0))), strict=True):
            np.testing.assert_allclose(update, -factor * gradient, rtol=1e-6)
