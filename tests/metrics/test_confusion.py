"""64-bit counters and confusion matrices on a device."""

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax.metrics import confusion


def _split(numbers):
    numbers = np.asarray(numbers, np.uint64)
    return jnp.asarray(np.stack([numbers & 0xFFFFFFFF, numbers >> 32]).astype(np.uint32))


def test_64_bit_addition_is_exact():
    """Random numbers up to 2^62, and those next to a carry."""
    rng = np.random.default_rng(0)
    a = np.concatenate([rng.integers(0, 2**62, 50), [2**32 - 1, 2**32, 0, 2**33 - 1]])
    b = np.concatenate([rng.integers(0, 2**62, 50), [1, 2**32 - 1, 0, 2**33 - 1]])
    found = confusion.wide_total(jax.jit(confusion.wide_add)(_split(a), _split(b)))
    np.testing.assert_array_equal(found, a + b)


def test_sum_over_devices_is_exact():
    """Low halves whose 32-bit sum overflows many times."""
    numbers = np.random.default_rng(1).integers(2**31, 2**40, (64, 5))
    wide = jnp.stack([_split(n) for n in numbers])
    found = jax.vmap(lambda x: confusion.wide_psum(x, "i"), axis_name="i")(wide)
    np.testing.assert_array_equal(confusion.wide_total(found[0]), numbers.sum(0))


def test_counts_are_those_of_a_loop():
    """Groups, ignored labels, predictions and labels that are no class."""
    rng = np.random.default_rng(2)
    label, prediction = rng.integers(-1, 6, (2, 300))
    group = rng.integers(0, 3, 300)
    expected = np.zeros((3, 4, 4), int)
    for g, t, p in zip(group, label, prediction, strict=True):
        if t != 5:
            expected[g, t if 0 <= t < 3 else 3, p if 0 <= p < 3 else 3] += 1
    arrays = (jnp.asarray(x) for x in (prediction, label, group))
    found = confusion.confusion_counts(*arrays, num_classes=3, num_groups=3, ignore_label=5)
    np.testing.assert_array_equal(found, expected)
