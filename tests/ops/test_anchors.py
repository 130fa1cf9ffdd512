"""Anchors against recorded ones, exactly, and their rule."""

import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops

SIZES, RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)


@pytest.mark.parametrize("size", ["128x192", "160x224", "800x1344"])
def test_anchors_are_the_recorded_ones(golden, size):
    recorded = golden("i_boxes")
    bases = [ops.base_anchors(s, RATIOS) for s in SIZES]
    np.testing.assert_array_equal(bases, recorded["base_anchors"])
    grids, strides = recorded[f"anchors_{size}_grids"], recorded[f"anchors_{size}_strides"]
    levels = [
        ops.grid_anchors(base, tuple(grid), tuple(stride))
        for base, grid, stride in zip(bases, grids.tolist(), strides.tolist(), strict=True)
    ]
    ours = np.asarray(jnp.concatenate(levels))
    if f"anchors_{size}" in recorded:
        np.testing.assert_array_equal(ours, recorded[f"anchors_{size}"])
        return
    assert len(ours) == recorded[f"anchors_{size}_count"]
    np.testing.assert_array_equal(ours[::211], recorded[f"anchors_{size}_every211"])
    np.testing.assert_array_equal(ours.astype(np.float64).sum(0), recorded[f"anchors_{size}_sum"])


def test_areas_and_ratios_without_rounding():
    boxes = ops.base_anchors(40, RATIOS, rounded=False).astype(np.float64)
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    np.testing.assert_allclose(width * height, 1600, rtol=1e-6)
    np.testing.assert_allclose(height / width, RATIOS, rtol=1e-6)
    assert not (boxes[:, :2] + boxes[:, 2:]).any()
