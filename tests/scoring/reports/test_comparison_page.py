"""report.html of a comparison: the numbers are those of its rows, the images those of the files."""

import json

import cv2
import numpy as np

from segalias_jax.scoring import Comparison, score_folders


def made(root, pictures=24):
    rng = np.random.default_rng(0)
    for index in range(8):
        label = rng.integers(0, 3, (5, 6)).repeat(9, 0).repeat(9, 1).astype(np.uint8)
        for name, shift in (("gt", 0), ("one", 1), ("two", 4)):
            (root / name).mkdir(exist_ok=True)
            moved = np.roll(label, shift + index % 3 * (shift > 1), 0)
            cv2.imwrite(str(root / name / f"{index}.png"), moved)
    reports = tuple(score_folders(root / k, root / "gt", num_classes=3) for k in ("two", "one"))
    comparison = Comparison(reports, ("two", "one"))
    comparison.save(root / "out", worst=pictures)
    return comparison, (root / "out" / "report.html").read_text(encoding="utf-8")


def test_rows_and_images_are_in_the_page(tmp_path):
    comparison, html = made(tmp_path)
    for row in (*comparison.rows(), *comparison.class_rows(), *comparison.cause_rows()):
        if "difference" not in row:
            assert f"{100 * row['value']:.2f}" in html
        elif row["difference"]:
            assert f"{100 * row['difference']:+.2f}" in html
    data = json.loads(html.split('type="application/json">')[1].split("</script>")[0])
    assert data["models"] == ["two", "one"] and len(data["pictures"]) == 8
    columns = [column["values"] for column in data["table"]["columns"]]
    for values, report in zip(columns[1:], comparison.reports, strict=True):
        np.testing.assert_allclose(np.asarray(values) / 1e6, report.per_image["mIoU"], atol=1e-6)
    first = comparison.differing_images(1)[0]
    assert data["table"]["names"][int(np.argmax(columns[0]))] == first["name"]


def test_pictures_are_bounded(tmp_path):
    _, html = made(tmp_path, pictures=4)
    data = json.loads(html.split('type="application/json">')[1].split("</script>")[0])
    assert len(data["pictures"]) == 2
