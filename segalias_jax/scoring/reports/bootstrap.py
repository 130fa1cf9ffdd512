"""How sure a number over a set of images is: BCa bootstrap intervals, in bounded memory.

Scores are functions of counts that are summed over images. So a draw of images is a weighted sum
of their counts, and leaving one out is a subtraction: no image is counted twice, and nothing here
grows faster than the number of images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist

import numpy as np

from segalias_jax.typing import Float, Integer, Num

SAMPLES, COVERAGE = 2000, 95
"""Number of draws, and per cent of them that an interval is to hold."""

Statistic = Callable[..., Num[np.ndarray, "batch ..."]]
"""Sums over images, each `[batch, ...]`, to a statistic for each row, `[batch, ...]`."""

_SEED = 0
_NUMBERS = 1 << 22  # of one array at a time: 32 MB, whatever the number of images
_TIE = 1e-12  # sums of fractions are rounded by the order in which they are added


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A statistic with its interval; all three arrays have its shape.

    Attributes:
      value: of all images.
      low: lower end; nan where the statistic has no value.
      high: upper end.

    Example:
      >>> one = np.asarray(1.0)
      >>> float(Estimate(one, one, one).low)
      1.0
    """

    value: Float[np.ndarray, " ..."]
    low: Float[np.ndarray, " ..."]
    high: Float[np.ndarray, " ..."]

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value, lower and upper end."""
        return self.value, self.low, self.high


def bca(statistic: Statistic, *sums: Num[np.ndarray, "images ..."]) -> Estimate:
    r"""Computes bias-corrected and accelerated bootstrap intervals over images.

    With t the statistic of all images, G the distribution of the statistic over draws of as many
    images with replacement, and t_i the statistic without image i, the ends are quantiles of G at

        alpha(z) = Phi(z_0 + (z_0 + z) / (1 - a (z_0 + z))),   z = -1.96 and +1.96,
        z_0 = Phi^-1(G(t)),   a = sum d_i^3 / (6 (sum d_i^2)^1.5),   d_i = mean(t) - t_i.

    Half of the draws that equal t count as below it. |a| is at most 1 / 6 and |z_0| below 3.5, so
    the denominator is positive. The interval contains t where 2.5 % to 97.5 % of the draws are
    below t; elsewhere it is extended to t.

    Where images say nothing of their spread the interval is the value alone: of one image, or
    where all draws are equal. Draws, and images left out, for which the statistic is nan are not
    counted; where t is nan, so are both ends. Everybody who asks for as many images gets the
    same draws.

    Args:
      statistic: takes the sums over images of each of `sums`, with an axis of draws in front, and
        returns the statistic of each draw; of any shape. A difference of two models is a statistic
        of both models' counts, so that its interval is that of paired images.
      *sums: numbers of each image, images first.

    Returns:
      The statistic of all images, and its interval.

    Example:
      >>> right, pixels = np.asarray([8, 9, 5, 7]), np.full(4, 10)
      >>> found = bca(lambda r, p: r / p, right, pixels)
      >>> float(found.value), bool(found.low < 0.725 < found.high)
      (0.725, True)

    Reference:
      Efron, "Better Bootstrap Confidence Intervals", JASA 82, 1987.
    """
    totals = [array.sum(0, dtype=np.float64)[None] for array in sums]
    shape = np.shape(statistic(*totals))[1:]

    def columns(*rows: np.ndarray) -> np.ndarray:
        return np.asarray(statistic(*rows), np.float64).reshape(len(rows[0]), -1)

    (value,) = columns(*totals)
    width = sum(total.size for total in totals)
    weights = image_draws(len(sums[0]), width)
    draws = np.concatenate([columns(*pooled(rows, sums)) for rows in weights])
    acceleration = _acceleration(columns, sums, totals, value)
    number = np.count_nonzero(~np.isnan(draws), 0)
    has_value = ~np.isnan(value) & (number > 0)
    number = np.maximum(number, 1)
    equal = np.abs(draws - value) <= _TIE * np.maximum(1, np.abs(value))
    below = ((draws < value) & ~equal).sum(0) + equal.sum(0) / 2
    bias = _quantile(np.clip(below / number, 0.5 / number, 1 - 0.5 / number))
    draws.sort(0)  # nan last
    ends = []
    for side, extended in ((-0.5, np.minimum), (0.5, np.maximum)):
        shift = bias + NormalDist().inv_cdf(0.5 + side * COVERAGE / 100)
        level = _cumulative(bias + shift / (1 - acceleration * shift))
        end = extended(_between(draws, level * (number - 1)), value)
        ends.append(np.where(has_value, end, np.nan).reshape(shape))
    return Estimate(value.reshape(shape), *ends)


def image_draws(count: int, width: int = 1) -> Iterator[Float[np.ndarray, "draws images"]]:
    """Yields how often each image counts in draws with replacement, a bounded number at a time.

    Args:
      count: number of images, from 1 on.
      width: numbers that are kept of each draw.

    Yields:
      Rows that add up to `count`, `SAMPLES` in all; the same ones whatever the width.

    Example:
      >>> weights = np.concatenate(list(image_draws(3)))
      >>> weights.shape, bool((weights.sum(1) == 3).all())
      ((2000, 3), True)

    Reference:
      Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.
    """
    rng, step = np.random.default_rng(_SEED), max(1, _NUMBERS // max(count, width))
    for first in range(0, SAMPLES, step):
        rows = min(step, SAMPLES - first)
        chosen = rng.integers(0, count, (rows, count))
        chosen += count * np.arange(rows)[:, None]
        yield np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count).astype(float)


def pooled(
    weights: Float[np.ndarray, "draws images"], sums: Sequence[Num[np.ndarray, "images ..."]]
) -> list[Float[np.ndarray, "draws ..."]]:
    """Adds up numbers of images, each as often as it counts.

    Integers up to 2^53 are added without rounding.

    Args:
      weights: how often each image counts.
      sums: numbers of each image.

    Returns:
      For each of `sums` one row for each row of weights.

    Example:
      >>> pooled(np.asarray([[1.0, 2.0]]), [np.asarray([3, 4])])[0].tolist()
      [11.0]
    """
    results = []
    for array in sums:
        flat = array.reshape(len(array), -1)
        result = np.zeros((len(weights), flat.shape[1]))
        for part in parts(len(flat), flat.shape[1]):
            result += weights[:, part] @ flat[part].astype(np.float64)
        results.append(result.reshape(len(weights), *array.shape[1:]))
    return results


def parts(count: int, width: int) -> Iterator[slice]:
    """Yields slices of as many rows as fit into memory at a time.

    Args:
      count: number of rows.
      width: numbers in each.

    Yields:
      Slices that cover all rows in order.

    Example:
      >>> list(parts(3, 1))
      [slice(0, 3, None)]
    """
    step = max(1, _NUMBERS // max(1, width))
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def _acceleration(
    statistic: Statistic,
    sums: Sequence[np.ndarray],
    totals: Sequence[np.ndarray],
    value: np.ndarray,
) -> np.ndarray:
    """The skewness of the jackknife, over 6.

    Moments are taken about the value of all images, from which one image takes little, so that
    little cancels and no value of an image must be kept.
    """
    number, first, second, third = (np.zeros_like(value) for _ in range(4))
    for part in parts(len(sums[0]), sum(total.size for total in totals)):
        left = [total - array[part] for total, array in zip(totals, sums, strict=True)]
        change = value - np.asarray(statistic(*left), np.float64)
        known = ~np.isnan(change)
        change = np.where(known, change, 0)
        number += known.sum(0)
        first += change.sum(0)
        second += (change**2).sum(0)
        third += (change**3).sum(0)
    mean = first / np.maximum(number, 1)
    spread = second - number * mean**2
    skew = third - 3 * mean * second + 2 * number * mean**3
    varies = spread > 1e-9 * second
    root = 6 * np.where(varies, spread, 1) ** 1.5
    return np.where(varies, np.clip(skew / root, -1 / 6, 1 / 6), 0)


def _between(ordered: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Values at places between the rows of ordered ones, by linear interpolation."""
    lower = np.floor(place).astype(int)
    upper = np.ceil(place).astype(int)
    at = [np.take_along_axis(ordered, index[None], 0)[0] for index in (lower, upper)]
    return at[0] + (place - lower) * (at[1] - at[0])


