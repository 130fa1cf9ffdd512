import numpy as np
import pytest

from segalias_jax.data.settings import DataSettings
from segalias_jax.data.synthetic import CLASSES, PALETTE, SyntheticScenes
from segalias_jax.errors import InputError

SETTINGS = DataSettings("synthetic", num_train=60, num_eval=7, image_size=(96, 128))


def test_scenes_repeat_and_differ():
    first, again = SyntheticScenes(SETTINGS, "train"), SyntheticScenes(SETTINGS, "train")
    np.testing.assert_array_equal(first[4]["image"], again[4]["image"])
    np.testing.assert_array_equal(first[4]["label"], again[4]["label"])
    assert (first[4]["image"] != first[5]["image"]).any()
    assert (first[4]["image"] != SyntheticScenes(SETTINGS, "val")[4]["image"]).any()


def test_scenes_hold_every_class_and_ignored_regions():
    scenes = SyntheticScenes(SETTINGS, "train")
    counts = sum(np.bincount(sample["label"].ravel(), minlength=256) for sample in scenes)
    shares = counts / counts.sum()
    assert set(np.flatnonzero(counts)) == {*range(len(CLASSES)), 255}
    assert shares[1 : len(CLASSES)].min() > 0.01 and 0.002 < shares[255] < 0.05
    assert 0.3 < shares[0] < 0.7


def test_split_sizes_names_and_colors():
    train, val = (SyntheticScenes(SETTINGS, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (60, 7)
    assert val.names[6] == "val_00006" and val.size(0) == val[0]["label"].shape == (96, 128)
    assert len(CLASSES) == len(PALETTE) == len(np.unique(PALETTE, axis=0))
    assert val[0]["image"].dtype == val[0]["label"].dtype == np.uint8


def test_index_beyond_the_last_scene():
    with pytest.raises(IndexError):
        SyntheticScenes(SETTINGS, "val")[7]


def test_unknown_split():
    with pytest.raises(InputError, match=r"^split 'trainval': unknown; choose from train, val"):
        SyntheticScenes(SETTINGS, "trainval")


def test_size_on_which_objects_vanish_is_refused():
    settings = DataSettings("synthetic", image_size=(2, 200))
    with pytest.raises(InputError, match=r"^data\.image_size: \(2, 200\) is too small for a scene"):
        SyntheticScenes(settings, "train")


def test_small_and_flat_scenes_can_be_drawn():
    settings = DataSettings("synthetic", num_train=30, image_size=(32, 80))
    assert all(
        sample["image"].shape == (32, 80, 3) for sample in SyntheticScenes(settings, "train")
    )
