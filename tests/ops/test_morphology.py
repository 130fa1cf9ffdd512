"""Boundaries and dilation against OpenCV and the recorded intermediates."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.ops import morphology

SHAPES = [(1, 1), (1, 7), (9, 1), (2, 2), (2, 5), (17, 23)]


def _labels(shape, high=4, seed=0):
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.uint8)


@pytest.mark.parametrize("name", ["pred0", "gt0", "pred1", "gt1"])
def test_recorded_edges_and_bands(golden, name):
    """The published intermediates, ids 0..18 and 255, hold exactly."""
    recorded = golden("e_edge_ops")
    edge = morphology.label_boundary(recorded[name])
    np.testing.assert_array_equal(edge, recorded[f"{name}.edge1"].astype(bool))
    np.testing.assert_array_equal(edge, recorded[f"{name}.laplacian"] != 0)
    band = morphology.boundary_band(recorded[name])
    np.testing.assert_array_equal(band, recorded[f"{name}.dil15"].astype(bool))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_laplacian_is_that_of_opencv(shape, dtype):
    """Borders are mirrored without the edge pixel, also where a side has one or two pixels."""
    label = _labels(shape)
    expected = cv2.Laplacian(label, cv2.CV_64F, ksize=1, borderType=cv2.BORDER_REFLECT_101) != 0
    np.testing.assert_array_equal(morphology.label_boundary(label.astype(dtype)), expected)


def _exact_by_loops(label, ignore):
    out = np.zeros(label.shape, bool)
    for i, j in np.ndindex(*label.shape):
        for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if 0 <= k < label.shape[0] and 0 <= m < label.shape[1]:
                pair = (label[i, j], label[k, m])
                out[i, j] |= pair[0] != pair[1] and ignore not in pair
    return out


@pytest.mark.parametrize("ignore", [None, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_exact_rule_is_its_definition(shape, ignore):
    """Any of four neighbors differs, pairs with an ignored pixel left out."""
    label = _labels(shape)
    found = morphology.label_boundary(label, rule="exact", ignore=ignore)
    np.testing.assert_array_equal(found, _exact_by_loops(label, ignore))


def test_laplacian_misses_what_cancels_and_exact_does_not():
    """Ids 1 | 2 | 3 cancel in the middle."""
    label = np.asarray([[1, 2, 3]] * 3)
    assert not morphology.label_boundary(label)[:, 1].any()
    assert morphology.label_boundary(label, rule="exact").all()


def test_ignored_pixels_make_no_boundary_when_excluded():
    """A ring of 255 is a boundary under the published rule only."""
    label = np.zeros((8, 8), np.uint8)
    label[2:6, 2:6] = 255
    assert morphology.label_boundary(label).any()
    assert not morphology.label_boundary(label, ignore=255).any()
    label[0, 0] = 1
    assert morphology.label_boundary(label, ignore=255).sum() == 3


@pytest.mark.parametrize("size", range(1, 18))
def test_dilation_is_that_of_opencv(size):
    """Even sizes, sizes beyond the picture and the border included."""
    mask = np.random.default_rng(size).random((23, 9)) < 0.03
    expected = cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8))
    found = morphology.dilate(mask, size)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, expected.astype(bool))


def test_dilation_treats_bits_one_by_one():
    """Two masks packed into one byte dilate as they do alone."""
    masks = np.random.default_rng(0).random((2, 20, 20)) < 0.02
    packed = morphology.dilate(masks[0] + np.uint8(2) * masks[1], 5)
    apart = morphology.dilate(masks, 5)
    np.testing.assert_array_equal(packed, apart[0] + 2 * apart[1].astype(np.uint8))


@pytest.mark.parametrize("rule", morphology.BOUNDARY_RULES)
def test_leading_axes_jit_and_vmap(rule):
    """Axes before the last two are a batch, with and without jit and vmap."""
    label = _labels((2, 3, 12, 10))

    def band(x):
        return morphology.boundary_band(x, width=4, rule=rule, ignore=0)

    alone = jax.jit(band)
    expected = np.stack([[np.asarray(alone(x)) for x in row] for row in label])
    np.testing.assert_array_equal(band(label), expected)
    np.testing.assert_array_equal(alone(label), expected)
    np.testing.assert_array_equal(jax.vmap(jax.vmap(band))(jnp.asarray(label)), expected)


def test_wrong_arguments_are_named():
    """An unknown rule lists the choices; a size of 0 is refused."""
    with pytest.raises(InputError, match="'sobel'.*laplacian, exact"):
        morphology.label_boundary(np.zeros((2, 2), np.uint8), rule="sobel")
    with pytest.raises(InputError, match="size 0"):
        morphology.dilate(np.zeros((2, 2), bool), 0)
