"""At which aliasing scores the pixels of each kind of error stand.

A pixel has the score of its patch, so a patch counts as often as it has pixels of a kind. The three
errors of the tables overlap: what is wrong near both boundaries is in all of them, and hides what
sets the kinds apart. So each wrong pixel has one kind here, the one that overlays paint: near the
predicted boundary only, near the true one only, or near both. The overlapping sets are counted from
the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from segalias_jax.evaluation.aliasing.analysis import AliasingAnalysis
from segalias_jax.metrics import ERROR_KINDS
from segalias_jax.scoring.causes import CAUSES
from segalias_jax.scoring.reports import bootstrap

LEVELS = (1, *range(5, 100, 5), 99)
"""Quantiles that are kept of a distribution, in per cent."""

FALSE, MERGING, DISPLACED = (
    ERROR_KINDS.index(kind) for kind in ("false response", "merging mistake", "displacement")
)
DISJOINT, OVERLAPPING, BY_CAUSE = "disjoint", "overlapping", "cause"
_OVERLAPPING = {
    "false response": (FALSE, DISPLACED),
    "merging mistake": (MERGING, DISPLACED),
    "displacement": (DISPLACED,),
}
_OTHERS = {"false responses": FALSE, "merging mistakes": MERGING}


def score_distributions(analysis: AliasingAnalysis) -> list[dict[str, Any]]:
    """Distributions of the aliasing score over the pixels of each kind of error.

    Args:
      analysis: patches with their scores and pixels.

    Returns:
      For each operator and set of pixels: "set" ("disjoint", "overlapping" or "cause"), "kind",
      "pixels", "mean", and "quantiles" at `LEVELS`; nan where there is no such pixel.
    """
    sets = [(DISJOINT, kind, analysis.patch_kinds[:, i]) for i, kind in enumerate(ERROR_KINDS)]
    sets += [
        (OVERLAPPING, kind, analysis.patch_kinds[:, of].sum(1)) for kind, of in _OVERLAPPING.items()
    ]
    # Column 0 of the causes is what is right, as it is among the kinds.
    sets += [(BY_CAUSE, cause, analysis.patch_causes[:, 1 + i]) for i, cause in enumerate(CAUSES)]
    rows = []
    for i, operator in enumerate(analysis.operators):
        scores = analysis.patch_scores[:, i]
        for name, kind, pixels in sets:
            quantiles = weighted_quantiles(scores, pixels, LEVELS)
            total = int(pixels.sum())
            rows.append(
                {
                    "operator": operator.name,
                    "set": name,
                    "kind": kind,
                    "pixels": total,
                    "mean": float(scores @ pixels) / total if total else float("nan"),
                    "quantiles": {
                        f"{level}%": float(q) for level, q in zip(LEVELS, quantiles, strict=True)
                    },
                }
            )
    return rows


def weighted_quantiles(
    values: Float[np.ndarray, " n"],
    weights: Int[np.ndarray, " n"],
    levels: Sequence[int],
) -> Float[np.ndarray, " k"]:
    """Quantiles of values of which each stands as often as its weight says.

    q(p) = min {v : 100 sum_{v_i <= v} w_i >= p sum_i w_i}

    Args:
      values: the values.
      weights: how often each stands, 0 or more.
      levels: p, in per cent; integers, so that nothing is rounded.

    Returns:
      The quantiles, each one of the values; nan where all weights are 0.

    Example:
      >>> weighted_quantiles(np.asarray([3.0, 1.0]), np.asarray([1, 2]), [50, 90])
      array([1., 3.])
    """
    order = np.argsort(values, kind="stable")
    order = order[weights[order] > 0]
    if not len(order):
        return np.full(len(levels), np.nan)
    cumulated = np.cumsum(weights[order])
    place = np.searchsorted(100 * cumulated, np.asarray(levels) * cumulated[-1])
    return values[order][place]


def median_differences(analysis: AliasingAnalysis) -> list[dict[str, Any]]:
    """How much higher displacements sit than the other kinds, all taken as disjoint sets.

    Args:
      analysis: patches with their scores and pixels.

    Returns:
      For each operator and each of "false responses" and "merging mistakes", as "than": median
      score of the displaced pixels minus that of the others, in per cent points,
      and its interval ("value", "low", "high"), nan where a kind has no pixel; and the numbers of
      pixels ("displaced", "others").
    """
    rows = []
    pixels = analysis.patch_kinds[:, (DISPLACED, *_OTHERS.values())]
    number, *others = pixels.sum(0).tolist()
    for i, operator in enumerate(analysis.operators):
        order = np.argsort(analysis.patch_scores[:, i], kind="stable")
        scores, image = analysis.patch_scores[order, i], analysis.image[order]

        def differences(
            draws: np.ndarray,
            scores: np.ndarray = scores,
            image: np.ndarray = image,
            pixels: np.ndarray = pixels[order],
        ) -> np.ndarray:
            displaced, *rest = (_medians(scores, one, image, draws) for one in pixels.T)
            return np.stack([displaced - other for other in rest], 1)

        # A median is no function of sums over images, but it is one of how often each is drawn.
        found = bootstrap.bca(differences, np.eye(len(analysis.names)))
        for j, than in enumerate(_OTHERS):
            value, low, high = (float(array[j]) for array in found.arrays)
            row = {"operator": operator.name, "than": than, "value": value}
            row |= {"low": low, "high": high, "displaced": number, "others": others[j]}
            rows.append(row)
    return rows


def _medians(
    scores: Float[np.ndarray, " patches"],
    pixels: Int[np.ndarray, " patches"],
    image: Int[np.ndarray, " patches"],
    draws: Float[np.ndarray, "draws images"],
) -> Float[np.ndarray, " draws"]:
    """Weighted medians of ascending scores; images are drawn several times or not at all."""
    here = np.flatnonzero(pixels)
    medians = np.full(len(draws), np.nan)
    if not len(here):
        return medians
    scores, pixels, image = scores[here], pixels[here], image[here]
    for part in bootstrap.parts(len(draws), len(here)):
        cumulated = np.cumsum(draws[part][:, image] * pixels, axis=1)
        total = cumulated[:, -1]
        place = (cumulated < total[:, None] / 2).sum(1)
        medians[part] = np.where(total > 0, scores[place], np.nan)
    return medians


def answer(differences: Sequence[Mapping[str, Any]]) -> str:
    """Says in a sentence whether displacements sit at higher scores than the other two kinds.

    They do where both intervals are above 0, and sit lower where both are below.

    Args:
      differences: of `median_differences`.

    Returns:
      The sentence, with the differences of medians and their intervals at each operator.

    Example:
      >>> row = {"operator": "stage 2", "value": 1.0, "low": 0.5, "high": 2.0, "displaced": 7}
      >>> row["others"] = 9
      >>> answer([row | {"than": than} for than in ("false responses", "merging mistakes")])
      'Compared with false responses (9) and merging mistakes (9), displacements (7 pixels) sit \
at higher aliasing scores than both at stage 2 (+1.00 [+0.50, +2.00] and +1.00 [+0.50, +2.00]); \
in brackets, how far the medians are apart, in points of the score.'
    """
    sides: dict[str, list[str]] = {"higher": [], "lower": [], "neither": []}
    operators = dict.fromkeys(row["operator"] for row in differences)
    for operator in operators:
        own = [row for row in differences if row["operator"] == operator]
        if np.isnan([row["value"] for row in own]).any():
            continue
        higher, lower = all(r["low"] > 0 for r in own), all(r["high"] < 0 for r in own)
        side = "higher" if higher else "lower" if lower else "neither"
        numbers = (bootstrap.with_interval(r["value"], r["low"], r["high"], sign="+") for r in own)
        sides[side].append(f"{operator} ({' and '.join(numbers)})")
    if not any(sides.values()):
        return "A kind of error near boundaries has no pixel; there is nothing to compare."
    others = " and ".join(
        f"{row['than']} ({row['others']:,})"
        for row in differences
        if row["operator"] == differences[0]["operator"]
    )
    words = {
        "higher": "at higher aliasing scores than both at",
        "lower": "at lower aliasing scores than both at",
        "neither": "neither above both nor below both at",
    }
    parts = [f"{text} {', '.join(sides[side])}" for side, text in words.items() if sides[side]]
    displaced = f"displacements ({differences[0]['displaced']:,} pixels)"
    return (
        f"Compared with {others}, {displaced} sit {'; '.join(parts)}; in brackets, how far the "
        "medians are apart, in points of the score."
    )
