"""Ratios over the steps, and that training, evaluation and prediction see what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from segalias_jax import ops
from segalias_jax.analysis import best_ratio
from segalias_jax.checkpoints import CheckpointStore
from segalias_jax.errors import InputError
from segalias_jax.settings import parse
from segalias_jax.tasks import SemanticSegmentation
from segalias_jax.training.curriculum import Curriculum
from segalias_jax.training.sharding import create_mesh, shard_batch
from segalias_jax.training.state import create_state
from segalias_jax.training.step import create_predict, create_train_step

STEPS = 8
# Ratio at every step from 0 to the last one and beyond, from the closed forms by hand.
COURSES = {
    "constant": [0.5] * 10,
    "linear": [1 - 0.5 * min(t, 8) / 8 for t in range(10)],
    "cosine": [0.75 + 0.25 * np.cos(np.pi * min(t, 8) / 8) for t in range(10)],
    "step": [1.0, 1.0, 5 / 6, 5 / 6, 2 / 3, 2 / 3, 0.5, 0.5, 0.5, 0.5],
}


class Plain(nnx.Module):
    """Without normalization, so that a batch may be computed in parts."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 3, (3, 3), rngs=rngs)

    def __call__(self, x):
        return self.conv(x)

    def with_auxiliary(self, x):
        return self(x), ()


def make_batch(rows=4, size=(16, 12)):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (rows, *size, 3), np.uint8),
        "label": rng.integers(0, 3, (rows, *size)).astype(np.int32),
        "valid": np.ones(rows, bool),
    }


def build(curriculum, mesh, precision="float32", **options):
    optimizer = optax.sgd(0.1)
    task = SemanticSegmentation(3, curriculum=curriculum, precision=precision)
    graph, state = create_state(lambda: Plain(nnx.Rngs(0)), optimizer, mesh, carry=task.carry())
    return graph, state, create_train_step(graph, task, optimizer, mesh, **options)


def create_logits(graph, curriculum=None):
    return SemanticSegmentation(3, curriculum=curriculum).compile_logits(graph)


@pytest.mark.parametrize("schedule", COURSES)
def test_courses_follow_their_closed_forms(schedule):
    down = Curriculum(0.5, schedule=schedule, steps=STEPS)
    program = jax.jit(down.training_ratio)
    ratios = [float(program(jnp.int32(t))) for t in range(10)]
    np.testing.assert_allclose(ratios, COURSES[schedule], atol=1e-7)
    assert ratios[STEPS] == 0.5, "the end is exact"
    if schedule != "constant":
        up = Curriculum(1.0, schedule=schedule, start=0.5, steps=STEPS)
        program = jax.jit(up.training_ratio)
        for t in range(10):
            mirrored = 1.5 - COURSES[schedule][t]
            np.testing.assert_allclose(program(jnp.int32(t)), mirrored, atol=1e-7)


def test_without_a_curriculum_programs_are_what_they_were():
    mesh = create_mesh(devices=jax.devices()[:1])
    batch = make_batch()
    texts = []
    for curriculum in (None, Curriculum(1.0, schedule="linear")):
        graph, state, step = build(curriculum, mesh)
        texts.append(step.lower(state, batch).as_text())
        assert "ratio" not in jax.eval_shape(step, state, batch)[1]
    assert texts[0] == texts[1]


def test_a_step_is_that_of_filtered_images_and_compiles_once():
    """Against steps without a curriculum on what NumPy's transform leaves of the images."""
    mesh = create_mesh(devices=jax.devices()[:1])
    curriculum = Curriculum(0.4, schedule="linear", band="round", steps=2)
    _, state, step = build(curriculum, mesh)
    graph, plain, _ = build(None, mesh)
    batch = make_batch()
    normalized = np.asarray(ops.normalize_image(jnp.asarray(batch["image"])), np.float64)

    # Images of floats are taken as they are.
    reference = create_train_step(graph, SemanticSegmentation(3), optax.sgd(0.1), mesh)
    for ratio in (1.0, 0.7, 0.4):
        state, numbers = step(state, shard_batch(batch, mesh))
        np.testing.assert_allclose(numbers["ratio"], ratio, atol=1e-7)
        spectrum = np.fft.rfft2(normalized, axes=(1, 2))
        mask = np.asarray(ops.ratio_mask((16, 12), jnp.float32(ratio), band="round"))
        seen = np.fft.irfft2(spectrum * mask[..., None], s=(16, 12), axes=(1, 2))
        filtered = batch | {"image": seen.astype(np.float32)}
        plain, others = reference(plain, shard_batch(filtered, mesh))
        np.testing.assert_allclose(numbers["loss"], others["loss"], rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.parameters, plain.parameters
    )
    assert step._cache_size() == 1


def test_evaluation_sees_the_full_spectrum_or_that_of_the_end():
    mesh = create_mesh(devices=jax.devices()[:1])
    graph, state, _ = build(None, mesh)
    image = jnp.asarray(make_batch()["image"])
    logits = {
        evaluate: create_logits(graph, curriculum=Curriculum(0.5, evaluate=evaluate))(state, image)
        for evaluate in ("full", "final")
    }
    np.testing.assert_array_equal(create_logits(graph)(state, image), logits["full"])
    assert np.abs(logits["full"] - logits["final"]).max() > 0.1
    filtered = ops.low_pass(ops.normalize_image(image), 0.25)
    model = nnx.merge(graph, state.parameters, state.statistics)
    np.testing.assert_allclose(logits["final"], model(filtered), atol=1e-5)
    task = SemanticSegmentation(3, curriculum=Curriculum(0.5, evaluate="final"))
    predict = create_predict(graph, task)
    np.testing.assert_array_equal(predict(state, image), logits["final"].argmax(-1))


