"""The parts of pages that a script fills."""

import json
from html import unescape

from segalias_jax.scoring.reports.views import browser
from segalias_jax.scoring.reports.views.payload import Column, image_table


def table(columns):
    images = [{"name": "a", "height": 2, "width": 3, "classes": [1, 7]}]
    return image_table(images, columns)


def test_filters_are_there_for_what_there_is():
    plain = browser.images_section(
        table([Column("mIoU", "score", [0.5])]), ["sky", "<road>"], pictures=0, left=0
    )
    assert "filter-cause" not in plain and "all-scores" not in plain
    assert "&lt;road&gt;" in plain and ">sky<" not in plain  # no image has sky
    columns = [Column("mIoU", "score", [0.5], main=False), Column("merge", "cause", [0.0])]
    full = browser.images_section(table(columns), ["sky", "road"], pictures=1, left=7)
    assert "filter-cause" in full and "all-scores" in full and "7 more" in full


def test_a_button_carries_its_filter_as_json():
    text = browser.shows('"<x>"', size="2x3")
    value = unescape(text.split('data-show="')[1].split('"')[0])
    assert json.loads(value) == {"size": "2x3"} and "&lt;x&gt;" in text


def test_the_window_shows_all_layers_of_one_model_at_once():
    one = browser.viewer([("sky", "#abc")], [("merge", "#123456")], several=False)
    assert one.count("data-layer=") == 5 and 'data-key="5"' in one
    assert browser.viewer([("sky", "#abc")], [], several=True).count("data-layer=") == 4
    many = [(str(i), "#abc") for i in range(50)]
    assert 'data-legend="classes"' not in browser.viewer(many, [], several=False)
