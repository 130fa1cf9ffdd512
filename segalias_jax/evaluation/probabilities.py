"""Probabilities of the foreground on the host: counted as `metrics.BinaryScores` does."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Integer, Shaped

from segalias_jax.evaluation import host_bands
from segalias_jax.metrics import ScoreRules
from segalias_jax.metrics.binary import BINS


def count_probabilities(
    probability: Shaped[np.ndarray, "h w"],
    label: Integer[np.ndarray, "h w"],
    rules: ScoreRules,
    bins: int = BINS,
) -> Int[np.ndarray, "2 bins"]:
    """Counts the pixels of one image by true class and probability of the foreground.

    Args:
      probability: of the foreground in [0, 1], or whether a pixel is predicted as it.
      label: true labels of the same shape.
      rules: which labels are ignored, and how class 0 is written.
      bins: see `metrics.binary.probability_counts`.

    Returns:
      Counts, for `BinaryScores.add`.

    Example:
      >>> probability, label = np.asarray([[0.0, 0.5, 0.6, 1.0]]), np.asarray([[0, 0, 1, 255]])
      >>> count_probabilities(probability, label, ScoreRules(), 2).tolist()
      [[2, 0], [0, 1]]
    """
    counted = ~host_bands.ignored_pixels(label, rules)
    true = label[counted].astype(np.int64) - int(rules.reduce_zero_label)
    scaled = np.ceil(np.nan_to_num(probability[counted].astype(np.float32)) * bins)
    bin_of = np.clip(scaled, 1, bins).astype(np.int64) - 1
    cells = (true * bins + bin_of)[(true == 0) | (true == 1)]
    return np.bincount(cells, minlength=2 * bins).reshape(2, bins)
