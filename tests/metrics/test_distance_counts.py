"""Counts of images by themselves, stacked and added up."""

import dataclasses

import numpy as np

from segalias_jax.metrics.distance_counts import DistanceCounts, DistanceSettings


def test_stacked_and_pooled():
    settings = DistanceSettings(widths=(1, 5))
    zeros = DistanceCounts.zeros(3, settings)
    one = dataclasses.replace(zeros, surface=np.arange(6).reshape(2, 3))
    both = DistanceCounts.stack([one, zeros, one])
    assert both.surface.shape == (3, 2, 3) and both.trimap.shape == (3, 2, 3, 3)
    assert both.pooled().surface.tolist() == (2 * one.surface).tolist()
    assert both.diagonal.shape == (3,)
