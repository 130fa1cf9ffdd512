"""COCO's JSON is read as it is written, and what is wrong in it is named."""

import copy
import json

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.coco_files import read_results, read_truth

RUNS = {"size": [4, 6], "counts": [0, 4, 20]}
TRUTH = {
    "images": [
        {"id": 7, "file_name": "a.png", "height": 4, "width": 6},
        {"id": 3, "file_name": "b.png", "height": 4, "width": 6},
    ],
    "annotations": [
        {
            **{"id": 1, "image_id": 7, "category_id": 9, "iscrowd": 0, "area": 3.5},
            **{"bbox": [0.5, 0, 1.25, 4], "segmentation": RUNS},
        },
        {
            **{"id": 2, "image_id": 7, "category_id": 2, "iscrowd": 1},
            **{"bbox": [0, 0, 1, 4], "segmentation": RUNS},
        },
    ],
    "categories": [{"id": 9, "name": "nine"}, {"id": 2, "name": "two"}],
}
RESULTS = [{"image_id": 7, "category_id": 9, "score": 0.5, "segmentation": RUNS}]


@pytest.fixture
def read(tmp_path):
    """Writes a ground truth and results, and reads all their objects."""

    def both(truth=TRUTH, results=RESULTS):
        for name, content in (("gt.json", truth), ("dt.json", results)):
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / name).write_text(text)
        known = read_truth(tmp_path / "gt.json")
        found = read_results(tmp_path / "dt.json", known)
        objects = [
            (found.objects(i), known.objects(i, boxes=found.boxes)) for i in sorted(known.images)
        ]
        return known, objects

    return both


def test_numbers_stay_as_they_are_written(read):
    truth, [(nothing, empty), (predicted, true)] = read()
    assert truth.classes == ("two", "nine")
    assert len(nothing) == len(empty) == 0
    assert true.classes.tolist() == [2, 1]
    assert true.crowd.tolist() == [False, True]
    assert true.areas.tolist() == [3.5, 4.0]
    assert true.xywh[0].tolist() == [0.5, 0, 1.25, 4]
    assert (predicted.scores.tolist(), predicted.areas.tolist()) == ([0.5], [4.0])
    assert predicted.masks[0].box == (0, 0, 1, 4)


def test_polygons_are_rastered_as_coco_does(read):
    pytest.importorskip("faster_coco_eval")
    results = [RESULTS[0] | {"segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]]}]
    _, [_, (predicted, _)] = read(results=results)
    assert predicted.masks[0].box == (1, 1, 3, 2)


def test_boxes_alone_stand_for_their_pixels(read):
    results = [{"image_id": 7, "category_id": 9, "score": 0.5, "bbox": [1.2, 0, 2, 3.9]}]
    _, [_, (predicted, true)] = read(results=results)
    assert predicted.masks[0].box == (1, 0, 2, 4)
    assert predicted.xywh[0].tolist() == [1.2, 0, 2, 3.9]
    assert true.masks[0].box == (0, 0, 2, 4)


def test_another_ground_truth_may_be_the_prediction(read):
    _, [_, (predicted, true)] = read(results=TRUTH)
    assert predicted.scores.tolist() == [1.0, 1.0]
    np.testing.assert_array_equal(predicted.classes, true.classes)
    other = copy.deepcopy(TRUTH)
    other["images"][0]["file_name"] = "c.png"
    with pytest.raises(InputError, match=r"image 7 is c\.png, that of .* a\.png"):
        read(results=other)


def edited(content, *path, **values):
    content = copy.deepcopy(content)
    inner = content
    for step in path:
        inner = inner[step]
    for key, value in values.items():
        inner.pop(key, None) if value is None else inner.__setitem__(key, value)
    return content


@pytest.mark.parametrize(
    "truth, words",
    [
        ("[1", "is no JSON"),
        ([], "is a list of results, not a ground truth"),
        (edited(TRUTH, categories=None), "has no list of categories"),
        (edited(TRUTH, images=[]), "has no image"),
        (edited(TRUTH, "images", 0, height=0), r"images\[0\] \(id 7\) has height 0"),
        (edited(TRUTH, "images", 0, width=True), r"images\[0\] \(id 7\) has width True"),
        (edited(TRUTH, "images", 1, id=7), "id 7 is that of a.png, too"),
        (edited(TRUTH, "categories", 1, id=9), "id 9 is that of nine, too"),
        (edited(TRUTH, "annotations", 0, image_id=8), r"\(id 1\) has image_id 8, which is no"),
        (edited(TRUTH, "annotations", 1, category_id=3), r"\(id 2\) has category_id 3, which is"),
        (
            edited(TRUTH, "annotations", 0, segmentation=None),
            r"\(id 1\) of image a\.png: it has no",
        ),
        (
            edited(TRUTH, "annotations", 0, "segmentation", size=[6, 4]),
            r"annotations\[0\] \(id 1\) of image a\.png: mask of \[6, 4\] pixels",
        ),
        (
            edited(TRUTH, "annotations", 0, "segmentation", counts=[3]),
            "run lengths of 3 pixels in an image of 24",
        ),
        (edited(TRUTH, "annotations", 0, bbox=[1, 2, 3]), r"bbox \[1, 2, 3\]"),
        (edited(TRUTH, "annotations", 0, bbox=[1, 2, -3, 1]), "of negative size"),
    ],
)
def test_an_error_in_the_ground_truth_is_named(read, truth, words):
    with pytest.raises(InputError, match=words) as error:
        read(truth)
    assert "gt.json" in str(error.value)


@pytest.mark.parametrize(
    "results, words",
    [
        ("{}", "is no list of results"),
        ("[3]", "result 0 is '3', not an object"),
        (edited(RESULTS, 0, image_id=70), r"result 0 has image_id 70, which is no image of .*gt"),
        (edited(RESULTS, 0, category_id=1), r"result 0 has category_id 1, which is no category"),
        (edited(RESULTS, 0, score=None), "its score is None"),
        (edited(RESULTS, 0, score="1"), "its score is '1'"),
        (edited(RESULTS, 0, segmentation=None), "neither a segmentation nor a bbox"),
        (
            [*RESULTS, {"image_id": 7, "category_id": 9, "score": 1, "bbox": [0, 0, 1, 1]}],
            "result 1 has no segmentation, unlike result 0",
        ),
        (
            edited(RESULTS, 0, "segmentation", size=[8, 12]),
            r"result 0 of image a\.png: mask of \[8, 12\] pixels in an image of \[4, 6\]",
        ),
        (edited(RESULTS, 0, "segmentation", counts="~~"), r"result 0 of image a\.png: its counts"),
    ],
)
def test_an_error_in_the_results_is_named(read, results, words):
    with pytest.raises(InputError, match=words) as error:
        read(results=results)
    assert "dt.json" in str(error.value)
