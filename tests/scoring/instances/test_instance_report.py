"""The files of a report appear together; the command's tests read what is in them."""

import csv
import json

import pytest
from instance_cases import rows

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances import InstanceScorer
from segalias_jax.scoring.instances.instance_report import FILES, InstanceReport


def made() -> InstanceReport:
    scorer = InstanceScorer(1, classes=("=cell",), kinds=())
    scorer.update(rows("aaaa.c"), rows("aabb.."), name="=one")
    return InstanceReport(scorer, notices=["it is made up"], command="segalias score")


def test_files_without_images(tmp_path):
    made().save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FILES)
    with (tmp_path / "out" / "objects.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["cause"] for row in found] == ["merged", "merged", "merged", "false"]
    # No spreadsheet takes a name for a formula.
    assert found[0]["name"] == "'=one"
    assert found[0]["class"] == "'=cell"
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["scores"]["offset_found"] is None
    assert content["notices"] == ["it is made up"]
    assert "Note: it is made up." in (tmp_path / "out" / "report.md").read_text()


def test_a_full_disk_leaves_the_report_that_was_there(tmp_path, monkeypatch):
    out = tmp_path / "out"
    made().save(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match="is there already"):
        made().save(out)

    def full(self, pictures):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(InstanceReport, "_page", full)
    with pytest.raises(OSError, match="No space left"):
        made().save(out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
