"""Region losses against float64 numpy and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import losses
from segalias_jax.errors import InputError

WEIGHTS = (0.5, 2.0, 1.0)


def sample(classes=3, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (2, 5, 7, classes))
    label = rng.integers(0, classes, (2, 5, 7)).astype(np.int32)
    label[rng.random(label.shape) < 0.3] = 255
    return logits, label


def counts(logits, label, classes):
    """Probabilities and one-hot labels of the labeled pixels, float64 `[pixels, classes]`."""
    power = np.exp(logits - logits.max(-1, keepdims=True))
    probability = power / power.sum(-1, keepdims=True)
    return probability[label != 255], np.eye(classes)[label[label != 255]]


def tversky(logits, label, alpha, beta, smooth=1.0, weights=WEIGHTS):
    p, t = counts(logits, label, len(weights))
    losses = []
    for c, weight in enumerate(weights):
        true = (p[:, c] * t[:, c]).sum()
        wrong = alpha * (p[:, c] * (1 - t[:, c])).sum() + beta * ((1 - p) * t)[:, c].sum()
        losses.append(weight * (1 - (true + smooth) / (true + wrong + smooth)))
    return np.mean(losses)


def generalized(logits, label, smooth=1.0):
    p, t = counts(logits, label, logits.shape[-1])
    weight = np.array([(len(t) / n) ** 2 if n else 0 for n in t.sum(0)])
    overlap = (weight * (p * t).sum(0)).sum()
    return 1 - (2 * overlap + smooth) / ((weight * (p.sum(0) + t.sum(0))).sum() + smooth)


def jaccard(wrong, true):
    """One minus IoU if exactly the pixels `wrong` are wrong."""
    predicted = true ^ wrong
    return 1 - (predicted & true).sum() / max((predicted | true).sum(), 1)


def extension(errors, true):
    """The Lovász extension, straight from its definition."""
    order = np.argsort(-errors, kind="stable")
    wrong, total, before = np.zeros(len(errors), bool), 0.0, 0.0
    for i in order:
        wrong[i] = True
        now = jaccard(wrong, true)
        total += errors[i] * (now - before)
        before = now
    return total


def lovasz_softmax(logits, label):
    p, t = counts(logits, label, logits.shape[-1])
    return np.mean(
        [extension(abs(t - p)[:, c], t[:, c] > 0) for c in range(t.shape[1]) if t[:, c].any()]
    )


def lovasz_hinge(logits, label):
    kept = label != 255
    margin, true = (logits[..., 1] - logits[..., 0])[kept], label[kept] == 1
    return extension(np.maximum(0, 1 - margin * np.where(true, 1, -1)), true)


CASES = {
    "tversky": (
        3,
        functools.partial(losses.tversky_loss, alpha=0.2, beta=0.9, class_weights=WEIGHTS),
        lambda z, y: tversky(z, y, 0.2, 0.9),
    ),
    "dice": (
        3,
        functools.partial(losses.dice_loss, smooth=0.5),
        lambda z, y: tversky(z, y, 0.5, 0.5, 0.5, (1.0, 1.0, 1.0)),
    ),
    "generalized_dice": (3, losses.generalized_dice_loss, generalized),
    "lovasz_softmax": (3, losses.lovasz_softmax, lovasz_softmax),
    "lovasz_hinge": (2, losses.lovasz_hinge, lovasz_hinge),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_equal_float64_numpy(name):
    classes, loss, reference = CASES[name]
    run = jax.jit(jax.value_and_grad(loss))
    logits, label = sample(classes)
    with jax.enable_x64(True):
        value, gradient = map(np.asarray, run(logits, label))
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, reference(logits, label), rtol=1e-12)
    # float32 sums over 70 pixels: a few roundings.
    single, _ = run(logits.astype(np.float32), label)
    np.testing.assert_allclose(single, reference(logits, label), rtol=1e-6)
    check_gradient(lambda z: reference(z, label), gradient, logits, label)


def check_gradient(reference, gradient, logits, label):
    """Central differences of the reference at some pixels, and nothing where nothing is labeled."""
    assert not gradient[label == 255].any()
    for at in [(0, 0, 0, 1), (1, 4, 5, 0), (0, 2, 3, 0), (1, 1, 1, 1)]:
        up, down = logits.copy(), logits.copy()
        up[at] += 1e-6
        down[at] -= 1e-6
        slope = (reference(up) - reference(down)) / 2e-6
        np.testing.assert_allclose(gradient[at], slope, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_padded_rows_and_half_precision(name):
    classes, loss, _ = CASES[name]
    logits, label = sample(classes, seed=2)
    logits = logits.astype(jnp.bfloat16)
    more = np.concatenate([logits, 7 * np.ones_like(logits[:1])])
    padded = np.concatenate([label, np.zeros_like(label[:1])])
    valid = np.array([True, True, False])
    # One program for both.
    value, expected = jax.jit(
        lambda more, logits: (
            loss(more, jnp.asarray(padded), valid=jnp.asarray(valid)),
            loss(logits, jnp.asarray(label)),
        )
    )(more, logits.astype(np.float32))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_nothing_labeled_has_finite_gradients(name):
    classes, loss, _ = CASES[name]
    logits, label = np.full((1, 2, 2, classes), 1e4, np.float32), np.full((1, 2, 2), 255, np.int32)
    value, gradient = jax.jit(jax.value_and_grad(loss))(logits, label)
    assert value == 0 and not np.any(gradient)


def test_many_pixels_do_not_lose_the_steps():
    # 2^21 pixels of which one is of the class: the last steps are near 1e-13.
    label = np.zeros((1, 1024, 2048), np.int32)
    label[0, 0, 0] = 1
    logits = np.broadcast_to(np.array([1, 0], np.float32), (1, 1024, 2048, 2))
    p = 1 / (1 + np.e)
    # Class 0: all errors are p but one of 1 - p, the first. Class 1: the reverse.
    n = 2**21
    rare = 1 - p  # the only pixel of the class goes first, and there is nothing more to lose
    common = (1 - p) * (1 / n) + p * ((n - 1) / n)
    found = jax.jit(losses.lovasz_softmax)(logits, label)
    np.testing.assert_allclose(found, (rare + common) / 2, rtol=1e-5)


def test_mistakes_name_the_loss():
    logits, label = map(jnp.asarray, sample())
    with pytest.raises(InputError, match="lovasz_hinge.*two classes, not 3.*lovasz_softmax"):
        losses.lovasz_hinge(logits, label)
    with pytest.raises(InputError, match="class_weights has 2 numbers for 3"):
        losses.lovasz_softmax(logits, label, class_weights=(1.0, 2.0))
