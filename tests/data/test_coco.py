import copy
import json
import pickle

import cv2
import numpy as np
import pytest

from segalias_jax.data.coco import CocoSource
from segalias_jax.data.sources import check_source
from segalias_jax.errors import InputError


def opened(root, **options):
    return CocoSource(root / "set.json", root / "images", **options)


def lists_of(root):
    return copy.deepcopy(json.loads((root / "set.json").read_text()))


def test_polygons_run_lengths_and_crowds_are_read(coco_set):
    source = opened(coco_set())
    assert source.names == ["a.png", "b.png", "c.png"] and source.image_ids == [5, 9, 2]
    # Ids are in ascending order, whatever the order of the file.
    assert source.classes == ("nucleus", "cell") and source.category_ids == [3, 7]
    sample = source[0]
    assert sample["classes"].tolist() == [2, 1]
    polygon, runs = np.zeros((2, 20, 30), bool)
    polygon[3:9, 2:10] = True
    runs[0:5, 2] = True
    np.testing.assert_array_equal(sample["masks"], [polygon, runs])
    assert sample["boxes"].tolist() == [[2, 3, 10, 9], [2, 0, 3, 5]]
    crowd = source[1]
    assert crowd["crowd"].tolist() == [True] and crowd["masks"].sum() == 64
    assert source[2]["masks"].shape == (0, 12, 40)
    assert [source.count(k) for k in range(3)] == [2, 0, 0]
    assert source.size(2) == (12, 40)
    check_source(source)


def test_chosen_classes_have_ids_in_their_order(coco_set):
    source = opened(coco_set(), classes=("cell", "nucleus"))
    assert source[0]["classes"].tolist() == [1, 2] and source.category_ids == [7, 3]
    only = opened(coco_set(), classes=("nucleus",))
    assert only[0]["classes"].tolist() == [1] and only.count(0) == 1
    with pytest.raises(InputError, match=r"set.json: the class is 'nuclei'; did you mean"):
        opened(coco_set(), classes=("nuclei",))


def test_boxes_are_cut_to_the_image_and_empty_objects_left_out(coco_set, annotation):
    square = [[20, 10, 30, 10, 30, 20, 20, 20]]
    root = coco_set(
        annotations=[
            annotation(1, 5, 3, square, bbox=[19.5, 9, 12, 12]),
            annotation(2, 5, 3, square, bbox=[20, 10, 10, 0]),
            annotation(3, 5, 3, {"size": [20, 30], "counts": [600]}, bbox=[1, 1, 2, 2]),
        ]
    )
    sample = opened(root)[0]
    assert sample["boxes"].tolist() == [[19.5, 9, 30, 20]]


def test_workers_get_the_source_as_it_is(coco_set):
    source = opened(coco_set())
    copied = pickle.loads(pickle.dumps(source))
    for key, array in source[0].items():
        np.testing.assert_array_equal(copied[0][key], array)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"segmentation": [[1, 1, 5, 1, 5]]}, "polygon 0 has 5 numbers"),
        ({"segmentation": [[1, 1, 5, 1]]}, "polygon 0 has 4 numbers"),
        ({"segmentation": [[1, 1, 5, float("nan"), 5, 5]]}, "polygon 0 has a number that is not"),
        ({"segmentation": [[1, 1, 500, 1, 5, 5]]}, "polygon 0 has x = 500, outside"),
        ({"segmentation": {"size": [30, 20], "counts": [600]}}, r"size \[30, 20\] and its image"),
        ({"segmentation": {"size": [20, 30], "counts": [599]}}, "cover 599 pixels of 30x20"),
        ({"segmentation": {"size": [20, 30], "counts": "T"}}, "damaged text"),
        ({"segmentation": None}, "has no segmentation"),
        ({"segmentation": []}, "has no polygon"),
        ({"bbox": [1, 2, 3]}, r"its bbox is \[1, 2, 3\]"),
        ({"bbox": [1, 2, -3, 4]}, "negative side"),
        ({"bbox": [1, 2, float("nan"), 4]}, "its bbox is"),
    ],
)
def test_a_broken_annotation_is_named_when_its_image_is_read(coco_set, annotation, changed, reason):
    outline = [[1, 1, 5, 1, 5, 5]]
    source = opened(coco_set(annotations=[annotation(77, 5, 3, outline) | changed]))
    assert len(source[1]["classes"]) == 0  # other images are usable
    with pytest.raises(InputError, match=rf"set.json: annotation 77 of a.png: .*{reason}"):
        source[0]


