"""Losses against float64 numpy, finite differences and the cases where nothing counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.losses import cross_entropy, segmentation_loss

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
    loss = cross_entropy(logits, label, average=average, class_weights=weights, valid=rows)
    np.testing.assert_allclose(loss, reference(logits, label, average, weights, valid), rtol=1e-6)


def test_gradient_equals_finite_differences():
    logits, label = sample(1)
    gradient = np.asarray(jax.grad(cross_entropy)(logits, label))
    for at in [(0, 0, 0, 1), (1, 4, 5, 3), (0, 2, 3, 0), (1, 1, 1, 2)]:
        up, down = np.array(logits, np.float64), np.array(logits, np.float64)
        up[at] += 1e-5
        down[at] -= 1e-5
        slope = (reference(up, label, "all") - reference(down, label, "all")) / 2e-5
        np.testing.assert_allclose(gradient[at], slope, atol=1e-7)


@pytest.mark.parametrize("average", ["all", "valid"])
def test_nothing_labeled_gives_zero_and_finite_gradient(average):
    logits = jnp.full((1, 2, 2, 3), 1e4)
    label = jnp.full((1, 2, 2), 255)
    loss, gradient = jax.value_and_grad(cross_entropy)(logits, label, average=average)
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


def test_auxiliary_heads_are_added_with_their_weight():
    logits, label = sample(4)
    other, _ = sample(5)
    loss = segmentation_loss(logits, (other, other), label, auxiliary_weight=0.25, average="valid")
    expected = reference(logits, label, "valid") + 0.5 * reference(other, label, "valid")
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_mistakes_name_the_key():
    logits, label = sample()
    with pytest.raises(InputError, match="loss.average is 'mean'.*all, valid"):
        cross_entropy(logits, label, average="mean")
    with pytest.raises(InputError, match="loss.class_weights has 2 numbers for 4 classes"):
        cross_entropy(logits, label, class_weights=(1.0, 2.0))
