"""Skeletons: those of the published rule applied to all pixels at once, connected, and thin."""

import cv2
import numpy as np
import pytest

from segalias_jax.scoring.thinning import skeleton

CLOCKWISE = (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)


def _published(mask):
    """Guo and Hall's A1 as they write it, in whole passes."""
    kept, turn, unchanged = np.pad(mask, 1), 0, 0
    while unchanged < 2:
        around = [np.roll(kept, (-down, -right), (0, 1)) for down, right in CLOCKWISE]
        p2, p3, p4, p5, p6, p7, p8, p9 = around
        c = ((~p2 & (p3 | p4)).astype(int) + (~p4 & (p5 | p6)) + (~p6 & (p7 | p8))
             + (~p8 & (p9 | p2)))  # fmt: skip
        n1 = (p9 | p2).astype(int) + (p3 | p4) + (p5 | p6) + (p7 | p8)
        n2 = (p2 | p3).astype(int) + (p4 | p5) + (p6 | p7) + (p8 | p9)
        n = np.minimum(n1, n2)
        side = (p6 | p7 | ~p9) & p8 if turn else (p2 | p3 | ~p5) & p4
        gone = kept & (c == 1) & (n >= 2) & (n <= 3) & ~side
        kept, turn, unchanged = kept & ~gone, 1 - turn, 0 if gone.any() else unchanged + 1
    return kept[1:-1, 1:-1]


def _blobs(seed, size=(60, 83)):
    noise = np.random.default_rng(seed).random(size)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1 + seed)
    return smooth > np.quantile(smooth, 0.6)


@pytest.mark.parametrize("seed", range(5))
def test_skeletons_are_the_published_ones(seed):
    mask = _blobs(seed)
    np.testing.assert_array_equal(skeleton(mask), _published(mask))


@pytest.mark.parametrize("seed", range(5))
def test_parts_and_holes_stay(seed):
    mask = _blobs(seed)
    lines = skeleton(mask)
    assert not (lines & ~mask).any()
    for one, connectivity in ((lambda m: m, 8), (lambda m: ~np.pad(m, 1), 4)):
        parts = [
            cv2.connectedComponents(one(m).astype(np.uint8), connectivity=connectivity)[0]
            for m in (mask, lines)
        ]
        assert parts[0] == parts[1]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (7, 5)])
def test_filled_maps_keep_a_line(size):
    assert skeleton(np.ones(size, bool)).sum() >= 1
    assert not skeleton(np.zeros(size, bool)).any()


def test_a_line_is_its_skeleton():
    line = np.eye(20, dtype=bool)
    np.testing.assert_array_equal(skeleton(line), line)
