from pathlib import Path

import cv2
import numpy as np
import pytest

from segalias_jax.data.instances import ChosenImages, Instances, InstanceSource, check_memory
from segalias_jax.data.pairs import Pair
from segalias_jax.errors import InputError


class Squares(InstanceSource):
    """Image k has k squares of class 1, and a crowd."""

    def instances(self, index, size=None):
        masks = np.zeros((index + 1, 6, 8), bool)
        for k, mask in enumerate(masks):
            mask[k : k + 2, 1:4] = True
        crowd = np.arange(index + 1) == 0
        return Instances.of_masks(masks, classes=[1] * (index + 1), crowd=crowd)


@pytest.fixture
def squares(tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(3)]
    for k, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((6, 8, 3), k, np.uint8))
    pairs = [Pair(path, path, name) for path, name in zip(paths, "abc", strict=True)]
    return Squares(pairs, classes=("square",))


def test_a_sample_has_the_image_and_its_objects(squares):
    sample = squares[2]
    assert (sample["image"] == 2).all() and sample["image"].shape == (6, 8, 3)
    assert sample["crowd"].tolist() == [True, False, False]
    assert sample["boxes"].tolist() == [[1, 0, 4, 2], [1, 1, 4, 3], [1, 2, 4, 4]]
    assert (sample["boxes"].dtype, sample["classes"].dtype) == (np.float32, np.int32)
    assert [squares.count(k) for k in range(3)] == [0, 1, 2]
    assert squares.size(0) == (6, 8) and squares.palette.shape == (1, 3)


def test_chosen_images_are_those_of_the_source(squares):
    chosen = ChosenImages(squares, [2, 0])
    assert chosen.names == ["c", "a"] and len(chosen) == 2
    assert chosen.count(0) == 2 and chosen.size(1) == (6, 8)
    for key, array in squares[2].items():
        np.testing.assert_array_equal(chosen[0][key], array)
    assert len(chosen.instances(1)) == 1
    chosen.check(0)


def test_no_objects_have_arrays_of_no_rows():
    none = Instances.of_masks(np.zeros((0, 4, 5), bool), classes=[])
    assert none.boxes.shape == (0, 4) and len(none) == 0


def test_masks_that_exceed_the_memory_are_an_error():
    check_memory(Path("a.png"), 300, (1000, 1000))
    with pytest.raises(InputError, match=r"a.png: holds 5000 objects in 1000x1000 pixels"):
        check_memory(Path("a.png"), 5000, (1000, 1000))
