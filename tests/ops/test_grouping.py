"""Centers, groups and segments against loops over pixels, and in cases that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops


def naive_centers(heat, threshold, count, window):
    reach, found = window // 2, []
    for y, x in np.ndindex(*heat.shape):
        around = heat[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        if heat[y, x] == around.max() and heat[y, x] > threshold:
            found.append((-heat[y, x], y, x))
    return [(y, x) for _, y, x in sorted(found)][:count]


def naive_groups(offsets, centers):
    groups = np.zeros(offsets.shape[:2], int)
    for y, x in np.ndindex(*groups.shape):
        there = np.float32([y, x]) + offsets[y, x]
        if len(centers):
            groups[y, x] = 1 + np.square(there - np.float32(centers)).sum(1).argmin()
    return groups


def naive_segments(semantic, groups, count, classes, stuff, area):
    """A dictionary from number to (class, pixels), by the definition."""
    found = {}
    for number in range(1, count + 1):
        mask = (groups == number) & (semantic > 0) & ~np.isin(semantic, stuff)
        if mask.any():
            found[number] = np.bincount(semantic[mask], minlength=classes + 1).argmax(), mask
    for number, label in enumerate(stuff, count + 1):
        mask = semantic == label
        if mask.sum() >= max(area, 1):
            found[number] = label, mask
    return found


@pytest.mark.parametrize("size, window", [((13, 18), 7), ((7, 5), 3)])
def test_centers_are_those_of_a_loop(size, window):
    find = jax.jit(lambda heat: ops.find_centers(heat, threshold=0.3, max_centers=9, window=window))
    random = np.random.default_rng(0)
    for _ in range(20):
        heat = (random.integers(0, 30, size) / 30).astype(np.float32)  # with ties
        positions, scores, valid = map(np.asarray, find(heat))
        expected = naive_centers(heat, np.float32(0.3), 9, window)
        assert [tuple(p) for p in positions[valid].tolist()] == expected
        assert scores[valid].tolist() == [heat[p] for p in expected]
        assert not positions[~valid].any() and not scores[~valid].any()


def test_groups_are_those_of_a_loop():
    group = jax.jit(jax.vmap(ops.group_pixels))
    random = np.random.default_rng(1)
    centers = random.integers(0, 11, (6, 5, 2))
    valid = random.random((6, 5)) < 0.6
    valid[0], valid[1] = False, True
    offsets = random.integers(-8, 9, (6, 11, 9, 2)).astype(np.float32)  # many ties
    found = np.asarray(group(offsets, centers, valid))
    for row in range(6):
        numbers = np.flatnonzero(valid[row]) + 1
        expected = naive_groups(offsets[row], centers[row][valid[row]])
        np.testing.assert_array_equal(found[row], np.concatenate([[0], numbers])[expected])


@pytest.mark.parametrize("stuff", [(), (1, 4)])
def test_segments_are_those_of_a_loop(stuff):
    merge = jax.jit(
        lambda semantic, groups: ops.merge_segments(
            semantic, groups, max_groups=6, num_classes=5, stuff=stuff, stuff_area=24
        )
    )
    random = np.random.default_rng(2)
    for _ in range(20):
        semantic = random.integers(0, 6, (9, 13)).astype(np.int32)
        groups = (random.integers(0, 5, (9, 13)) * (random.random() < 0.9)).astype(np.int32)
        segments, classes = map(np.asarray, merge(semantic, groups))
        expected = naive_segments(semantic, groups, 6, 5, stuff, 24)
        assert {*np.unique(segments)} - {0} == {*expected} == {*np.flatnonzero(classes) + 1}
        for number, (label, mask) in expected.items():
            assert classes[number - 1] == label
            np.testing.assert_array_equal(segments == number, mask)


def test_disks_are_separated_exactly():
    """Two touching disks and their exact offsets: each pixel comes to its own center."""
    y, x = np.mgrid[:24, :40]
    disks = [(12, 12), (12, 27)]
    owner = np.where(x < 20, 0, 1)
    offsets = np.array(disks)[owner] - np.stack([y, x], -1)
    heat = np.max([np.exp(-((y - a) ** 2 + (x - b) ** 2) / 128) for a, b in disks], 0)
    inside = np.max([(y - a) ** 2 + (x - b) ** 2 <= 60 for a, b in disks], 0)

    @jax.jit
    def separate(semantic, heat, offsets):
        centers, _, valid = ops.find_centers(heat, threshold=0.1, max_centers=4)
        groups = ops.group_pixels(offsets, centers, valid)
        merged = ops.merge_segments(semantic, groups, max_groups=4, num_classes=2)
        return centers, valid, *merged

    centers, valid, segments, classes = separate(
        jnp.int32(inside * 2), jnp.float32(heat), jnp.float32(offsets)
    )
    assert centers[valid].tolist() == [list(c) for c in disks] and classes.tolist() == [2, 2, 0, 0]
    np.testing.assert_array_equal(segments, inside * (owner + 1))
