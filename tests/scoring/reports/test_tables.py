"""Tables and report files."""

import json

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import SegmentationScores
from segalias_jax.scoring import score_table, write_report


def _scores(**rules):
    label = np.zeros((20, 30), np.int32)
    label[:, 15:] = 1
    return SegmentationScores.empty(3, **rules).update(np.roll(label, 2, 1), label)


def test_table_has_aligned_columns_and_a_dash_for_absent_classes():
    """All lines of a table are equally long; per cent with two decimals."""
    scores = _scores().compute()
    summary, classes = score_table(scores, ["sky", "a long name", "absent"]).split("\n\n")
    for table in (summary, classes):
        assert len({len(line) for line in table.splitlines()}) == 1
    assert f"{100 * scores['mIoU']:.2f}" in summary
    sky, absent = classes.splitlines()[2], classes.splitlines()[-1]
    assert f" {100 * scores['IoU'][0]:.2f} " in sky
    assert absent.split("|")[3:-1] == [cell for cell in absent.split("|")[3:-1] if "-" in cell]


def test_report_files(tmp_path):
    """Both files state rules, settings and numbers; nothing else is left in the folder."""
    scores = _scores(boundary="exact", ignore="exclude", width=9)
    folder = tmp_path / "new"
    options = {"classes": ["a", "b", "c"], "settings": {"recipe": "r.py", "step": 7}}
    write_report(folder, scores, title="A title", pictures=["pictures/one.png"], **options)
    text = (folder / "report.md").read_text()
    for part in ("# A title", "exact:", "exclude:", "9x9", "averaging", "absent classes",
                 "**recipe**: r.py", "(pictures/one.png)"):  # fmt: skip
        assert part in text
    content = json.loads((folder / "report.json").read_text())
    assert content["summary"]["mIoU"] == scores.compute()["mIoU"]
    assert content["classes"][2] == {"name": "c", "class_pixels": 0} | {
        key: None for key in content["classes"][2] if key not in ("name", "class_pixels")
    }
    assert content["settings"] == {"recipe": "r.py", "step": 7}
    assert np.sum(content["confusion"]) == 600
    assert sorted(p.name for p in folder.iterdir()) == ["report.json", "report.md"]


def test_invalid_predictions_are_mentioned(tmp_path):
    """Their number stands in the report."""
    label = np.zeros((10, 10), np.int32)
    scores = SegmentationScores.empty(1).update(label + 3, label)
    write_report(tmp_path, scores, title="T", classes=["a"], settings={})
    assert "100 predicted pixels are no class" in (tmp_path / "report.md").read_text()


def test_names_must_fit_the_classes():
    """Two names for three classes are refused."""
    with pytest.raises(InputError, match="2 names for 3"):
        score_table(_scores().compute(), ["a", "b"])
