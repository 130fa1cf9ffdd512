"""The heads: recorded losses and pooled levels, and the choice of detections."""

import jax
import jax.numpy as jnp
import numpy as np
from golden.recipe_instances import recipe_input

from segalias_jax import ops
from segalias_jax.models import roi_heads
from segalias_jax.models.detections import Proposals, Truths


def test_recorded_levels(golden):
    recorded = golden("i_masks")
    levels = [
        jnp.asarray(np.moveaxis(recipe_input((2, 3, -(-256 // s), -(-320 // s)), 9212 + i), 1, -1))
        for i, s in enumerate((4, 8, 16, 32))
    ]
    boxes = jnp.asarray(
        np.stack([recorded["levels_boxes_0"], recorded["levels_boxes_1"]]), jnp.float32
    )
    pooled = jax.jit(
        lambda levels, boxes: roi_heads.pool(
            levels, boxes, 7, strides=(4, 8, 16, 32), convention="torchvision"
        )
    )(tuple(levels), boxes)
    ours = np.moveaxis(np.asarray(pooled).reshape(14, 7, 7, 3), -1, 1)
    np.testing.assert_allclose(ours, recorded["levels_y"], rtol=0, atol=2e-5)


def test_recorded_losses_and_gradients(golden):
    recorded = golden("i_masks")
    logits, deltas = (
        jnp.asarray(recipe_input(shape, seed))[None]
        for shape, seed in (((12, 5), 9205), ((12, 20), 9206))
    )
    labels = jnp.asarray(recorded["loss_labels"], jnp.int32)[None]
    positive = labels > 0
    samples = ops.Samples(jnp.arange(12)[None], positive, jnp.ones((1, 12), bool))
    # Each sample has a truth of its own, whose code relative to a box is the recorded target.
    boxes = jnp.broadcast_to(jnp.array([0.0, 0.0, 32.0, 32.0]), (1, 12, 4))
    weights = (10.0, 10.0, 5.0, 5.0)
    own = ops.decode_boxes(
        jnp.asarray(recorded["loss_box_targets"], jnp.float32)[None], boxes, weights=weights
    )
    truth = jnp.arange(12)[None]
    masks = jnp.zeros((1, 12, 8, 1), jnp.uint8)
    truths = Truths(own, labels, masks, jnp.array([[8, 8]]), jnp.ones(1, bool))

    def losses(logits, deltas):
        found = roi_heads.box_losses(
            logits, deltas.reshape(1, 12, 5, 4), boxes, truth, samples, truths
        )
        return sum(found.values()), found

    gradient = jax.jit(jax.grad(losses, argnums=(0, 1), has_aux=True))
    (of_logits, of_deltas), found = gradient(logits, deltas)
    for name in ("loss_classifier", "loss_box_reg"):
        np.testing.assert_allclose(found[name], recorded[name], rtol=2e-6)
    np.testing.assert_allclose(of_logits[0], recorded["g_class_logits"], atol=1e-6)
    np.testing.assert_allclose(of_deltas[0], recorded["g_box_deltas"], atol=1e-5)


def test_recorded_mask_loss_and_gradient(golden):
    recorded = golden("i_masks")
    logits = np.moveaxis(recipe_input((7, 5, 28, 28), 9208), 1, -1)[None]
    # Two rows more that are no positive sample.
    logits = jnp.pad(jnp.asarray(logits), ((0, 0), (0, 2), (0, 0), (0, 0), (0, 0)))
    boxes = jnp.pad(jnp.asarray(recorded["target_boxes"]), ((0, 2), (0, 0)))[None]
    truth = jnp.pad(jnp.asarray(recorded["target_index"], jnp.int32), (0, 2))[None]
    masks = jnp.asarray(recorded["target_truths"])[None]
    truths = Truths(
        jnp.zeros((1, 4, 4)),
        jnp.arange(1, 5)[None],
        masks,
        jnp.array([[60, 84]]),
        jnp.ones(1, bool),
    )
    positive = (jnp.arange(9) < 7)[None]
    loss, gradient = jax.jit(
        jax.value_and_grad(
            lambda logits: roi_heads.mask_loss(logits, boxes, truth, positive, truths)
        )
    )(logits)
    np.testing.assert_allclose(loss, recorded["loss_mask"], rtol=1e-6)
    sums = np.asarray(gradient[0, :7]).sum((1, 2))
    np.testing.assert_allclose(sums, recorded["g_mask_logits_sum"], atol=1e-6)
    first = np.asarray(gradient)[0, 0, :, :, int(truth[0, 0]) + 1]
    np.testing.assert_allclose(first, recorded["g_mask_logits_first"], atol=1e-7)
    assert not np.asarray(gradient[0, 7:]).any()


def selected(logits, boxes, **options):
    boxes = jnp.asarray(boxes, jnp.float32)[None]
    proposals = Proposals(boxes, jnp.ones(boxes.shape[:2]), jnp.ones(boxes.shape[:2], bool))
    given = {"score_threshold": 0.05, "nms_threshold": 0.5, "max_detections": 4}
    logits = jnp.log(jnp.asarray(logits, jnp.float32))[None]
    deltas = jnp.zeros((*logits.shape, 4))
    size = jnp.array([[20, 20]])
    given |= {"convention": "torchvision"} | options
    return jax.jit(lambda *arrays: roi_heads.select(*arrays, **given))(
        logits, deltas, proposals, size
    )


def test_a_box_may_be_of_two_classes_and_suppresses_only_its_own():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 9, 30]]
    probabilities = [[0.2, 0.5, 0.3], [0.55, 0.4, 0.05], [0.96, 0.02, 0.02]]
    found, scores, classes = selected(probabilities, boxes)
    # .05 is not above .05; the second box is the first once more, for class 1.
    assert classes.tolist() == [[1, 2, 0, 0]]
    np.testing.assert_allclose(scores, [[0.5, 0.3, 0, 0]], atol=1e-6)
    assert found[0, :2].tolist() == [[0, 0, 10, 10]] * 2 and not found[0, 2:].any()


def test_most_detections_and_equal_scores():
    boxes = [[0, 0, 5, 5], [10, 0, 15, 5], [0, 10, 5, 30]]
    found, scores, classes = selected([[0.5, 0.25, 0.25]] * 3, boxes, max_detections=4)
    # Box after box, and of each class after class; clipped to the image.
    assert classes.tolist() == [[1, 2, 1, 2]]
    assert found[0, ::2].tolist() == [[0, 0, 5, 5], [10, 0, 15, 5]]
    assert found[0, 3].tolist() == [10, 0, 15, 5]
    np.testing.assert_allclose(scores, 0.25, atol=1e-6)


def test_truths_are_candidates_at_the_end():
    boxes = jnp.array([[[0.0, 0, 4, 4], [50, 50, 60, 60], [0, 0, 0, 0]]])
    proposals = Proposals(boxes, jnp.ones((1, 3)), jnp.array([[True, True, False]]))
    truths = Truths(
        jnp.array([[[0.0, 0, 4, 5], [20, 20, 30, 30]]]),
        jnp.array([[3, 0]]),
        jnp.zeros((1, 2, 8, 1), jnp.uint8),
        jnp.array([[64, 64]]),
        jnp.ones(1, bool),
    )
    every, exist = roi_heads.candidates(proposals, truths)
    match = roi_heads.match_candidates(every, exist, truths)
    assert match.tolist() == [[0, -1, -2, 0, -2]]
    samples = jax.jit(lambda key: roi_heads.sample_candidates(key, match, count=8))(
        jax.random.key(0)
    )
    assert samples.positive.sum() == 2 and samples.valid.sum() == 3
