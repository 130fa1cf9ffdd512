"""The files of a report: complete, consistent, never replaced."""

import csv
import json

import cv2
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import Score, register_score, unregister_score
from segalias_jax.scoring import Comparison, score_folders


@pytest.fixture
def report(tmp_path):
    for kind in ("pred", "gt", "image"):
        (tmp_path / kind).mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        label = rng.integers(0, 3, (6, 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "gt" / f"{index}.png"), label)
        cv2.imwrite(str(tmp_path / "pred" / f"{index}.png"), np.roll(label, index, 0))
        cv2.imwrite(str(tmp_path / "image" / f"{index}.jpg"), np.full((48, 64, 3), 90, np.uint8))
    (tmp_path / "pred" / "9.png").write_bytes(b"")
    folders = {"images": tmp_path / "image", "classes": ("sky", "road", "tree")}
    return score_folders(
        tmp_path / "pred", tmp_path / "gt", num_classes=3, keep_going=True, **folders
    )


def test_all_files_tell_the_same(report, tmp_path):
    report.save(tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["summary"]["mIoU"] == report.scores["mIoU"]
    assert content["summary"]["mBoundaryIoU_Cheng"] == report.scores["mBoundaryIoU_Cheng"]
    assert content["classes"][1]["BoundaryF_3px"] == report.scores["BoundaryF_3px"][1]
    assert f"{100 * report.scores['mIoU']:.2f}" in text and "Boundary IoU (Cheng)" in text
    assert "## Left out" in text and "9.png" in text
    for topic in ("BoundaryIoU_Cheng", "BoundaryF", "per image", "absent classes", "averaging"):
        assert topic in content["scoring"] and f"**{topic}**" in text
    rows = list(csv.DictReader((tmp_path / "out" / "per_image.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["0", "1", "2"]
    assert float(rows[0]["mIoU"]) == 1 and rows[2]["mIoU"] == repr(
        float(report.per_image["mIoU"][2])
    )


def test_nothing_is_replaced(report, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "per_image.csv").write_text("mine")
    with pytest.raises(InputError, match=r"per_image\.csv: is there already"):
        report.save(tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["per_image.csv"]
    with pytest.raises(InputError, match="not a folder"):
        report.save(tmp_path / "out" / "per_image.csv")


def test_worst_come_first(report):
    assert report.worst(2) == [2, 1]
    sample, remark = report.sample(2)
    assert sample.name == "2" and sample.image.max() == 90 and not remark


def test_image_of_another_size_is_told_and_left_out(report, tmp_path):
    cv2.imwrite(str(tmp_path / "image" / "2.jpg"), np.full((10, 10, 3), 90, np.uint8))
    sample, remark = report.sample(2)
    assert sample.image.max() == 0 and "10x10" in remark


def test_table_has_all_scores(report):
    for word in ("mIoU", "DErr", "boundary F 3 px", "Boundary IoU (Cheng)", "tree", "mean"):
        assert word in report.table()


def test_page_shows_scores_pictures_and_rules(report, tmp_path):
    report.save(tmp_path / "out", worst=2)
    html = (tmp_path / "out" / "report.html").read_text()
    data = json.loads(html.split('type="application/json">')[1].split("</script>")[0])
    assert len(data["pictures"]) == 2 and "2" in data["pictures"]
    assert {len(one["models"][0]) for one in data["pictures"].values()} == {2}
    assert f"<b>{100 * report.scores['mIoU']:.2f}</b>" in html
    for text in ("missed object", "ignored", "9.png", "What is taken for what", "tree"):
        assert text in html
    assert "nan" not in html.split("base64")[0]


def test_a_registered_score_is_in_every_file(report, tmp_path):
    """Registered from outside: no line of the package knows it."""
    folders = report.settings["predictions"], report.settings["labels"]
    row = Score(
        "worstIoU",
        lambda counts: np.nanmin(counts.all.right / counts.all.true, -1),
        title="worst class",
    )
    per_class = Score(
        "mMissed",
        lambda counts: 1 - counts.all.right / counts.all.true,
        average="classes",
        direction="smaller",
        per_class="Missed",
        class_title="missed share",
    )
    register_score(row)
    register_score(per_class)
    try:
        found = score_folders(*folders, num_classes=3, keep_going=True)
        found.save(tmp_path / "out")
        other = score_folders(folders[1], folders[1], num_classes=3)
        table = Comparison((found, other), ("a", "b")).table()
    finally:
        unregister_score(row.name)
        unregister_score(per_class.name)
    value = found.scores["worstIoU"]
    assert 0 < value < 1 and f"{100 * value:.2f}" in table and "worst class" in table
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| worst class |" in text and "| missed share |" in text
    assert "of FErr, MErr, DErr and mMissed, less is better" in text
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["summary"]["worstIoU"] == value
    assert content["classes"][0]["Missed"] == found.scores["Missed"][0]
    with (tmp_path / "out" / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["worstIoU"]) == 1 and 0 < float(rows[2]["worstIoU"]) < 1
    html = (tmp_path / "out" / "report.html").read_text()
    assert f"<b>{100 * value:.2f}</b><span>worst class</span>" in html
    assert ">missed share</button></th>" in html
    assert "worstIoU" not in score_folders(*folders, num_classes=3, keep_going=True).scores


def test_a_registered_score_of_contours_stands_beside_boundary_f(report):
    """One number for the whole set: classes have none."""
    row = Score(
        "metContours",
        lambda counts: counts.hits[..., 0, :, :].sum((-1, -2)) / counts.contour.sum((-1, -2)),
        needs=("contour", "hits"),
        shown=(),
    )
    register_score(row)
    try:
        folders = report.settings["predictions"], report.settings["labels"]
        found = score_folders(*folders, num_classes=3, keep_going=True)
        lines = found.table().splitlines()
    finally:
        unregister_score(row.name)
    header = next(i for i, line in enumerate(lines) if "metContours" in line)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[header:]]
    place = cells[0].index("metContours")
    assert cells[2][place] == f"{100 * found.scores['metContours']:.2f}" and cells[3][place] == "-"
    assert "metContours" not in found.per_image
