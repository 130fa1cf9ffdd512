"""The task of instance segmentation: what a run promises, it promises for detectors, too."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drawn_objects import make_batch, make_detector
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache

import segalias_jax as sa
from segalias_jax.data.masks import unpack_masks
from segalias_jax.errors import InputError
from segalias_jax.models import Detections
from segalias_jax.tasks import InstanceSegmentation
from segalias_jax.tasks.instances import detected_objects
from segalias_jax.training.sharding import create_mesh, shard_batch
from segalias_jax.training.state import create_state
from segalias_jax.training.step import create_train_step

ONE = jax.devices()[:1]


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory):
    keys = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, key) for key in keys]
    for key, value in zip(keys, (str(tmp_path_factory.mktemp("cache")), 0.1), strict=True):
        jax.config.update(key, value)
    compilation_cache.reset_cache()
    yield
    for key, value in zip(keys, before, strict=True):
        jax.config.update(key, value)
    compilation_cache.reset_cache()


def batches(count=3, *, seed=0):
    return [make_batch(4, seed=seed + number) for number in range(count)]


def run(folder=None, *, steps, **options):
    options = {"eval_every": steps, "log_every": 1, "progress": False} | options
    if "evaluators" not in options:
        options["validation"] = [make_batch(4, seed=9, invalid=(3,))]
    return sa.fit(
        make_detector,
        InstanceSegmentation(num_classes=2, headline="accuracy_50"),
        batches(),
        optimizer=optax.adam(0.01),
        steps=steps,
        workdir=folder,
        mesh=create_mesh(devices=ONE),
        **options,
    )


def plain(x):
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)


def test_losses_fall_and_the_scorer_of_the_task_counts_valid_images(tmp_path):
    fitted = run(tmp_path, steps=40, eval_every=20)
    losses = [line for line in fitted.history if "loss" in line]
    parts = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    assert parts < losses[0].keys()
    early, late = (np.mean([line["loss"] for line in some]) for some in (losses[:5], losses[-5:]))
    assert late < 0.8 * early
    scores = [line for line in fitted.history if "accuracy_50" in line]
    assert [line["step"] for line in scores] == [20, 40] and fitted.best_step in (20, 40)
    assert 0 <= scores[-1]["PQ"] <= 1
    # Predictions are detections of every image, at the size that was given.
    found = fitted.predict(make_batch(4)["image"])
    assert np.asarray(found.boxes).shape == (4, 6, 4) and np.asarray(found.boxes).max() <= 32


def test_stopped_run_resumes_to_the_same_bits(tmp_path):
    class Stop(Exception):
        pass

    class Stopping:
        def run(self, fitted):
            if fitted.step == 4 and stops:
                raise stops.pop()
            yield "accuracy_50", float(fitted.step)

    def train(name):
        return run(tmp_path / name, steps=6, eval_every=2, evaluators=[Stopping()], ema_decay=0.9)

    stops = []
    unbroken = train("unbroken")
    stops = [Stop()]
    with pytest.raises(Stop):
        train("broken")
    broken = train("broken")
    states = [jax.tree.map(plain, fitted.state) for fitted in (unbroken, broken)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    losses = [
        [(x["step"], x["loss"]) for x in fitted.history if "loss" in x]
        for fitted in (unbroken, broken)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 6
    lines = (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "loss" in json.loads(line)] == [
        *range(1, 7)
    ]


def steps_on(mesh, given, *, average="batch", accumulate=1, steps=2, **sizes):
    """Losses and parameters after some steps of plain gradient descent on one batch."""
    task = InstanceSegmentation(num_classes=2, average=average)
    optimizer = optax.sgd(0.02)
    graph, state = create_state(lambda: make_detector(**sizes), optimizer, mesh)
    step = create_train_step(graph, task, optimizer, mesh, accumulate=accumulate)
    placed = shard_batch(given, mesh, spatial=task.spatial)
    losses = []
    for _ in range(steps):
        state, metrics = step(state, placed)
        losses.append({key: float(x) for key, x in metrics.items() if key.startswith("loss")})
    return losses, jax.tree.map(plain, (state.parameters, state.statistics)), step


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 4, 1)], ids=str)
def test_eight_devices_compute_what_one_does(sizes):
    given = make_batch(8, empty=(2,), invalid=(7,))
    (losses, state, _), (others, other, _) = (
        steps_on(mesh, given) for mesh in (create_mesh(devices=ONE), create_mesh(*sizes))
    )
    for one, many in zip(losses, others, strict=True):
        assert many == pytest.approx(one, rel=1e-5, abs=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=1e-5), state, other)


def test_parts_of_a_batch_sum_to_the_whole():
    # More samples than there are boxes: what is drawn is then the same in a part and in the whole.
    sizes = {"norm": False, "rpn_samples": 512, "box_samples": 128}
    given, mesh = make_batch(4, empty=(1,), invalid=(3,)), create_mesh(devices=ONE)
    (losses, state, _), (others, other, _) = (
        steps_on(mesh, given, average="image", accumulate=parts, **sizes) for parts in (1, 2)
    )
    for one, many in zip(losses, others, strict=True):
        assert many == pytest.approx(one, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=1e-6), state, other)


def test_one_compilation_serves_any_number_of_objects():
    mesh = create_mesh(devices=ONE)
    _, _, step = steps_on(mesh, make_batch(2), steps=1, norm=False)
    task, optimizer = InstanceSegmentation(num_classes=2), optax.sgd(0.02)
    _, state = create_state(lambda: make_detector(norm=False), optimizer, mesh)
    for given in (make_batch(2, seed=1), make_batch(2, seed=2, empty=(0, 1), invalid=(1,))):
        given["size"] = np.array([[20, 32], [32, 8]], np.int32)
        state, _ = step(state, shard_batch(given, mesh, spatial=task.spatial))
    assert step._cache_size() == 1


@pytest.fixture(scope="module")
def gradients():
    """Returns `(loss, gradient)` of a detector without statistics, by precision and batch."""
    graph, state = nnx.split(make_detector(norm=False))
    compiled = {}

    def call(given, precision="float32"):
        task = InstanceSegmentation(num_classes=2, precision=precision)
        loss = lambda state, batch: task.loss(nnx.merge(graph, state), batch)[0]  # noqa: E731
        made = compiled.setdefault(precision, jax.jit(jax.value_and_grad(loss)))
        return made(state, {key: jnp.asarray(x) for key, x in given.items()})

    return call


def all_finite(tree):
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def test_what_only_fills_up_a_batch_changes_nothing(gradients):
    given = make_batch(4, empty=(1,), invalid=(3,))
    noise = make_batch(4, seed=5)
    changed = {key: np.where(_like(given["valid"], x), x, noise[key]) for key, x in given.items()}
    changed["valid"] = given["valid"]
    one, other = gradients(given), gradients(changed)
    assert all_finite(one)
    # Statistics are none here, and sums run over the same samples in the same order.
    jax.tree.map(np.testing.assert_array_equal, one, other)


def _like(valid, x):
    return valid.reshape(-1, *[1] * (x.ndim - 1))


@pytest.mark.parametrize(
    "given",
    [
        {"empty": (0, 1, 2, 3)},
        {"invalid": (0, 1, 2, 3)},
        {"empty": (0, 2), "invalid": (1, 3)},
    ],
    ids=["no objects", "no images", "neither"],
)
def test_images_without_objects_give_finite_numbers(gradients, given):
    loss, gradient = gradients(make_batch(4, **given))
    assert all_finite((loss, gradient))
    if given == {"invalid": (0, 1, 2, 3)}:
        assert loss == 0 and all(not leaf.any() for leaf in jax.tree.leaves(gradient))
    else:
        assert loss > 0  # of what is background


def test_bfloat16_is_near_float32(gradients):
    given = make_batch(4)
    (loss, gradient), (exact, _) = gradients(given, "bfloat16"), gradients(given)
    assert all_finite(gradient) and loss.dtype == jnp.float32
    # Proposals near a limit may change sides, beside roundings of 2^-8.
    assert float(loss) == pytest.approx(float(exact), rel=0.05)


def test_samples_differ_from_step_to_step_and_by_seed():
    model, given = make_detector(norm=False, rpn_samples=8), make_batch(1)

    def loss(step, seed):
        task = InstanceSegmentation(num_classes=2, seed=seed)
        return float(nnx.jit(lambda m, b: task.loss(m, b)[0])(model, given | {"step": step}))

    assert len({loss(0, 0), loss(1, 0), loss(0, 1)}) == 3
    assert loss(1, 0) == loss(1, 0)


def test_a_dark_copy_adds_its_losses_and_the_distance_of_features():
    model, given = make_detector(norm=False), make_batch(2)
    task = InstanceSegmentation(num_classes=2)
    losses = nnx.jit(lambda m, b: task.loss(m, b))
    alone, _ = losses(model, given)
    total, parts = losses(model, given | {"dark": given["image"] // 4})
    assert {f"dark_{name}" for name in parts if name.startswith("loss")} < parts.keys()
    assert total == pytest.approx(float(sum(parts.values())), rel=1e-6) and total > alone
    same, parts = losses(model, given | {"dark": given["image"]})
    assert parts["disturbance"] == 0 and same > alone


def test_padding_is_zero_in_the_network():
    task = InstanceSegmentation(num_classes=2)
    image = np.full((1, 8, 8, 3), 200, np.uint8)
    x = np.asarray(task.network_input(jnp.asarray(image), jnp.array([[5, 3]])))
    assert x[0, :5, :3].all() and not x[0, 5:].any() and not x[0, :, 3:].any()


def test_scorer_counts_exact_detections_as_exact(tmp_path):
    given = make_batch(3, (32, 48), seed=4, invalid=(2,))
    given["size"][0] = 30, 40
    exist = given["classes"] > 0
    masks = unpack_masks(given["masks"], 48)
    # A mask's box in 28x28 cells, each the pixel in its middle, pastes to nearly the same pixels.
    cells = np.zeros((3, 4, 28, 28), np.float32)
    for row, k in zip(*np.nonzero(exist), strict=True):
        x1, y1, x2, y2 = given["boxes"][row, k]
        where = (np.arange(28) + 0.5) / 28
        rows, columns = (y1 + where * (y2 - y1)).astype(int), (x1 + where * (x2 - x1)).astype(int)
        cells[row, k] = masks[row, k][np.ix_(rows, columns)]
    found = Detections(given["boxes"], exist.astype(np.float32), given["classes"], cells)
    task = InstanceSegmentation(num_classes=2)
    scorer, other = task.scorer(), task.scorer()
    scorer.update(found, given)
    assert scorer.compute()["accuracy_50"] == 1 and scorer.compute()["PQ"] > 0.9
    assert len(scorer.scores) == 2
    other.update(found, make_batch(3, (32, 48), seed=11))
    assert scorer.merge(other) is scorer and scorer.compute()["accuracy_50"] < 1
    # Objects at another size: the boxes are scaled before masks are pasted.
    objects = detected_objects(found, 1, (64, 96), scale=(2.0, 2.0))
    areas = masks[1][exist[1]].sum((1, 2))
    np.testing.assert_allclose(np.sort(objects.areas), np.sort(4 * areas), rtol=0.15)


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_heights_are_not_split():
    with pytest.raises(InputError, match="along 'spatial', but InstanceSegmentation "):
        sa.fit(
            make_detector,
            InstanceSegmentation(num_classes=2),
            batches(1),
            optimizer=optax.sgd(0.1),
            steps=1,
            mesh=create_mesh(4, 1, 2),
            progress=False,
        )


@pytest.mark.parametrize(
    "given, message",
    [
        ({"num_classes": 0}, "num_classes is 0; it must be at least 1"),
        ({"average": "pixel"}, "average is 'pixel'; choose one of batch, image"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"headline": "mIoU"}, "headline is 'mIoU'"),
        ({"threshold": 1.5}, "threshold is 1.5; it must be at least 0 and below 1"),
    ],
)
def test_errors_name_the_argument(given, message):
    with pytest.raises(InputError, match=message):
        InstanceSegmentation(**{"num_classes": 2} | given)


def test_parts_need_means_over_images():
    with pytest.raises(InputError, match="accumulate"):
        run(steps=1, accumulate=2)
