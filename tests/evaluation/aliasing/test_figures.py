"""What the curves of the figures show; `test_report` reads their texts."""

import re
from xml.etree import ElementTree

import numpy as np

from segalias_jax.evaluation.aliasing.figures import distributions_figure
from segalias_jax.evaluation.aliasing.kinds import LEVELS


def _row(kind, of, shift, pixels=10):
    quantiles = {f"{level}%": shift + level for level in LEVELS}
    row = {"operator": "stage 2", "set": of, "kind": kind, "pixels": pixels}
    return row | {"quantiles": quantiles}


def _curves(svg):
    """Points of the curves, those with one for each level."""
    found = []
    for path in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}path"):
        numbers = re.findall(r"-?\d+(?:\.\d+)?", path.get("d", ""))
        if len(numbers) == 2 * len(LEVELS):
            found.append(np.asarray(numbers, float).reshape(-1, 2))
    return found


def test_a_kind_at_higher_scores_is_farther_to_the_right():
    rows = [_row("false response", "disjoint", 0), _row("displacement", "disjoint", 10)]
    low, high = _curves(distributions_figure(rows))
    np.testing.assert_array_equal(low[:, 1], high[:, 1])
    # the same shift at every level, to the two digits that are kept
    assert np.ptp(high[:, 0] - low[:, 0]) < 0.05 and high[0, 0] > low[0, 0] + 10


def test_what_has_no_pixel_or_is_drawn_already_has_no_curve():
    rows = [
        _row("displacement", "disjoint", 0),
        _row("displacement", "overlapping", 0),
        _row("displacement", "cause", 5),
        _row("merging mistake", "disjoint", 0, pixels=0),
        _row("interior error", "disjoint", 0),
        _row("merging mistake", "overlapping", 0),
    ]
    assert len(_curves(distributions_figure(rows))) == 2
