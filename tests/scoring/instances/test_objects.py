"""Objects cut to their boxes hold what the whole masks hold."""

import numpy as np
import pytest
from instance_cases import random_rectangles, rows

from segalias_jax.data.run_length import decode_mask, encode_mask
from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.objects import (
    Mask,
    Objects,
    intersections,
    mask_of_runs,
    runs_of_mask,
    size_class,
)


def whole(objects: Objects) -> np.ndarray:
    masks = [mask.window(0, 0, *objects.shape) for mask in objects.masks]
    return np.asarray(masks).reshape(len(masks), *objects.shape)


@pytest.mark.parametrize("seed", range(5))
def test_masks_come_back_and_run_lengths_are_those_of_the_whole_mask(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((6, 13, 17)) < rng.random((6, 1, 1))
    masks[0], masks[1], masks[2, 1:] = False, True, False
    objects = Objects(np.ones(6, int), masks)
    np.testing.assert_array_equal(whole(objects), masks)
    for mask, pixels in zip(objects.masks, masks, strict=True):
        runs = {"size": [13, 17], "counts": runs_of_mask(mask, (13, 17)).tolist()}
        np.testing.assert_array_equal(decode_mask(runs), pixels)
        again = mask_of_runs(runs, (13, 17))
        text = mask_of_runs(encode_mask(pixels), (13, 17))
        for other in (again, text):
            assert other[:2] == mask[:2]
            np.testing.assert_array_equal(other.bits, mask.bits)


def test_intersections_are_those_of_whole_masks():
    rng = np.random.default_rng(0)
    one, other = random_rectangles(rng, 12), random_rectangles(rng, 9)
    wanted = np.einsum("ahw,bhw->ab", whole(one).astype(int), whole(other).astype(int))
    np.testing.assert_array_equal(intersections(one, other), wanted)
    assert intersections(one, one.chosen(np.zeros(12, bool))).shape == (12, 0)


def test_a_map_has_an_object_for_each_id_connected_or_not():
    ids = np.asarray([[0, 9, 9, 0], [4, 0, 0, 9]], np.uint16)
    objects = Objects.of_map(ids, classes={4: 2, 9: 1})
    assert objects.classes.tolist() == [2, 1]
    np.testing.assert_array_equal(whole(objects), [ids == 4, ids == 9])
    assert len(Objects.of_map(np.zeros((2, 3), int))) == 0
    with pytest.raises(InputError, match="id 4 of an object has no class"):
        Objects.of_map(ids, classes={9: 1})
    with pytest.raises(InputError, match="id -1 of an object is negative"):
        Objects.of_map(np.asarray([[-1]]))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"classes": np.asarray([0])}, "0 is no class"),
        ({"classes": np.asarray([1, 2])}, "classes: 2 values for 1 masks"),
        ({"scores": [np.nan]}, "scores: hold nan"),
        ({"scores": [0.5, 0.5]}, "scores: 2 values for 1 masks"),
        ({"size": (3, 3)}, r"masks: of \(2, 3\) pixels in an image of \(3, 3\)"),
        ({"masks": np.ones((2, 3), bool)}, r"shape \(2, 3\) is not \[n, h, w\]"),
        ({"masks": [{"size": [2, 3], "counts": [5]}]}, "run lengths of 5 pixels in an image of 6"),
        ({"masks": [{"size": [2, 3]}]}, r"run lengths lack a size \[h, w\] or counts"),
        ({"masks": [{"size": [3, 2], "counts": [6]}], "size": (2, 3)}, r"mask of \[3, 2\] pixels"),
    ],
)
def test_what_does_not_fit_is_named(arguments, words):
    given = {"classes": np.asarray([1]), "masks": np.ones((1, 2, 3), bool)} | arguments
    with pytest.raises(InputError, match=words):
        Objects(**given)


def test_two_images_do_not_intersect():
    with pytest.raises(InputError, match=r"image of \(1, 2\), and of one of \(1, 3\)"):
        intersections(rows("ab"), rows("abc"))


def test_sizes_are_those_of_coco():
    assert size_class(np.asarray([0, 1023.9, 1024, 9215, 9216])).tolist() == [0, 0, 1, 1, 2]


def test_an_empty_mask_has_no_pixel():
    mask = Mask.of_pixels(np.zeros((2, 2), bool))
    assert (mask.area, mask.box) == (0, (0, 0, 0, 0))