@pytest.mark.parametrize(
    "section, message",
    [
        ({"ratio": -0.5}, "curriculum.ratio is -0.5; it must be at least 0 and at most 1"),
        ({"start": 1.01}, "curriculum.start is 1.01; it must be at least 0 and at most 1"),
        ({"schedule": "poly"}, "curriculum.schedule is 'poly'; choose one of constant, linear"),
        ({"evaluate": "last"}, "curriculum.evaluate is 'last'; choose one of full, final"),
        ({"band": "disc"}, "curriculum.band is 'disc'; choose one of square, round"),
        ({"stairs": 1}, "curriculum.stairs is 1; it must be at least 2"),
        ({"every": 0}, "curriculum.every is 0; it must be at least 1"),
        ({"choices": 1}, "curriculum.choices is 1; it must be at least 2"),
        ({"beta": float("nan")}, "curriculum.beta is nan; it must be at least 0"),
        ({"schedule": "adaptive"}, "curriculum.ratio is 1.0, but the smallest ratio .* below 1"),
        ({"ration": 1}, "curriculum.ration: unknown key; did you mean curriculum.ratio"),
    ],
)
def test_wrong_values_are_told_by_their_key(section, message):
    with pytest.raises(InputError, match=message):
        parse(Curriculum, section, section="curriculum")


def adaptive(**changes):
    options = {"schedule": "adaptive", "start": 0.9, "every": 2, "choices": 4, "alpha": 3.0}
    return Curriculum(0.2, steps=8, **options | changes)


@pytest.fixture(scope="module")
def adaptive_run():
    """A run of six steps: its graph and step, and the state, batch and numbers of every step."""
    mesh = create_mesh(devices=jax.devices()[:1])
    graph, state, step = build(adaptive(), mesh)
    rng = np.random.default_rng(1)
    records = []
    for _ in range(6):
        image = rng.integers(0, 256, (4, 16, 12, 3), np.uint8)
        batch = shard_batch(make_batch() | {"image": image}, mesh)
        before = jax.tree.map(jnp.copy, state)
        state, numbers = step(state, batch)
        records.append((before, batch, numbers))
    return graph, step, records, state


def test_adaptive_ratio_is_the_best_for_the_state_and_the_batch_of_its_step(adaptive_run):
    graph, step, records, last = adaptive_run
    choices = jnp.array([0.2, 0.4, 0.6, 0.8])
    for t, (state, batch, numbers) in enumerate(records):
        expected = float(state.task)
        if t in (2, 4):
            model = nnx.merge(graph, state.parameters, state.statistics)
            image = ops.normalize_image(batch["image"])
            expected = float(best_ratio(model, image, choices, alpha=3.0, beta=1.0))
        np.testing.assert_allclose(numbers["ratio"], expected, rtol=1e-6)
    ratios = [float(state.task) for state, _, _ in records]
    assert ratios[:3] == [np.float32(0.9)] * 3 and ratios[3] < 0.9
    assert step._cache_size() == 1
    image = records[0][1]["image"]
    logits = create_logits(graph, curriculum=adaptive(evaluate="final"))(last, image)
    model = nnx.merge(graph, last.parameters, last.statistics)
    low = ops.ratio_low_pass(ops.normalize_image(image), float(last.task))
    np.testing.assert_allclose(logits, model(low), atol=1e-5)


def test_adaptive_run_goes_on_from_any_step_to_the_same_bits(adaptive_run, tmp_path):
    _, step, records, last = adaptive_run
    with CheckpointStore(tmp_path) as store:
        for first, (before, _, _) in enumerate(records):
            store.save(first, before)
            store.wait()
            state = store.restore(before)
            for _, batch, numbers in records[first:]:
                state, again = step(state, batch)
                assert float(again["ratio"]) == float(numbers["ratio"])
                assert float(again["loss"]) == float(numbers["loss"])
            jax.tree.map(np.testing.assert_array_equal, state, last)


# Compiled without LLVM's expensive passes: so small a program is run for milliseconds.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_meshes_parts_and_short_floats_see_the_same():
    curriculum, results = adaptive(every=1, band="round"), []
    for sizes, options in (
        ((1, 1, 1), {}),
        ((2, 1, 2), {}),
        ((1, 1, 1), {"accumulate": 2, "precision": "bfloat16"}),
    ):
        mesh = create_mesh(*sizes, devices=jax.devices()[: int(np.prod(sizes))])
        _, state, step = build(curriculum, mesh, **options)
        batch = shard_batch(make_batch(), mesh)
        step = step.lower(state, batch).compile(compiler_options=QUICK)
        for _ in range(2):
            state, numbers = step(state, batch)
        results.append([float(numbers[key]) for key in ("ratio", "loss")])
    assert results[0][0] == np.float32(0.2)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-2)  # 8 bits
