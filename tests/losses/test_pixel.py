"""Losses against float64 numpy, finite differences and the cases where nothing counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.losses import (
    balanced_class_weights,
    boundary_cross_entropy,
    cross_entropy,
    focal_loss,
    ohem_cross_entropy,
)

WEIGHTS = (0.5, 2.0, 1.0, 3.0)


def sample(seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (2, 5, 6, 4)).astype(np.float32)
    label = rng.integers(0, 4, (2, 5, 6)).astype(np.int32)
    label[rng.random(label.shape) < 0.3] = 255
    return jnp.asarray(logits), jnp.asarray(label)


def reference(logits, label, average, weights=None, valid=None):
    logits, label = np.asarray(logits, np.float64), np.asarray(label)
    log_sum = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    total, count = 0.0, 0
    for row in range(label.shape[0]):
        if valid is not None and not valid[row]:
            continue
        for at in np.ndindex(*label.shape[1:]):
            y = label[(row, *at)]
            if y != 255:
                scale = weights[y] if weights else 1.0
                total += scale * (log_sum[(row, *at)] - logits[(row, *at, y)])
            count += average == "all" or y != 255
    return total / count


@pytest.mark.parametrize("average", ["all", "valid"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("valid", [None, (True, False)])
def test_equals_float64_numpy(average, weights, valid):
    logits, label = sample()
    rows = None if valid is None else jnp.asarray(valid)
    run = jax.jit(functools.partial(cross_entropy, average=average, class_weights=weights))
    loss = run(logits, label, valid=rows)
    np.testing.assert_allclose(loss, reference(logits, label, average, weights, valid), rtol=1e-6)


def test_gradient_equals_finite_differences():
    logits, label = sample(1)
    gradient = np.asarray(jax.jit(jax.grad(cross_entropy))(logits, label))
    for at in [(0, 0, 0, 1), (1, 4, 5, 3), (0, 2, 3, 0), (1, 1, 1, 2)]:
        up, down = np.array(logits, np.float64), np.array(logits, np.float64)
        up[at] += 1e-5
        down[at] -= 1e-5
        slope = (reference(up, label, "all") - reference(down, label, "all")) / 2e-5
        np.testing.assert_allclose(gradient[at], slope, atol=1e-7)


@pytest.mark.parametrize(("loss", "platform"), [(cross_entropy, "tpu"), (focal_loss, "cuda")])
def test_form_without_gathers_has_the_same_bits(loss, platform):
    logits, label = sample(4)
    # What is nowhere else must not be multiplied by 0; -inf is a class that is ruled out.
    logits = logits.at[0, 1, 2].set(jnp.asarray([jnp.nan, 1.0, 2.0, 3.0]))
    logits = logits.at[0, 1, 3].set(jnp.asarray([1.0, -jnp.inf, 2.0, 3.0]))
    label = label.at[0, 1, 2].set(255).at[0, 1, 3].set(2)

    def run(platform):
        def of_logits(logits):  # a new function, since a known one is not traced again
            return loss(logits, label, class_weights=WEIGHTS)

        with ops.target(1, platform):
            text = str(jax.make_jaxpr(jax.grad(of_logits))(logits))
            return ("gather" in text, "scatter" in text), jax.value_and_grad(of_logits)(logits)

    (forms, expected), (others, found) = run("cpu"), run(platform)
    assert forms == (True, True) and others == (False, False) and np.isfinite(expected[0])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("average", ["all", "valid"])
def test_nothing_labeled_gives_zero_and_finite_gradient(average):
    logits = np.full((1, 2, 2, 3), 1e4, np.float32)
    label = np.full((1, 2, 2), 255, np.int32)
    run = jax.jit(jax.value_and_grad(functools.partial(cross_entropy, average=average)))
    loss, gradient = run(logits, label)
    assert loss == 0
    assert not np.any(gradient)


def test_padded_rows_change_nothing():
    logits, label = sample(2)
    padded = jnp.concatenate([logits, jnp.full_like(logits[:1], 7)])
    more = jnp.concatenate([label, jnp.zeros_like(label[:1])])
    valid = jnp.array([True, True, False])
    np.testing.assert_allclose(
        cross_entropy(padded, more, valid=valid), cross_entropy(logits, label), rtol=1e-6
    )


def test_half_precision_logits_are_summed_in_float32():
    logits, label = sample(3)
    half = logits.astype(jnp.bfloat16)
    loss = cross_entropy(half, label)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, reference(half.astype(jnp.float32), label, "all"), 1e-6)


def pixel_terms(logits, label):
    """Cross-entropy and probability of the own class, float64, of the labeled pixels."""
    power = np.exp(logits - logits.max(-1, keepdims=True))
    probability = power / power.sum(-1, keepdims=True)
    kept = label != 255
    own = np.take_along_axis(probability, np.where(kept, label, 0)[..., None], -1)[..., 0]
    return -np.log(own), own, kept


def focal_reference(logits, label):
    entropy, own, kept = pixel_terms(logits, label)
    return ((1 - own) ** 1.5 * entropy * np.take(WEIGHTS, np.where(kept, label, 0)))[
        kept
    ].sum() / label.size


def ohem_reference(logits, label, threshold, min_kept):
    entropy, own, kept = pixel_terms(logits, label)
    limit = max(threshold, np.sort(own[kept])[min(min_kept, kept.sum()) - 1])
    return entropy[kept & (own <= limit)].mean()


def boundary_reference(logits, label):
    entropy, _, kept = pixel_terms(logits, label)
    weight = np.ones(label.shape)
    for b, i, j in np.ndindex(*label.shape):
        for y, x in np.ndindex(3, 3):
            near = (i + y - 1, j + x - 1)
            if all(0 <= a < n for a, n in zip(near, label.shape[1:], strict=True)):
                if is_boundary(label[b], *near):
                    weight[b, i, j] = 3.0
    return (weight * entropy)[kept].sum() / label.size


def is_boundary(label, i, j):
    for y, x in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        if 0 <= i + y < label.shape[0] and 0 <= j + x < label.shape[1]:
            pair = label[i, j], label[i + y, j + x]
            if pair[0] != pair[1] and 255 not in pair:
                return True
    return False


REWEIGHTED = {
    "focal": (
        functools.partial(focal_loss, gamma=1.5, class_weights=WEIGHTS),
        focal_reference,
    ),
    "ohem by threshold": (
        functools.partial(ohem_cross_entropy, threshold=0.6, min_kept=3),
        lambda z, y: ohem_reference(z, y, 0.6, 3),
    ),
    "ohem by number": (
        functools.partial(ohem_cross_entropy, threshold=0.0, min_kept=11),
        lambda z, y: ohem_reference(z, y, 0.0, 11),
    ),
    "ohem of everything": (
        functools.partial(ohem_cross_entropy, threshold=0.1),
        lambda z, y: ohem_reference(z, y, 0.1, 100_000),
    ),
    "boundary": (
        functools.partial(boundary_cross_entropy, boundary_weight=3.0, width=3),
        boundary_reference,
    ),
}


@pytest.mark.parametrize("name", REWEIGHTED)
def test_reweighted_losses_and_gradients_equal_float64_numpy(name):
    loss, expected = REWEIGHTED[name]
    logits, label = (np.asarray(array) for array in sample(6))
    exact = expected(logits.astype(np.float64), label)
    run = jax.jit(jax.value_and_grad(loss))
    np.testing.assert_allclose(run(logits, label)[0], exact, rtol=1e-6)
    logits = logits.astype(np.float64)
    with jax.enable_x64(True):
        value, gradient = map(np.asarray, run(logits, label))
    np.testing.assert_allclose(value, exact, rtol=1e-12)
    for at in [(0, 0, 0, 1), (1, 4, 5, 3), (0, 2, 3, 0), (1, 1, 1, 2)]:
        up, down = logits.copy(), logits.copy()
        up[at] += 1e-6
        down[at] -= 1e-6
        slope = (expected(up, label) - expected(down, label)) / 2e-6
        np.testing.assert_allclose(gradient[at], slope, atol=1e-8)


@pytest.mark.parametrize("loss", [focal_loss, ohem_cross_entropy, boundary_cross_entropy])
def test_reweighted_losses_of_nothing_or_of_certainty(loss):
    logits, run = np.full((1, 2, 2, 3), 1e4, np.float32), jax.jit(jax.value_and_grad(loss))
    value, gradient = run(logits, np.full((1, 2, 2), 255, np.int32))
    assert value == 0 and not np.any(gradient)
    logits[..., 0] = 2e4
    value, gradient = run(logits, np.zeros((1, 2, 2), np.int32))
    assert value == 0 and np.all(np.isfinite(gradient))


@pytest.mark.parametrize("share", [0.02, 0.3])
@pytest.mark.parametrize("alpha", [0.5, 7.0])
def test_weighted_loss_is_least_where_theory_says(share, alpha):
    positives = round(1000 * share)
    label = jnp.asarray([1] * positives + [0] * (1000 - positives)).reshape(1, 20, 50)
    with jax.enable_x64(True):

        def loss(margin):
            logits = jnp.broadcast_to(jnp.stack([0 * margin, margin]), (1, 20, 50, 2))
            return cross_entropy(logits, label, class_weights=(1.0, alpha))

        low, high = -20.0, 20.0  # the loss is convex: halve by the sign of its slope
        slope = jax.jit(jax.grad(loss))
        for _ in range(60):
            middle = jnp.float64((low + high) / 2)
            low, high = (middle, high) if slope(middle) < 0 else (low, middle)
        found = jax.nn.sigmoid(low)
    np.testing.assert_allclose(found, alpha * share / (1 - share + alpha * share), atol=1e-9)


def test_balanced_weights_let_both_classes_weigh_the_same():
    label = np.zeros((1, 10, 10), np.int32)
    label[0, :2, :4] = 1
    weights = balanced_class_weights(np.bincount(label.ravel()).tolist())
    assert weights == (1.0, 11.5)
    # At equal logits, the gradients of the two classes' pixels cancel.
    weighted = functools.partial(cross_entropy, class_weights=weights)
    gradient = jax.device_get(jax.jit(jax.grad(weighted))(jnp.zeros((1, 10, 10, 2)), label))
    np.testing.assert_allclose(gradient.sum((0, 1, 2)), 0, atol=1e-6)
    assert np.abs(gradient).sum() > 0.1


def test_weights_of_classes_that_do_not_occur():
    assert balanced_class_weights((3, 0, 1)) == (pytest.approx(1 / 3), 0.0, 3.0)
    with pytest.raises(InputError, match="less than two classes"):
        balanced_class_weights((3, 0))


def test_mistakes_name_the_key():
    logits, label = sample()
    with pytest.raises(InputError, match="^average is 'mean'.*all, valid"):
        cross_entropy(logits, label, average="mean")
    with pytest.raises(InputError, match="^class_weights has 2 numbers for 4 classes"):
        cross_entropy(logits, label, class_weights=(1.0, 2.0))
    with pytest.raises(InputError, match="^gamma is -1.0"):
        focal_loss(logits, label, gamma=-1.0)
    with pytest.raises(InputError, match="^threshold is 1.5; it must be at least 0 and at most 1"):
        ohem_cross_entropy(logits, label, threshold=1.5)
    with pytest.raises(InputError, match="^min_kept is 0"):
        ohem_cross_entropy(logits, label, min_kept=0)
    with pytest.raises(InputError, match="^boundary_weight is 0.0"):
        boundary_cross_entropy(logits, label, boundary_weight=0.0)
    with pytest.raises(InputError, match="^width is 0"):
        boundary_cross_entropy(logits, label, width=0)
