"""Proposals: recorded losses, their order, and what is padded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden.recipe_instances import recipe_input

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.losses.detection import binary_cross_entropy, smooth_l1
from segalias_jax.models.detections import Truths
from segalias_jax.models.rpn import RPN, target_deltas


def make(**options):
    return nnx.eval_shape(lambda: RPN(4, strides=(4, 8), rngs=nnx.Rngs(0), **options))


def test_recorded_losses_and_gradients(golden):
    """The same formulas on recorded logits, deltas and targets, which come from no anchors."""
    recorded = golden("i_masks")
    logits, deltas, targets = (
        jnp.asarray(recipe_input(shape, seed))
        for shape, seed in (((40, 1), 9209), ((40, 4), 9210), ((40, 4), 9211))
    )
    positive = recorded["rpn_pos"]
    sampled = np.concatenate([positive, recorded["rpn_neg"]])

    def losses(logits, deltas):
        label = jnp.asarray(recorded["rpn_labels"] == 1, jnp.float32)
        objectness = binary_cross_entropy(logits[sampled, 0], label[sampled]).mean()
        boxes = smooth_l1(deltas[positive] - targets[positive]).sum() / len(sampled)
        return objectness + boxes, (objectness, boxes)

    gradient = jax.grad(losses, argnums=(0, 1), has_aux=True)
    (of_logits, of_deltas), found = gradient(logits, deltas)
    expected = recorded["loss_objectness"], recorded["loss_rpn_box"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(of_logits, recorded["g_objectness"], atol=1e-6)
    np.testing.assert_allclose(of_deltas, recorded["g_rpn_deltas"], atol=1e-6)


def test_proposals_are_the_best_of_all_levels():
    rpn = make(anchor_ratios=(1.0,), rpn_nms_threshold=0.5)
    anchors = (
        jnp.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 40, 10]]),
        jnp.array([[0.0, 0, 10, 10], [50, 50, 60, 60], [5, 5, 5, 9]]),
    )
    # The second of the first level overlaps the first; the third of the second has no area.
    logits = (jnp.array([[2.0, 1.0, 0.0]]), jnp.array([[2.0, 9.0, 30.0]]))
    deltas = tuple(jnp.zeros((1, 3, 4)) for _ in range(2))
    size = jnp.array([[30, 55]])

    @jax.jit
    def propose():
        given = (logits, deltas, anchors, size)
        return [rpn.propose(*given, pre_nms=n, post_nms=5) for n in (3, 1)]

    found, first = propose()
    assert found.valid.tolist() == [[True, True, True, False, False]]
    # Equal scores: the finer level first. What lies outside of the image is no proposal.
    expected = [[0.0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 40, 10], [0] * 4, [0] * 4]
    assert found.boxes[0].tolist() == expected
    assert first.boxes.shape == (1, 2, 4) and first.valid.tolist() == [[True, False]]


def test_anchors_of_both_conventions():
    grids, size = ((5, 7), (3, 4)), (22, 30)
    ours = make().anchors(grids, size)
    theirs = make(convention="mmdetection").anchors(grids, size)
    assert [a.shape for a in ours] == [(105, 4), (36, 4)]
    # Strides 4 and 22 // 3 = 7, 30 // 4 = 7, against 4 and 8; corners rounded, or not.
    assert (ours[1][3] - ours[1][0]).tolist() == [7.0, 0.0, 7.0, 0.0]
    assert (theirs[1][3] - theirs[1][0]).tolist() == [8.0, 0.0, 8.0, 0.0]
    assert not np.any(np.asarray(ours[0]) % 1) and np.any(np.asarray(theirs[0]) % 1)


def test_targets_of_what_has_no_truth_are_zeros():
    """An empty box, of padding, must not make the gradient of others no number."""
    boxes = jnp.array([[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 0.0, 0.0]]])
    anchors = jnp.array([[[0.0, 0.0, 2.0, 4.0], [1.0, 1.0, 1.0, 1.0]]])
    target = target_deltas(
        boxes, jnp.array([[0, 1]]), anchors, jnp.array([[True, False]]), (1.0,) * 4
    )
    np.testing.assert_allclose(target, [[[0.5, 0, np.log(2), 0], [0] * 4]], atol=1e-7)


def test_samples_of_rows_without_an_image():
    rpn = make(rpn_samples=4)
    match = jnp.array([[0, -1, -2, -1, 3], [0, -1, -2, -1, 3]])
    none = jnp.zeros((2, 1), jnp.int32)
    truths = Truths(
        jnp.zeros((2, 1, 4)),
        none,
        jnp.zeros((2, 1, 8, 1), jnp.uint8),
        jnp.full((2, 2), 8),
        jnp.array([True, False]),
    )
    samples = jax.jit(lambda key: rpn.sample(key, match, truths))(jax.random.key(0))
    assert samples.valid.sum(1).tolist() == [4, 0]
    assert ops.BETWEEN not in match[0][samples.index[0]].tolist()


def test_errors():
    with pytest.raises(InputError, match=r"anchor_sizes is \(32,\); give one for each of the 2"):
        make(anchor_sizes=(32,))
    with pytest.raises(InputError, match="convention is 'caffe'; choose one of torchvision, mmdet"):
        make(convention="caffe")
