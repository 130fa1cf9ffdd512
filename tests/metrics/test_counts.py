"""Bands and thresholds against loops over pixels."""

import jax.numpy as jnp
import numpy as np

from segalias_jax.metrics import ClassCounts, ForegroundCounts


def test_bands_are_unions_of_regions():
    regions = np.random.default_rng(0).integers(0, 50, (4, 4, 4))
    counts = ClassCounts.from_regions(regions)
    parts = {"all": (0, 1, 2, 3), "union": (1, 2, 3), "predicted": (1, 3), "true": (2, 3)}
    for name, members in (parts | {"both": (3,)}).items():
        band, matrix = getattr(counts, name), sum(regions[i] for i in members)
        for k in range(3):
            assert band.right[k] == matrix[k, k] and band.true[k] == matrix[k].sum()
            assert band.predicted[k] == matrix[:3, k].sum()


def test_thresholds_part_the_bins_alike_in_both_libraries():
    bins = np.random.default_rng(1).integers(0, 9, (5, 2, 8))
    host, device = (ForegroundCounts.from_bins(x) for x in (bins, jnp.asarray(bins)))
    for k in range(7):
        hits = bins[:, 1, k + 1 :].sum(-1)
        np.testing.assert_array_equal(host.hits[:, k], hits)
        np.testing.assert_array_equal(host.misses[:, k], bins[:, 1].sum(-1) - hits)
        alarms = bins[:, 0, k + 1 :].sum(-1)
        np.testing.assert_array_equal(host.false_alarms[:, k], alarms)
        np.testing.assert_array_equal(host.rejections[:, k], bins[:, 0].sum(-1) - alarms)
    for name in ("hits", "misses", "false_alarms", "rejections"):
        np.testing.assert_array_equal(getattr(host, name), np.asarray(getattr(device, name)))
