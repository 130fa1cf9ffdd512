"""Line charts: points where they belong, names escaped."""

import re

import numpy as np

from segalias_jax.scoring.reports import charts


def test_points_and_names():
    y = np.asarray([1.0, np.nan, 0.0])
    html = charts.lines(
        [("a < b", np.asarray([0, 5, 10]), y)], x_title="pixels", y_title="per cent", x_end=10
    )
    (points,) = re.findall('points="([^"]*)"', html)
    (left, top), (right, bottom) = (map(float, point.split(",")) for point in points.split())
    assert left < right and top < bottom and "nan" not in html
    assert "a &lt; b" in html and ">10<" in html and ">100<" in html


def test_pairs_of_curves_share_a_color_and_differ_in_dashes():
    x = np.linspace(0, 1, 3)
    html = charts.lines([(n, x, x) for n in "abcd"], x_title="x", y_title="y", x_end=1)
    drawn = re.findall("<polyline[^>]*>", html)
    colors = [re.search('stroke="(#[0-9a-f]*)"', line)[1] for line in drawn]
    assert colors[0] == colors[1] != colors[2] == colors[3]
    assert ["dasharray" in line for line in drawn] == [False, True, False, True]
