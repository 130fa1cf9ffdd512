import cv2
import numpy as np
import pytest

from segalias_jax.data import instance_maps
from segalias_jax.data.coco import CocoSource
from segalias_jax.data.instance_maps import ObjectRule, open_cityscapes, open_maps
from segalias_jax.data.instances import ChosenImages
from segalias_jax.data.sources import check_source
from segalias_jax.errors import InputError

MAP = np.zeros((8, 12), np.uint16)
MAP[1:4, 1:5], MAP[4:7, 1:5], MAP[0:3, 8:12] = 7, 300, 40_000


@pytest.fixture
def folder(tmp_path):
    """Returns `write(stored, suffix)`: a set of one image, a.jpg, and its map."""

    def write(stored=MAP, suffix=".png", size=(8, 12)):
        for kind in ("images", "maps"):
            (tmp_path / kind).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.full((*size, 3), 90, np.uint8))
        path = tmp_path / "maps" / f"a{suffix}"
        if suffix == ".npy":
            np.save(path, stored)
        else:
            cv2.imwrite(str(path), stored)
        return tmp_path

    return write


def opened(root, suffix=".png", classes=("cell",), **options):
    paths = {"images": "images/{name}.*", "maps": "maps/{name}" + suffix}
    return open_maps(root, "train", **paths, classes=classes, **options)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_every_value_but_zero_is_an_object(folder, suffix):
    source = opened(folder(suffix=suffix), suffix)
    check_source(source)
    sample = source[0]
    assert source.names == ["a"] and sample["classes"].tolist() == [1, 1, 1]
    assert sample["boxes"].tolist() == [[1, 1, 5, 4], [1, 4, 5, 7], [8, 0, 12, 3]]
    for mask, value in zip(sample["masks"], (7, 300, 40_000), strict=True):
        np.testing.assert_array_equal(mask, MAP == value)
    assert source.count(0) == 3 and source.size(0) == (8, 12)


def test_a_divisor_says_the_class_and_what_is_a_crowd(folder):
    stored = MAP.copy()
    stored[MAP == 7], stored[MAP == 300], stored[MAP == 40_000] = 1004, 2, 2000
    source = opened(folder(stored), classes=("a", "b"), rule=ObjectRule(1000, {1: 1, 2: 2}))
    sample = source[0]
    assert sample["classes"].tolist() == [2, 1, 2]
    assert sample["crowd"].tolist() == [True, False, False]
    assert source.count(0) == 2


def test_values_can_be_listed_one_by_one(folder):
    rule = ObjectRule(classes={7: 2, 300: 0, 40_000: 1})
    sample = opened(folder(), classes=("a", "b"), rule=rule)[0]
    assert sample["classes"].tolist() == [2, 1]
    assert sample["masks"].sum((1, 2)).tolist() == [12, 12]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (ObjectRule(1000, {0: 1}), "the value 7 belongs to class 7, which is not there; .* are 0"),
        (ObjectRule(classes={7: 1, 300: 1}), "the value 40000 belongs to class 40000"),
        (ObjectRule(1000), "the value 7 is of class 7, and 1 are named"),
    ],
)
def test_a_value_without_class_names_file_and_value(folder, rule, reason):
    with pytest.raises(InputError, match=rf"a.png: {reason}"):
        opened(folder(), rule=rule)[0]


def test_negative_values_are_an_error(folder):
    root = folder(np.array([[-1, 2]], np.int16), ".npy", size=(1, 2))
    with pytest.raises(InputError, match=r"a.npy: the value -1 is negative"):
        opened(root, ".npy")[0]


def test_a_map_of_another_size_is_an_error(folder):
    with pytest.raises(InputError, match=r"a.png: the map has 12x8 pixels, its image .*a.jpg 9x9"):
        opened(folder(size=(9, 9)))[0]


def test_a_map_is_decoded_once_to_be_counted_and_checked(folder, monkeypatch):
    source, read = opened(folder()), []
    decode = instance_maps.read_map
    monkeypatch.setattr(
        instance_maps, "read_map", lambda *given, **more: read.append(1) or decode(*given, **more)
    )
    assert source.count(0) == 3 and ChosenImages(source, [0]).count(0) == 3
    check_source(ChosenImages(source, [0]))
    assert len(read) == 1


def test_noise_is_no_map_of_objects(folder):
    stored = np.arange(60_000, dtype=np.uint16).reshape(200, 300)
    with pytest.raises(InputError, match=r"holds 59999 objects in 300x200 pixels.*is it a map"):
        opened(folder(stored, size=(200, 300)))[0]


def test_a_map_that_claims_too_much_is_not_decoded(folder):
    root = folder()
    path = root / "maps" / "a.png"
    data = bytearray(path.read_bytes())
    data[16:24] = (1 << 20).to_bytes(4, "big") * 2
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a.png"):
        opened(root)[0]


def test_what_is_missing_is_named(folder):
    root = folder()
    (root / "maps" / "a.png").unlink()
    with pytest.raises(InputError, match=r"a.jpg: image without objects, .*a.png is missing"):
        opened(root)
    (root / "images" / "a.jpg").unlink()
    with pytest.raises(InputError, match="holds no images"):
        opened(root)
    with pytest.raises(InputError, match="maps: 'a.png' lacks {name}"):
        open_maps(root, "train", images="{name}.png", maps="a.png", classes=("cell",))


def test_cityscapes_reads_things_and_groups_in_its_official_tree(tmp_path):
    stored = np.zeros((8, 12), np.uint16)
    # Road, a person, a group of cars, a bicycle, a caravan (which is not scored).
    stored[:2], stored[2], stored[3], stored[4], stored[5] = 7, 24_001, 26, 33_000, 29_002
    for kind, name, array in (
        ("leftImg8bit", "ulm_000_leftImg8bit.png", np.zeros((8, 12, 3), np.uint8)),
        ("gtFine", "ulm_000_gtFine_instanceIds.png", stored),
    ):
        (tmp_path / kind / "val" / "ulm").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / kind / "val" / "ulm" / name), array)
    source = open_cityscapes(tmp_path, "val")
    assert source.names == ["ulm_000"] or source.names == ["ulm/ulm_000"]
    sample = source[0]
    assert [source.classes[label - 1] for label in sample["classes"]] == [
        "car",
        "person",
        "bicycle",
    ]
    assert sample["crowd"].tolist() == [True, False, False]
    assert source.count(0) == 2
    stored[6] = 50
    cv2.imwrite(str(source.pairs[0].label), stored)
    with pytest.raises(InputError, match=r"instanceIds.png: the value 50 belongs to class 50"):
        source[0]


def test_real_nuclei_are_those_of_the_json(real_data):
    root = real_data("dsb2018")
    paths = {"images": "images/{name}.*", "maps": "instances/{name}.png", "names": "{split}.txt"}
    maps = open_maps(root, "val", **paths, classes=("nucleus",))
    coco = CocoSource(root / "instances_val.json", root / "images")
    assert [f"{name}.png" for name in maps.names] == coco.names
    assert sum(map(maps.count, range(0, 66, 6))) == sum(map(coco.count, range(0, 66, 6)))
    for index in range(0, 66, 11):
        one, other = maps.instances(index), coco.instances(index)
        # Each in its own order.
        first, second = (sorted(map(tuple, found.boxes.tolist())) for found in (one, other))
        assert first == second
        np.testing.assert_array_equal(one.masks.sum(0), other.masks.sum(0))
