"""CSV files: complete, exact, and no formula for a spreadsheet."""

import csv
import io

import numpy as np
import pytest
from counted_maps import PLANS, maps

from segalias_jax.scoring.image_counts import count_image
from segalias_jax.scoring.reports import csv_files
from segalias_jax.scoring.reports.folder import FolderReport

NAMES = ("=1+1", "b,\"'", "c\nd", "@x", "-e")


@pytest.fixture
def report():
    images = [count_image(*maps(i), PLANS["all"], name=name) for i, name in enumerate(NAMES)]
    return FolderReport(images, PLANS["all"], ("sky", "+road", "tree", "car"), {})


def rows(parts):
    return list(csv.DictReader(io.StringIO(b"".join(parts).decode("utf-8"), newline="")))


def test_each_image_has_its_scores(report):
    found = rows(csv_files.image_csv(report))
    assert [row["name"] for row in found] == ["'=1+1", "b,\"'", "c\nd", "'@x", "'-e"]
    for name, values in report.per_image.items():
        assert [float(row[name] or "nan") for row in found] == pytest.approx(
            values.tolist(), abs=0, nan_ok=True
        )


def test_each_class_of_an_image_has_its_scores(report):
    found = rows(csv_files.class_csv(report))
    for i, image in enumerate(report.images):
        prediction, label = maps(i)
        own = found[4 * i : 4 * i + 4]  # every image has all classes
        assert {row["class"] for row in own} == {"sky", "'+road", "tree", "car"}
        for c, row in enumerate(own):
            true, predicted = label == c, (prediction == c) & (label != 255)
            iou = (true & predicted).sum() / (true | predicted).sum()
            assert float(row["IoU"]) == pytest.approx(iou, abs=1e-15)
            assert int(row["class_pixels"]) == true.sum()
            assert float(row["ASSD"]) >= 0 and "trimap_IoU_1px" not in row
        assert image.name == NAMES[i]


def test_each_object_with_an_error_has_its_row(report):
    found = rows(csv_files.object_csv(report))
    records = [(one.name, record) for one in report.images for record in one.causes.records]
    assert len(found) == len(records) > 0
    for row, (name, record) in zip(found, records, strict=True):
        assert row["name"].lstrip("'") == name and row["cause"] == record.cause
        assert row["true class"].lstrip("'") == report.classes[record.true_class]
        box = [int(row[key]) for key in ("x", "y", "width", "height", "pixels")]
        assert box == [record.x, record.y, record.width, record.height, record.pixels]


@pytest.mark.parametrize("text", ["=a", "+a", "-a", "@a", "\ta"])
def test_no_cell_begins_a_formula(text):
    assert rows(csv_files.written_rows(["name"], [[text]])) == [{"name": f"'{text}"}]


def test_numbers_are_written_exactly():
    value = float(np.nextafter(0.1, 1))
    lines = list(csv_files.written_rows(["a", "b"], [[np.float64(value), np.int64(-7)]]))
    assert lines == [b"a,b\n", f"{value!r},-7\n".encode()]
