"""What a page picks out of a report."""

import numpy as np
import pytest
from page_reports import made_report

from segalias_jax.errors import InputError
from segalias_jax.scoring.cause_counts import CAUSES
from segalias_jax.scoring.reports.views import shown


def test_telling_images_have_most_of_the_leading_causes():
    report = made_report()
    leading = sorted(CAUSES, key=lambda name: -report["causes"]["delta_mIoU"][name])[:3]
    found = shown.telling_images(report)
    assert [CAUSES[one.cause] for one in found] == leading
    assert len({one.index for one in found}) == 3
    taken = set()
    for one in found:
        fractions = {
            i: image["causes"][CAUSES[one.cause]] / (image["height"] * image["width"])
            for i, image in enumerate(report["images"])
            if i not in taken
        }
        assert one.fraction == max(fractions.values()) == fractions[one.index]
        taken.add(one.index)


def test_pictured_images_are_bounded_distinct_and_the_worst_are_among_them():
    report = made_report()
    worst = [39, 38]  # of mIoU; image 3 has none
    for count in (0, 1, 7, 39, 100):
        found = shown.pictured(report, count)
        assert len(found) == len(set(found)) == min(count, 40)
        assert count < 7 or set(worst) <= set(found)
    assert [one.index for one in shown.telling_images(report)] == shown.pictured(report, 3)
    with pytest.raises(InputError, match="pictures"):
        shown.pictured(report, -1)


def test_confusions_against_a_plain_loop():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 1000, (6, 7)) ** 3
    total = sum(int(counts[i, j]) for i in range(6) for j in range(7) if i != j)
    expected = {
        (i, j): (counts[i, j] / counts[i].sum(), counts[i, j] / total)
        for i in range(6)
        for j in range(6)
        if i != j and counts[i, j] > 0.01 * total
    }
    found = shown.confusions(counts.tolist())
    assert {(one.true, one.predicted): one[2:] for one in found} == expected
    assert sorted(found, key=lambda one: -one.of_wrong) == found
    assert shown.confusions([[5, 0], [0, 5]]) == []


def test_classes_without_a_value_are_not_the_worst():
    classes = [
        {"name": str(i), "IoU": v} for i, v in enumerate((0.3, None, 0.1, 0.2, 0.9, 0.8, 1.0))
    ]
    assert shown.worst_classes({"classes": classes}, 5) == [2, 3, 0, 5, 4]


def test_causes_of_classes_count_both_sides():
    report = made_report()
    found = shown.class_causes(report)
    assert found.shape == (4, 7)
    assert found.sum() == 2 * report["causes"]["wrong_pixels"]
    assert shown.class_causes(made_report(causes=None)).shape == (4, 0)


def test_main_scores_leave_out_those_of_which_less_is_better():
    names, main = shown.image_scores(made_report())
    assert names == ["mIoU", "aAcc", "FErr", "mDice"] and main == {"mIoU", "aAcc"}
