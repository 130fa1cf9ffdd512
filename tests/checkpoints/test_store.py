"""Which checkpoints are kept, that they come back whole, and what mistakes say."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError


class State(NamedTuple):
    step: Any
    parameters: Any
    statistics: Any
    optimizer: Any


def make_state(value=0.0, width=3):
    parameters = {"a": {0: jnp.full(width, value), 1: jnp.full((2, 2), value)}}
    optimizer = optax.adam(0.1).init(parameters)
    return State(jnp.int32(value), parameters, {"key": jax.random.key(int(value))}, optimizer)


@pytest.mark.parametrize(
    "scores, kept",
    [
        ((0.1, 0.5, 0.3), (20, 30)),
        ((0.1, 0.2, 0.3), (30,)),
        ((0.5, 0.2, 0.3), (10, 30)),
        ((float("nan"), 0.0, float("nan")), (20, 30)),
    ],
)
def test_keeps_the_best_and_the_latest(tmp_path, scores, kept):
    with CheckpointStore(tmp_path) as store:
        for step, score in zip((10, 20, 30), scores, strict=True):
            store.save(step, make_state(step), score=score)
    with CheckpointStore(tmp_path) as store:
        assert store.latest_step() == 30
        assert store.best_step() == kept[0]
    folders = {int(path.name) for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == set(kept)


def test_comes_back_as_it_was_although_the_arrays_were_reused(tmp_path):
    increment = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    state = increment(make_state(1)._replace(statistics={}))
    with CheckpointStore(tmp_path) as store:
        store.save(5, state, score=0.5)
        for _ in range(20):
            state = increment(state)
        store.wait()
        restored = store.restore(state)
    expected = increment(make_state(1)._replace(statistics={}))
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)


def test_random_keys_come_back(tmp_path):
    with CheckpointStore(tmp_path) as store:
        store.save(1, make_state(7), score=0.5)
        store.wait()
        restored = store.restore(make_state(0), step=1)
    numbers = [jax.random.uniform(s.statistics["key"]) for s in (restored, make_state(7))]
    assert numbers[0] == numbers[1]


def test_another_model_is_named_by_its_parameter(tmp_path):
    with CheckpointStore(tmp_path) as store:
        store.save(1, make_state(), score=0.5)
        store.wait()
        expected = r"parameters/a/0 is of shape \(3,\) there and of shape \(4,\) here"
        with pytest.raises(InputError, match=expected):
            store.restore(make_state(width=4))
        more = make_state()
        more.parameters["b"] = jnp.zeros(2)
        with pytest.raises(InputError, match=r"parameters/b is absent there"):
            store.restore(more)


def test_empty_folder_says_what_to_do(tmp_path):
    with CheckpointStore(tmp_path) as store:
        assert store.latest_step() is None
        assert store.best_step() is None
        with pytest.raises(InputError, match=r"holds no checkpoint; train with this --workdir"):
            store.restore(make_state())
