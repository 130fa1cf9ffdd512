"""What follows from the result files: differences of variants with intervals, and in words.

A difference has two sources of chance, the seed (parameters, order and augmentation) and the
images that happen to be in the set. With d_s the difference of variant and baseline for seed s,
both on the same images, D the mean of n of them, S^2 their variance, and V the variance of D over
draws of the N images (the same draws for all runs of a set),

    interval:  D -+ t_nu E,   E^2 = S^2 / n + V,
    nu = E^4 / ((S^2 / n)^2 / (n - 1) + V^2 / (N - 1)),   p = 2 P(t_nu > |D| / E),

Welch's and Satterthwaite's t for a sum of two variances. A bootstrap over three or five seeds has
too small a variance, and of n seeds a permutation test cannot have a p below 2^(1 - n). What was
not counted image by image has S alone, and is said of these images. p is corrected by Holm's method
for the variants of a set; below .05 a difference is called better or worse.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.evidence import counts
from benchmarks.evidence.plan import Study
from segalias_jax.errors import InputError
from segalias_jax.scoring.reports import bootstrap, significance


@dataclasses.dataclass(frozen=True)
class Difference:
    """A variant less its baseline in one number; points of per cent where that is a fraction.

    Attributes:
      variant: its name.
      seeds: pairs of runs.
      value: mean over the seeds; nan of no pair.
      low: lower end of the 95 % interval; nan of less than two pairs.
      high: upper end.
      p: before correction.
      corrected: after it; nan where p is.
      smaller: whether less is better.

    Example:
      >>> Difference("daf", 3, 1.0, 0.5, 1.5, 0.01, 0.02).verdict
      'better'
    """

    variant: str
    seeds: int
    value: float
    low: float
    high: float
    p: float
    corrected: float = math.nan
    smaller: bool = False

    @property
    def verdict(self) -> str:
        """In a word: better, worse or undecided."""
        if not self.corrected < significance.LEVEL:
            return "undecided"
        return "better" if (self.value < 0) == self.smaller else "worse"

    @property
    def text(self) -> str:
        """The number with its interval."""
        if math.isnan(self.low):
            return "-" if math.isnan(self.value) else f"{self.value:+.2f}"
        return bootstrap.with_interval(self.value, self.low, self.high, sign="+")


class Runs:
    """The finished runs of a study.

    Args:
      study: data set and variants.
      folder: of the result files.

    Attributes:
      study: data set and variants.
      runs: contents of the files by variant and seed.
    """

    def __init__(self, study: Study, folder: Path):
        self.study = study
        self.runs: dict[str, dict[int, Mapping[str, Any]]] = {name: {} for name in study.variants}
        for variant in study.variants:
            for seed in study.seeds:
                path = folder / f"{study.stem(variant, seed)}.json"
                if path.exists():
                    self.runs[variant][seed] = json.loads(path.read_text())
        self._drawn: dict[tuple[str, int], dict[str, np.ndarray]] = {}
        images = {tuple(run["images"]) for run in self._all()}
        if len(images) > 1:
            raise InputError(f"{folder}: runs of {study.name} were scored on different images")

    def _all(self) -> list[Mapping[str, Any]]:
        return [run for runs in self.runs.values() for run in runs.values()]

    @property
    def finished(self) -> int:
        """Number of runs."""
        return len(self._all())

    @property
    def first(self) -> Mapping[str, Any]:
        """Any of the runs, for what they have in common."""
        return self._all()[0]

    @property
    def main_score(self) -> str:
        """Name of the score that decides: mIoU, or PQ of objects."""
        return "mIoU" if "mIoU" in self.first["scores"] else "PQ"

    def values(self, variant: str, *keys: str) -> list[float]:
        """Returns a number of each seed of a variant, found by its keys; nan for none.

        Args:
          variant: its name.
          *keys: that lead to it in a result file.
        """
        return [_number(run, keys) for run in self.runs[variant].values()]

    def differences(self, *keys: str, scale: float = 100) -> list[Difference]:
        """Compares all variants with the baseline in one number.

        Args:
          *keys: that lead to it in a result file; images are drawn for those below "scores".
          scale: what it is multiplied by.

        Returns:
          One for each variant but the first, p corrected for their number.
        """
        base, *others = self.study.variants
        smaller = keys[-1] in counts.SMALLER
        found = [self._difference(one, base, keys, scale) for one in others]
        corrected = significance.holm(np.asarray([one.p for one in found]))
        return [
            dataclasses.replace(one, corrected=float(p), smaller=smaller)
            for one, p in zip(found, corrected, strict=True)
        ]

    def _difference(self, variant: str, base: str, keys: Sequence[str], scale: float) -> Difference:
        seeds = sorted(self.runs[variant].keys() & self.runs[base].keys())
        pairs = [
            scale * (_number(self.runs[variant][s], keys) - _number(self.runs[base][s], keys))
            for s in seeds
        ]
        over_images, images = 0.0, 0
        if keys[0] == "scores" and seeds:
            draws = [
                self._draws(variant, s)[keys[1]] - self._draws(base, s)[keys[1]] for s in seeds
            ]
            over_images = float(np.nanvar(scale * np.mean(draws, 0)))
            images = len(self.first["images"])
        return Difference(variant, len(seeds), *interval(pairs, over_images, images))

    def _draws(self, variant: str, seed: int) -> dict[str, np.ndarray]:
        """Scores of each draw of images, the same draws for all runs."""
        key = variant, seed
        if key not in self._drawn:
            statistic, arrays = counts.statistic_of(self.runs[variant][seed])
            width = sum(array[0].size for array in arrays)
            parts = [
                statistic(*(np.rint(sums) for sums in bootstrap.pooled(weights, arrays)))
                for weights in bootstrap.image_draws(len(arrays[0]), width)
            ]
            self._drawn[key] = {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}
        return self._drawn[key]


def _number(content: Any, keys: Sequence[str]) -> float:
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return math.nan if content is None else float(content)


def interval(
    pairs: Sequence[float], over_images: float, images: int
) -> tuple[float, float, float, float]:
    """Returns mean, both ends of its 95 % interval, and p of differences of pairs of runs.

    Args:
      pairs: one difference for each seed.
      over_images: variance of their mean over draws of images, 0 where it is not known.
      images: number of images.

    Returns:
      Numbers, nan where there are too few pairs.

    Example:
      >>> [round(x, 3) for x in interval([1.0, 2.0, 3.0], 0.0, 0)]
      [2.0, -0.484, 4.484, 0.074]

    Reference:
      Satterthwaite, "An Approximate Distribution of Estimates of Variance Components", 1946.
    """
    mean = float(np.mean(pairs)) if pairs else math.nan
    if len(pairs) < 2 or math.isnan(mean):
        return mean, math.nan, math.nan, math.nan
    over_seeds = float(np.var(pairs, ddof=1)) / len(pairs)
    square = over_seeds + over_images
    if square == 0:
        return mean, mean, mean, 0.0 if mean else 1.0
    parts = over_seeds**2 / (len(pairs) - 1)
    parts += over_images**2 / max(1, images - 1)
    freedom, error = square**2 / parts, math.sqrt(square)
    reach = float(stats.t.ppf(0.5 + bootstrap.COVERAGE / 200, freedom)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom))
    return mean, mean - reach, mean + reach, p


def count_seeds(number: int) -> str:
    """Returns a number of seeds in words.

    Example:
      >>> count_seeds(1), count_seeds(3)
      ('1 seed', '3 seeds')
    """
    return f"{number} seed{'s' if number != 1 else ''}"


def sentence(difference: Difference, score: str, title: str, base: str) -> str:
    """Says of a comparison whether the variant is better, worse or undecided, and by how much.

    Example:
      >>> sentence(Difference("daf", 3, 1.0, -0.5, 2.5, 0.3, 0.6), "mIoU", "scenes", "none")
      'daf on scenes: undecided; mIoU differs by +1.00 [-0.50, +2.50] points from none (3 seeds, \
corrected p 0.600).'
    """
    seeds = count_seeds(difference.seeds)
    if difference.seeds < 2:
        return f"{difference.variant} on {title}: {seeds} finished, too few to say."
    p = difference.corrected
    told = "p below 0.001" if p < 0.001 else f"p {p:.3f}"
    return (
        f"{difference.variant} on {title}: {difference.verdict}; {score} differs by "
        f"{difference.text} points from {base} ({seeds}, corrected {told})."
    )
