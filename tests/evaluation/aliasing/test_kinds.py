"""Where the kinds of error sit, by construction and against loops over pixels."""

import numpy as np
import pytest

from segalias_jax.evaluation.aliasing import kinds
from segalias_jax.evaluation.aliasing.analysis import AliasingAnalysis, Operator
from segalias_jax.metrics import ERROR_KINDS
from segalias_jax.scoring.causes import CAUSES
from segalias_jax.scoring.reports import bootstrap

OPERATORS = (Operator("low", 0.5, 0.25, "none"), Operator("high", 0.7, 0.35, "daf"))


def _made(images=20, patches=6, seed=0, displaced_at=(70, 90)):
    """False responses and merging mistakes at scores of 10 to 40, displacements where told.

    At the second operator all kinds are spread alike.
    """
    rng = np.random.default_rng(seed)
    n = images * patches
    image = np.repeat(np.arange(images), patches)
    pixels = np.zeros((n, len(ERROR_KINDS)), int)
    scores = rng.uniform(10, 40, (n, 2))
    where = rng.permutation(n) < n // 3
    scores[where, 0] = rng.uniform(*displaced_at, where.sum())
    pixels[where, kinds.DISPLACED] = rng.integers(1, 50, where.sum())
    for kind in (kinds.FALSE, kinds.MERGING):
        pixels[~where, kind] = rng.integers(0, 50, (~where).sum())
    pixels[:, 0], pixels[:, 4] = 100, rng.integers(0, 5, n)
    causes = np.zeros((n, 1 + len(CAUSES)), int)
    causes[:, 3] = rng.integers(0, 9, n)
    return AliasingAnalysis(
        OPERATORS,
        tuple(map(str, range(images))),
        np.ones((images, 2, 2)),
        image,
        scores,
        np.zeros((n, 3)),
        pixels,
        causes,
    )


@pytest.fixture(scope="module")
def made():
    return _made()


def _pixels_one_by_one(made, operator, columns):
    """The score of every single pixel, patch by patch, ascending."""
    values = []
    for patch in range(len(made.image)):
        for column in columns:
            for _ in range(made.patch_kinds[patch, column]):
                values.append(made.patch_scores[patch, operator])
    return sorted(values)


@pytest.mark.parametrize("operator", [0, 1])
def test_distributions_pixel_by_pixel(made, operator):
    rows = [r for r in kinds.score_distributions(made) if r["operator"] == OPERATORS[operator].name]
    by_name = {(row["set"], row["kind"]): row for row in rows}
    expected = {("disjoint", kind): (i,) for i, kind in enumerate(ERROR_KINDS)}
    expected |= {
        ("overlapping", "false response"): (kinds.FALSE, kinds.DISPLACED),
        ("overlapping", "merging mistake"): (kinds.MERGING, kinds.DISPLACED),
        ("overlapping", "displacement"): (kinds.DISPLACED,),
    }
    for key, columns in expected.items():
        values, row = _pixels_one_by_one(made, operator, columns), by_name[key]
        assert row["pixels"] == len(values)
        assert row["mean"] == pytest.approx(np.mean(values), rel=1e-12)
        for level in kinds.LEVELS:
            # the first of the sorted pixels with at least this percentage up to and with it
            wanted = next(v for i, v in enumerate(values) if 100 * (i + 1) >= level * len(values))
            assert row["quantiles"][f"{level}%"] == wanted
    assert by_name["cause", CAUSES[2]]["pixels"] == made.patch_causes[:, 3].sum()
    empty = by_name["cause", CAUSES[0]]
    assert empty["pixels"] == 0 and np.isnan([empty["mean"], *empty["quantiles"].values()]).all()


def test_differences_of_medians_by_repeating_pixels(made):
    """The same draws of images, each pixel of a drawn image standing as often as it is drawn."""
    rows = {(row["operator"], row["than"]): row for row in kinds.median_differences(made)}
    draws = np.concatenate(list(bootstrap.image_draws(len(made.names))))[:7].astype(int)
    for operator in (0, 1):
        scores = made.patch_scores[:, operator]

        def median(columns, draw, scores=scores):
            counts = made.patch_kinds[:, columns].sum(1) * draw[made.image]
            return np.quantile(np.repeat(scores, counts), 0.5, method="inverted_cdf")

        order = np.argsort(scores)
        for columns in ([kinds.DISPLACED], [kinds.FALSE], [kinds.MERGING]):
            found = kinds._medians(
                scores[order],
                made.patch_kinds[order][:, columns].sum(1),
                made.image[order],
                draws.astype(float),
            )
            assert found.tolist() == [median(columns, draw) for draw in draws]
        once = np.ones(len(made.names), int)
        for than, kind in (("false responses", kinds.FALSE), ("merging mistakes", kinds.MERGING)):
            row = rows[OPERATORS[operator].name, than]
            value = median([kinds.DISPLACED], once) - median([kind], once)
            assert row["value"] == value and row["low"] <= value <= row["high"]
            assert row["displaced"] == made.patch_kinds[:, kinds.DISPLACED].sum()
            assert row["others"] == made.patch_kinds[:, kind].sum()


def test_displacements_at_high_scores_are_found(made):
    """50 points apart at one operator, drawn from one distribution at the other."""
    rows = {(row["operator"], row["than"]): row for row in kinds.median_differences(made)}
    for than in ("false responses", "merging mistakes"):
        assert rows["low", than]["low"] > 30 and rows["low", than]["high"] < 80
        assert rows["high", than]["low"] < 0 < rows["high", than]["high"]
    told = kinds.answer(list(rows.values()))
    assert "at higher aliasing scores than both at low (+" in told and "lower" not in told
    assert "neither above both nor below both at high (" in told


def test_displacements_at_low_scores_are_found():
    told = kinds.answer(kinds.median_differences(_made(displaced_at=(0, 5))))
    assert "at lower aliasing scores than both at low (-" in told and "higher" not in told


def test_without_displacements():
    made = _made(images=3)
    made.patch_kinds[:, kinds.DISPLACED] = 0
    rows = kinds.median_differences(made)
    assert all(np.isnan([row["value"], row["low"], row["high"]]).all() for row in rows)
    assert kinds.answer(rows).startswith("A kind of error near boundaries has no pixel")
