"""Weights on the disk: whole or absent, and fitted to a run both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.checkpoints import CheckpointStore, Source, fill_state, read_weights
from segalias_jax.checkpoints.pretrained import save_weights
from segalias_jax.errors import InputError

SOURCE = Source("w.pth", "e3b0", "open-mmlab", ("decoder", "head", "auxiliary"))
ARRAYS = {
    "parameters/encoder/a/0": np.arange(3.0, dtype=np.float32),
    "statistics/encoder/mean": np.ones(2, np.float32),
}


def make_trees(width=3):
    return {
        "parameters": {"encoder": {"a": {0: jnp.zeros(width)}}, "decoder": {"b": jnp.zeros(4)}},
        "statistics": {"encoder": {"mean": jnp.zeros(2)}, "rng": jax.random.key(0)},
        "step": jnp.int32(5),
    }


def test_there_and_back(tmp_path):
    save_weights(tmp_path / "w", ARRAYS, SOURCE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w"]
    arrays, source = read_weights(tmp_path / "w")
    assert source == SOURCE
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
    with pytest.raises(InputError, match="is there already"):
        save_weights(tmp_path / "w", ARRAYS, SOURCE)
    with pytest.raises(InputError, match="no folder"):
        save_weights(tmp_path / "no" / "w", ARRAYS, SOURCE)


def test_fills_what_there_is(tmp_path):
    save_weights(tmp_path / "w", ARRAYS, SOURCE)
    trees, told = fill_state(tmp_path / "w", make_trees())
    np.testing.assert_array_equal(trees["parameters"]["encoder"]["a"][0], [0, 1, 2])
    np.testing.assert_array_equal(trees["parameters"]["decoder"]["b"], 0)
    np.testing.assert_array_equal(trees["statistics"]["encoder"]["mean"], 1)
    assert int(trees["step"]) == 5
    assert "2 of 3 arrays" in told and "w.pth, open-mmlab" in told
    with pytest.raises(InputError, match="parameters/decoder/b is absent there"):
        fill_state(tmp_path / "w", make_trees(), whole=True)


def test_what_the_other_run_carried_is_left_out(tmp_path):
    with CheckpointStore(tmp_path / "checkpoints") as store:
        parts = {"parameters": {"a": jnp.ones(3)}, "statistics": {"mean": jnp.ones(2)}}
        store.save(1, parts | {"task": jnp.float32(0.5)})
    empty = {"parameters": {"a": jnp.zeros(3)}, "statistics": {"mean": jnp.zeros(2)}}
    trees, _ = fill_state(tmp_path, empty)
    np.testing.assert_array_equal(trees["parameters"]["a"], 1)


def test_names_everything_that_does_not_fit(tmp_path):
    arrays = ARRAYS | {"parameters/encoder/c": np.zeros(2, np.float32)}
    save_weights(tmp_path / "w", arrays, SOURCE)
    with pytest.raises(InputError) as caught:
        fill_state(tmp_path / "w", make_trees(width=4))
    assert "encoder/a/0 is (3,) there and (4,) here" in str(caught.value)
    assert "encoder/c is (2,) there and absent here" in str(caught.value)


def test_best_checkpoint_of_a_run(tmp_path):
    with CheckpointStore(tmp_path / "run" / "checkpoints") as store:
        for step, score in ((1, 0.9), (2, 0.1)):
            trees = make_trees()
            trees["parameters"]["decoder"]["b"] += step
            store.save(step, trees)
            store.set_score(step, score)
    arrays, source = read_weights(tmp_path / "run")
    assert source is None
    np.testing.assert_array_equal(arrays["parameters/decoder/b"], 1)


def test_wrong_places(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("no", "is not there"),
        ("w.pth", "is a file; make a checkpoint of it by segalias convert"),
        ("empty", "holds no checkpoint"),
    ):
        with pytest.raises(InputError, match=message):
            read_weights(tmp_path / name)
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"missing": [], "x": 1}'])
def test_damaged_source(tmp_path, text):
    save_weights(tmp_path / "w", ARRAYS, SOURCE)
    (tmp_path / "w" / "source.json").write_text(text)
    with pytest.raises(InputError, match="source.json is damaged"):
        read_weights(tmp_path / "w")