def _quantile(probability: np.ndarray) -> np.ndarray:
    """Phi^-1."""
    return np.vectorize(NormalDist().inv_cdf, otypes=[float])(probability)


def _cumulative(z: np.ndarray) -> np.ndarray:
    """Phi."""
    return np.vectorize(NormalDist().cdf, otypes=[float])(z)


def rank_sums(
    x: Num[np.ndarray, " n"],
    y: Num[np.ndarray, " n"],
    image: Integer[np.ndarray, " n"],
    count: int,
) -> Float[np.ndarray, "images 6"]:
    """Sums over the parts of each image that `rank_correlation` follows from.

    Ranks r are those among all parts; equal values have their mean rank.

    Args:
      x: one number of each part.
      y: the other one.
      image: which image each part is of.
      count: number of images.

    Returns:
      Of each image the sums of 1, r_x, r_y, r_x^2, r_y^2 and r_x r_y.

    Example:
      >>> rank_sums(np.arange(3.0), np.arange(3.0), np.asarray([0, 0, 1]), 2)[:, 0].tolist()
      [2.0, 1.0]
    """
    a, b = _ranks(x), _ranks(y)
    products = (np.ones_like(a), a, b, a * a, b * b, a * b)
    return np.stack([np.bincount(image, p, count) for p in products], 1).astype(np.float64)


