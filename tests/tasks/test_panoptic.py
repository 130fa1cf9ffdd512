"""The task of panoptic segmentation: what it learns, how it is averaged, what it predicts."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drawn_objects import Encoder, draw, make_batch
from flax import nnx
from run_folders import compile_once  # noqa: F401

import segalias_jax as sa
from segalias_jax.data.masks import boxes_of_masks, pack_masks
from segalias_jax.errors import InputError
from segalias_jax.models import PanopticDeepLab, PanopticMaps
from segalias_jax.scoring.instances import Objects
from segalias_jax.tasks import PanopticSegmentation
from segalias_jax.tasks.panoptic import PanopticLoss, Segments, segment_objects
from segalias_jax.training.sharding import create_mesh, shard_batch
from segalias_jax.training.state import create_state
from segalias_jax.training.step import create_train_step

ONE = jax.devices()[:1]
# Of ellipses of 10 to 20 pixels in images of 32.
SMALL = PanopticLoss(sigma=3.0, small_area=40, fraction=0.3)


def make_network(channels=32, dilations=(1, 2)):
    rngs = nnx.Rngs(0)
    sizes = {"channels": channels, "dilations": dilations}
    return PanopticDeepLab(Encoder(True, rngs), num_classes=2, rngs=rngs, **sizes)


make_narrow = functools.partial(make_network, 16, (1,))


def ideal_maps(batch, task):
    """Maps that say what the targets say; logits of what is not known are of none."""
    targets = jax.vmap(task.targets)(
        *(batch[name] for name in ("masks", "classes", "crowd", "size"))
    )
    label = jnp.where(targets.label_weight > 0, targets.label, 0)
    logits = 20 * jax.nn.one_hot(label, task.num_classes + 1)
    return PanopticMaps(logits, targets.center, targets.offset), targets


def with_stuff(batch):
    """The batch with class 3, stuff, on the left half of what shows no object."""
    masks = np.unpackbits(batch["masks"], axis=-1).astype(bool)
    free = ~masks.any(1)
    free[..., 16:] = False
    masks, classes = batch["masks"].copy(), batch["classes"].copy()
    masks[:, -1], classes[:, -1] = pack_masks(free), 3
    return batch | {"masks": masks, "classes": classes}


@pytest.mark.parametrize("stuff", [(), (3,)])
def test_the_segments_of_perfect_maps_are_the_objects(stuff):
    task = PanopticSegmentation(3, stuff=stuff, how=SMALL, max_centers=8, stuff_area=30)
    batch = make_batch(6, room=3, invalid=(5,))
    batch = {
        key: np.pad(x, [(0, 0), (0, 1)] + [(0, 0)] * (x.ndim - 2))
        if key in ("boxes", "classes", "crowd", "masks")
        else x
        for key, x in batch.items()
    }
    batch = with_stuff(batch) if stuff else batch

    @jax.jit
    def perfect(batch):
        maps, _ = ideal_maps(batch, task)
        return task.predict(lambda x: maps, batch["image"], size=batch["size"])

    scorer = task.scorer()
    scorer.update(perfect(batch), batch)
    scores = scorer.compute()
    assert len(scorer.scores) == 5 and scores["PQ"] == 1.0
    classes = scorer.scores.compute()["PQ_per_class"]
    np.testing.assert_array_equal(classes, [1, 1, 1 if stuff else np.nan])


def test_losses_of_perfect_maps_and_of_none():
    task = PanopticSegmentation(2, how=SMALL)
    batch = make_batch(3)
    maps, targets = jax.jit(lambda batch: ideal_maps(batch, task))(batch)
    losses = task.map_losses(maps, targets)
    assert set(losses) == {"loss_semantic", "loss_center", "loss_offset"}
    assert max(float(x) for x in losses.values()) < 1e-6
    nothing = jax.tree.map(jnp.zeros_like, maps)
    losses = task.map_losses(nothing, targets)
    squares = 200 * np.square(np.asarray(targets.center)).mean()
    np.testing.assert_allclose(losses["loss_center"], squares, rtol=1e-5)
    things = np.asarray(targets.offset_weight) > 0
    sizes = 0.01 * np.abs(np.asarray(targets.offset)).sum(-1)[things].mean()
    np.testing.assert_allclose(losses["loss_offset"], sizes, rtol=1e-5)
    weights = np.sort(np.asarray(targets.label_weight), axis=None)
    assert weights[-1] == 3
    hardest = np.log(3) * weights[-int(0.3 * weights.size) :].mean()
    np.testing.assert_allclose(losses["loss_semantic"], hardest, rtol=1e-5)


@pytest.mark.skipif("SEGALIAS_OVERFIT" not in os.environ, reason="takes 40 s; set it to 1")
def test_a_small_scene_is_learned_by_heart():
    mesh, optimizer = create_mesh(devices=ONE), optax.adam(5e-3)
    task = PanopticSegmentation(2, how=SMALL, max_centers=8)
    graph, state = create_state(make_network, optimizer, mesh)
    step = create_train_step(graph, task, optimizer, mesh)
    batch = make_batch(2, seed=3)
    placed, losses = shard_batch(batch, mesh, spatial=()), []
    for _ in range(250):
        state, metrics = step(state, placed)
        losses.append(metrics["loss"])
    assert np.isfinite(losses).all() and losses[-1] < 0.1 * losses[0]
    model = nnx.merge(graph, state.parameters, state.statistics)
    model.eval()
    found = jax.jit(lambda batch: task.predict(model, batch["image"], size=batch["size"]))
    scorer = task.scorer()
    scorer.update(found(batch), batch)
    assert scorer.compute()["PQ"] > 0.9


def check_equal(one, other, atol=0.0):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=0, atol=atol), one, other)


class Stop(Exception):
    """A kill, at a place that is known."""


@pytest.mark.skipif("SEGALIAS_OVERFIT" not in os.environ, reason="takes 20 s; set it to 1")
def test_a_stopped_run_ends_with_the_same_bits(tmp_path, compile_once):  # noqa: F811
    def run(folder, *, stops=()):
        class Validation(sa.training.Validation):
            def run(self, fitted):
                if fitted.step in stops:
                    raise Stop
                yield from super().run(fitted)

        task = PanopticSegmentation(2, how=SMALL, max_centers=8, headline="PQ")
        return sa.fit(
            make_narrow,
            task,
            [make_batch(2, seed=number) for number in range(3)],
            optimizer=optax.adam(0.01),
            steps=4,
            workdir=folder,
            evaluators=[Validation(task, [make_batch(2, seed=9, invalid=(1,))])],
            eval_every=2,
            log_every=1,
            mesh=create_mesh(devices=ONE),
            progress=False,
        )

    unbroken = run(tmp_path / "unbroken")
    with pytest.raises(Stop):
        run(tmp_path / "broken", stops=(2,))
    broken = run(tmp_path / "broken")
    for part in ("parameters", "statistics", "optimizer"):
        check_equal(getattr(unbroken.state, part), getattr(broken.state, part))
    seen, losses = ([x["loss"] for x in one.history if "loss" in x] for one in (broken, unbroken))
    assert seen == losses and len(losses) == 4 and np.isfinite(losses).all()


@pytest.mark.skipif("SEGALIAS_OVERFIT" not in os.environ, reason="takes 40 s; set it to 1")
@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_eight_devices_compute_what_one_does():
    task, optimizer = PanopticSegmentation(2, how=SMALL), optax.sgd(0.02)
    found = []
    for mesh in (create_mesh(devices=ONE), create_mesh(2, 4, 1)):  # data and fsdp
        graph, state = create_state(make_narrow, optimizer, mesh)
        step = create_train_step(graph, task, optimizer, mesh)
        placed = shard_batch(make_batch(8, empty=(2,), invalid=(7,)), mesh, spatial=task.spatial)
        for _ in range(2):
            state, metrics = step(state, placed)
        losses = {key: float(x) for key, x in metrics.items() if "loss" in key}
        found.append((losses, jax.device_get((state.parameters, state.statistics))))
    (losses, state), (others, other) = found
    assert len(losses) > 3 and others == pytest.approx(losses, rel=1e-5, abs=1e-6)
    check_equal(state, other, atol=1e-5)


def test_losses_of_images_are_means_over_parts_of_a_batch():
    task = PanopticSegmentation(2, how=SMALL, average="image")
    batch = make_batch(4, empty=(1,), invalid=(3,))
    model = make_network()
    model.eval()
    loss = jax.jit(lambda batch: (task.loss(model, batch)[1], task.weight(batch)))
    whole, _ = loss(batch)
    parts = [loss({key: x[rows] for key, x in batch.items()}) for rows in (slice(2), slice(2, 4))]
    assert [float(weight) for _, weight in parts] == [2, 1]
    for name, x in whole.items():
        mean = sum(weight * losses[name] for losses, weight in parts) / 3
        np.testing.assert_allclose(mean, x, rtol=1e-5)


def test_segments_at_the_size_of_the_image():
    random = np.random.default_rng(0)
    segments = random.integers(0, 4, (2, 6, 9))
    classes, scores = np.array([[1, 2, 3]] * 2), np.array([[0.1, 0.9, 0.5]] * 2)
    objects = segment_objects(Segments(segments, classes, scores), 1, (5, 8), (10, 16))
    assert objects.classes.tolist() == [2, 3, 1] and objects.scores.tolist() == [0.9, 0.5, 0.1]
    twice = segments[1, :5, :8].repeat(2, 0).repeat(2, 1)
    for label, mask in zip(objects.classes, objects.masks, strict=True):
        np.testing.assert_array_equal(mask.window(0, 0, 10, 16), twice == label)


def test_void_is_what_no_object_shows():
    _, masks, classes = draw((32, 40), np.random.default_rng(0))
    assert boxes_of_masks(masks).any()
    true = Objects(classes, masks)
    assert PanopticSegmentation(2).void(true) is None
    np.testing.assert_array_equal(PanopticSegmentation(2, stuff=(1,)).void(true), ~masks.any(0))


@pytest.mark.parametrize("stuff", [(0,), (3,)])
def test_stuff_has_to_be_classes(stuff):
    with pytest.raises(InputError, match=r"stuff is .*; give classes of 1 to 2"):
        PanopticSegmentation(2, stuff=stuff)
