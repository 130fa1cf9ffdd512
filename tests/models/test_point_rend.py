"""PointRend: recorded points, masks, loss and gradients; and as a whole beside Mask R-CNN."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden.recipe_instances import recipe_array, recipe_input

from segalias_jax import models, ops
from segalias_jax.losses.points import training_points
from segalias_jax.models import point_rend
from segalias_jax.models.detections import Truths
from segalias_jax.torch_weights.detectors import from_detector_layout

CLASSES = 8


@pytest.fixture(scope="module")
def recorded(golden):
    return dict(golden("i_pointrend"))


@pytest.fixture(scope="module")
def given(recorded):
    """A head with recorded weights; features, coarse masks, boxes and classes of five boxes.

    Each box stands on an image of its own.
    """
    head = point_rend.PointMaskHead(12, 16, 8, CLASSES, stride=4, rngs=nnx.Rngs(0))
    names = {f"fcs.{i}.conv": head.points.convs[i] for i in range(3)}
    for name, layer in (names | {"fc_logits": head.points.logits}).items():
        kernel = layer.kernel.shape[:1:-1]
        array = recipe_array(f"point_head.{name}.weight", kernel)[..., None]
        ours = from_detector_layout(f"roi_head.point_head.{name}.weight", array)
        layer.kernel.set_value(jnp.asarray(ours))
        assert layer.bias is not None
        layer.bias.set_value(jnp.asarray(recipe_array(f"point_head.{name}.bias", kernel[:1])))
    image = recorded["rois"][:, 0].astype(int)
    features = np.moveaxis(recipe_input((2, 12, 24, 32), 9401), 1, -1)
    coarse = np.moveaxis(2 * recipe_input((5, CLASSES, 7, 7), 9402), 1, -1)[:, None]
    boxes = recorded["rois"][:, None, 1:]
    classes = recorded["labels"].astype(np.int32)[:, None] + 1  # 0 is the first one there
    return head, jnp.asarray(features), image, *map(jnp.asarray, (coarse, boxes, classes))


def test_recorded_refinement(recorded, given, assert_recorded, monkeypatch):
    head, features, image, coarse, boxes, classes = given
    monkeypatch.setattr(head, "subdivisions", 4)
    chosen = []
    keep = point_rend.least_sure

    def noting(logits, count):
        chosen.append(keep(logits, count))
        return chosen[-1]

    monkeypatch.setattr(point_rend, "least_sure", noting)

    @jax.jit
    def run(features, coarse):
        chosen.clear()
        return head.refined(features[image], coarse, boxes, classes), list(chosen)

    logits, points = run(features, coarse)
    ours = np.asarray(logits[:, 0])
    assert len(points) == 3, "14x14 cells are not predicted again"
    for step, found in enumerate(points):
        theirs = recorded[f"points_step_{step}_sorted"]
        np.testing.assert_array_equal(np.sort(found[:, 0], axis=-1), theirs)
    assert_recorded(ours[:, ::2, ::2], recorded["refined_of_label"], 1e-5)
    bits = np.unpackbits(recorded["refined_bits"], axis=-1).astype(bool)
    assert ((ours > 0) != bits).sum() <= 2
    label = recorded["labels"]
    sums = recorded["refined_sum"][np.arange(5), label]
    np.testing.assert_allclose(ours.sum((1, 2), dtype=np.float64), sums, rtol=1e-5, atol=0.05)


def test_recorded_points_loss_and_gradients(recorded, given, assert_recorded):
    head, features, image, coarse, boxes, classes = given
    candidates, rest = (
        jnp.asarray(recorded[f"train_{name}"])[:, None] for name in ("candidates", "random")
    )
    graph, parameters, others = nnx.split(head, nnx.Param, ...)
    truths = jnp.asarray(recorded["truths"])

    def loss(parameters, features):
        head = nnx.merge(graph, parameters, others)
        own = point_rend.of_classes(coarse, classes)
        points = training_points(own, candidates, rest, chosen=15)
        logits = head.point_logits(features[image], coarse, boxes, points)
        target = jax.vmap(ops.sample_mask_points)(
            truths[:, None], point_rend.points_in_image(points, boxes), jnp.zeros((5, 1), int)
        )
        of_class = point_rend.of_classes(logits, classes)
        loss = point_rend.binary_cross_entropy(of_class, target).mean()
        return loss, (points, logits, target)

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (value, (points, logits, target)), (of_head, of_features) = run(parameters, features)
    np.testing.assert_array_equal(points[:, 0], recorded["train_points"])
    assert_recorded(np.moveaxis(logits[:, 0], -1, 1), recorded["train_logits"], 1e-5)
    np.testing.assert_allclose(target[:, 0], recorded["train_targets"], atol=1e-5)
    np.testing.assert_allclose(value, recorded["loss_point"], rtol=1e-5)
    assert_recorded(np.moveaxis(of_features, -1, 1), recorded["g_feat"], 1e-5)
    points_head = of_head["points"]
    layers = [points_head["logits"], *(points_head["convs"][i] for i in range(3))]
    norms = [np.linalg.norm(layer[leaf][...]) for layer in layers for leaf in ("bias", "kernel")]
    np.testing.assert_allclose(norms, recorded["grad_norms"], rtol=1e-5)


class Waves(nnx.Module):
    """An encoder that costs nothing: pixels of the image, and a number to learn."""

    channels, strides = (3, 3), (8, 16)

    def __init__(self):
        self.scale = nnx.Param(jnp.ones(3))

    def __call__(self, x):
        return tuple(self.scale[...] * x[:, ::stride, ::stride] for stride in self.strides)


def small():
    given: dict[str, Any] = {"pyramid_channels": 6, "box_channels": 8, "mask_channels": 5}
    given |= {"pre_nms": 20, "post_nms": 16, "max_detections": 4}
    return models.PointRend(Waves(), num_classes=3, rngs=nnx.Rngs(0), **given)


def test_mask_losses_of_any_batch():
    """Gradients reach all that tells masks; keys alone decide what is drawn."""
    random = np.random.default_rng(0)
    levels = tuple(
        jnp.asarray(random.normal(size=(2, side, side, 6)), jnp.float32) for side in (8, 4)
    )
    masks = np.zeros((2, 2, 64, 64), np.uint8)
    masks[:, 0, 8:40, 8:40] = masks[:, 1, 30:60, 20:64] = 1
    boxes = jnp.tile(jnp.array([[8.0, 4, 44, 40], [20, 30, 64, 60], [0, 0, 9, 9]]), (2, 1, 1))
    truth = jnp.array([[0, 1, 0], [1, 1, 0]])
    truths = Truths(
        boxes[:, :2],
        jnp.array([[1, 3], [2, 2]], jnp.int32),
        jnp.asarray(np.packbits(masks, axis=-1)),
        jnp.array([[64, 60], [48, 64]], jnp.int32),
        jnp.ones(2, bool),
    )
    model = small()
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def run(parameters, positive, key):
        def losses(parameters):
            found = nnx.merge(graph, parameters, rest).mask_losses(
                levels, boxes, truth, positive, truths, key, average="batch"
            )
            return sum(found.values()), found

        return jax.grad(losses, has_aux=True)(parameters)

    positive = jnp.array([[True, True, False], [False, True, False]])
    gradient, found = run(parameters, positive, jax.random.key(0))
    assert found.keys() == {"loss_mask", "loss_point"}
    assert all(np.isfinite(value) and value > 0 for value in found.values())
    for path, leaf in nnx.to_flat_state(gradient["mask_head"]):
        assert np.isfinite(leaf[...]).all() and np.any(leaf[...] != 0), path
    assert run(parameters, positive, jax.random.key(0))[1] == found
    other = run(parameters, positive, jax.random.key(1))[1]
    assert other["loss_point"] != found["loss_point"] and other["loss_mask"] == found["loss_mask"]
    nothing = run(parameters, jnp.zeros_like(positive), jax.random.key(0))[1]
    assert nothing == {"loss_mask": 0, "loss_point": 0}


def test_masks_and_losses_of_a_whole_network():
    """All but the masks is Mask R-CNN's."""
    image, size = jnp.ones((2, 64, 64, 3), jnp.bfloat16), jnp.full((2, 2), 64)
    batch = {"boxes": jnp.ones((2, 1, 4)), "classes": jnp.ones((2, 1), jnp.int32)}
    batch |= {"crowd": jnp.zeros((2, 1), bool), "masks": jnp.zeros((2, 1, 64, 8), jnp.uint8)}
    batch |= {"size": size, "valid": jnp.ones(2, bool)}
    model = small()
    masks = nnx.eval_shape(lambda m: m.detect(image, size).masks, model)
    assert masks.shape == (2, 4, 224, 224) and masks.dtype == jnp.float32
    found = nnx.eval_shape(lambda m: m.losses(image, batch, jax.random.key(0)), model)
    assert found.keys() == {
        *("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"),
        "loss_point",
    }