def rank_correlation(sums: Float[np.ndarray, "*batch 6"]) -> Float[np.ndarray, "*batch"]:
    """Spearman's correlation of two numbers of parts of images.

    rho = cov(r_x, r_y) / sqrt(var(r_x) var(r_y)), each part counting as often as its image.

    Args:
      sums: of `rank_sums`, added up over images.

    Returns:
      rho in [-1, 1]; nan where one of the numbers does not vary.

    Example:
      >>> x = np.asarray([1.0, 2.0, 4.0])
      >>> float(rank_correlation(rank_sums(x, x**3, np.arange(3), 3).sum(0)))
      1.0

    Reference:
      Spearman, "The Proof and Measurement of Association between Two Things", 1904.
    """
    n, a, b, aa, bb, ab = np.moveaxis(sums, -1, 0)
    # Ranks are centered, so little cancels; what is left of a variance of 0 is rounding.
    spread_a, spread_b = n * aa - a * a, n * bb - b * b
    varies = np.minimum(spread_a, spread_b) > 1e-9 * n * n
    root = np.sqrt(np.where(varies, spread_a * spread_b, 1))
    return np.where(varies, np.clip((n * ab - a * b) / root, -1, 1), np.nan)


def _ranks(x: np.ndarray) -> np.ndarray:
    """Mean ranks of equal values, centered on 0, as fractions of the number of values."""
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count + 1) / 2
    return (middle[place] - (len(x) - 1) / 2) / max(1, len(x))


def with_interval(value: float, low: float, high: float, *, sign: str = "") -> str:
    """Writes a number with its interval, "-" for nan.

    Args:
      value: the number.
      low: lower end.
      high: upper end.
      sign: "+" to write the sign of positive numbers, too.

    Returns:
      Text.

    Example:
      >>> with_interval(1.5, 1.0, 2.25), with_interval(float("nan"), 0.0, 0.0)
      ('1.50 [1.00, 2.25]', '-')
    """
    if math.isnan(value):
        return "-"
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def describe() -> str:
    """Says what the intervals are.

    Example:
      >>> describe()
      '95 % BCa bootstrap intervals over images (2000 draws with replacement)'
    """
    return f"{COVERAGE} % BCa bootstrap intervals over images ({SAMPLES} draws with replacement)"
