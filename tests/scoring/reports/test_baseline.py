"""An earlier report: what it is read from, what does not compare, and what changed."""

import json

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring.counting import CountSettings
from segalias_jax.scoring.image_counts import CountPlan, count_image
from segalias_jax.scoring.reports.baseline import FILES, Baseline, Changes
from segalias_jax.scoring.reports.paired import ImageArrays

PLAN = CountPlan(CountSettings(3))
CLASSES = ("road", "car", "sky")


def _counts(shift, names="abcdefghij", plan=PLAN):
    for name in names:
        label = np.random.default_rng(ord(name)).integers(0, 3, (5, 6))
        label = label.repeat(9, 0).repeat(9, 1).astype(np.uint8)
        yield count_image(np.roll(label, shift, 0), label, plan, name=name)


def _report(path, shift, **options):
    images = [json.loads(one.to_json()) for one in _counts(shift, **options)]
    content = {
        "schema": 2,
        "settings": {},
        "left_out": [],
        "command": "segalias score a b",
        "date": "2026-05-04T03:02:01+00:00",
        "classes": [{"name": name} for name in CLASSES],
        "counts": {"plan": options.get("plan", PLAN).to_json(), "images": images},
    }
    path.write_text(json.dumps(content))
    return Baseline.read(path)


def test_images_are_read_exactly(tmp_path):
    found = _report(tmp_path / "report.json", 2)
    expected = ImageArrays.of(_counts(2))
    assert found.images.names == expected.names and found.classes == CLASSES
    np.testing.assert_array_equal(found.images.sums, expected.sums)
    np.testing.assert_array_equal(found.images.causes, expected.causes)


def test_changes_are_those_of_common_images(tmp_path):
    before = _report(tmp_path / "report.json", 3, names="abcdefghijk")
    changes = Changes(before, ImageArrays.of(_counts(1, "bcdefghijkxy")))
    sums = [np.sum([one.sums for one in _counts(shift, "bcdefghijk")], 0)[:3] for shift in (3, 1)]
    old, new = (np.mean(right / (true + pred - right)) for right, true, pred in sums)
    row = changes.models.rows()[1]
    assert row["score"] == "mIoU" and row["difference"] == pytest.approx(new - old, abs=1e-14)
    assert row["clear"] and row["p"] == 2**-9
    assert changes.about == (
        f"Against {tmp_path}/report.json of 2026-05-04T03:02:01+00:00, on the 10 images of both; "
        "2 are new, 1 are gone."
    )
    table = changes.table()
    (line,) = (line for line in table.splitlines() if line.startswith("| mIoU"))
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2:4] == [f"{100 * old:.2f}", f"{100 * new:.2f}"]
    assert cells[4].startswith(f"+{100 * (new - old):.2f} [") and cells[4].endswith("p 0.002 *")
    assert "IoU of the classes that changed clearly" in table
    changes.save(tmp_path)
    content = json.loads((tmp_path / FILES[1]).read_text())
    assert content["new_images"] == ["x", "y"] and content["gone_images"] == ["a"]
    assert content["scores"][1]["difference"] == row["difference"]
    assert len(content["classes"]) == 6 and len(content["causes"]) == 14
    assert (tmp_path / FILES[0]).read_text().startswith("# Changes\n\nAgainst ")


def test_the_same_predictions_have_not_changed(tmp_path):
    same = Changes(_report(tmp_path / "report.json", 2), ImageArrays.of(_counts(2)))
    assert " *" not in same.table().split("In brackets")[0]
    assert "+0.00 [+0.00, +0.00] p 1.000" in same.table()


@pytest.mark.parametrize(
    "plan, classes, message",
    [
        (CountPlan(CountSettings(4)), None, "was scored with num_classes 3, not 4"),
        (CountPlan(CountSettings(3), causes=None), None, "was scored with coverage 0.25, not None"),
        (PLAN, ("road", "bus", "sky"), "has a class 'car' where there is 'bus' now"),
    ],
)
def test_other_settings_are_refused(tmp_path, plan, classes, message):
    found = _report(tmp_path / "report.json", 2)
    found.check(PLAN, CLASSES)
    found.check(PLAN, None)
    with pytest.raises(InputError, match=f"report.json: {message}.*; score both alike"):
        found.check(plan, classes)


def test_other_images_and_files_are_refused(tmp_path):
    found = _report(tmp_path / "report.json", 2)
    with pytest.raises(InputError, match="has none of the images that were scored"):
        Changes(found, ImageArrays.of(_counts(2, "xyz")))
    (tmp_path / "other.json").write_text('{"summary": {"mIoU": 1}}')
    with pytest.raises(InputError, match=r"other\.json: .*score again"):
        Baseline.read(tmp_path / "other.json")
