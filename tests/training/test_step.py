"""One compiled update and prediction, on one device and on many."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from segalias_jax import layers, models, ops
from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError
from segalias_jax.models.blocks import BasicBlock
from segalias_jax.models.resnet import RESNETS
from segalias_jax.models.stages import frozen_parameters
from segalias_jax.tasks import SemanticSegmentation
from segalias_jax.training.optimizer import create_optimizer, parameter_paths
from segalias_jax.training.schedules import create_schedule
from segalias_jax.training.sharding import check_batch_size, create_mesh, shard_batch
from segalias_jax.training.state import TrainState, create_state, merge_model, split_model
from segalias_jax.training.step import create_predict, create_train_step

TASK = SemanticSegmentation(3)


def make_mesh(count):
    devices = jax.devices()[:count]
    return create_mesh(devices=devices)


def make_batch(rows=8, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (rows, 8, 8, 3), np.uint8),
        "label": rng.integers(0, 3, (rows, 8, 8)).astype(np.int32),
        "valid": np.ones(rows, bool),
    }


@pytest.fixture
def make_run(small_model):
    def make(mesh):
        optimizer = optax.sgd(0.1, momentum=0.9)
        graph, state = create_state(lambda: small_model(3, nnx.Rngs(0)), optimizer, mesh)
        step = create_train_step(
            graph, TASK, optimizer, mesh, schedule=lambda step: 0.1 + 0.0 * step
        )
        return graph, state, step

    return make


@pytest.fixture
def run_steps(make_run):
    def run(mesh, steps, batch):
        _, state, step = make_run(mesh)
        losses = []
        for _ in range(steps):
            state, metrics = step(state, shard_batch(batch, mesh))
            losses.append(float(metrics["loss"]))
        return state, losses, step

    return run


def test_learns_and_compiles_once(run_steps):
    state, losses, step = run_steps(make_mesh(1), 8, make_batch())
    assert losses[-1] < 0.9 * losses[0]
    assert int(state.step) == 8
    assert step._cache_size() == 1


@pytest.mark.skipif(len(jax.devices()) < 8, reason="needs 8 devices")
def test_eight_devices_compute_what_one_does(run_steps):
    one, losses_one, _ = run_steps(make_mesh(1), 3, make_batch())
    many, losses_many, _ = run_steps(create_mesh(), 3, make_batch())
    np.testing.assert_allclose(losses_many, losses_one, rtol=1e-5)
    statistics = [state.statistics["norm"]["mean"] for state in (one, many)]
    np.testing.assert_allclose(*statistics, atol=1e-6)  # over the whole batch, not a device's share
    kernels = [state.parameters["encoder"]["kernel"] for state in (one, many)]
    np.testing.assert_allclose(*kernels, atol=1e-5)


def test_dropout_draws_anew_every_step_and_statistics_move(make_run):
    _, state, step = make_run(make_mesh(1))
    counts, means = [], []
    for _ in range(3):
        counts.append(int(state.statistics["dropout"]["rngs"]["count"]))
        means.append(np.array(state.statistics["norm"]["mean"]))
        state, _ = step(state, shard_batch(make_batch(), make_mesh(1)))
    assert counts == [0, 1, 2]
    assert np.all(means[0] == 0) and not np.allclose(means[1], means[2])


def test_loss_ignores_rows_that_pad(run_steps):
    mesh = make_mesh(1)
    batch = make_batch()
    batch["valid"] = np.arange(8) < 6
    changed = batch | {"label": np.where(batch["valid"][:, None, None], batch["label"], 2)}
    _, losses, _ = run_steps(mesh, 1, batch)
    _, others, _ = run_steps(mesh, 1, changed)
    assert losses == others


def test_metrics_are_those_of_the_gradient(make_run):
    mesh = make_mesh(1)
    graph, state, step = make_run(mesh)
    before = jax.tree.map(np.array, state.parameters)
    state, metrics = step(state, shard_batch(make_batch(), mesh))
    change = jax.tree.map(lambda new, old: (new - old) / 0.1, state.parameters, before)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(change), rtol=1e-4)
    np.testing.assert_allclose(metrics["rate"], 0.1)


def test_prediction_uses_running_statistics_and_no_dropout(make_run):
    mesh = make_mesh(1)
    graph, state, _ = make_run(mesh)
    predict = create_predict(graph, TASK)
    image = make_batch()["image"]
    alone = np.concatenate([predict(state, jnp.asarray(image[i : i + 1])) for i in range(8)])
    together = predict(state, jnp.asarray(image))
    assert together.dtype == jnp.int32
    np.testing.assert_array_equal(alone, together)


def test_state_has_no_weak_types_and_merges_to_a_model(make_run):
    graph, state, _ = make_run(make_mesh(1))
    assert not any(leaf.aval.weak_type for leaf in jax.tree.leaves(state))
    model = merge_model(graph, state.parameters, state.statistics)
    assert model(jnp.zeros((1, 8, 8, 3))).shape == (1, 8, 8, 3)


def test_batch_that_does_not_split_is_named():
    mesh = create_mesh()
    check_batch_size("batch_size", 2 * mesh.size, mesh)
    for size in (0, 2 * mesh.size + 1) if mesh.size > 1 else (0,):
        with pytest.raises(InputError, match=f"batch_size is {size}, .* choose a multiple"):
            check_batch_size("batch_size", size, mesh)


class FrozenStart(nnx.Module):
    """A ResNet whose stem and first stage are frozen, and a classifier."""

    def __init__(self, rngs):
        options = {"downsample": "adaptive_blur", "frozen_stages": 1, "rngs": rngs}
        self.encoder = models.ResNet("resnet18", width=8, **options)
        self.classifier = layers.Conv(8, 3, rngs=rngs)

    def with_auxiliary(self, x):
        features = self.encoder(x)
        logits = self.classifier(features[0]) + features[1].mean()
        return ops.resize_bilinear(logits, x.shape[1:3]), ()


def test_frozen_parameters_and_statistics_stay_to_the_bit(tmp_path, monkeypatch):
    """Whatever weight decay, momentum and a schedule that never ends at 0 would do to them."""
    monkeypatch.setitem(RESNETS, "resnet18", (BasicBlock, (1, 1, 1, 1)))
    make = lambda: FrozenStart(nnx.Rngs(0))  # noqa: E731
    frozen = frozen_parameters(nnx.eval_shape(make))
    optimizer = create_optimizer(
        "sgd",
        lambda step, factor=1.0: 1e-2 + 0.0 * step,
        momentum=0.9,
        weight_decay=0.1,
        rate_multipliers=(("stem", 9.0),),
        frozen=frozen,
    )
    mesh = make_mesh(1)
    graph, state = create_state(make, optimizer, mesh)
    step = create_train_step(graph, TASK, optimizer, mesh)
    before = jax.tree.map(np.array, (state.parameters, state.statistics))
    batch = make_batch(2) | {"image": np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3))}
    batch |= {"image": batch["image"].astype(np.uint8), "label": np.zeros((2, 64, 64), np.int32)}
    for _ in range(3):
        state, _ = step(state, shard_batch(batch, mesh))
    after = jax.tree.map(np.array, (state.parameters, state.statistics))
    seen = set()
    for old, new in zip(before, after, strict=True):
        leaves = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        for path, (a, b) in zip(parameter_paths(old), leaves, strict=True):
            root = path.startswith(("encoder/stem", "encoder/stages/0"))
            used = not path.startswith(("encoder/stages/2", "encoder/stages/3", "encoder/filters"))
            if root:
                np.testing.assert_array_equal(a, b, err_msg=path)
            elif used and not path.endswith("count"):
                assert not np.array_equal(a, b), path
            seen.add(root)
    assert seen == {True, False} and all(path.startswith("encoder/st") for path in frozen)
    kept = {path for path in parameter_paths(state.optimizer) if "stem" in path}
    assert not kept, "frozen parameters have no momentum"
    with CheckpointStore(tmp_path / "run") as store:
        store.save(1, state)
        store.wait()
        again = store.restore(state)
    jax.tree.map(np.testing.assert_array_equal, again, state)


class Plain(nnx.Module):
    """Without normalization and dropout, so that a batch may be computed in parts."""

    def __init__(self, rngs):
        self.encoder = nnx.Conv(3, 6, (3, 3), rngs=rngs)
        self.decoder = nnx.Conv(6, 3, (1, 1), rngs=rngs)

    def with_auxiliary(self, x):
        return self.decoder(jax.nn.gelu(self.encoder(x))), ()


@pytest.mark.parametrize("average", ["all", "valid"])
@pytest.mark.parametrize("count", [1, 2])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(average, count):
    """To rounding, with parts that have different numbers of labeled pixels and valid rows."""
    mesh = create_mesh(devices=jax.devices()[:count])
    batch = make_batch()
    batch["label"][:3, :5] = 255
    batch["valid"][-1] = False
    weights = (0.5, 1.0, 2.0)
    results = []
    for parts in (1, 4):
        optimizer = optax.sgd(0.1)
        graph, state = create_state(lambda: Plain(nnx.Rngs(0)), optimizer, mesh)
        task = SemanticSegmentation(3, average=average, class_weights=weights)
        step = create_train_step(graph, task, optimizer, mesh, accumulate=parts)
        results.append(step(state, shard_batch(batch, mesh)))
    (one, numbers), (many, others) = results
    np.testing.assert_allclose(others["loss"], numbers["loss"], rtol=1e-6)
    np.testing.assert_allclose(others["grad_norm"], numbers["grad_norm"], rtol=1e-5)
    for a, b in zip(*map(jax.tree.leaves, (many.parameters, one.parameters)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_parts_of_a_batch_normalize_each_by_itself(small_model):
    mesh = make_mesh(1)
    optimizer = optax.sgd(0.0)
    graph, state = create_state(lambda: small_model(3, nnx.Rngs(0)), optimizer, mesh)
    step = create_train_step(graph, TASK, optimizer, mesh, accumulate=2)
    count = int(state.statistics["dropout"]["rngs"]["count"])
    state, _ = step(state, shard_batch(make_batch(), mesh))
    assert int(state.statistics["dropout"]["rngs"]["count"]) == count + 2


def test_update_that_is_no_number_changes_nothing_but_the_step(make_run, small_model):
    mesh = make_mesh(1)
    schedule = create_schedule(
        "constant", learning_rate=0.1, steps=9, warmup_steps=4, warmup_ratio=0.0
    )
    optimizer = create_optimizer("adamw", schedule, momentum=0.9, weight_decay=0.1)
    graph, state = create_state(lambda: small_model(3, nnx.Rngs(0)), optimizer, mesh, average=True)
    step = create_train_step(graph, TASK, optimizer, mesh, schedule=schedule, average=0.9)
    state, _ = step(state, shard_batch(make_batch(), mesh))
    before = jax.tree.map(np.array, (state.parameters, state.average, state.optimizer[0]))
    mean = np.array(state.statistics["norm"]["mean"])
    wrong = make_batch() | {"label": np.full((8, 8, 8), 99, np.int32)}
    state, metrics = step(state, shard_batch(wrong, mesh))
    assert np.isnan(metrics["loss"])
    after = (state.parameters, state.average, state.optimizer[0])
    jax.tree.map(np.testing.assert_array_equal, after, before)
    np.testing.assert_array_equal(state.statistics["norm"]["mean"], mean)
    # The schedule goes on: the rate belongs to the number of the step.
    assert int(state.step) == int(state.optimizer[-1].step) == 2
    state, metrics = step(state, shard_batch(make_batch(), mesh))
    np.testing.assert_allclose(metrics["rate"], 0.05)
    assert np.isfinite(metrics["loss"])


def test_average_follows_its_equation_and_is_what_predicts(small_model):
    mesh = make_mesh(1)
    optimizer = optax.sgd(0.5)
    graph, state = create_state(lambda: small_model(3, nnx.Rngs(0)), optimizer, mesh, average=True)
    step = create_train_step(graph, TASK, optimizer, mesh, average=0.3)
    expected = np.array(state.average["encoder"]["kernel"])
    for t in range(4):
        state, _ = step(state, shard_batch(make_batch(), mesh))
        kept = min(0.3, (1 + t) / (10 + t))
        expected = kept * expected + (1 - kept) * np.array(state.parameters["encoder"]["kernel"])
    np.testing.assert_allclose(state.average["encoder"]["kernel"], expected, atol=1e-7)
    image = jnp.asarray(make_batch()["image"])
    averaged = state._replace(parameters=state.average, average=())
    predict = create_predict(graph, TASK)
    np.testing.assert_array_equal(predict(state, image), predict(averaged, image))


def test_bfloat16_computes_short_and_keeps_everything_long(small_model):
    model = {"encoder": "resnet18", "width": 8, "channels": 8, "auxiliary_channels": 8}
    model |= {"downsample": "daf", "mixer": "freqmix", "reduction": 4}
    optimizer = optax.sgd(0.1, momentum=0.9)

    def create():
        return models.create_model(model, num_classes=3, rngs=nnx.Rngs(0))

    def initial():
        graph, parameters, statistics = split_model(create())
        return TrainState(jnp.int32(0), parameters, statistics, optimizer.init(parameters))

    shapes, graph = jax.eval_shape(initial), nnx.split(nnx.eval_shape(create))[0]
    task = SemanticSegmentation(3, precision="bfloat16")
    step = create_train_step(graph, task, optimizer, make_mesh(1))
    batch = {key: jnp.asarray(value) for key, value in make_batch(2).items()}
    batch = jax.tree.map(lambda x: jnp.repeat(x, 4, 1) if x.ndim > 1 else x, batch)
    jaxpr = jax.make_jaxpr(step)(shapes, batch)
    text = str(jaxpr)
    products = [line for line in text.splitlines() if "conv_general_dilated[" in line]
    assert products and all("bf16[" in line.split("=")[0] for line in products)
    sigmoids = [line for line in text.splitlines() if "= logistic" in line]
    assert sigmoids and all("f32[" in line.split("=")[0] for line in sigmoids)
    types = {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(step, shapes, batch))}
    assert not any(dtype == jnp.bfloat16 for dtype in types)
