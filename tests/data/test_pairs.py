"""Pairs of files: decoding of the encoded bytes, fields of view, sizes."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from segalias_jax.data.labels import LabelRule, identity_lookup
from segalias_jax.data.pairs import Pair, PairSource, decode_pair
from segalias_jax.errors import InputError

RULE = LabelRule(3, identity_lookup(3))


def source(tmp_path, *, size=(4, 6), region=None, **arrays):
    rng = np.random.default_rng(0)
    content = {
        "image": rng.integers(0, 256, (*size, 3), np.uint8),
        "label": rng.integers(0, 3, size, np.uint8),
    } | arrays
    if region is not None:
        content["region"] = region
    paths = {key: tmp_path / f"{key}.png" for key in content}
    for key, path in paths.items():
        cv2.imwrite(str(path), content[key])
    pair = Pair(paths["image"], paths["label"], "one", paths.get("region"))
    palette = np.zeros((3, 3), np.uint8)
    classes = ("a", "b", "c")
    made = PairSource([pair], origin=tmp_path, rule=RULE, class_names=classes, palette=palette)
    return made, content


def test_encoded_bytes_decode_to_the_sample(tmp_path):
    made, content = source(tmp_path)
    made = pickle.loads(pickle.dumps(made))  # as a worker process gets it
    encoded = made.encoded(0)
    assert encoded == {key: (tmp_path / f"{key}.png").read_bytes() for key in ("image", "label")}
    elsewhere = Pair(Path("record 0"), Path("record 0"), "one")
    for sample in (made[0], decode_pair(encoded, made.rule, elsewhere, exif=made.exif)):
        np.testing.assert_array_equal(sample["image"], content["image"][..., ::-1])
        np.testing.assert_array_equal(sample["label"], content["label"])


def test_outside_the_field_of_view_is_ignored(tmp_path):
    region = np.zeros((4, 6), np.uint8)
    region[1:3, 2:5] = 255
    made, content = source(tmp_path, region=region)
    assert made.pair(0).region.name == "region.png" and set(made.encoded(0)) >= {"region"}
    expected = np.where(region > 0, content["label"], 255)
    np.testing.assert_array_equal(made[0]["label"], expected)
    made.check(0)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (np.ones((4, 6), np.uint8), r"region\.png: no pixel is in the field of view"),
        (np.full((4, 5), 255, np.uint8), r"region\.png: the label has 5x4 pixels, its image"),
    ],
)
def test_useless_fields_of_view_are_named(tmp_path, region, message):
    made, _ = source(tmp_path, region=region)
    for attempt in (made.check, made.__getitem__):
        with pytest.raises(InputError, match=message):
            attempt(0)


def test_missing_field_of_view_is_named(tmp_path):
    made, _ = source(tmp_path)
    pair = made.pair(0)._replace(region=tmp_path / "fov.png")
    with pytest.raises(InputError, match=r"image\.png: image without field of view, .*fov\.png is"):
        PairSource(
            [pair], origin=tmp_path, rule=RULE, class_names=made.classes, palette=made.palette
        )
