"""report.html of folders: what it shows of images is what their files hold."""

import base64
import json
import os

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring import error_types, score_folders
from segalias_jax.scoring.reports.folder_page import image_panels
from segalias_jax.scoring.reports.overlays import CAUSE_COLORS
from segalias_jax.scoring.reports.views.embedded import Panels, embed


@pytest.fixture
def folders(tmp_path):
    """Three pairs: the second has an image of another size, the third a name that is not UTF-8."""
    rng = np.random.default_rng(0)
    names = ("a.png", "b.png", os.fsdecode(b"caf\xe9.png"))
    for kind in ("gt", "pred", "images"):
        (tmp_path / kind).mkdir()
    for i, name in enumerate(names):
        label = rng.integers(0, 3, (5, 6)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        prediction = np.roll(label, i + 1, 1)
        label[:3] = 255
        image = rng.integers(0, 256, (40, 48 if i != 1 else 30, 3)).astype(np.uint8)
        for kind, array in (("gt", label), ("pred", prediction), ("images", image)):
            (tmp_path / kind / name).write_bytes(cv2.imencode(".png", array)[1].tobytes())
    return tmp_path


def scored(folders, **options):
    options = {"num_classes": 3, "images": folders / "images"} | options
    return score_folders(folders / "pred", folders / "gt", **options)


def data_of(html):
    return json.loads(html.split('type="application/json">')[1].split("</script>")[0])


def decoded(uri, html):
    if uri.startswith("#"):
        uri = html.split(f'id="{uri[1:]}"')[1].split('src="')[1].split('"')[0]
    array = np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8)
    return cv2.imdecode(array, cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]]


def test_the_page_shows_the_files(folders):
    report = scored(folders)
    report.save(folders / "out")
    html = (folders / "out" / "report.html").read_text(encoding="utf-8")
    data = data_of(html)
    assert data["table"]["names"] == [one.name for one in report.images]
    assert len(data["pictures"]) == 3
    colors = np.asarray([(0, 0, 0), *CAUSE_COLORS.values()])
    for index, picture in data["pictures"].items():
        prediction, label = report.read(report.files[int(index)])
        known = label != 255
        truth = decoded(picture["truth"], html)[known, :3]
        np.testing.assert_array_equal(truth, report.palette[label[known]])
        maps = picture["models"][0]
        found = decoded(maps["prediction"], html)[..., :3]
        np.testing.assert_array_equal(found, report.palette[prediction])
        causes, _ = error_types(prediction, label, num_classes=3)
        over = decoded(maps["causes"], html)
        wrong = (causes > 0) & (causes < 255)
        np.testing.assert_array_equal(over[..., 3] == 255, wrong)
        np.testing.assert_array_equal(over[wrong, :3], colors[causes[wrong]])
        assert ("image" in picture) == (index != "1")
    assert "another size" in data["pictures"]["1"]["remark"]


def test_fewer_pictures_and_none(folders):
    for count in (0, 1):
        scored(folders).save(folders / f"out{count}", worst=count)
        html = (folders / f"out{count}" / "report.html").read_text(encoding="utf-8")
        assert len(data_of(html)["pictures"]) == count
    with pytest.raises(InputError, match="pictures"):
        scored(folders).save(folders / "out", worst=-1)


@pytest.mark.parametrize("options", [{"ignore_label": 2}, {"reduce_zero_label": True}])
def test_ignored_pixels_are_no_class_whatever_their_label(folders, options):
    if "ignore_label" in options:
        for path in (folders / "gt").iterdir():
            label = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
            label[label == 255] = 2
            path.write_bytes(cv2.imencode(".png", label)[1].tobytes())
    report = scored(folders, **options)
    panels = image_panels(report, 0)
    _, label = report.read(report.files[0])
    ignored = label == 2 if "ignore_label" in options else (label == 0) | (label == 255)
    shown = (panels.truth >= 0) & (panels.truth < 3)
    np.testing.assert_array_equal(shown, ~ignored)


@pytest.mark.parametrize("shape", [(2600, 7), (9, 1281)])
def test_large_maps_are_reduced_as_the_page_would_reduce_them(tmp_path, shape):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (shape[0] // 6 + 1, shape[1] // 6 + 1)).repeat(6, 0).repeat(6, 1)
    label = label[: shape[0], : shape[1]].astype(np.uint8)
    prediction = np.roll(label, 1, 0)
    label[: shape[0] // 2, :4] = 255
    for kind, array in (
        ("gt", label),
        ("pred", prediction),
        ("images", label[..., None] * [80] * 3),
    ):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "a.png"), array)
    report = scored(tmp_path)
    panels = image_panels(report, 0)
    causes, _ = error_types(prediction, label, num_classes=3)
    colors = tuple(CAUSE_COLORS.values())
    whole = Panels(report.sample(0)[0].image, label, prediction, causes)
    assert embed(panels, report.palette, colors) == embed(whole, report.palette, colors)
    assert max(panels.truth.shape) <= 1280 and panels.causes.shape == panels.truth.shape


def test_a_file_that_is_gone_is_named(folders):
    report = scored(folders)
    (folders / "pred" / "a.png").unlink()
    with pytest.raises(InputError, match="a.png"):
        report.save(folders / "out")
    assert not (folders / "out" / "report.json").exists()
