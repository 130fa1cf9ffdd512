"""Files of colors, and images whose colors are classes."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segalias_jax.data.classes import CITYSCAPES, DATASETS
from segalias_jax.data.maps import read_map
from segalias_jax.data.palettes import Palette, read_class_names, read_palette
from segalias_jax.errors import InputError

ROWS = (((0, 0, 0), 0), ((128, 0, 0), 1), ((0, 128, 0), 2))
NAMES = ("soil", "crop", "weed")


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.txt", "0 0 0 soil\n128 0 0 crop\n0 128 0 weed\n"),
        ("a.txt", "# id R G B name\n2 0 128 0 weed\n0 0 0 0 soil\n1 128 0 0 crop"),
        ("a.txt", "0,0,0,soil\n128, 0, 0, crop\n0;128;0;weed\n255 1 2 3 ignored"),
        ("a.txt", "soil 0 0 0\ncrop\t128 0 0\nweed 0,128,0"),
        ("a.csv", "name,r,g,b\nsoil,0,0,0\ncrop,128,0,0\nweed,0,128,0\n"),
        ("a.csv", "\ufeffid,name,red,green,blue\n1,crop,128,0,0\n0,soil,0,0,0\n2,weed,0,128,0\n"),
        ("a.json", '{"soil": [0, 0, 0], "crop": [128, 0, 0], "weed": [0, 128, 0]}'),
        ("a.json", '[{"name": "weed", "color": [0, 128, 0], "id": 2},'
                   '{"name": "soil", "color": [0, 0, 0], "id": 0},'
                   '{"name": "crop", "rgb": [128, 0, 0], "id": 1}]'),
    ],
)  # fmt: skip
def test_forms_of_files(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    palette = read_palette(tmp_path / name)
    assert sorted(palette.colors[:3]) == sorted(ROWS) and palette.names == NAMES
    assert read_class_names(tmp_path / name) == NAMES


def test_numbers_alone_have_their_id_first_or_last(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("0 0 0 0\n1 128 0 0\n2 0 128 0\n", "0 0 0 0\n128 0 0 1\n0 128 0 2\n2 2 2 255"):
        path.write_text(text)
        assert read_palette(path).colors[:3] == ROWS
    path.write_text("0 0 0 0\n1 0 0 1\n")
    with pytest.raises(
        InputError, match="a.txt: '0 0 0 0' may be an id and a color or a color and"
    ):
        read_palette(path)


def test_void_is_ignored_unless_it_has_an_id(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 0 0 Void\n1 1 1 road\n2 2 2 Unlabelled")
    assert dict(read_palette(path, 9).colors) == {(0, 0, 0): 9, (1, 1, 1): 0, (2, 2, 2): 9}
    path.write_text("1 0 0 0 void\n0 1 1 1 road")
    assert read_palette(path).names == ("road", "void")


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "holds no color"),
        ("red soil", "'red soil' is no color; write a color a line"),
        ("1 2 300 soil", r"color \(1, 2, 300\) is none"),
        ("1 2 3 a\n1 2 3 b", r"color \(1, 2, 3\) stands for 0 and 1; keep one"),
        ("name,r,g\nsoil,1,2", "'soil,1,2' is no color; name the columns"),
        ('{"soil": 3}', "not colors; write"),
        ('{"soil": [1, 2]}', r"color \(1, 2\) is none"),
        ('[["a"', "not colors; write"),
    ],
)
def test_files_that_hold_no_colors(tmp_path, text, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError, match=f"a.txt: {message}"):
        read_palette(tmp_path / "a.txt")


def test_missing_files_and_binary_ones(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    for read in (read_palette, read_class_names):
        with pytest.raises(InputError, match="not a text file"):
            read(tmp_path / "a.txt")
        with pytest.raises(
            InputError, match="(No such file .*); give a file .* or one of camvid, "
        ):
            read("cityscape")


def test_pipes_are_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "classes.txt")
    for read in (read_palette, read_class_names):
        with pytest.raises(InputError, match="classes.txt: is a pipe or a device, no file"):
            read(tmp_path / "classes.txt")


@pytest.mark.parametrize("name", DATASETS)
def test_data_sets_have_as_many_colors_as_names(name):
    palette = read_palette(name)
    assert len(palette.names) == len(palette.colors) - 1 == len(set(palette.colors)) - 1
    assert read_class_names(name) == palette.names


def test_colors_become_ids_however_they_are_stored(tmp_path):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 20, (37, 53)).astype(np.uint8)
    ids[ids == 19] = 255
    table = np.zeros((256, 3), np.uint8)
    table[:19] = CITYSCAPES[1]
    palette, path = read_palette("cityscapes"), tmp_path / "a.png"
    image = Image.fromarray(ids)
    image.putpalette(table.tobytes())
    for stored in (image, Image.fromarray(table[ids]), Image.fromarray(table[ids]).convert("RGBA")):
        stored.save(path)
        np.testing.assert_array_equal(read_map(path, colors=palette), ids)
    Image.fromarray(ids).save(path)  # gray: ids already
    np.testing.assert_array_equal(read_map(path, colors=palette), ids)


def test_unknown_color_is_named_with_its_pixel(tmp_path):
    image = np.zeros((40, 50, 3), np.uint8)
    image[31, 7] = 3, 2, 1  # blue, green, red
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), image)
    message = r"a\.png: pixel x=7, y=31 has the color \(1, 2, 3\), which stands for no class; add"
    with pytest.raises(InputError, match=message):
        read_map(path, colors=Palette(ROWS))


def test_many_classes_are_of_16_bits():
    palette = Palette(tuple(((i // 256, i % 256, 7), i) for i in range(300)))
    ids = np.arange(300).reshape(20, 15)
    image = np.stack([ids // 256, ids % 256, np.full_like(ids, 7)], -1).astype(np.uint8)
    found = palette.ids(image, Path("a.png"))
    np.testing.assert_array_equal(found, ids)
