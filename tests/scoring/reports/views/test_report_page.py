"""The page of a report as text: complete, escaped, self-contained, bounded."""

import json
import os
import re

import pytest
from page_reports import CLASSES, COLORS, PALETTE, Parsed, made_panels, made_report

from segalias_jax.files import write_text
from segalias_jax.scoring.cause_counts import CAUSES
from segalias_jax.scoring.reports.views.report_page import report_page


def made(report, **options):
    return report_page(report, made_panels(report), palette=PALETTE, cause_colors=COLORS, **options)


@pytest.fixture(scope="module")
def parsed():
    return Parsed(made(made_report(), pictures=9))


def test_first_screen_says_what_a_reader_asks_first(parsed):
    text = " ".join(parsed.text)
    causes = made_report()["causes"]
    gain = 100 * causes["delta_mIoU"]["false object"]
    assert re.search(
        rf"\d+ % of wrong pixels are false objects, most.* weed; .* \+{gain:.1f}", text
    )
    assert "40 images" in text and "28 November 2026" in text and "1 left out" in text
    assert "segalias_jax 0.0" in text and "segalias score p l --out <r>" in text
    tops = [attributes for _, attributes in parsed.tags if "data-picture" in attributes]
    assert [one["data-of"] for one in tops] == ["image", "truth", "prediction", "causes"] * 3
    shows = [json.loads(a["data-show"]) for _, a in parsed.tags if "data-show" in a]
    assert len([one for one in shows if "cause" in one]) == 7
    # The lowest IoU comes first, and there are no more classes than these.
    assert [one["class"] for one in shows if "class" in one] == ["3", "2", "1", "0"]


def test_causes_stand_in_the_order_of_what_they_cost(parsed):
    shows = [json.loads(a["data-show"]) for _, a in parsed.tags if "data-show" in a]
    order = [CAUSES[int(one["cause"])] for one in shows if "cause" in one]
    gains = made_report()["causes"]["delta_mIoU"]
    assert [gains[name] for name in order] == sorted(gains.values(), reverse=True)


def test_all_images_are_in_the_table_and_some_in_the_page(parsed):
    table = parsed.data["table"]
    assert len(table["names"]) == 40 and len(parsed.data["pictures"]) == 9
    assert [c["title"] for c in table["columns"] if c["kind"] == "cause"] == list(CAUSES)
    assert [c["title"] for c in table["columns"] if c["main"] and c["kind"] == "score"] == [
        "mIoU",
        "aAcc",
    ]
    for k, image in enumerate(made_report()["images"]):
        area, wrong = image["height"] * image["width"], k + 1
        found = sum(c["values"][k] for c in table["columns"] if c["kind"] == "cause")
        assert abs(found - 1e6 * wrong / area) <= 3.5
    ids = parsed.ids()
    for picture in parsed.data["pictures"].values():
        uris = [picture["image"], picture["truth"], *picture["models"][0].values()]
        assert all(u.startswith("data:image/") or u[1:] in ids for u in uris)


def test_nothing_is_fetched_and_ids_are_single(parsed):
    html = made(made_report())
    for tag, attributes in parsed.tags:
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "href", "data-src"):
            if name in attributes:
                assert re.match("data:image/|#", attributes[name])
    without_data = re.sub(r"data:image/\w+;base64,[\w+/=]*", "", html)
    assert not re.search(r"https?:|url\(|@import", without_data)
    assert "default-src 'none'" in html and len(parsed.ids()) == len(set(parsed.ids()))


def test_names_from_outside_are_text():
    evil = "</script><script>alert(1)</script><!--"
    report = made_report(3, classes=(evil, *CLASSES[1:]), title=evil, settings={evil: evil})
    report["images"][0]["name"] = evil
    report["left_out"] = [[evil, evil]]
    parsed = Parsed(made(report))
    assert sum(tag == "script" for tag, _ in parsed.tags) == 2
    assert evil in parsed.data["table"]["names"] and evil in " ".join(parsed.text)


def test_file_names_that_are_not_utf8_are_written(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    report = made_report(3, title=name, left_out=[[name, "x"]])
    report["images"][1]["name"] = name
    write_text(tmp_path / "report.html", made(report))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "caf\\udce9.png" in text
    assert Parsed(text).data["table"]["names"][1] == name


def test_without_images_causes_or_scores_there_is_still_a_page():
    report = made_report(4)
    Parsed(made(report, pictures=0))
    black = report_page(
        report, made_panels(report, image=False), palette=PALETTE, cause_colors=COLORS
    )
    assert not any("image" in one for one in Parsed(black).data["pictures"].values())
    plain = Parsed(made(made_report(4, causes=None)))
    assert not [c for c in plain.data["table"]["columns"] if c["kind"] == "cause"]
    one = made_report(1, left_out=[])
    one["images"][0]["scores"]["mIoU"] = None
    assert " 1 image " in f" {' '.join(Parsed(made(one)).text).replace('·', '')} "
    Parsed(made(made_report(0)))


def test_a_page_of_thousands_of_images_is_bounded():
    small, large = (len(made(made_report(count), pictures=8)) for count in (100, 5000))
    assert large - small < 150 * 4900
