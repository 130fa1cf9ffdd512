"""Probabilities counted on the host, like on a device."""

import numpy as np
import pytest

from segalias_jax.evaluation.probabilities import count_probabilities
from segalias_jax.metrics import ScoreRules
from segalias_jax.metrics.binary import probability_counts


@pytest.mark.parametrize("reduce_zero_label", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bool"])
def test_equals_the_device(dtype, reduce_zero_label):
    rng = np.random.default_rng(0)
    rules = ScoreRules(reduce_zero_label=reduce_zero_label)
    # Many lie exactly on the edge of a bin.
    probability = (rng.integers(-8, 1032, (17, 23)) / 1024).astype(dtype)
    label = rng.integers(0, 3, (17, 23)).astype(np.uint8)
    label[:3] = 255
    expected = probability_counts(probability, rules.class_label(label))
    found = count_probabilities(probability, label, rules)
    np.testing.assert_array_equal(found, expected[0])
