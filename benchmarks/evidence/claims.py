"""The paper's claims one by one, with what the finished runs say to each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.evidence.plan import BASELINE
from benchmarks.evidence.summary import Difference, Runs, count_seeds

ERRORS = ("FErr", "MErr", "DErr")
NOT_RUN = "Not yet run."


def section(studies: Sequence[Runs]) -> str:
    """Returns the part of the page on the paper's claims.

    Args:
      studies: finished runs of all studies.
    """
    by_name = {one.study.name: one for one in studies}
    claims = {
        "The filter, and filter and mixer together, lower all three boundary errors": _errors(
            studies
        ),
        "Displacements sit at higher aliasing scores than the other two kinds of error, all taken "
        "as disjoint pixels": _displacements(studies),
        "Blur lowers the aliasing score and displacements, while the other errors rise": _blur(
            studies
        ),
        "Noise raises aliasing scores, and mIoU falls": _noise(studies),
        "sqrt(2), the equivalent sampling rate's, is the best factor on the cutoff 1/4": _cutoff(
            by_name["cutoff"]
        ),
        "In low light the method raises the scores of single objects": _dark(by_name["dark"]),
        "A curriculum that ends at a part of the spectrum is better than all of it": _curriculum(
            by_name["kvasir"]
        ),
    }
    parts = ["## The paper's claims"]
    for claim, seen in claims.items():
        parts.append(f"**{claim}.**\n\n" + ("\n".join(f"- {line}" for line in seen) or NOT_RUN))
    return "\n\n".join(parts)


def told(found: Difference) -> str:
    """A difference with its interval and verdict; "too few seeds" of less than two pairs.

    Example:
      >>> told(Difference("daf", 1, 1.0, *3 * [float("nan")]))
      '+1.00 (too few seeds)'
    """
    return f"{found.text} ({found.verdict if found.seeds > 1 else 'too few seeds'})"


def _errors(studies: Sequence[Runs]) -> list[str]:
    lines = []
    for one in studies:
        compared = [*one.study.variants][1:]
        if "daf" not in compared or not one.finished or "FErr" not in one.first["scores"]:
            continue
        by_error = {error: one.differences("scores", error) for error in ERRORS}
        for variant in ("daf", "daf+freqmix"):
            found = {
                error: next(each for each in differences if each.variant == variant)
                for error, differences in by_error.items()
            }
            if found["DErr"].seeds:
                text = ", ".join(f"{error} {told(each)}" for error, each in found.items())
                lines.append(f"{one.study.title}, {variant}: {text}.")
    return lines


def _displacements(studies: Sequence[Runs]) -> list[str]:
    """Of the baselines, at how many seeds medians of displacements lie above both others."""
    lines = []
    for one in studies:
        runs = [run for run in one.runs.get(BASELINE, {}).values() if "aliasing" in run]
        if not runs:
            continue
        parts = []
        for operator in runs[0]["aliasing"]["operators"]:
            own = [
                [
                    r
                    for r in run["aliasing"]["displacements less others"]
                    if r["operator"] == operator
                ]
                for run in runs
            ]
            higher = sum(all(_above(r["low"]) for r in rows) for rows in own)
            lower = sum(all(_above(_minus(r["high"])) for r in rows) for rows in own)
            values = [r["value"] for rows in own for r in rows if r["value"] is not None]
            mean = f"{np.mean(values):+.2f}" if values else "-"
            parts.append(f"{operator} {higher} above, {lower} below (mean {mean} points)")
        lines.append(
            f"{one.study.title}, networks of {count_seeds(len(runs))} without filter, in how many "
            "the median of displacements is clearly above, or below, both others: "
            f"{'; '.join(parts)}."
        )
    return lines


def _above(value: float | None) -> bool:
    return value is not None and value > 0


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _blur(studies: Sequence[Runs]) -> list[str]:
    lines = []
    for one in studies:
        if "blur3" not in one.study.variants or not one.runs["blur3"]:
            continue
        errors = [
            next(each for each in one.differences("scores", error) if each.variant == "blur3")
            for error in ERRORS
        ]
        text = ", ".join(f"{e} {told(each)}" for e, each in zip(ERRORS, errors, strict=True))
        lines.append(
            f"{one.study.title}, 3x3 blur before strides: {text}; aliasing scores before and "
            f"after the blur: {_before_after(one, 'blur3')}. Larger blurs were not trained."
        )
    return lines


def _before_after(one: Runs, variant: str) -> str:
    runs = list(one.runs[variant].values())
    parts = []
    for operator, row in runs[0]["aliasing"]["operators"].items():
        if row["filter"] != "none":
            before, after = (
                np.mean([run["aliasing"]["operators"][operator][side] for run in runs])
                for side in ("before", "after")
            )
            parts.append(f"{operator} {before:.2f} and {after:.2f} %")
    return ", ".join(parts)


def _noise(studies: Sequence[Runs]) -> list[str]:
    lines = []
    for one in studies:
        runs = [run for run in one.runs.get(BASELINE, {}).values() if "aliasing" in run]
        if not runs:
            continue
        parts = []
        for operator in runs[0]["aliasing"]["operators"]:
            clean, noisy = (
                np.mean([run["aliasing"]["before, by input"][name][operator] for run in runs])
                for name in ("unchanged", "noise 20")
            )
            parts.append(f"{operator} {clean:.2f} to {noisy:.2f} %")
        miou, worse = (
            100 * np.mean([value for value in one.values(BASELINE, *keys)])
            for keys in (("scores", "mIoU"), ("corruptions", "noise 20"))
        )
        lines.append(
            f"{one.study.title}, without filter ({count_seeds(len(runs))}), noise of 20 gray "
            f"values: {', '.join(parts)}; mIoU {miou:.2f} to {worse:.2f} %."
        )
    return lines


def _cutoff(one: Runs) -> list[str]:
    base, *others = one.study.variants
    if not any(one.runs[variant] for variant in others):
        return []
    return [
        f"{each.variant} less {base}: mIoU {told(each)}, {count_seeds(each.seeds)}."
        for each in one.differences("scores", "mIoU")
    ]


def _dark(one: Runs) -> list[str]:
    """All against training on darkened images alone."""
    if not any(one.runs.values()):
        return []
    score = one.main_score
    return [
        f"{one.study.title}, {each.variant}: {score} {told(each)}, {count_seeds(each.seeds)}."
        for each in one.differences("scores", score)
    ]


def _curriculum(one: Runs) -> list[str]:
    if not one.finished:
        return []
    return [
        f"{one.study.title}, {each.variant}: mIoU {told(each)}, {count_seeds(each.seeds)}."
        for each in one.differences("scores", "mIoU")
    ]
