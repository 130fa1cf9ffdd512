"""Which checkpoints are kept, that they come back whole, and what mistakes say."""

import gc
import resource
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
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
        ((0.1, 0.5, 0.3), (20, 40)),
        ((0.1, 0.2, 0.3), (30, 40)),
        ((0.5, 0.2, 0.3), (10, 40)),
        ((float("nan"), 0.0, float("nan")), (20, 40)),
    ],
)
def test_keeps_the_best_and_the_latest(tmp_path, scores, kept):
    with CheckpointStore(tmp_path, keep_last=1) as store:
        for step, score in zip((10, 20, 30), scores, strict=True):
            store.save(step, make_state(step))
            store.set_score(step, score)
        store.save(40, make_state(40))  # not scored yet, so never the best
    with CheckpointStore(tmp_path) as store:
        assert store.latest_step() == 40
        assert store.best_step() == kept[0]
    folders = {int(path.name) for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == set(kept)


class Younger(NamedTuple):
    step: Any
    parameters: Any
    statistics: Any
    optimizer: Any
    task: Any = ()


def test_a_part_that_is_younger_than_the_checkpoint(tmp_path):
    state = make_state(1)
    with CheckpointStore(tmp_path) as store:
        store.save(1, state)
        store.wait()
        again = store.restore(Younger(*state))
        assert again.task == () and int(again.step) == 1
        assert "task" not in store.read(1)
        with pytest.raises(InputError, match="task is absent there and of shape .* here; use the"):
            store.restore(Younger(*state, task=jnp.float32(0.5)))
        store.save(2, Younger(*state, task=jnp.float32(0.25)))
        store.wait()
        assert store.read(2)["task"] == 0.25


class Older(NamedTuple):
    step: Any
    parameters: Any
    statistics: Any
    optimizer: Any
    ratio: Any = ()


@pytest.mark.parametrize("carried", [(), jnp.float32(0.25)])
def test_a_part_that_had_another_name(tmp_path, carried):
    """Version 0.1 called what the task carries "ratio"."""
    state = make_state(1)
    with CheckpointStore(tmp_path) as store:
        store.save(1, Older(*state, ratio=carried))
        store.wait()
        again = store.restore(Younger(*state, task=carried))
        assert again.task == carried and int(again.step) == 1
        if not isinstance(carried, tuple):
            assert store.read(1)["task"] == 0.25


@pytest.mark.parametrize("larger, best", [(True, 2), (False, 3)])
def test_direction_of_the_score_is_kept_with_it(tmp_path, larger, best):
    with CheckpointStore(tmp_path, score="error", larger_is_better=larger) as store:
        for step, score in ((1, float("nan")), (2, 0.5), (3, 0.25)):
            store.save(step, make_state(step))
            store.set_score(step, score)
    with CheckpointStore(tmp_path) as store:
        assert (store.score, store.best_step()) == ("error", best)


def test_comes_back_as_it_was_although_the_arrays_were_reused(tmp_path):
    increment = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    state = increment(make_state(1)._replace(statistics={}))
    with CheckpointStore(tmp_path) as store:
        store.save(5, state)
        for _ in range(20):
            state = increment(state)
        store.wait()
        restored = store.restore(state)
    expected = increment(make_state(1)._replace(statistics={}))
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)


def test_random_keys_come_back(tmp_path):
    with CheckpointStore(tmp_path) as store:
        store.save(1, make_state(7))
        store.wait()
        restored = store.restore(make_state(0), step=1)
    numbers = [jax.random.uniform(s.statistics["key"]) for s in (restored, make_state(7))]
    assert numbers[0] == numbers[1]


def test_another_model_is_named_by_its_parameter(tmp_path):
    with CheckpointStore(tmp_path) as store:
        store.save(1, make_state())
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
        with pytest.raises(InputError, match=r"holds no checkpoint; train into this folder"):
            store.restore(make_state())


def test_name_of_the_score_stays_that_of_the_folder(tmp_path):
    with CheckpointStore(tmp_path / "new", score="Dice") as store:
        store.save(1, make_state(1))
        store.set_score(1, 0.5)
    with CheckpointStore(tmp_path / "new", score="IoU") as store:
        assert store.score == "Dice"
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "scores.json").write_text('{"10": 0.5}')  # before there were names
    with CheckpointStore(tmp_path / "old", score="Dice") as store:
        assert (store.score, store.scores) == ("mIoU", {10: 0.5})


@pytest.mark.parametrize("text", ["", '{"10": 0.5', "[1]", '{"10": "x"}'])
def test_damaged_scores_are_one_sentence(tmp_path, text):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(InputError, match="scores.json is damaged .*; delete it, and the best"):
        CheckpointStore(tmp_path)


def test_number_of_kept_checkpoints(tmp_path):
    with CheckpointStore(tmp_path, keep_last=2, keep_best=2) as store:
        for step, score in zip(range(1, 8), (0.1, 0.9, 0.2, 0.8, 0.3, 0.4, 0.5), strict=True):
            store.save(step, make_state(step))
            store.set_score(step, score)
    folders = {int(path.name) for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == {2, 4, 6, 7}


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


def replace(path, old, new, count=1):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, count))


