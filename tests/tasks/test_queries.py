"""The tasks by networks of queries: what is learned, averaged, predicted and scored."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drawn_objects import draw, make_batch
from flax import nnx
from query_networks import Queries, Told

from segalias_jax import models
from segalias_jax.data.masks import pack_masks
from segalias_jax.errors import InputError
from segalias_jax.losses.queries import QueryLoss
from segalias_jax.models import MaskDetections
from segalias_jax.tasks import InstanceQueries, PanopticQueries, SemanticQueries
from segalias_jax.tasks.queries import class_masks, mask_objects
from segalias_jax.training.sharding import create_mesh, shard_batch
from segalias_jax.training.state import create_state
from segalias_jax.training.step import create_train_step

ONE = jax.devices()[:1]
HOW = QueryLoss(points=128)


def make_queries():
    return Queries(rngs=nnx.Rngs(0))


def make_both():
    return Queries(both=True, rngs=nnx.Rngs(0))


class Perfect:
    """Tells exactly what a batch shows, in another order, and one query more that tells nothing."""

    def __init__(self, batch, num_classes):
        order = np.roll(np.arange(batch["classes"].shape[1]), 1)
        masks = np.unpackbits(batch["masks"], axis=-1).astype(np.float32)[:, order]
        none = np.zeros_like(masks[:, :1])
        classes = np.pad(batch["classes"][:, order], [(0, 0), (0, 1)]) - 1
        logits = 20 * jax.nn.one_hot(classes % (num_classes + 1), num_classes + 1)
        self.told = Told(logits, jnp.asarray(40 * np.concatenate([masks, none], 1) - 20), ())

    def encoder(self, x):
        return (x,)

    def segments(self, features):
        return self.told


def with_stuff(batch):
    """The batch with class 3, stuff, on the left half of what shows no object."""
    free = ~np.unpackbits(batch["masks"], axis=-1).astype(bool).any(1)
    free[..., 16:] = False
    masks = np.concatenate([batch["masks"], pack_masks(free)[:, None]], 1)
    classes = np.pad(batch["classes"], [(0, 0), (0, 1)], constant_values=3)
    crowd = np.pad(batch["crowd"], [(0, 0), (0, 1)])
    boxes = np.pad(batch["boxes"], [(0, 0), (0, 1), (0, 0)])
    return batch | {"masks": masks, "classes": classes, "crowd": crowd, "boxes": boxes}


@pytest.mark.parametrize("stuff", [None, (3,)])
def test_perfect_queries_are_the_objects_and_cost_nothing(stuff):
    """Of instances (None), and of things and stuff."""
    batch = make_batch(4, room=3, invalid=(3,))
    batch = with_stuff(batch) if stuff else batch
    batch["size"][1] = (24, 30)
    batch["masks"][1, :, 24:] = 0  # what lies in the padding is no object's
    batch["masks"][1, :, :, 3] &= 0b11111100
    there = batch["masks"].any((2, 3))
    batch["classes"] = np.where(there, batch["classes"], 0)
    task = (
        InstanceQueries(3, how=HOW) if stuff is None else PanopticQueries(3, stuff=stuff, how=HOW)
    )
    model = Perfect(batch, 3)

    def look(batch):
        found = task.predict(model, batch["image"], size=batch["size"])
        return found, task.loss(model, batch)[1]

    found, losses = jax.jit(look)(batch)
    scorer = task.scorer()
    scorer.update(found, batch)
    scores = scorer.compute()
    assert len(scorer.scores) == 3 and scores["PQ"] == 1 == scores["accuracy_50"]
    assert set(losses) == {"loss_class", "loss_mask", "loss_dice", "loss_auxiliary"}
    assert losses["loss_class"] < 1e-6 and losses["loss_auxiliary"] == 0
    # Between pixels of an object and of none, truth is a fraction; there is no such logit.
    assert losses["loss_mask"] + losses["loss_dice"] < 3


def test_masks_of_classes():
    random = np.random.default_rng(0)
    label = random.integers(0, 4, (2, 5, 13)).astype(np.int32)
    label[0][label[0] == 2] = 255
    classes, masks = jax.jit(class_masks, static_argnums=1)(label, 5)
    assert np.array_equal(classes, [[1, 2, 0, 4, 0], [1, 2, 3, 4, 0]])
    bits = np.unpackbits(masks, axis=-1, count=13)
    for number in range(5):
        np.testing.assert_array_equal(bits[:, number], label == number)


def test_objects_at_the_size_of_the_image():
    random = np.random.default_rng(0)
    pixels = random.random((2, 3, 6, 16)) < 0.3
    scores, classes = np.array([[0.9, 0.5, 0.0]] * 2), np.array([[2, 1, 0]] * 2)
    prediction = MaskDetections(scores, classes, pack_masks(pixels))
    objects = mask_objects(prediction, 1, (5, 13), (10, 26))
    assert objects.classes.tolist() == [2, 1] and objects.scores.tolist() == [0.9, 0.5]
    twice = pixels[1, :, :5, :13].repeat(2, 1).repeat(2, 2)
    for k, mask in enumerate(objects.masks):
        np.testing.assert_array_equal(mask.window(0, 0, 10, 26), twice[k])


def train(task, batch, *, steps, mesh, rate=2e-2, make=make_queries):
    optimizer = optax.adam(rate) if rate else optax.sgd(0.02)
    graph, state = create_state(make, optimizer, mesh)
    step = create_train_step(graph, task, optimizer, mesh)
    placed, records = shard_batch(batch, mesh, spatial=()), []
    for _ in range(steps):
        state, record = step(state, placed)
        records.append({k: float(x) for k, x in record.items() if "loss" in k})
    model = nnx.merge(graph, state.parameters, state.statistics)
    model.eval()
    return model, records


@pytest.mark.skipif("SEGALIAS_OVERFIT" not in os.environ, reason="takes 10 s; set it to 1")
def test_losses_of_instances_fall():
    task = InstanceQueries(2, how=HOW)
    _, records = train(task, make_batch(4, seed=3), steps=60, mesh=create_mesh(devices=ONE))
    first, last = (np.mean([x["loss"] for x in part]) for part in (records[:5], records[-5:]))
    assert np.isfinite([x["loss"] for x in records]).all() and last < 0.6 * first
    parts = [x for name, x in records[0].items() if name != "loss"]
    assert sum(parts) == pytest.approx(records[0]["loss"], rel=1e-6)


def semantic_batch(rows, seed=0):
    random, images, labels = np.random.default_rng(seed), [], []
    for _ in range(rows):
        image, masks, classes = draw((32, 32), random)
        label = np.zeros((32, 32), np.int32)
        for mask, number in zip(masks, classes, strict=True):
            label[mask] = number
        label[:4] = 255
        images.append(image)
        labels.append(label)
    return {"image": np.stack(images), "label": np.stack(labels), "valid": np.ones(rows, bool)}


def test_a_perfect_label_map_costs_nothing():
    batch, task = semantic_batch(2), SemanticQueries(3, how=HOW)
    classes, masks = jax.jit(class_masks, static_argnums=1)(batch["label"], 3)
    model = Perfect({"classes": np.asarray(classes), "masks": np.asarray(masks)}, 3)
    total, losses = jax.jit(lambda batch: task.loss(model, batch))(batch)
    assert losses["loss_class"] < 1e-6 and losses["loss_mask"] + losses["loss_dice"] < 5
    assert float(total) == pytest.approx(sum(map(float, losses.values())), rel=1e-6)


@pytest.mark.skipif("SEGALIAS_OVERFIT" not in os.environ, reason="takes 10 s; set it to 1")
def test_losses_of_classes_fall():
    task, batch = SemanticQueries(3, how=HOW), semantic_batch(4)
    make = lambda: Queries(num_classes=3, both=True, rngs=nnx.Rngs(0))  # noqa: E731
    model, records = train(task, batch, steps=150, mesh=create_mesh(devices=ONE), make=make)
    first, last = (np.mean([x["loss"] for x in part]) for part in (records[:5], records[-5:]))
    assert np.isfinite([x["loss"] for x in records]).all() and last < 0.6 * first
    scorer = task.scorer()
    scorer.update(np.asarray(jax.jit(lambda x: task.predict(model, x))(batch["image"])), batch)
    assert scorer.compute()["mIoU"] > 0.6


@pytest.mark.skipif("SEGALIAS_OVERFIT" not in os.environ, reason="takes 40 s; set it to 1")
@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_eight_devices_compute_what_one_does():
    """Masks are averaged over all of them."""
    task, batch = InstanceQueries(2, how=HOW), make_batch(8, empty=(2,), invalid=(7,))
    (one, records), (many, others) = (
        train(task, batch, steps=2, mesh=mesh, rate=0, make=make_both)
        for mesh in (create_mesh(devices=ONE), create_mesh(2, 4, 1))  # data and fsdp
    )
    assert len(records[0]) == 5
    for ours, theirs in zip(records, others, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-5, abs=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(b, a, atol=1e-5), *map(nnx.state, (one, many))
    )


def test_stuff_has_to_be_classes():
    with pytest.raises(InputError, match=r"stuff is .*; give classes of 1 to 2"):
        PanopticQueries(2, stuff=(3,))


@pytest.mark.skipif("SEGALIAS_OVERFIT" not in os.environ, reason="takes minutes; set it to 1")
def test_mask2former_learns_a_small_scene_by_heart():
    sizes = {"channels": 32, "pixel_feedforward": 32, "feedforward": 32}
    sizes |= {"queries": 8, "pixel_layers": 1, "decoder_layers": 3}

    def make():
        section = {"name": "mask2former", "encoder": "resnet18", "width": 16, **sizes}
        return models.create_universal(section, num_classes=2, rngs=nnx.Rngs(0))

    batch, task = make_batch(2, size=(64, 64), seed=3), InstanceQueries(2, how=HOW)
    mesh = create_mesh(devices=ONE)
    model, records = train(task, batch, steps=300, mesh=mesh, rate=1e-3, make=make)
    assert records[-1]["loss"] < 0.2 * records[0]["loss"]
    scorer = task.scorer()
    find = jax.jit(lambda batch: task.predict(model, batch["image"], size=batch["size"]))
    scorer.update(find(batch), batch)
    assert scorer.compute()["accuracy_50"] > 0.8
