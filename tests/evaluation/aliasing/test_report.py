"""Files of an aliasing report: complete, the same numbers in each, and valid."""

import csv
import json
from xml.etree import ElementTree

import numpy as np
import pytest

from segalias_jax.evaluation.aliasing import kinds
from segalias_jax.evaluation.aliasing.analysis import AliasingAnalysis, Operator
from segalias_jax.evaluation.aliasing.report import FILES, AliasingReport, Picture


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    rng = np.random.default_rng(0)
    errors = rng.random((200, 3))
    errors[:, 1] = np.nan  # no correlation, no bin has a value
    analysis = AliasingAnalysis(
        (Operator("stage 2", 0.7071, 0.3536, "daf"), Operator("stage <3>", 0.5, 0.25, "none")),
        tuple(f"a,{i}" for i in range(10)),
        rng.random((10, 2, 2)),
        np.repeat(np.arange(10), 20),
        rng.random((200, 2)),
        errors,
        rng.integers(0, 9, (200, 5)),
        rng.integers(0, 9, (200, 8)),
    )
    picture = Picture("aliasing_pictures/a b_gates.png", "gates of <a b>", "Bright is 1.", b"PNG")
    settings = {"data": "made & up"}
    report = AliasingReport(analysis, "Aliasing of <a>", settings, (picture,))
    folder = tmp_path_factory.mktemp("aliasing") / "eval"
    report.save(folder)
    return report, folder


def test_files(saved):
    names = {path.name for path in saved[1].iterdir() if path.is_file()}
    assert names == set(FILES)


def test_pictures_are_beside_the_report_and_linked(saved):
    assert (saved[1] / "aliasing_pictures" / "a b_gates.png").read_bytes() == b"PNG"
    text = (saved[1] / "aliasing.md").read_text()
    assert "Bright is 1." in text and "(aliasing_pictures/a%20b_gates.png)" in text
    page = (saved[1] / "aliasing.html").read_text()
    assert 'href="aliasing_pictures/a%20b_gates.png"' in page and "gates of &lt;a b&gt;" in page


def test_table(saved):
    table = saved[0].table()
    scores = saved[0].analysis.scores
    assert f"{scores[:, 0, 0].mean():.2f} [" in table and f"{scores[:, 1, 1].mean():.2f} [" in table
    row = next(line for line in table.splitlines() if line.startswith("| score, stage 2"))
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[3] == "-" and cells[4].endswith("]")


def test_json_has_all_numbers(saved):
    content = json.loads((saved[1] / "aliasing.json").read_text())
    assert [o["filter"] for o in content["operators"]] == ["daf", "none"]
    assert len(content["correlations"]) == 6 and len(content["bins"]) == 20
    assert content["correlations"][1]["value"] is None
    assert content["bins"][0]["FErr"]["value"] == saved[0].bins[0]["FErr"]["value"]
    assert content["settings"] == {"data": "made & up"}
    assert len(content["kinds"]) == 2 * (5 + 3 + 7) and len(content["median_differences"]) == 4
    assert content["kinds"][0] == saved[0].distributions[0]
    assert content["answer"] == kinds.answer(saved[0].differences)


def test_csv_has_every_image(saved):
    with (saved[1] / "aliasing_per_image.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["name", "stage 2 before", "stage 2 after"]
    numbers = np.asarray([row[1:] for row in rows], float).reshape(10, 2, 2)
    np.testing.assert_allclose(numbers, saved[0].analysis.scores, rtol=1e-5)
    assert [row[0] for row in rows] == list(saved[0].analysis.names)


def test_figure_and_page(saved):
    figure = (saved[1] / "aliasing.svg").read_text()
    texts = [e.text or "" for e in ElementTree.fromstring(figure).iter() if e.tag.endswith("text")]
    assert "stage 2" in texts and "stage <3>" in texts
    assert any(text.startswith("displacements, \N{GREEK SMALL LETTER RHO} ") for text in texts)
    curves = (saved[1] / "aliasing_kinds.svg").read_text()
    texts = [e.text or "" for e in ElementTree.fromstring(curves).iter() if e.tag.endswith("text")]
    assert sum(text.startswith("displacement ") for text in texts) == 2
    assert sum(text.startswith("overlapping ") for text in texts) == 4
    page = (saved[1] / "aliasing.html").read_text()
    assert page.count("data:image/svg+xml") == 4
    assert (
        "Aliasing of &lt;a&gt;" in page
        and "stage &lt;3&gt;" in page
        and "http:" not in page
        and "https:" not in page
    )


def test_the_same_numbers_make_the_same_files(saved, tmp_path):
    saved[0].save(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (saved[1] / name).read_bytes()
