"""Pieces of the HTML report: escaped, self-contained, well-formed."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from segalias_jax.scoring.reports import page

EVIL = "<script>alert('1')</script>"
VOID = {"meta", "img", "br"}


class _Balance(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _parsed(html):
    parser = _Balance()
    parser.feed(html)
    assert not parser.open
    return parser.tags


PIECES = {
    "section": lambda: page.section(EVIL, page.paragraph(EVIL)),
    "tiles": lambda: page.tiles([(EVIL, EVIL)]),
    "table": lambda: page.table([[EVIL, "b"], ["c", EVIL]]),
    "bars": lambda: page.bars([EVIL, "b"], [(EVIL, [0.5, float("nan")]), ("x", [0.0, 1.0])]),
    "stacked": lambda: page.stacked([(EVIL, 0.5, "#fff"), ("b", float("nan"), "#000")]),
    "legend": lambda: page.legend([(EVIL, "#fff"), ("ignored", "hatch")]),
    "confusion": lambda: page.confusion([EVIL, "b"], np.asarray([[5, 1], [0, 0]])),
    "links": lambda: page.links([(EVIL, "a b/c.html")]),
    "definitions": lambda: page.definitions([(EVIL, EVIL)]),
    "four_pictures": lambda: page.four_pictures(EVIL, [(EVIL, np.zeros((9, 9, 3), np.uint8))] * 4),
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces_are_balanced_and_escaped(name):
    assert "script" not in _parsed(PIECES[name]())


def test_page_is_self_contained():
    html = page.whole_page(EVIL, [make() for make in PIECES.values()])
    assert {"html", "style", "table", "figure", "img"} <= set(_parsed(html))
    assert not re.search(r"src=\"(?!data:)|url\(|@import|https?:", html)
    assert 'name="viewport"' in html


def test_wide_pictures_are_made_smaller():
    rng = np.random.default_rng(0)
    large = rng.integers(0, 256, (400, 4000, 3)).astype(np.uint8)
    assert len(page.four_pictures("a", [("errors", large)])) < large.size / 4


def test_confusion_shows_per_cent_of_the_row():
    html = page.confusion(["a", "b"], np.asarray([[999, 1], [1, 1]]))
    assert [">100<" in html, html.count("></td>"), html.count(">50<")] == [True, 1, 2]


def test_names_without_a_value_have_no_bar():
    nan = float("nan")
    text = page.bars(["a", "b", "c"], [("x", [0.5, nan, nan]), ("y", [nan, nan, 0.25])])
    assert text.count('class="pair"') == 2 and "Without a value: b." in text
    assert text.count("no value") == 2
