"""What scores must reach: `--fail-under mIoU=70`, for whoever scores in a pipeline of tests."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segalias_jax.errors import InputError, check_choice
from segalias_jax.metrics.distance_scores import distance_rows
from segalias_jax.metrics.lookup import find_score, rows_of
from segalias_jax.metrics.rows import Score
from segalias_jax.metrics.scores import SCORES
from segalias_jax.scoring.counting import PairCounts
from segalias_jax.scoring.image_counts import CountPlan
from segalias_jax.scoring.pair_scores import areas, class_counts

LEFT_OUT = 3
"""Exit status of a report that some files are missing from."""

FAILED = 4
"""Exit status where a score is on the wrong side of its limit."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """A bound of a score: the least of scores of which more is better, the most of others.

    Attributes:
      score: name in reports; of the form per class where `of_class` is given.
      bound: as tables print it: per cent of fractions, else a number.
      of_class: name of a class; "" for the score of all.

    Example:
      >>> Limit.parse("mIoU=70"), Limit.parse("IoU:car=50")
      (Limit(score='mIoU', bound=70.0, of_class=''), Limit(score='IoU', bound=50.0, of_class='car'))
    """

    score: str
    bound: float
    of_class: str = ""

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Reads "SCORE=NUMBER" or "SCORE:CLASS=NUMBER".

        Args:
          text: of a flag.

        Returns:
          The limit.

        Raises:
          argparse.ArgumentTypeError: it is neither of these.
        """
        name, _, number = text.rpartition("=")
        score, _, of_class = name.partition(":")
        try:
            bound = float(number)
        except ValueError:
            bound = math.nan
        if not score or not math.isfinite(bound):
            raise argparse.ArgumentTypeError(
                f"{text!r} is no limit; write SCORE=NUMBER such as mIoU=70, or IoU:CLASS=50"
            )
        return cls(score, bound, of_class)

    @property
    def name(self) -> str:
        """The score as the flag names it."""
        return f"{self.score}:{self.of_class}" if self.of_class else self.score


def check_limits(limits: Sequence[Limit], plan: CountPlan, classes: Sequence[str] | None) -> None:
    """Raises before anything is scored where a limit is of nothing that will be.

    Args:
      limits: what scores must reach.
      plan: what will be counted.
      classes: names of the classes; None: they are not known yet.

    Raises:
      InputError: no such score or class, which lists the choices; a score of which neither more
        nor less is better; or a fraction where per cent are meant.

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings
      >>> plan = CountPlan(CountSettings(2))
      >>> check_limits([Limit("IoU", 70.0, "cars")], plan, ["road", "car"])
      Traceback (most recent call last):
      segalias_jax.errors.InputError: --fail-under IoU is 'cars'; did you mean 'car'? choose one \
of road, car
    """
    for limit in limits:
        rows = _rows(plan, per_class=bool(limit.of_class))
        check_choice("--fail-under", limit.score, rows)
        if limit.of_class and classes is not None:
            check_choice(f"--fail-under {limit.score}", limit.of_class, classes)
        row = rows[limit.score]
        if row.unit == "%" and row.direction == "larger":
            check_least_per_cent(limit)


def check_least_per_cent(limit: Limit) -> None:
    """Refuses a fraction where per cent are meant: every model would reach it.

    Args:
      limit: least per cent of a score.

    Raises:
      InputError: it is above 0 and below 1.

    Example:
      >>> check_least_per_cent(Limit("mIoU", 0.7))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: --fail-under mIoU=0.7: limits are in per cent; write mIoU=70
    """
    if 0 < limit.bound < 1:
        raise InputError(
            f"--fail-under {limit.name}={limit.bound:g}: limits are in per cent; write "
            f"{limit.name}={100 * limit.bound:g}"
        )


def failures(
    limits: Sequence[Limit],
    scores: Mapping[str, Any],
    plan: CountPlan,
    classes: Sequence[str],
) -> list[str]:
    """Says which scores are on the wrong side of their limit; a score without a value is, too.

    Args:
      limits: what scores must reach, checked by `check_limits`.
      scores: of a report by name, numbers or one for each class.
      plan: what was counted.
      classes: names of the classes.

    Returns:
      A phrase for each, such as "mIoU is 65.20, below 70".

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings
      >>> scores = {"mIoU": 0.652, "DErr": 0.4, "IoU": [0.7, 0.6]}
      >>> limits = [Limit("mIoU", 70.0), Limit("DErr", 40.0), Limit("IoU", 65.0, "b")]
      >>> failures(limits, scores, CountPlan(CountSettings(2)), ["a", "b"])
      ['mIoU is 65.20, below 70', 'IoU:b is 60.00, below 65']
    """
    phrases, rows = [], [_rows(plan, per_class=per_class) for per_class in (False, True)]
    for limit in limits:
        per_class = bool(limit.of_class)
        row = rows[per_class][limit.score]
        value = scores[limit.score]
        if per_class and limit.of_class not in classes:
            phrases.append(f"{limit.name} has no value, since no class has this name")
            continue
        value = float(value[list(classes).index(limit.of_class)] if per_class else value)
        # Rounded as little as a float is: 0.7 is 70, not 70 less one bit.
        shown = float(f"{100 * value:.12g}") if row.unit == "%" else value
        text = f"{shown:.2f}" if row.unit == "%" else f"{shown:.12g}"
        if math.isnan(shown):
            phrases.append(f"{limit.name} has no value")
        elif row.direction == "larger" and shown < limit.bound:
            phrases.append(f"{limit.name} is {text}, below {limit.bound:g}")
        elif row.direction == "smaller" and shown > limit.bound:
            phrases.append(f"{limit.name} is {text}, above {limit.bound:g}")
    return phrases


def _rows(plan: CountPlan, *, per_class: bool) -> dict[str, Score]:
    """Rows of the scores that will be there and have a direction, by the name in question."""
    settings = plan.settings
    sums = areas(PairCounts.zeros(settings)).astype(np.int64)
    inner = bool(settings.boundary_iou)
    found = list(rows_of(class_counts(sums, settings.tolerances, inner=inner)))
    sources = {"foreground"} if plan.num_classes == 2 else set()
    if plan.probabilities:
        sources.add("bins")
    found += [row for row in SCORES.values() if row.source in sources]
    if plan.distances is not None:
        found += distance_rows(plan.distances)
        found += [find_score(f"mBoundaryF_{width}px") for width in plan.distances.widths]
    named = {row.per_class if per_class else row.name: row for row in found if row.direction}
    named.pop("", None)
    return named
