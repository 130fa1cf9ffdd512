import dataclasses

import ml_collections
import pytest

from segalias_jax.data.settings import DataSettings, read_settings
from segalias_jax.errors import InputError


def test_config_dict_and_plain_dict_agree():
    values = {"source": "camvid", "root": "x", "crop": (4, 6), "resize": (), "ratio_range": (1, 2)}
    assert read_settings(ml_collections.ConfigDict(values)) == read_settings(values)


def test_lists_become_tuples_and_unset_keys_have_defaults():
    settings = read_settings({"source": "camvid", "crop": [4, 6], "root": None})
    assert settings.crop == (4, 6) and settings.root == ""


def test_settings_pass_through():
    settings = DataSettings("camvid")
    assert read_settings(settings) is settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop", (0, 4)),
        ("crop", ()),
        ("crop", 5),
        ("image_size", (4,)),
        ("resize", (10,)),
        ("ratio_range", (2.0, 0.5)),
        ("ratio_range", (0.0, 0.5)),
        ("ratio_range", (0.5, float("inf"))),
        ("ratio_range", ("a", "b")),
        ("cat_max_ratio", 0.0),
        ("flip", 1.5),
        ("classes", ("a", "a")),
        ("classes", ("a,b",)),
        ("classes", "ab"),
        ("classes", (1, 2)),
        ("classes", tuple(str(i) for i in range(255))),
        ("colors", ((1, 2, 3),)),
        ("colors", ((1, 2, 256, 0),)),
        ("id_map", (1, 2)),
        ("ignored", (-1,)),
        ("threshold", 255),
        ("exif", 1),
        ("on_error", "ignore"),
        ("max_skipped", -1),
        ("workers", -1),
        ("threads", 0),
        ("num_train", 0),
        ("scale_jitter", 1.0),
        ("rotation", -1.0),
        ("blur", (2.0, 1.0)),
        ("noise", (-1.0, 1.0)),
        ("median", 4),
        ("median", 1),
    ],
)
def test_values_out_of_range_name_their_key(key, value):
    with pytest.raises(InputError, match=rf"^data\.{key}(: | is )"):
        read_settings({"source": "synthetic", key: value})


def test_settings_are_checked_however_they_are_made():
    with pytest.raises(InputError, match=r"^crop: \(0, 4\) is not two positive integers"):
        DataSettings("camvid", crop=(0, 4))
    with pytest.raises(InputError, match=r"^flip is 1.5; it must be at least 0 and at most 1"):
        dataclasses.replace(DataSettings("camvid"), flip=1.5)


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("crop", (64,), "crop=64,64"),
        ("classes", ("sky,road",), r"classes=\"\('sky','road'\)\""),
        ("id_map", (7, 0), r"id_map=\"\(\(7,0\),\(8,1\)\)\""),
    ],
)
def test_errors_say_how_tuples_are_written(key, value, written):
    with pytest.raises(InputError, match=rf"; write --config\.data\.{written}$"):
        read_settings({"source": "synthetic", key: value})


def test_unknown_key_without_a_similar_one_lists_the_choices():
    with pytest.raises(InputError, match=r"^data\.zzz: unknown key; choose from source, root"):
        read_settings({"source": "camvid", "zzz": 1})


def test_source_must_be_set():
    with pytest.raises(InputError, match=r"^data\.source: not set"):
        read_settings({"root": "x"})