def largest(folder):
    return max(folder.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else -1)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: truncate(largest(folder)), id="truncated"),
        pytest.param(lambda folder: flip(largest(folder)), id="changed"),
        pytest.param(lambda folder: largest(folder).unlink(), id="deleted data"),
        pytest.param(
            lambda folder: (folder / "default" / "_METADATA").unlink(), id="deleted names"
        ),
        pytest.param(
            lambda folder: truncate(folder / "_CHECKPOINT_METADATA"), id="truncated names"
        ),
        pytest.param(lambda folder: shutil.rmtree(folder / "default"), id="emptied"),
        pytest.param(
            lambda folder: replace(folder / "_CHECKPOINT_METADATA", b'"seed": 5', b'"seed": 7'),
            id="changed description",
        ),
        pytest.param(
            lambda folder: replace(
                folder / "default" / "_METADATA", b"statistics", b"stitistics", count=9
            ),
            id="changed names",
        ),
    ],
)
def test_damaged_checkpoint_is_put_aside_for_the_one_before(tmp_path, capfd, damage):
    state = make_state(1.0, width=300)
    with CheckpointStore(tmp_path) as store:
        store.save(1, state)
        store.save(2, make_state(2.0, width=300), about={"seed": 5})
        store.set_score(2, 0.5)
    damage(tmp_path / "2")
    with CheckpointStore(tmp_path) as store:
        with pytest.raises(InputError, match="2 is damaged .*; move it away, and another"):
            store.restore(make_state(width=300))
        restored = store.restore_latest(make_state(width=300))
        told = capfd.readouterr().err
        assert "warning: the checkpoint" in told and "resuming from the one before" in told
        np.testing.assert_array_equal(restored.parameters["a"][0], state.parameters["a"][0])
        assert (tmp_path / "damaged-2").is_dir() and store.latest_step() == 1
        store.save(2, make_state(3.0, width=300))
    with CheckpointStore(tmp_path) as store:
        assert 2 not in store.scores  # what is saved anew is scored anew
        assert int(store.restore(make_state(width=300)).step) == 3
        shutil.rmtree(tmp_path / "1" / "default")
        shutil.rmtree(tmp_path / "2" / "default")
        with pytest.raises(InputError, match="holds no whole checkpoint; put one back"):
            store.restore_latest(make_state(width=300))


# The library's threads complain of the failed write once more when they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_full_disk_is_one_sentence_and_harms_nothing(tmp_path):
    state = make_state(1.0, width=100_000)
    noise = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    with CheckpointStore(tmp_path) as store:
        store.save(1, state)
        store.wait()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        try:
            with pytest.raises(InputError, match="could not be written .*run the same command"):
                store.save(2, state._replace(parameters={"a": {0: jnp.asarray(noise)}}))
                store.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with CheckpointStore(tmp_path) as store:
        assert int(store.restore_latest(state).step) == 1
    gc.collect()


def test_what_is_written_beside_a_state_comes_back(tmp_path):
    with CheckpointStore(tmp_path) as store:
        store.save(1, make_state(), about={"recipe": {"data.crop": [4, 8]}})
        store.wait()
        assert store.about(1)["recipe"] == {"data.crop": [4, 8]}


@pytest.mark.parametrize(
    "old, new",
    [
        (b'"custom_metadata"', b'"custom_metadatb"'),
        (b'"item_handlers": {', b'"item_handlers":[{'),
        (b'"init_timestamp_nsecs": 1', b'"init_timestamp_nsecs": x'),
        (b"StandardCheckpointHandler", b"StandardCheckpointHandlfr"),
        (b'"metrics": {}', b'"metrics": 77'),
    ],
)
def test_a_description_that_the_library_cannot_read(tmp_path, capfd, old, new):
    with CheckpointStore(tmp_path) as store:
        for step in (1, 2):
            store.save(step, make_state(float(step)))
    replace(tmp_path / "2" / "_CHECKPOINT_METADATA", old, new)
    try:
        with CheckpointStore(tmp_path) as store:
            assert int(store.restore(make_state()).step) in (1, 2)
    except InputError as error:
        assert "2 is damaged" in str(error)
    with CheckpointStore(tmp_path, repair=True) as store:
        assert int(store.restore_latest(make_state()).step) in (1, 2)
    assert "Traceback" not in capfd.readouterr().err


def test_readers_beside_a_training_that_removes_checkpoints(tmp_path, monkeypatch):
    """Each takes the one that is the best by then; of 64 evaluations, two ended in a traceback."""
    with CheckpointStore(tmp_path, keep_last=1) as store:
        store.save(1, make_state(1.0))
        store.set_score(1, 0.1)
        store.wait()
        readers = [CheckpointStore(tmp_path) for _ in range(2)]
        store.save(2, make_state(2.0))
        store.set_score(2, 0.2)
        store.save(3, make_state(3.0))
        store.wait()
        assert not (tmp_path / "1").exists()
    assert readers[0].restore_best(make_state()).step == 2
    assert readers[1].read()["parameters/a/0"].tolist() == [2, 2, 2]
    for reader in readers:
        reader.close()

    # The library looks at each of the folders that it has listed.
    manager, calls = ocp.CheckpointManager, []

    def removed_meanwhile(*arguments, **options):
        calls.append(arguments)
        if len(calls) < 3:
            raise FileNotFoundError(2, "No such file or directory", str(tmp_path / "1"))
        return manager(*arguments, **options)

    monkeypatch.setattr(ocp, "CheckpointManager", removed_meanwhile)
    with CheckpointStore(tmp_path) as store:
        assert store.best_step() == 2 and len(calls) == 3
