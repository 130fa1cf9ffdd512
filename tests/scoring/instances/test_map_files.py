"""Instance maps of several kinds of files and their classes."""

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.map_files import MapOptions

IDS = np.asarray([[0, 300, 300, 0], [7, 0, 0, 2001]], np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".npy"])
def test_maps_of_16_bits(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    np.save(path, IDS) if suffix == ".npy" else cv2.imwrite(str(path), IDS)
    objects = MapOptions().objects(path)
    assert objects.classes.tolist() == [1, 1, 1]
    assert objects.areas.tolist() == [1, 2, 1]
    assert not objects.crowd.any()


def test_values_may_say_the_class(tmp_path):
    np.save(tmp_path / "a.npy", IDS)
    objects = MapOptions(divisor=1000).objects(tmp_path / "a.npy")
    # Values below the divisor are crowds of the class that they name.
    assert objects.classes.tolist() == [7, 300, 2]
    assert objects.crowd.tolist() == [True, True, False]


def test_class_maps_say_it_by_most_pixels(tmp_path):
    ids = np.asarray([[1, 1, 1, 2]])
    np.save(tmp_path / "a.npy", ids)
    np.save(tmp_path / "c.npy", np.asarray([[3, 5, 5, 1]]))
    assert MapOptions().objects(tmp_path / "a.npy", tmp_path / "c.npy").classes.tolist() == [5, 1]
    np.save(tmp_path / "c.npy", np.asarray([[3, 5, 5, 0]]))
    with pytest.raises(InputError, match=r"a\.npy: object 2 has class 0 in .*c\.npy"):
        MapOptions().objects(tmp_path / "a.npy", tmp_path / "c.npy")
    np.save(tmp_path / "c.npy", np.ones((2, 2), int))
    with pytest.raises(InputError, match="has 2x2 pixels, not 4x1"):
        MapOptions().objects(tmp_path / "a.npy", tmp_path / "c.npy")


def test_what_is_no_map_is_named(tmp_path):
    np.save(tmp_path / "a.npy", np.asarray([[-1, 2]]))
    with pytest.raises(InputError, match=r"a\.npy: id -1 of an object is negative"):
        MapOptions().objects(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.asarray([[0.5]]))
    with pytest.raises(InputError, match=r"a\.npy"):
        MapOptions().objects(tmp_path / "a.npy")
    with pytest.raises(InputError, match="divisor: -1"):
        MapOptions(-1)