@pytest.mark.parametrize(
    ("key", "place", "changed", "reason"),
    [
        (
            "annotations",
            0,
            {"category_id": 4},
            r"annotation 11: no category has the id 4; .*3 \(nu",
        ),
        ("annotations", 0, {"category_id": [3]}, r"annotation 11: no category has the id \[3\]"),
        ("annotations", 0, {"image_id": 6}, "annotation 11: no image has the id 6"),
        ("annotations", 0, {"image_id": None}, "annotation 11: no image has the id None"),
        ("annotations", 0, {"id": 12}, "2 of its annotations have the id 12"),
        ("annotations", 1, {"id": "x"}, r"annotations\[1\] has no integer as id"),
        ("annotations", 1, {"iscrowd": 2}, "annotation 12: iscrowd is 2"),
        ("images", 1, {"id": 5}, "2 of its images have the id 5"),
        ("images", 1, {"file_name": "a.png"}, "2 of its images have the file_name 'a.png'"),
        ("images", 1, {"file_name": "z.png"}, "its image z.png is missing"),
        ("images", 1, {"file_name": "../b.png"}, "leaves the folder"),
        ("images", 1, {"file_name": "/b.png"}, "leaves the folder"),
        ("images", 1, {"file_name": 3}, r"images\[1\], id 9, has no file_name"),
        ("images", 1, {"height": 0}, r"image b.png has the height and width \[0, 16\]"),
        ("images", 1, {"height": 10**6, "width": 10**6}, "claims 1000000x1000000 pixels"),
        ("images", 1, {"id": 1.5}, r"images\[1\] has no integer as id"),
        ("categories", 1, {"id": 7}, "2 of its categories have the id 7"),
        ("categories", 1, {"name": "cell"}, "2 of its categories have the name 'cell'"),
        ("categories", 1, {"name": None}, r"categories\[1\] lacks"),
    ],
)
def test_what_the_file_says_as_a_whole_is_checked_when_it_is_opened(
    coco_set, key, place, changed, reason
):
    lists = lists_of(coco_set())
    lists[key][place] |= changed
    with pytest.raises(InputError, match=rf"set.json: .*{reason}"):
        opened(coco_set(**lists))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "has no list 'images'"),
        ('{"images": [], "annotations": [], "categories": []}', "its list 'images' is empty"),
        ('{"images": [3], "annotations": [], "categories": []}', "'categories' is empty"),
        ('{"images": [3], "annotations": [], "categories": [3]}', r"images\[0\] has no"),
        ('{"images": {}, "annotations": [], "categories": []}', "has no list 'images'"),
    ],
)
def test_a_file_that_is_no_data_set_is_one_sentence(tmp_path, text, reason):
    (tmp_path / "set.json").write_text(text)
    with pytest.raises(InputError, match=f"set.json: .*{reason}"):
        opened(tmp_path)


def test_an_image_of_another_size_is_an_error(coco_set):
    root = coco_set()
    source = opened(root)
    cv2.imwrite(str(root / "images" / "a.png"), np.zeros((30, 20, 3), np.uint8))
    reason = "a.png has 30x20 pixels there and 20x30 in its file.*turned by its EXIF"
    with pytest.raises(InputError, match=reason):
        source[0]
    with pytest.raises(InputError, match=reason):
        source.check(0)


def test_real_photos_have_the_objects_that_their_file_lists(real_data):
    mask_api = pytest.importorskip("faster_coco_eval.core.mask")
    root = real_data("coco_permissive")
    source = CocoSource(root / "instances.json", root / "images")
    entries = json.loads((root / "instances.json").read_text())["annotations"]
    crowds = [entry for entry in entries if entry["iscrowd"]]
    assert (len(source), len(entries), len(crowds)) == (137, 1287, 16)
    for index in range(0, len(source), 20):
        own = [entry for entry in entries if entry["image_id"] == source.image_ids[index]]
        sample = source[index]
        assert len(own) == len(sample["classes"])
        for entry, mask in zip(own, sample["masks"], strict=True):
            runs = mask_api.segmToRle(entry["segmentation"], mask.shape[1], mask.shape[0])
            np.testing.assert_array_equal(mask_api.decode(runs), mask)
