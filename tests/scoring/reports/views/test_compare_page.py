"""The page of a comparison as text."""

import numpy as np
import pytest
from page_reports import NAMES, Parsed, made_comparison, made_report
from page_reports import compared_page as made

from segalias_jax.scoring.reports.views.compare_page import Compared, verdict


@pytest.mark.parametrize("count", [2, 4, 8])
def test_every_model_is_in_every_part(count):
    names = (*NAMES, *"efgh")[:count]
    parsed = Parsed(made(made_comparison(names), pictures=5))
    assert parsed.data["models"] == list(names)
    assert all(len(one["models"]) == count for one in parsed.data["pictures"].values())
    titles = [column["title"] for column in parsed.data["table"]["columns"]]
    assert titles == ["difference", *names]
    assert len(parsed.ids()) == len(set(parsed.ids()))


def test_images_where_models_differ_most_are_in_the_page():
    compared = made_comparison()
    data = Parsed(made(compared, pictures=5)).data
    values = np.asarray(
        [
            [np.nan if (v := image["scores"]["mIoU"]) is None else v for image in report["images"]]
            for report in compared.reports
        ]
    )
    known = ~np.isnan(values).any(0)
    spread = np.where(
        known, values.max(0, where=known, initial=0) - values.min(0, where=known, initial=1), 0
    )
    found = sorted(int(i) for i in data["pictures"])
    assert spread[found].min() >= np.sort(spread)[-5]
    shown = np.asarray(data["table"]["columns"][0]["values"]) / 1e6
    np.testing.assert_allclose(shown, spread, atol=1e-6)


def test_alike_models_have_no_picture_and_still_a_page():
    reports = [made_report(5)] * 2
    compared = made_comparison(("a", "b"), reports=reports, causes=[])
    compared = Compared(**(vars(compared) | {"images": [i["name"] for i in reports[0]["images"]]}))
    assert Parsed(made(compared)).data["pictures"] == {}


def test_verdict_says_whether_the_best_is_clear():
    first = {"model": "a", "value": 0.5, "rank": 1}
    second = {"model": "b", "value": 0.48, "difference": -0.02, "clear": False, "rank": 2}
    assert verdict([first, second], "mIoU").endswith("2.0 points ahead of b, which may be chance.")
    level = second | {"value": 0.5, "difference": 0.0, "rank": 1}
    assert verdict([first, level], "mIoU") == "a and b are level: mIoU 50.0."
    none = second | {"value": float("nan")}
    assert verdict([first, none], "mIoU") == "Not every model has a value of mIoU."
