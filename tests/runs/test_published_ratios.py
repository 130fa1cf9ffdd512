"""Published tables: their scores have names here, and fit together as scores of this kind do."""

import pytest

from segalias_jax.metrics.scores import SCORES
from segalias_jax.runs.published_ratios import BOTH_CLASSES, FINAL_RATIOS

ROWS = [(ratio, found) for table in FINAL_RATIOS.values() for ratio, found in table.items()]


@pytest.mark.parametrize("base", BOTH_CLASSES.values())
@pytest.mark.parametrize("average", ["mean_over_images", "pixels_of_all_images"])
def test_every_score_has_a_row(base, average):
    row = SCORES[f"{base}_{average}"]
    assert row.both or base == "accuracy"


@pytest.mark.parametrize("ratio, found", ROWS)
def test_numbers_fit_together(ratio, found):
    """IoU is F1 / (2 - F1) of each class, which is convex: so is the least mean of both."""
    assert 0 <= ratio <= 1 and set(found) <= set(BOTH_CLASSES)
    assert all(0 < value < 1 for value in found.values())
    if "F1" in found:
        assert found["F1"] / (2 - found["F1"]) < found["IoU"] < found["F1"] < found["accuracy"]
