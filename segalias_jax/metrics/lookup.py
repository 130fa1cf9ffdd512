"""Rows of the table of scores by any name, by what was counted, and by where they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from segalias_jax.errors import check_choice
from segalias_jax.metrics.counts import ClassCounts
from segalias_jax.metrics.rows import Score, at_tolerance
from segalias_jax.metrics.scores import SCORES


def find_score(name: str) -> Score:
    """Returns the row of a score by any name that reports have for it.

    Args:
      name: key of a report: of the score, of its form per class, or of that of an image.

    Returns:
      The row; of a score with a tolerance the one for that tolerance.

    Raises:
      InputError: no score has this name.

    Example:
      >>> find_score("class_DErr").name, find_score("mBoundaryF_3px").title
      ('DErr', 'mean boundary F 3 px')
    """
    if name in SCORES:
        return SCORES[name]
    for row in SCORES.values():
        for form in row.names:
            before, _, after = form.partition("{}")
            number = r"(\d+(?:\.\d+)?)"
            if found := re.fullmatch(re.escape(before) + number + re.escape(after), name):
                tolerance = float(found[1]) if "." in found[1] else int(found[1])
                return at_tolerance(row, tolerance) if "{}" in form else row
            if name == form:
                return row
    check_choice("score", name, SCORES)
    raise AssertionError("names in SCORES were found above")


def score_title(name: str) -> str:
    """Returns the name for people of a score, by any name that reports have for it.

    Args:
      name: as for `find_score`.

    Returns:
      Its title.

    Raises:
      InputError: no score has this name.

    Example:
      >>> score_title("Dice_mean_over_images"), score_title("class_DErr")
      ('F1 = Dice, mean over images', 'DErr')
      >>> score_title("foreground_Dice"), score_title("mBoundaryF_3px")
      ('Dice', 'mean boundary F 3 px')
    """
    row = find_score(name)
    if name == row.name:
        return row.title
    return row.class_title if name == row.per_class else name.removeprefix("foreground_")


def rows_of(counts: ClassCounts) -> Iterator[Score]:
    """Yields the rows of the scores that follow from some counts, one for each tolerance."""
    for row in SCORES.values():
        if row.source == "classes" and all(getattr(counts, n) is not None for n in row.needs):
            if "{}" in row.name:
                yield from (at_tolerance(row, tolerance) for tolerance in counts.tolerances)
            else:
                yield row


def rows_shown(place: str, *, source: str) -> list[Score]:
    """Returns the rows that are shown in a place, in their order there.

    Args:
      place: one of `PLACES`.
      source: one of `SOURCES`.

    Returns:
      Rows.

    Example:
      >>> [row.name for row in rows_shown("kinds", source="classes")]
      ['false_response', 'merging_mistake', 'displacement', 'interior_error']
    """
    rows = (row for row in SCORES.values() if place in row.shown and row.source == source)
    return sorted(rows, key=lambda row: row.rank)


def smaller_is_better() -> str:
    """Names the scores of the first table of which less is better, for a sentence.

    Example:
      >>> smaller_is_better()
      'FErr, MErr and DErr'
    """
    rows = rows_shown("table", source="classes")
    names = [row.title for row in rows if row.direction == "smaller"]
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
