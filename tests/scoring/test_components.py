"""Regions of pairs of maps against pixels flooded one by one."""

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import ScoreRules
from segalias_jax.scoring import host_bands
from segalias_jax.scoring.components import _each_once, connected, find_regions


def flooded(ids):
    """Number of the 8-connected component of each pixel, in order of first pixels."""
    number = np.full(ids.shape, -1)
    for start in np.ndindex(*ids.shape):
        if number[start] >= 0:
            continue
        number[start], open_ = number.max() + 1, [start]
        while open_:
            y, x = open_.pop()
            for v, u in np.ndindex(3, 3):
                place = y + v - 1, x + u - 1
                inside = 0 <= place[0] < ids.shape[0] and 0 <= place[1] < ids.shape[1]
                if inside and number[place] < 0 and ids[place] == ids[y, x]:
                    number[place] = number[y, x]
                    open_.append(place)
    return number


def in_order(numbers):
    """The same partition, numbered by first pixels."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(numbers.shape)


def maps(seed):
    rng = np.random.default_rng(seed)
    (height, width), classes, scale = rng.integers(1, 12, 2), rng.integers(1, 4), rng.integers(1, 3)
    label, prediction = rng.integers(0, classes, (2, height, width)).repeat(scale, 1)
    label[rng.random(label.shape) < 0.15 * (seed % 3)] = 255
    dtype = [np.uint8, np.int32, np.int64][seed % 3]
    return prediction.astype(dtype), label.astype(dtype), int(classes)


@pytest.mark.parametrize("seed", range(40))
def test_equals_flooding(seed):
    prediction, label, classes = maps(seed)
    regions = find_regions(prediction, label, classes, ScoreRules())
    count, whole = len(regions.true), slice(0, len(label))
    numbers = regions.paint(np.arange(count), whole)
    # What is ignored is taken to be what is predicted there.
    ignored = label == 255
    true = np.where(ignored, prediction, label).astype(int)
    np.testing.assert_array_equal(in_order(numbers), flooded((true * 4 + prediction) * 2 + ignored))
    for values, ids in ((regions.true, true), (regions.predicted, prediction)):
        np.testing.assert_array_equal(regions.paint(values, whole), ids)
        found = regions.paint(regions.components(values), whole)
        np.testing.assert_array_equal(in_order(found), flooded(ids))
    np.testing.assert_array_equal(regions.pixels, np.bincount(numbers[~ignored], minlength=count))
    sides = np.zeros((count, count), int)
    for a, b in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        np.add.at(sides, (a, b), 1)
        np.add.at(sides, (b, a), 1)
    np.fill_diagonal(sides, 0)
    listed = np.zeros_like(sides)
    a, b = regions.contacts
    assert len(np.unique(regions.contacts, axis=1).T) == len(a)
    listed[a, b] = listed[b, a] = regions.sides
    np.testing.assert_array_equal(listed, sides)
    # Regions touch by corners, too, and those contacts have no sides.
    touch = np.zeros((count, count), bool)
    for one, two in (((1, 1), (0, 0)), ((1, 0), (0, 1)), ((1, 0), (0, 0)), ((0, 1), (0, 0))):
        (v, u), (y, x), (height, width) = one, two, numbers.shape
        a = numbers[v : height - 1 + v, u : width - 1 + u]
        touch[a, numbers[y : height - 1 + y, x : width - 1 + x]] = True
    touch[numbers[1:], numbers[:-1]] = touch[numbers[:, 1:], numbers[:, :-1]] = True
    touch |= touch.T
    np.fill_diagonal(touch, False)
    found = np.zeros_like(touch)
    found[tuple(regions.contacts)] = found[tuple(regions.contacts[::-1])] = True
    np.testing.assert_array_equal(found, touch)


@pytest.mark.parametrize("seed", range(6))
def test_strips_change_nothing(seed, monkeypatch):
    prediction, label, classes = maps(seed)
    whole = find_regions(prediction, label, classes, ScoreRules())
    monkeypatch.setattr(host_bands, "STRIP_PIXELS", 3 * label.shape[1])
    parts = find_regions(prediction, label, classes, ScoreRules())
    for name in ("starts", "region", "true", "predicted", "pixels", "contacts", "sides"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_contacts_of_many_regions_add_up():
    """So many pairs that places of the table are taken by others, against a sorted sum."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3000, (2, 20000))
    sides = rng.integers(0, 9, len(a))
    contacts, sums = _each_once(a, b, sides, 3000)
    low, high = np.sort([a, b], axis=0)
    pairs, number = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    np.testing.assert_array_equal(contacts, pairs)
    np.testing.assert_array_equal(sums, np.bincount(number.reshape(-1), sides))
    none = np.zeros(0, int)
    assert _each_once(none, none, none, 0)[0].shape == (2, 0)


@pytest.mark.parametrize("seed", range(3, 9))
def test_boxes_places_and_strips(seed):
    prediction, label, classes = maps(seed)
    regions = find_regions(prediction, label, classes, ScoreRules())
    count = len(regions.true)
    numbers = regions.paint(np.arange(count), slice(0, len(label)))
    boxes = regions.boxes(np.arange(count), count)
    for region, (top, left, bottom, right) in enumerate(boxes):
        y, x = np.nonzero(numbers == region)
        assert (top, left, bottom, right) == (y.min(), x.min(), y.max() + 1, x.max() + 1)
    places, of = regions.places(np.arange(count) % 2 == 0)
    np.testing.assert_array_equal(places, np.flatnonzero(numbers % 2 == 0))
    np.testing.assert_array_equal(of, numbers.reshape(-1)[places])
    for top in range(len(label)):
        strip = regions.paint(np.arange(count), slice(top, top + 1))
        np.testing.assert_array_equal(strip, numbers[top : top + 1])


def test_graphs_of_any_shape():
    """A long chain in random order, a star around its highest node, and nodes without an edge."""
    order = np.random.default_rng(0).permutation(1000)
    chain = connected(1010, order[1:], order[:-1])
    assert (chain[:1000] == 0).all() and chain[1000:].tolist() == list(range(1, 11))
    assert connected(50, np.full(49, 49), np.arange(49)).max() == 0
    assert connected(3, *np.zeros((2, 0), int)).tolist() == [0, 1, 2]


def test_what_is_refused():
    ids = np.zeros((2, 3), np.int32)
    with pytest.raises(InputError, match="prediction of shape .2, 3., label of shape .3, 2."):
        find_regions(ids, ids.T, 2, ScoreRules())
    with pytest.raises(InputError, match="label holds 7, which is no class and not ignored"):
        find_regions(ids, ids + 7, 2, ScoreRules())
    with pytest.raises(InputError, match="prediction holds -1, which is no class"):
        find_regions(ids - 1, ids, 2, ScoreRules())
    # What is predicted where the label is ignored may be anything.
    regions = find_regions(ids + 255, ids, 2, ScoreRules(reduce_zero_label=True))
    assert regions.pixels.tolist() == [0] and regions.predicted.tolist() == [2]
