"""Whether two models differ: paired permutation tests over images, and Holm's correction.

An interval says how large a difference is; a test says how often chance alone makes one as large.
Of many classes and models some differ by chance, which is what the correction is for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from segalias_jax.scoring.reports.bootstrap import Estimate, Statistic, bca, pooled
from segalias_jax.typing import Float, Num

LEVEL = 0.05
"""Corrected p below which a difference is called clear."""

PERMUTATIONS = 9999
"""Permutations that are drawn where there are too many to go through; more for many tests."""

_SEED = 0
_NUMBERS = 1 << 22  # of one array at a time
_TIE = 1e-9  # differences that are equal but for the order in which fractions were added


@dataclasses.dataclass(frozen=True)
class Differences:
    """Statistics of models on the same images, and how the others differ from one of them.

    Attributes:
      values: of each model, [models, *statistic].
      differences: of each other model, [models - 1, *statistic].
      p: of each difference by itself, before any correction.

    Example:
      >>> right = [[np.asarray([1, 2, 3])], [np.asarray([2, 2, 3])]]
      >>> found = paired_differences(lambda total: total / 30, right)
      >>> [round(float(x), 3) for x in (*found.values.value, *found.differences.value, *found.p)]
      [0.2, 0.233, 0.033, 1.0]
    """

    values: Estimate
    differences: Estimate
    p: Float[np.ndarray, "others ..."]


def paired_differences(
    statistic: Statistic,
    models: Sequence[Sequence[Num[np.ndarray, "images ..."]]],
    *,
    base: int = 0,
) -> Differences:
    """Estimates a statistic of several models, and tests how they differ from one of them.

    Args:
      statistic: as for `permutation_test`.
      models: of each the numbers of each image, of the same images.
      base: the model that others are subtracted from.

    Returns:
      Values and differences with intervals from common draws, and p of the differences.
    """
    each = len(models[0])

    def of_all(*sums: np.ndarray) -> np.ndarray:
        groups = (sums[first : first + each] for first in range(0, len(sums), each))
        values = np.stack([np.asarray(statistic(*group)) for group in groups], 1)
        others = np.delete(values, base, 1)
        return np.concatenate([values, others - values[:, base : base + 1]], 1)

    found = bca(of_all, *(array for model in models for array in model))
    parts = [(array[: len(models)], array[len(models) :]) for array in found.arrays]
    others = [model for i, model in enumerate(models) if i != base]
    tests = parts[0][1].size
    p = [permutation_test(statistic, models[base], other, tests=tests) for other in others]
    values, differences = (Estimate(*side) for side in zip(*parts, strict=True))
    return Differences(values, differences, np.stack(p))


def permutation_test(
    statistic: Statistic,
    first: Sequence[Num[np.ndarray, "images ..."]],
    second: Sequence[Num[np.ndarray, "images ..."]],
    *,
    tests: int = 1,
) -> Float[np.ndarray, " ..."]:
    r"""Tests whether two models' statistics of the same images differ by more than chance.

    If the models were alike, each image's counts could as well be exchanged between them. With d
    the difference of the statistics and d_k that after the exchanges of permutation k,

        p = (1 + #{k: |d_k| >= |d|}) / (1 + K),

    two-sided, over K random permutations; where all 2^n of n images are no more than these, they
    are gone through instead, and p is the fraction of them with |d_k| >= |d|. The smallest p is
    2^(1 - n), so that fewer than six images never differ clearly.

    A permutation without a value counts as one with a larger difference; where d is nan, so is p.

    Args:
      statistic: takes the sums over images of each of the models' arrays, with an axis in front,
        and returns the statistic of each row; of any shape.
      first: numbers of each image, of one model.
      second: the same numbers, of the same images, of the other model.
      tests: number of tests that p will be corrected for; 40 permutations are drawn for each if
        those are more than `PERMUTATIONS`, since the smallest p must stay small after correction.

    Returns:
      p of each statistic, before any correction.

    Example:
      >>> right, pixels = np.arange(1, 9), np.full(8, 10)
      >>> ratio = lambda r, p: r / p
      >>> float(permutation_test(ratio, [right, pixels], [right - 1, pixels]))
      0.0078125

    Reference:
      Good, "Permutation Tests", 2000; Phipson and Smyth, "Permutation P-values Should Never Be
      Zero", 2010.
    """
    count, width = len(first[0]), sum(array[:1].size for array in first)
    totals = [[array.sum(0, dtype=np.float64)[None] for array in sums] for sums in (first, second)]
    found = np.asarray(statistic(*totals[1])[0] - statistic(*totals[0])[0], np.float64)
    changes = [b - a for a, b in zip(_wide(first), _wide(second), strict=True)]
    drawn = max(PERMUTATIONS, 40 * tests)
    extreme, number = np.zeros(found.shape), 0
    for swapped in exchanges(count, drawn, width):
        moved = pooled(swapped, changes)
        one, other = (
            statistic(*(total + sign * move for total, move in zip(sums, moved, strict=True)))
            for sums, sign in zip(totals, (1, -1), strict=True)
        )
        less = np.abs(other - one) < np.abs(found) * (1 - _TIE) - _TIE**2
        extreme += (~less).sum(0)
        number += len(swapped)
    one_more = number == drawn
    return np.where(np.isnan(found), np.nan, (extreme + one_more) / (number + one_more))


def exchanges(
    count: int, drawn: int, width: int = 1
) -> Iterator[Float[np.ndarray, "permutations images"]]:
    """Yields which images are exchanged between two models, a bounded number at a time.

    Exchanging all others instead gives the same absolute difference. So where all permutations are
    gone through, it is those that leave the first image where it is.

    Args:
      count: number of images.
      drawn: permutations to draw where all of them would be more.
      width: numbers that are kept of each permutation.

    Yields:
      Rows of 1 for exchanged images and 0 for others; the same ones whatever the width.

    Example:
      >>> next(exchanges(3, 99)).tolist()
      [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    """
    step = max(1, _NUMBERS // max(count, width))
    if 2**count <= drawn:
        codes, places = np.arange(2 ** (count - 1)), np.arange(count - 1)
        bits = codes[:, None] >> places & 1
        rows = np.concatenate([np.zeros((len(bits), 1)), bits], 1)
        for first in range(0, len(rows), step):
            yield rows[first : first + step]
        return
    rng = np.random.default_rng(_SEED)
    for first in range(0, drawn, step):
        # The generator gives four bytes at a time; rows of such lengths are the same in any part.
        size = (min(step, drawn - first), 4 * -(-count // 32))
        packed = np.frombuffer(rng.bytes(size[0] * size[1]), np.uint8).reshape(size)
        yield np.unpackbits(packed, axis=1, count=count).astype(np.float64)


def holm(p: Float[np.ndarray, "*tests"]) -> Float[np.ndarray, "*tests"]:
    """Corrects p values for their number by Holm's step-down method.

    With p_(1) <= ... <= p_(m), the k-th becomes max_{j <= k} min(1, (m - j + 1) p_(j)). The chance
    that any difference below a level is due to chance is then at most that level, however the
    tests depend on each other.

    Args:
      p: of the tests of one family, in any shape; nan is none, and stays.

    Returns:
      Corrected values.

    Example:
      >>> holm(np.asarray([0.01, 0.04, 0.03])).tolist()
      [0.03, 0.06, 0.06]

    Reference:
      Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
    """
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")[: np.count_nonzero(~np.isnan(flat))]
    raised = flat[order] * np.arange(len(order), 0, -1)
    result = np.full(flat.shape, np.nan)
    result[order] = np.minimum(1, np.maximum.accumulate(raised))
    return result.reshape(p.shape)


def describe() -> str:
    """Says what the tests are.

    Example:
      >>> describe().split(",")[0]
      'two-sided permutation tests that exchange images between models'
    """
    return (
        "two-sided permutation tests that exchange images between models, all of them or "
        f"{PERMUTATIONS} (more for many tests), with Holm's correction"
    )


def with_p(p: float) -> str:
    """Writes a corrected p behind a difference, with a star where it is clear; nothing for nan.

    Example:
      >>> with_p(0.0004), with_p(0.25), with_p(float("nan"))
      (' p < 0.001 *', ' p 0.250', '')
    """
    if np.isnan(p):
        return ""
    text = " p < 0.001" if p < 0.001 else f" p {p:.3f}"
    return text + " *" * (p < LEVEL)


def _wide(sums: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Integers of 64 bits, whose differences cannot overflow."""
    return [a.astype(np.int64) if np.issubdtype(a.dtype, np.integer) else a for a in sums]
