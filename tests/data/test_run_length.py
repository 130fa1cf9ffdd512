import sys

import numpy as np
import pytest

from segalias_jax.data.run_length import (
    compress_counts,
    decode_mask,
    encode_mask,
    expand_counts,
    mask_counts,
    polygon_mask,
)
from segalias_jax.errors import InputError

mask_api = pytest.importorskip("faster_coco_eval.core.mask")


def random_masks():
    """Masks of all densities, with long runs too, which have counts of several digits."""
    rng = np.random.default_rng(0)
    for k in range(60):
        mask = rng.random(rng.integers(1, 25, 2)) < rng.choice([0, 0.02, 0.3, 0.9, 1])
        yield mask.repeat(29, 0).repeat(31, 1) if k % 3 == 0 else mask


def test_both_forms_equal_those_of_the_reference():
    for mask in random_masks():
        theirs = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
        ours = encode_mask(mask)
        assert ours["counts"].encode() == theirs["counts"]
        np.testing.assert_array_equal(decode_mask(ours), mask)
        plain = {"size": list(mask.shape), "counts": mask_counts(mask).tolist()}
        np.testing.assert_array_equal(decode_mask(plain), mask)


def test_counts_as_written_by_hand():
    # 100 = 3 * 32 + 4: digits 4 (32 more follows) and 3; 5, 96, 1 are followed by differences.
    assert compress_counts(np.array([100, 1, 2])) == "T312"
    counts = np.array([3, 70, 1, 2, 900, 4])
    np.testing.assert_array_equal(expand_counts(compress_counts(counts)), counts)
    assert expand_counts("").tolist() == []


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "cover 3 pixels of 2x2"),
        ({"size": [2, 2], "counts": [5, -1]}, "neither a text nor a list"),
        ({"size": [2, 2], "counts": [2.0, 2]}, "neither a text nor a list"),
        ({"size": [2, 2], "counts": "22\n"}, "damaged text"),
        ({"size": [2, 2], "counts": "2é"}, "damaged text"),
        ({"size": [2, 2], "counts": "oooooooooo0"}, "damaged text"),
        ({"size": [2, 2], "counts": "2T"}, "damaged text"),
        ({"size": [2, 2], "counts": "2N4"}, "run lengths cover 4|cover"),
        ({"size": [2], "counts": "22"}, "have the size"),
        ({"counts": "22"}, "have the size"),
        ({"size": [2, 2]}, "neither a text nor a list"),
    ],
)
def test_damaged_run_lengths_are_errors(given, reason):
    with pytest.raises(InputError, match=reason):
        decode_mask(given)


def test_negative_counts_are_refused_though_their_sum_fits():
    with pytest.raises(InputError, match="cover 4 pixels"):
        decode_mask({"size": [2, 2], "counts": compress_counts(np.array([5, -1]))})


def test_polygons_are_joined():
    square, other = [1, 1, 4, 1, 4, 3, 1, 3], [6, 0, 8, 0, 8, 2, 6, 2]
    mask = polygon_mask([square, other], (5, 9))
    expected = np.zeros((5, 9), bool)
    expected[1:3, 1:4] = expected[0:2, 6:8] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("polygons", "reason"),
    [
        ([[0, 0, 4, 0, 4]], "polygon 0 has 5 numbers"),
        ([[0, 0, 4, 4]], "polygon 0 has 4 numbers"),
        ([[0, 0, 4, 0, 4, 4], [0, 0, float("nan"), 0, 4, 4]], "polygon 1 has a number that is not"),
        ([[0, 0, float("inf"), 0, 4, 4]], "not finite"),
        ([[0, 0, 40, 0, 4, 4]], "x = 40, outside of the image, which has 9x5"),
        ([[0, -3, 4, 0, 4, 4]], "y = -3, outside"),
        ([[0, 0, "4", 0, 4, 4]], "no list of numbers"),
        ([3], "no list of numbers"),
        ([], "no polygon"),
    ],
)
def test_broken_polygons_are_errors(polygons, reason):
    with pytest.raises(InputError, match=reason):
        polygon_mask(polygons, (5, 9))


def test_points_on_the_border_and_a_pixel_beyond_are_taken():
    assert polygon_mask([[-1, -1, 10, -1, 10, 6, -1, 6]], (5, 9)).all()


def test_the_missing_library_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval.core.mask", None)
    with pytest.raises(InputError, match=r"pip install 'segalias_jax\[instances\]'"):
        polygon_mask([[0, 0, 4, 0, 4, 4]], (5, 9))
