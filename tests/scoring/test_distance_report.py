"""Tables and numbers of distances are those of the rows, and curves those of their scores."""

import numpy as np

from segalias_jax.metrics import ScoreRules
from segalias_jax.metrics.distance_counts import DistanceCounts, DistanceSettings
from segalias_jax.scoring.counting import CountSettings, count_pair
from segalias_jax.scoring.distance_report import (
    curve_table,
    distance_columns,
    distance_numbers,
    distance_rules,
    distance_table,
)
from segalias_jax.scoring.distances import count_distances
from segalias_jax.scoring.pair_scores import areas, class_scores, mean_scores

SETTINGS = DistanceSettings(tolerances=(2,), widths=(1, 3))


def _counts():
    label = np.zeros((30, 40), np.uint8)
    label[8:20, 8:20] = 1
    pairs = [(np.roll(label, 3, 1), label), (label * 0, label)]
    counted = [count_distances(*pair, ScoreRules(), 3, SETTINGS) for pair in pairs]
    return pairs, DistanceCounts.stack(counted)


def test_numbers_tables_and_columns_agree():
    pairs, counts = _counts()
    numbers = distance_numbers(counts, SETTINGS)
    assert numbers["HD95"].tolist()[1] == (3 + 50) / 2 and numbers["HD95_found"][1] == 3
    assert numbers["missed_in_images"].tolist() == [0, 1, 0]
    table = distance_table(counts, SETTINGS, ["ground", "square", "nothing"]).splitlines()
    assert table[4].split("|")[2].strip() == "26.50" and table[5].split("|")[2].strip() == "-"
    columns = distance_columns(counts, SETTINGS)
    assert columns["missed_classes"].tolist() == [0, 1]
    total = sum(
        areas(count_pair(*pair, CountSettings(3, tolerances=SETTINGS.widths))) for pair in pairs
    )
    of_classes, means = (score(total, SETTINGS.widths) for score in (class_scores, mean_scores))
    for width in SETTINGS.widths:
        name = f"BoundaryF_{width}px"
        np.testing.assert_array_equal(numbers[name], of_classes[name])
        np.testing.assert_allclose(numbers[f"m{name}"], means[f"m{name}"])
    assert len(curve_table(counts, SETTINGS).splitlines()) == 4


def test_rules_name_the_unit_and_every_score():
    rules = distance_rules(DistanceSettings((0.5, 2)))
    assert "0.5 between rows, 2 between columns" in rules["distances are in"]
    assert {"HD95", "NSD within 2", "clDice", "missed in images"} <= set(rules)
