"""How often do intervals hold the true score, and how often do tests see what is not there?

    python benchmarks/intervals.py [--sets N]

Sets of 20, 50 and 200 images of 4 classes are drawn N times (1000) from a known law: an image is
easy or hard for all classes, and sizes of objects differ. In "common" every class is in at least
60 % of the images; in "rare" the last one is in 15 %, and sizes differ by a factor of 30, so that
few images decide. The true mIoU is that of two million images. Reported are the part of sets whose
95 % interval holds the truth, of a score and of the difference of two models on the same images;
for comparison the percentile interval of the same draws; and of two models that are equally good
the part of sets in which any of 4 classes differs with p below 0.05, before and after Holm's
correction. Numbers go to `results/intervals.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from segalias_jax.files import write_text
from segalias_jax.scoring.reports import bootstrap, significance

RESULTS = Path(__file__).parent / "results"
SIZES = (20, 50, 200)
LAWS = {"common": ([1.0, 0.8, 0.7, 0.6], 0.4), "rare": ([1.0, 0.8, 0.6, 0.15], 1.0)}
"""Fraction of images that have each class, and the spread of the logarithm of their sizes."""

SKILLS = {"first": 0.0, "second": 0.3}
"""Log odds of a right pixel beyond those of the image."""


def images(rng: np.random.Generator, law: str, count: int, skills: list[float]) -> list[np.ndarray]:
    """Right and united pixels of each class, [count, 2, 4], of models on the same images."""
    hard = rng.normal(1.5, 0.8, (count, 1))
    present, spread = LAWS[law]
    area = rng.lognormal(7, spread, (count, 4)).astype(int) * (rng.random((count, 4)) < present)
    result = []
    for skill in skills:
        odds = hard + skill + rng.normal(0, 0.5, (count, 4))
        right = rng.binomial(area, 1 / (1 + np.exp(-odds)))
        union = area + rng.binomial(area, 0.1)
        result.append(np.stack([right, union], 1))
    return result


def class_iou(sums: np.ndarray) -> np.ndarray:
    """IoU of each class, nan where it has no pixel."""
    right, union = np.moveaxis(sums.astype(float), -2, 0)
    return np.divide(right, union, where=union > 0, out=np.full_like(right, np.nan))


def mean_iou(sums: np.ndarray) -> np.ndarray:
    """Mean over the classes that have a pixel."""
    return np.nanmean(class_iou(sums), -1)


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """By how much the second model's mIoU is larger."""
    return mean_iou(second) - mean_iou(first)


def coverage(law: str, count: int, sets: int, truth: tuple[float, float]) -> dict[str, float]:
    """Parts of sets of so many images whose intervals hold the true score and difference."""
    rng, held = np.random.default_rng(count), np.zeros((sets, 3), bool)
    for i in range(sets):
        both = images(rng, law, count, list(SKILLS.values()))
        for j, (statistic, arrays) in enumerate(((mean_iou, both[:1]), (difference, both))):
            found = bootstrap.bca(statistic, *arrays)
            held[i, j] = found.low <= truth[j] <= found.high
        draws = [mean_iou(*bootstrap.pooled(w, both[:1])) for w in bootstrap.image_draws(count, 8)]
        low, high = np.percentile(np.concatenate(draws), (2.5, 97.5))
        held[i, 2] = low <= truth[0] <= high
    score, paired, percentile = (100 * held.mean(0)).round(1).tolist()
    return {"BCa, mIoU": score, "BCa, difference": paired, "percentile, mIoU": percentile}


def false_alarms(law: str, count: int, sets: int) -> dict[str, float]:
    """Parts of sets in which a class of two equally good models differs clearly."""
    rng, seen = np.random.default_rng(count + 1), np.zeros((sets, 2), bool)
    for i in range(sets):
        first, second = images(rng, law, count, [0.0, 0.0])
        p = significance.permutation_test(class_iou, [first], [second])
        seen[i] = np.nanmin(p) < 0.05, np.nanmin(significance.holm(p)) < 0.05
    alone, corrected = (100 * seen.mean(0)).round(1).tolist()
    return {"any p < 0.05": alone, "any corrected p < 0.05": corrected}


def main() -> None:
    """Measures and writes all numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=1000)
    sets = parser.parse_args().sets
    content: dict[str, object] = {"unit": "per cent of sets", "sets": sets}
    for law in LAWS:
        rng, sums = np.random.default_rng(0), np.zeros((2, 2, 4))
        for _ in range(20):
            parts = images(rng, law, 100_000, list(SKILLS.values()))
            sums += np.stack([part.sum(0) for part in parts])
        truth = float(mean_iou(sums[0])), float(difference(*sums))
        rows = {}
        for count in SIZES:
            row = coverage(law, count, sets, truth) | false_alarms(law, count, sets)
            rows[str(count)] = row
            numbers = ", ".join(f"{name} {value} %" for name, value in row.items())
            print(f"{law}, {count} images: {numbers}", flush=True)
        content[law] = {"mIoU, difference": truth, "images": rows}
    write_text(RESULTS / "intervals.json", json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
