"""Patches add up to the whole image, and their errors are those of its scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.evaluation.aliasing.patches import (
    patch_errors,
    patch_grid,
    patch_pixels,
    patch_places,
    patch_powers,
)
from segalias_jax.metrics import ScoreRules, SegmentationScores, region_map

POWERS = jax.jit(patch_powers, static_argnums=(1, 2))


def _maps(size=(40, 56), classes=4, seed=0):
    rng = np.random.default_rng(seed)
    label = np.kron(rng.integers(0, classes, (size[0] // 8, size[1] // 8)), np.ones((8, 8), int))
    prediction = np.roll(label, (1, 2), (0, 1))
    label[:5, :9] = 255
    return prediction, label


@pytest.mark.parametrize("length, count", [(64, 8), (45, 6), (7, 3), (5, 1), (3, 5)])
def test_places_are_in_order_and_of_equal_size(length, count):
    places = patch_places(length, count)
    expected = np.floor((np.arange(length) + 0.5) * count / length).astype(int)
    np.testing.assert_array_equal(places, expected)
    sizes = np.bincount(places, minlength=count)
    assert sizes.max() - sizes.min() <= 1


def test_grid():
    assert patch_grid((360, 480), 64) == (6, 8)
    assert patch_grid((30, 1000), 64) == (1, 16)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("grid", [(1, 1), (3, 4)])
def test_powers_of_patches_add_up_to_the_score(grid, dtype):
    """In float32 even of 16-bit maps; the two take the same sums in another order."""
    x = np.random.default_rng(0).normal(size=(2, 15, 22, 3)).astype(np.float32)
    x = jnp.asarray(x, dtype)
    above, total = np.asarray(POWERS(x, 0.3, grid), np.float64)
    assert above.shape == (2, *grid)
    expected = ops.aliasing_score(x.astype(jnp.float32), 0.3)
    np.testing.assert_allclose(100 * above.sum((1, 2)) / total.sum((1, 2)), expected, rtol=2e-6)


def test_power_lies_where_the_fine_texture_is():
    """A checkerboard in one quarter; the filter's tails leak a little into the others."""
    x = np.zeros((1, 32, 32, 1), np.float32)
    x[0, :16, 16:, 0] = (-1.0) ** np.indices((16, 16)).sum(0)
    above, total = np.asarray(POWERS(jnp.asarray(x), 0.25, (2, 2)))[:, 0]
    assert above[0, 1] > 0.9 * total[0, 1]
    assert above.sum() - above[0, 1] < 0.05 * above[0, 1]


@pytest.mark.parametrize("ignore", ["reference", "exclude"])
def test_errors_of_one_patch_are_those_of_the_scores(ignore):
    prediction, label = _maps()
    rules = ScoreRules(ignore=ignore, width=5)
    scores = SegmentationScores.empty(4, ignore=ignore, width=5).update(prediction, label)
    computed = scores.compute()
    found = patch_errors(prediction, label, (1, 1), num_classes=4, rules=rules)
    expected = [computed[name] for name in ("FErr", "MErr", "DErr")]
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-12)


def test_errors_of_each_patch_by_counting():
    """Class by class over the pixels of a patch, in the bands of the whole image."""
    prediction, label = _maps()
    rules = ScoreRules(width=3)
    found = patch_errors(prediction, label, (2, 3), num_classes=4, rules=rules)
    region = np.asarray(region_map(prediction, label, rules))
    rows, columns = patch_places(40, 2), patch_places(56, 3)
    for r, c in np.ndindex(2, 3):
        inside = (rows == r)[:, None] & (columns == c)
        for j, band in enumerate(((1, 3), (2, 3), (3,))):
            here = inside & np.isin(region, band)
            shares = [
                (prediction == k)[here & (label == k)].mean()
                for k in range(4)
                if (here & (label == k)).any()
            ]
            assert found[r, c, j] == pytest.approx(1 - np.mean(shares), abs=1e-12)


def test_stored_zero_is_ignored_where_labels_are_reduced():
    prediction, label = _maps()
    stored = np.where(label == 255, 0, label + 1)
    rules = ScoreRules(ignore="exclude", width=5)
    reduced = ScoreRules(ignore="exclude", width=5, reduce_zero_label=True)
    one, other = (
        patch_errors(prediction, maps, (2, 3), num_classes=4, rules=r)
        for maps, r in ((label, rules), (stored, reduced))
    )
    np.testing.assert_array_equal(one, other)


def test_patch_without_boundary_has_no_errors():
    label = np.zeros((16, 64), int)
    label[:, 60:] = 1
    found = patch_errors(label, label, (1, 4), num_classes=2, rules=ScoreRules(width=3))
    assert np.isnan(found[0, :3]).all() and (found[0, 3] == 0).all()


def test_pixels_of_values_by_counting():
    values = np.random.default_rng(0).integers(0, 6, (13, 17)).astype(np.uint8)
    values[values == 5] = 255
    found = patch_pixels(values, (2, 3), 4)
    rows, columns = patch_places(13, 2), patch_places(17, 3)
    for r, c, k in np.ndindex(2, 3, 4):
        inside = (rows == r)[:, None] & (columns == c)
        assert found[r, c, k] == (values[inside] == k).sum()
