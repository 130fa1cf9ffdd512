"""How sure a number over a set of images is: bootstrap draws, and intervals from them."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Integer, Num

SAMPLES, COVERAGE = 1000, 95
"""Number of draws, and per cent of them that an interval holds."""

_SEED = 0


def image_weights(count: int) -> Float[np.ndarray, "draws images"]:
    """How often each image counts: once in the first row, then in draws with replacement.

    A statistic of pooled numbers is computed for every row; what differs between its rows is how
    much it depends on the choice of images. Everyone who asks for the same number of images gets
    the same draws, so that differences are those of paired images.

    Args:
      count: number of images, from 1 on.

    Returns:
      `SAMPLES` + 1 rows, each of which adds up to `count`.

    Example:
      >>> weights = image_weights(3)
      >>> weights.shape, weights[0].tolist(), bool((weights.sum(1) == 3).all())
      ((1001, 3), [1.0, 1.0, 1.0], True)

    Reference:
      Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.
    """
    draws = np.random.default_rng(_SEED).multinomial(count, [1 / count] * count, SAMPLES)
    return np.concatenate([np.ones((1, count)), draws])


def interval(
    values: Num[np.ndarray, " ..."],
) -> tuple[Float[np.ndarray, " ..."], Float[np.ndarray, " ..."]]:
    """The middle 95 % of a statistic over the draws.

    Args:
      values: the statistic for every row of `image_weights`, along the first axis; draws where it
        is nan are left out.

    Returns:
      Lower and upper end; nan where no draw has a value.

    Example:
      >>> low, high = interval(np.arange(-1.0, 1001.0))
      >>> float(low), float(high)
      (25.0, 975.0)
    """
    draws = np.asarray(values[1:], np.float64)
    known = ~np.isnan(draws).all(0)
    ends = [50 - COVERAGE / 2, 50 + COVERAGE / 2]
    low, high = np.nanpercentile(np.where(known, draws, 0), ends, axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def rank_correlation(
    x: Num[np.ndarray, " n"],
    y: Num[np.ndarray, " n"],
    image: Integer[np.ndarray, " n"],
    weights: Float[np.ndarray, "draws images"],
) -> Float[np.ndarray, " draws"]:
    """Spearman's correlation of two numbers of parts of images, for every draw of images.

    rho = cov(r_x, r_y) / sqrt(var(r_x) var(r_y)), each part counting as often as its image. Ranks
    r are those among all parts; equal values have their mean rank.

    Args:
      x: one number of each part.
      y: the other one.
      image: which image each part is of.
      weights: of `image_weights`.

    Returns:
      rho in [-1, 1] for every draw; nan where one of the numbers does not vary.

    Example:
      >>> x, image = np.asarray([1.0, 2.0, 4.0]), np.asarray([0, 1, 2])
      >>> float(rank_correlation(x, x**3, image, image_weights(3))[0])
      1.0

    Reference:
      Spearman, "The Proof and Measurement of Association between Two Things", 1904.
    """
    a, b = _ranks(x), _ranks(y)
    products = (np.ones_like(a), a, b, a * a, b * b, a * b)
    count = weights.shape[1]
    sums = np.stack([np.bincount(image, p, count) for p in products], 1)
    n, a, b, aa, bb, ab = (weights @ sums).T
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
      'the middle 95 % of 1000 bootstrap draws of images with replacement'
    """
    return f"the middle {COVERAGE} % of {SAMPLES} bootstrap draws of images with replacement"
