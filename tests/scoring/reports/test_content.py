"""`report.json`: what it holds, that it is JSON, and that its counts add up to its scores."""

import json

import numpy as np
import pytest
from counted_maps import PLANS, maps

from segalias_jax.scoring.image_counts import ImageCounts, count_image
from segalias_jax.scoring.reports.content import SCHEMA, read_content, written_content
from segalias_jax.scoring.reports.folder import FolderReport


@pytest.fixture(params=["default", "all", "binary", "none"])
def report(request):
    plan = PLANS[request.param]
    classes = tuple("abcd"[: plan.num_classes])
    pairs = (maps(i, plan.num_classes) for i in range(5))
    images = [count_image(*pair, plan, name=f"im{i}") for i, pair in enumerate(pairs)]
    about = {"predictions": "p", "n": 5}
    return FolderReport(images, plan, classes, about, (("x", "y"),), command="segalias score")


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_all_is_told(report):
    content = strict(b"".join(written_content(report)))
    assert content["schema"] == SCHEMA == 2 and content["library"].startswith("segalias_jax ")
    assert content["command"] == "segalias score" and content["date"] == report.date
    assert content["settings"] == {"predictions": "p", "n": 5}
    assert content["left_out"] == [["x", "y"]] and content["title"] == "Scores of p"
    assert content["summary"] == content["scores"]
    assert content["scores"]["mIoU"] == report.scores["mIoU"]
    assert [one["name"] for one in content["classes"]] == list(report.classes)
    for i, one in enumerate(content["classes"]):
        assert one["IoU"] == content["per_class"]["IoU"][i] == report.scores["IoU"][i]
    names = [image["name"] for image in content["images"]]
    assert names == [f"im{i}" for i in range(5)]
    assert content["images"][2]["scores"]["mIoU"] == report.per_image["mIoU"][2]
    assert content["images"][2]["classes"] == list(range(len(report.classes)))
    assert (content["images"][0]["height"], content["images"][0]["width"]) == (40, 56)
    without = {k: v for k, v in content.items() if k != "counts"}
    assert report.content() == without


def test_counts_add_up(report):
    content = strict(b"".join(written_content(report)))
    images = [ImageCounts.from_json(one, report.plan) for one in content["counts"]["images"]]
    confusion = sum(one.pair.regions.sum(0) for one in images)
    assert [row[:-1] for row in content["confusion"]] == confusion.tolist()
    causes = content["causes"]
    if report.plan.causes is None:
        assert causes is None
        return
    wrong = int(confusion.sum() - confusion.trace())
    assert causes["wrong_pixels"] == wrong == sum(causes["pixels"].values())
    assert causes["counted_pixels"] == confusion.sum()
    for name in causes["names"]:
        assert sum(image["causes"][name] for image in content["images"]) == causes["pixels"][name]
        for side in ("true", "predicted"):
            assert sum(causes["by_class"][name][side]) == causes["pixels"][name]
    assert np.shape(causes["objects"]["true"]) == (report.plan.num_classes, 3)
    assert np.sum(causes["displacement"]) > 0


def test_it_is_read_as_it_was_written(report, tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(b"".join(written_content(report)))
    head, images = read_content(path)
    whole = strict(path.read_bytes())
    counts = whole.pop("counts")
    whole.pop("images")
    assert [strict(line) for line in images] == counts.pop("images")
    assert head.pop("counts") == counts and head == whole


def test_only_the_worst_are_listed_where_there_are_many(report):
    listed = [image["name"] for image in report.content(most_images=2)["images"]]
    assert sorted(listed) == sorted(report.whole.names[i] for i in report.worst(2))
