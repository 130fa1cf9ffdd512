"""Fixtures: scripted draws, a sample, a small data set."""

import json

import cv2
import numpy as np
import pytest


class Script(np.random.Generator):
    """A generator that returns given draws in order and remembers their ranges."""

    def __init__(self, *draws):
        super().__init__(np.random.PCG64())
        self.draws = list(draws)
        self.ranges = []

    def _next(self, *limits):
        self.ranges.append(limits)
        return self.draws.pop(0)

    uniform = integers = random = _next


def make_annotation(key, image, category, segmentation, **more):
    """Makes an annotation of COCO's JSON."""
    return {
        "id": key,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": 0,
    } | more


@pytest.fixture(scope="session")
def script():
    """Returns the generator `Script(*draws)`."""
    return Script


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    return {"image": image, "label": rng.integers(0, 5, (40, 60), np.uint8)}


@pytest.fixture
def camvid(tmp_path):
    """Returns the root of a CamVid of five training and three validation images."""
    rng = np.random.default_rng(0)
    root = tmp_path / "camvid"
    for split, letter, count in (("train", "n", 5), ("val", "v", 3)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        names = [f"{letter}{number}" for number in range(count)]
        (root / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            image = rng.integers(0, 256, (20, 30, 3), np.uint8)
            cv2.imwrite(str(root / "images" / split / f"{name}.jpg"), image)
            label = rng.integers(0, 12, (20, 30), np.uint8)
            cv2.imwrite(str(root / "labels" / split / f"{name}.png"), label)
    return root


@pytest.fixture
def coco_set(tmp_path):
    """Returns `write(**changed)`: the root of a COCO set of three images, one without objects.

    Image a.png has a polygon of category 7 and run lengths of 3, and b.png a crowd; `changed` are
    lists of the JSON, which the root has as set.json.
    """
    images = [
        {"id": 5, "file_name": "a.png", "height": 20, "width": 30},
        {"id": 9, "file_name": "b.png", "height": 16, "width": 16},
        {"id": 2, "file_name": "c.png", "height": 12, "width": 40},
    ]
    annotations = [
        make_annotation(11, 5, 7, [[2, 3, 10, 3, 10, 9, 2, 9]], bbox=[2, 3, 8, 6]),
        make_annotation(12, 5, 3, {"size": [20, 30], "counts": [40, 5, 555]}),
        make_annotation(13, 9, 3, {"size": [16, 16], "counts": [0, 64, 192]}, iscrowd=1),
    ]
    categories = [{"id": 7, "name": "cell"}, {"id": 3, "name": "nucleus"}]

    def write(**changed):
        lists = {"images": images, "annotations": annotations, "categories": categories}
        rng = np.random.default_rng(0)
        (tmp_path / "images").mkdir(exist_ok=True)
        for entry in images:
            pixels = rng.integers(0, 256, (entry["height"], entry["width"], 3), np.uint8)
            cv2.imwrite(str(tmp_path / "images" / entry["file_name"]), pixels)
        (tmp_path / "set.json").write_text(json.dumps(lists | changed))
        return tmp_path

    return write


@pytest.fixture(scope="session")
def annotation():
    """Returns the function that makes an annotation of COCO's JSON."""
    return make_annotation
