"""`fit` with a task that is no segmentation: what a run promises, it promises for every task."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from flax import nnx

import segalias_jax as sa
from segalias_jax.errors import InputError
from segalias_jax.training.interrupts import Interrupted
from segalias_jax.training.loop import _VERSIONS
from segalias_jax.training.sharding import create_mesh

ONE = jax.devices()[:1]


class Depth(sa.training.Task):
    """Regression of a number for every pixel; the smaller its error, the better."""

    headline = "error"
    spatial = ("image", "depth")

    def loss(self, model, batch):
        error = jnp.abs(model(batch["image"])[..., 0] - batch["depth"])
        return error.mean(), {"largest": error.max()}

    def predict(self, model, image):
        return model(image)[..., 0]

    def scorer(self):
        return DepthScorer()


class DepthScorer:
    def __init__(self):
        self.error = self.pixels = 0.0

    def update(self, prediction, batch):
        self.error += np.abs(prediction - batch["depth"]).sum(dtype=np.float64)
        self.pixels += prediction.size

    def merge(self, other):
        self.error, self.pixels = self.error + other.error, self.pixels + other.pixels
        return self

    def compute(self):
        return {"error": self.error / self.pixels}


class Network(nnx.Module):
    """Has everything that a checkpoint must carry: parameters, statistics, a random state."""

    def __init__(self, rngs):
        self.first = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.last = nnx.Conv(8, 1, (1, 1), rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))


def make_batches(count=6, rows=8, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.random((count, rows, 8, 8, 3), np.float32)
    return [{"image": image, "depth": image.sum(-1)} for image in images]


def make_network():
    return Network(nnx.Rngs(0))


def run(folder=None, *, steps=12, batches=None, **options):
    options = {"eval_every": 4, "log_every": 2, "progress": False} | options
    return sa.fit(
        make_network(),
        Depth(),
        make_batches() if batches is None else batches,
        optimizer=options.pop("optimizer", optax.adam(0.01)),
        steps=steps,
        workdir=folder,
        validation=make_batches(2, seed=1),
        mesh=options.pop("mesh", create_mesh(devices=ONE)),
        **options,
    )


def numbers(state):
    def plain(x):
        is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    return jax.tree.map(plain, state)


def check_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, numbers(one.state), numbers(other.state))


def test_learns_and_returns_state_history_and_model(tmp_path):
    model = make_network()
    before = numbers(nnx.to_pure_dict(nnx.state(model)))
    fitted = run(tmp_path, steps=60, eval_every=20)
    errors = [line["error"] for line in fitted.history if "error" in line]
    assert len(errors) == 3 and errors[-1] < 0.9 * errors[0]
    losses = [line for line in fitted.history if "loss" in line]
    assert {"step", "loss", "largest", "grad_norm", "images_per_second"} <= losses[0].keys()
    assert fitted.step == losses[-1]["step"] == 60 and "60" in repr(fitted)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert fitted.history == [json.loads(line) for line in lines]
    # The model is the state's, in evaluation mode; that of the caller is as it was.
    image = make_batches(1, rows=3)[0]["image"]
    np.testing.assert_allclose(fitted.model(image)[..., 0], fitted.predict(image), atol=1e-6)
    after = numbers(nnx.to_pure_dict(nnx.state(model)))
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_best_checkpoint_is_that_of_the_smallest_error(tmp_path):
    class Chosen:
        def run(self, fitted):
            yield "error", {4: 0.3, 8: 0.1, 12: 0.2}[fitted.step]

    fitted = sa.fit(
        make_network(),
        Depth(),
        make_batches(),
        optimizer=optax.sgd(0.01),
        steps=12,
        workdir=tmp_path,
        evaluators=[Chosen()],
        eval_every=4,
        keep_last=1,
        mesh=create_mesh(devices=ONE),
        progress=False,
    )
    assert fitted.best_step == 8
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()}
    assert kept == {8, 12}


@pytest.mark.parametrize(
    "make",
    [
        make_batches,
        lambda: iter(make_batches() * 3),
        lambda: grain.MapDataset.source(make_batches()).seed(3).shuffle().repeat(),
        lambda: iter(
            grain.MapDataset.source(make_batches()).seed(3).shuffle().repeat().to_iter_dataset()
        ),
    ],
    ids=["list", "iterator", "grain data set", "grain iterator"],
)
def test_stopped_run_resumes_to_the_same_bits(tmp_path, make):
    class Stop(Exception):
        pass

    class Stopping(sa.training.Validation):
        def run(self, fitted):
            if fitted.step == 8 and stops:
                raise stops.pop()
            yield from super().run(fitted)

    def train(name):
        return sa.fit(
            make_network,
            Depth(),
            make(),
            optimizer=optax.adam(0.01),
            steps=12,
            workdir=tmp_path / name,
            evaluators=[Stopping(Depth(), make_batches(2, seed=1))],
            eval_every=4,
            ema_decay=0.9,
            mesh=create_mesh(devices=ONE),
            progress=False,
        )

    stops = []
    unbroken = train("unbroken")
    stops = [Stop()]
    with pytest.raises(Stop):
        train("broken")
    broken = train("broken")
    check_equal(unbroken, broken)
    scores = [[x["error"] for x in f.history if "error" in x] for f in (unbroken, broken)]
    assert scores[0] == scores[1] and len(scores[0]) == 3


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 2, 2)], ids=str)
def test_eight_devices_compute_what_one_does(sizes):
    # Not Adam, which makes a step of the rounding of gradients that are 0.
    one = run(steps=4, optimizer=optax.sgd(0.05))
    many = run(steps=4, optimizer=optax.sgd(0.05), mesh=create_mesh(*sizes))
    for a, b in zip(*(jax.tree.leaves(numbers(x.state)) for x in (one, many)), strict=True):
        np.testing.assert_allclose(b, a, atol=2e-6)  # sums in another order
    assert many.history[-1]["error"] == pytest.approx(one.history[-1]["error"], rel=1e-5)


def test_parts_of_a_batch_and_averages(tmp_path):
    class Plain(nnx.Module):
        def __init__(self, rngs):
            self.last = nnx.Conv(3, 1, (1, 1), rngs=rngs)

        def __call__(self, x):
            return self.last(x)

    def train(accumulate):
        return sa.fit(
            lambda: Plain(nnx.Rngs(0)),
            Depth(),
            make_batches(),
            optimizer=optax.sgd(0.1),
            steps=3,
            accumulate=accumulate,
            ema_decay=0.5,
            mesh=create_mesh(devices=ONE),
            progress=False,
        )

    one, many = train(1), train(4)
    for a, b in zip(*(jax.tree.leaves(x.state) for x in (one, many)), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)
    kernel = one.model.last.kernel[...]
    np.testing.assert_array_equal(kernel, one.state.average["last"]["kernel"])
    assert not np.array_equal(kernel, one.state.parameters["last"]["kernel"])


def test_what_a_task_carries_is_saved_and_given_to_predictions(tmp_path):
    class Counting(Depth):
        def carry(self):
            return {"seen": np.zeros((), np.float32)}

        def before_step(self, carry, step, batch, model):
            seen = carry["seen"] + len(batch["depth"])
            return {"seen": seen}, {"seen": seen}

        def prediction_inputs(self, carry):
            return {"offset": carry["seen"]}

        def predict(self, model, image, offset):
            return jnp.zeros(image.shape[:3]) + offset

    def train(steps):
        return sa.fit(
            make_network,
            Counting(),
            make_batches(),
            optimizer=optax.sgd(0.0),
            steps=steps,
            workdir=tmp_path,
            save_every=2,
            log_every=1,
            mesh=create_mesh(devices=ONE),
            progress=False,
        )

    train(2)
    fitted = train(4)
    assert float(fitted.state.task["seen"]) == 32
    assert [line["seen"] for line in fitted.history] == [8, 16, 24, 32]
    assert np.all(fitted.predict(make_batches()[0]["image"]) == 32)


def test_signal_saves_and_the_same_call_resumes(tmp_path):
    def signalling():
        for number, batch in enumerate(make_batches() * 3):
            if number == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with pytest.raises(Interrupted, match=r"SIGTERM: saved step \d"):
        run(tmp_path / "run", batches=signalling())
    check_equal(run(tmp_path / "run"), run(tmp_path / "other"))


def test_a_run_without_a_whole_checkpoint_is_not_begun_over(tmp_path):
    run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    for path in (tmp_path / "checkpoints").glob("[0-9]*/_CHECKPOINT_METADATA"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="holds no whole checkpoint; put one back"):
        run(tmp_path)
    for _ in range(2):
        with pytest.raises(InputError, match=r"all checkpoints in .* are damaged \(damaged-"):
            run(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_folder_that_is_moved_while_it_trains_ends_the_run_where_it_was(tmp_path):
    def moving():
        for number, batch in enumerate(make_batches() * 3):
            if number == 6:
                time.sleep(1)  # what is being saved is whole by then
                (tmp_path / "run").rename(tmp_path / "elsewhere")
            yield batch

    with pytest.raises(InputError, match="run is no longer the folder .* move it back"):
        run(tmp_path / "run", batches=moving())
    assert not (tmp_path / "run").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "run")
    check_equal(run(tmp_path / "run"), run(tmp_path / "other"))


def test_other_versions_are_said(tmp_path, monkeypatch, capsys):
    run(tmp_path, steps=4, progress=True)
    run(tmp_path, steps=8, progress=True)
    assert "warning" not in capsys.readouterr().err
    monkeypatch.setattr(
        "segalias_jax.training.loop._versions",
        lambda: {name: "9.9" if name == "jax" else metadata.version(name) for name in _VERSIONS},
    )
    run(tmp_path, steps=12, progress=True)
    message = f"warning: the run was computed by jax {jax.__version__} and now 9.9; it ends"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"accumulate": 3}, "rows of a batch is 8, which does not split evenly .* multiple of 3"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0; it must be"),
        ({"nonfinite": "skp"}, "nonfinite is 'skp'; did you mean 'skip'"),
        ({"batches": iter(make_batches())}, "batches: they ended before the last step"),
        ({"batches": [{"image": np.zeros((2, 1)), "depth": np.zeros(3)}]}, "differ in their num"),
        ({"validation": iter(())}, "validation gave no batch"),
        ({"resume": "nowhere"}, "resume: nowhere is no folder of a run"),
    ],
)
def test_errors_name_the_argument(options, message):
    given = {"steps": 8} | options
    if "validation" in options:
        with pytest.raises(InputError, match=message):
            sa.fit(
                make_network(),
                Depth(),
                make_batches(),
                optimizer=optax.sgd(0.1),
                steps=1,
                progress=False,
                **options,
            )
        return
    with pytest.raises(InputError, match=message):
        run(**given)


def test_a_headline_that_nobody_yields_is_named():
    class Other(Depth):
        headline = "accuracy"

    with pytest.raises(InputError, match="headline is 'accuracy', but the evaluators yield error"):
        sa.fit(
            make_network(),
            Other(),
            make_batches(),
            optimizer=optax.sgd(0.1),
            steps=1,
            validation=make_batches(1),
            progress=False,
        )


def test_the_engine_knows_no_task():
    """Not by name, import or score: a second task needs no line of it."""
    engine = Path(sa.training.__file__).parent
    for path in engine.glob("*.py"):
        text = path.read_text()
        for word in ("mIoU", "ConfigDict", "segalias_jax.tasks", "segalias_jax.runs"):
            assert word not in text, f"{path.name}: {word}"


EXAMPLE = Path(__file__).parents[2] / "examples" / "04_train_your_own.py"


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_example_on_eight_devices_is_that_of_one():
    spec = importlib.util.spec_from_file_location("example", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    def train(mesh):
        return sa.fit(
            lambda: example.Mixer(2, rngs=nnx.Rngs(0)),
            sa.tasks.SemanticSegmentation(num_classes=2),
            example.drawn(seed=0),
            optimizer=optax.sgd(0.1),
            steps=3,
            mesh=mesh,
            log_every=1,
            progress=False,
        )

    one, many = train(create_mesh(devices=ONE)), train(create_mesh(4, 2, 1))
    losses = [[line["loss"] for line in fitted.history] for fitted in (one, many)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for a, b in zip(*(jax.tree.leaves(x.state.parameters) for x in (one, many)), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)


def test_example_killed_at_random_moments_ends_with_the_same_bits(tmp_path):
    """A network and a loop of a user's own, as written for people."""
    assert len(EXAMPLE.read_text().splitlines()) <= 60
    environment = tiny.environment(tmp_path) | {"PYTHONPATH": str(EXAMPLE.parents[1])}

    def start(name):
        command = [sys.executable, str(EXAMPLE), str(tmp_path / name), "120"]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def checkpoint(name):
        with sa.checkpoints.CheckpointStore(tmp_path / name / "checkpoints") as store:
            return store.read(120)

    unbroken = start("unbroken")
    told, _ = unbroken.communicate()
    assert unbroken.returncode == 0, told
    assert "accuracy" in told
    chance = np.random.default_rng(0)
    for _ in range(2):  # a process each; tests/faults/test_kills.py kills more often
        process = start("killed")
        path = tmp_path / "killed" / "metrics.jsonl"
        lines = path.stat().st_size if path.exists() else 0
        while process.poll() is None and not (path.exists() and path.stat().st_size > lines):
            time.sleep(0.01)
        time.sleep(0.3 * chance.random())
        process.kill()
        process.communicate()
    process = start("killed")
    told, _ = process.communicate()
    assert process.returncode == 0, told
    one, other = checkpoint("unbroken"), checkpoint("killed")
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
