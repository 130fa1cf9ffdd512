"""What people read of two classes."""

import csv

import numpy as np

from segalias_jax.metrics import BinaryScores
from segalias_jax.scoring.reports import binary as binary_report


def state(seed=0):
    rng = np.random.default_rng(seed)
    label = (rng.random((3, 8, 8)) < 0.3).astype(int)
    label[0] = 0
    return BinaryScores.empty().update(np.clip(rng.normal(label * 0.4 + 0.3, 0.2), 0, 1), label)


def test_both_averages_stand_side_by_side_with_their_names():
    scores = state().compute()
    text = binary_report.binary_table(scores, "polyp")
    lines = text.splitlines()
    assert lines[2].startswith("| F1 = Dice, mean over images ")
    assert lines[3].startswith("| F1 = Dice, pixels of all images ")
    assert f"{100 * scores['Dice_mean_over_images']:.2f}" in lines[2]
    assert f"{100 * scores['Dice_pixels_of_all_images_best']:.2f}" in lines[3]
    assert f"{scores['Dice_pixels_of_all_images_best_threshold']:.3f}" in lines[3]
    assert "average precision" in lines[-1]
    assert all(len(line) == len(lines[0]) for line in lines[:12])


def test_classes_have_no_sweep(tmp_path):
    ids = np.asarray([[[0, 1, 1]]])
    binary = BinaryScores.empty().update(ids, ids)
    text = binary_report.binary_table(binary.compute(), "crack")
    assert "best" not in text and "ROC" not in text and "| of crack" in text
    assert "thresholds" not in binary_report.binary_rules(binary)
    assert binary_report.write_curves(binary, tmp_path) == [] and not list(tmp_path.iterdir())


def test_rules_say_what_counts():
    rules = binary_report.binary_rules(state())
    assert rules["images without foreground"].startswith("1 of the 3 images")
    assert rules["thresholds"].startswith("255, from 0.0039 to 0.9961")


def test_files_of_the_sweep(tmp_path):
    binary = state()
    assert binary_report.write_curves(binary, tmp_path) == ["thresholds.png"]
    rows = list(csv.DictReader((tmp_path / "thresholds.csv").read_text().splitlines()))
    assert len(rows) == 255 and float(rows[127]["threshold"]) == 0.5
    found = float(rows[127]["Dice_mean_over_images"])
    assert found == binary.compute()["Dice_mean_over_images"]
    assert (tmp_path / "thresholds.png").stat().st_size > 1000
