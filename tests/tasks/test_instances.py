"""The task of instance segmentation: what a run promises, it promises for detectors, too."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drawn_objects import TINY, make_batch, make_detector
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache

import segalias_jax as sa
from segalias_jax.data.masks import unpack_masks
from segalias_jax.errors import InputError
from segalias_jax.models import Detections, create_detector
from segalias_jax.tasks import InstanceSegmentation
from segalias_jax.tasks.instances import detected_objects
from segalias_jax.training.sharding import create_mesh, shard_batch
from segalias_jax.training.state import TrainState, create_state, split_model
from segalias_jax.training.step import create_predict, create_train_step
from segalias_jax.training.trainer import Trainer

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


def run(folder, *, stops=()):
    """A short run, which stops where it is told to."""

    class Validation(sa.training.Validation):
        def run(self, fitted):
            if fitted.step in stops:
                raise Stop
            yield from super().run(fitted)

    task = InstanceSegmentation(num_classes=2, headline="accuracy_50")
    return sa.fit(
        make_detector,
        task,
        [make_batch(4, seed=number) for number in range(3)],
        optimizer=optax.adam(0.01),
        steps=24,
        workdir=folder,
        evaluators=[Validation(task, [make_batch(4, seed=9, invalid=(3,))])],
        eval_every=8,
        log_every=1,
        ema_decay=0.9,
        mesh=create_mesh(devices=ONE),
        progress=False,
    )


class Stop(Exception):
    """A kill, at a place that is known."""


def plain(x):
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)


def check_equal(one, other, atol=0.0):
    def check(a, b):
        np.testing.assert_allclose(plain(b), plain(a), rtol=0, atol=atol)

    jax.tree.map(check, one, other)


def test_losses_fall_and_a_stopped_run_ends_with_the_same_bits(tmp_path):
    unbroken = run(tmp_path / "unbroken")
    losses = [line for line in unbroken.history if "loss" in line]
    parts = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    assert parts < losses[0].keys() and len(losses) == 24
    early, late = (np.mean([line["loss"] for line in some]) for some in (losses[:3], losses[-3:]))
    assert late < 0.85 * early
    scores = [line for line in unbroken.history if "accuracy_50" in line]
    assert [line["step"] for line in scores] == [8, 16, 24] and unbroken.best_step in (8, 16, 24)
    assert all(0 <= line["PQ"] <= 1 for line in scores)
    with pytest.raises(Stop):
        run(tmp_path / "broken", stops=(16,))
    broken = run(tmp_path / "broken")
    check_equal(unbroken.state, broken.state)
    seen = [line["loss"] for line in broken.history if "loss" in line]
    assert seen == [line["loss"] for line in losses]
    # Predictions are detections of every image, inside of it.
    found = broken.predict(make_batch(4)["image"])
    boxes = np.asarray(found.boxes)
    assert boxes.shape == (4, 6, 4) and boxes.min() >= 0 and boxes.max() <= 32


class Steps:
    """A compiled step of plain gradient descent, and the state it begins with."""

    def __init__(self, mesh, *, average="batch", accumulate=1, **sizes):
        self.mesh, self.task = mesh, InstanceSegmentation(num_classes=2, average=average)
        optimizer = optax.sgd(0.02)
        graph, self.state = create_state(lambda: make_detector(**sizes), optimizer, mesh)
        self.step = create_train_step(graph, self.task, optimizer, mesh, accumulate=accumulate)

    def __call__(self, given, steps=1):
        """Returns all losses, and parameters and statistics, after some steps on a batch."""
        placed = shard_batch(given, self.mesh, spatial=self.task.spatial)
        state, losses = jax.tree.map(jnp.copy, self.state), []
        for _ in range(steps):
            state, metrics = self.step(state, placed)
            losses.append({key: float(x) for key, x in metrics.items() if "loss" in key})
        return losses, (state.parameters, state.statistics)


@pytest.fixture(scope="module")
def steps():
    """Steps on one device of a detector with statistics."""
    return Steps(create_mesh(devices=ONE))


@pytest.fixture(scope="module")
def parts():
    """Steps without statistics, whose losses are means over images, by number of parts."""
    # More samples than there are boxes: what is drawn is then the same in a part and in the whole.
    sizes = {"average": "image", "norm": False, "rpn_samples": 512, "box_samples": 128}
    mesh = create_mesh(devices=ONE)
    return {count: Steps(mesh, accumulate=count, **sizes) for count in (1, 2)}


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_eight_devices_compute_what_one_does(steps):
    given = make_batch(8, empty=(2,), invalid=(7,))
    many = Steps(create_mesh(2, 4, 1))  # data and fsdp
    (losses, state), (others, other) = steps(given, 2), many(given, 2)
    for one, eight in zip(losses, others, strict=True):
        assert eight == pytest.approx(one, rel=1e-5, abs=1e-6)
    check_equal(state, jax.device_get(other), atol=1e-5)


def test_parts_of_a_batch_sum_to_the_whole(parts):
    given = make_batch(4, empty=(1,), invalid=(3,))
    (losses, state), (others, other) = (parts[count](given, 2) for count in (1, 2))
    for one, two in zip(losses, others, strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    check_equal(state, other, atol=1e-6)


def all_finite(tree):
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def test_what_only_fills_up_a_batch_changes_nothing(parts):
    given = make_batch(4, empty=(1,), invalid=(3,))
    noise = make_batch(4, seed=5)
    changed = {key: np.concatenate([x[:3], noise[key][3:]]) for key, x in given.items()}
    changed["valid"] = given["valid"]
    (losses, state), (others, other) = parts[1](given), parts[1](changed)
    assert losses == others and all_finite(state)
    check_equal(state, other)


@pytest.mark.parametrize(
    "given",
    [
        {"empty": range(8)},
        {"invalid": range(8)},
        {"empty": (0, 2, 4, 6), "invalid": (1, 3, 5, 7)},
    ],
    ids=["no objects", "no images", "neither"],
)
def test_images_without_objects_give_finite_numbers(steps, given):
    (losses,), state = steps(make_batch(8, **given))
    assert all_finite(state)
    if given == {"invalid": range(8)}:
        assert not any(losses.values())
    else:
        assert losses["loss"] > 0  # of what is background
        assert losses["loss_mask"] == losses["loss_box_reg"] == 0


def test_one_compilation_serves_all_images_of_a_padded_size(steps):
    for given in (make_batch(8, seed=1), make_batch(8, seed=2, empty=(0, 1), invalid=(1,))):
        given["size"][:2] = [20, 32], [32, 8]
        (losses,), _ = steps(given)
        assert np.isfinite(losses["loss"])
    assert steps.step._cache_size() == 1


@pytest.fixture(scope="module")
def losses():
    """Returns `call(batch, step)`: total and parts of the losses of images and dark copies."""
    task, model = InstanceSegmentation(num_classes=2), make_detector(norm=False, rpn_samples=8)
    compiled = nnx.jit(lambda model, batch: task.loss(model, batch))
    return lambda batch, step=0: compiled(model, batch | {"step": np.int32(step)})


def test_a_dark_copy_adds_its_losses_and_the_distance_of_features(losses):
    given = make_batch(2)
    total, parts = losses(given | {"dark": given["image"] // 4})
    bright = {name for name in parts if name.startswith("loss")}
    assert parts.keys() == bright | {f"dark_{name}" for name in bright} | {"disturbance"}
    assert float(total) == pytest.approx(sum(map(float, parts.values())), rel=1e-6)
    assert parts["disturbance"] > 0
    _, parts = losses(given | {"dark": given["image"]})
    assert parts["disturbance"] == 0


def test_samples_differ_from_step_to_step(losses):
    given = make_batch(2)
    given["dark"] = given["image"]
    first, again, second = (float(losses(given, step)[0]) for step in (0, 0, 1))
    assert first == again != second


def test_bfloat16_is_near_float32():
    model, given = make_detector(norm=False), make_batch(2)

    def loss(precision):
        task = InstanceSegmentation(num_classes=2, precision=precision)
        return nnx.jit(lambda m, b: task.loss(m, b)[0])(model, given)

    short, exact = loss("bfloat16"), loss("float32")
    assert short.dtype == jnp.float32
    # Proposals near a limit may change sides, beside roundings of 2^-8.
    assert float(short) == pytest.approx(float(exact), rel=0.05)


def test_branches_are_folded_where_nothing_is_learned():
    """What a run is scored by has as many convolutions as without them."""
    task, image = InstanceSegmentation(2), np.zeros((1, 64, 64, 3), np.uint8)

    def convolutions(mixer):
        section = {key.removeprefix("model."): value for key, value in TINY.items()}
        section |= {"name": "mask_rcnn", "mixer": mixer}

        def predict(image):
            model = create_detector(section, num_classes=2, rngs=nnx.Rngs(0))
            graph, parameters, statistics = split_model(model)
            state = TrainState(0, parameters, statistics, (), None, None)
            return create_predict(graph, task)(state, image).boxes

        return str(jax.make_jaxpr(predict)(image)).count("conv_general_dilated[")

    assert convolutions("scb") == convolutions("none") > 20


def test_padding_is_zero_in_the_network():
    task = InstanceSegmentation(num_classes=2)
    image = np.full((1, 8, 8, 3), 200, np.uint8)
    x = np.asarray(task.network_input(jnp.asarray(image), jnp.array([[5, 3]])))
    assert x[0, :5, :3].all() and not x[0, 5:].any() and not x[0, :, 3:].any()


def test_scorer_counts_exact_detections_as_exact():
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
            [make_batch(8)],
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
    with pytest.raises(InputError, match="accumulate is 2, but the loss of a batch of Instance"):
        Trainer(
            make_detector,
            InstanceSegmentation(num_classes=2),
            optimizer=optax.sgd(0.1),
            mesh=create_mesh(devices=ONE),
            accumulate=2,
        )
