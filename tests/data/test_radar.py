"""Drawn radar fields, and files as SVRIMG has them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from segalias_jax.data import check_source, create_source
from segalias_jax.data.radar import (
    GRAY_PER_DBZ,
    LEVELS,
    RadarFields,
    draw_reflectivity,
    read_svrimg,
)
from segalias_jax.data.settings import DataSettings
from segalias_jax.data.tools.dithering import dither
from segalias_jax.errors import InputError

SETTINGS = DataSettings("radar", num_train=12, num_eval=3, image_size=(64, 80))


def test_samples_are_the_dithered_field_and_where_the_field_is_strong():
    fields = RadarFields(SETTINGS, "train")
    sample, field = fields[4], fields.field(4)
    for channel in range(3):
        np.testing.assert_array_equal(
            sample["image"][..., channel], GRAY_PER_DBZ * dither(field, LEVELS)
        )
    np.testing.assert_array_equal(sample["label"], field >= 40)
    assert sample["image"].dtype == sample["label"].dtype == np.uint8
    assert sample["label"].shape == fields.size(4) == (64, 80)


def test_fields_repeat_and_differ():
    first = RadarFields(SETTINGS, "train")
    np.testing.assert_array_equal(first.field(1), RadarFields(SETTINGS, "train").field(1))
    assert (first.field(1) != first.field(2)).any()
    assert (first.field(1) != RadarFields(SETTINGS, "val").field(1)).any()
    assert (len(first), len(RadarFields(SETTINGS, "test"))) == (12, 3)
    with pytest.raises(IndexError):
        first[12]


def test_fields_look_like_weather():
    """Some echo, little of it strong; neighbors are alike."""
    rng = np.random.default_rng(0)
    fields = np.stack([draw_reflectivity(rng, (136, 136)) for _ in range(20)])
    assert fields.max() <= 80 and not ((fields > 0) & (fields < 5)).any()
    assert 0.2 < (fields > 0).mean() < 0.9 and 0.04 < (fields >= 40).mean() < 0.14
    steps = np.abs(np.diff(fields.astype(int), axis=2))
    assert np.median(steps[(fields >= 20)[..., 1:]]) <= 3


def test_a_recipe_opens_them():
    source = create_source({"source": "radar", "num_eval": 2}, "val")
    check_source(source, progress=False)
    assert source.names == ["val_00000", "val_00001"] and source.classes[1] == "from 40 dBZ"


def test_wrong_splits_and_sizes():
    with pytest.raises(InputError, match="split 'dev': unknown; choose from train, val, test"):
        RadarFields(SETTINGS, "dev")
    with pytest.raises(InputError, match=r"data.image_size: \(16, 64\) is too small for a storm"):
        RadarFields(DataSettings("radar", image_size=(16, 64)), "val")


@pytest.fixture
def svrimg(tmp_path):
    """One field per split, in palette files like the official ones: index i is (3i, 3i+1, 3i+2)."""
    fields = np.random.default_rng(0).integers(0, 81, (3, 136, 136), np.uint8)
    names = ["199604200208z000000206", "201304011200z000000111", "201504011200z000000222"]
    for field, name, split in zip(fields, names, ("train", "val", "test"), strict=True):
        path = tmp_path / "tor" / name[:4] / name[4:6] / f"{name}.png"
        path.parent.mkdir(parents=True)
        image = Image.fromarray(field)
        image.putpalette((np.arange(768) % 256).astype(np.uint8).tobytes())
        image.save(path)
        (tmp_path / f"{split}.txt").write_text(f"{name}.png\n")
    return tmp_path, fields


def test_files_of_svrimg_hold_dbz_and_are_turned_north_up(svrimg):
    root, fields = svrimg
    found = read_svrimg(root / "tor/1996/04/199604200208z000000206.png")
    np.testing.assert_array_equal(found, np.flipud(fields[0]))
    assert found.flags.c_contiguous


def test_svrimg_is_a_data_set_whose_labels_are_its_images(svrimg):
    root, fields = svrimg
    for split, field in zip(("train", "val", "test"), fields, strict=True):
        source = create_source({"source": "svrimg", "root": str(root)}, split)
        check_source(source, progress=False)
        (sample,) = (source[index] for index in range(len(source)))
        np.testing.assert_array_equal(sample["label"], field >= 40)
        # The colors that make a file look gray are those of drawn fields, to 2 of 255.
        difference = sample["image"].astype(int) - GRAY_PER_DBZ * field[..., None].astype(int)
        assert difference.min() >= 0 and difference.max() <= 2


def test_an_image_of_colors_holds_no_reflectivity(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match=r"a\.png"):
        read_svrimg(tmp_path / "a.png")
