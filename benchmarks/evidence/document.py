"""Writes docs/evidence.md, its pictures and the README's table from the result files alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.evidence import claims, counts, first_screen
from benchmarks.evidence.plan import STUDIES
from benchmarks.evidence.summary import Difference, Runs, sentence
from segalias_jax.files import write_text
from segalias_jax.scoring.cause_counts import CAUSES
from segalias_jax.scoring.reports.tables import markdown_table

PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"
PICTURE = "pictures/evidence_{}.svg"
FIGURES = {"miou": ("mIoU", "PQ"), "displacement": ("DErr",)}
"""Differences that are drawn, by name of the picture: of each set the first score that it has."""

_HEAD = """# Does it help?

Trainings with and without anti-aliasing, on the same images, batches and seeds, written by
`python -m benchmarks.evidence --summarize` from `benchmarks/results/evidence/`: a file for each
finished run, with its recipe, versions, scores and what was counted of each image.

**{finished} of {planned} planned runs are finished.** These are small networks and few steps, sized
for two processor cores: what is undecided here may show at full size, and what shows here need not
hold there.

## Design

- Runs of a seed see the same batches in the same order; only the filter, the mixer or the
  curriculum differs. Each is scored once, after its last step, on images that it was not trained
  on, so that no checkpoint is chosen by its score.
- A difference is the mean over seeds of variant less baseline, each pair on the same images, in
  points of per cent. Its 95 % interval holds both sources of chance, seeds and images:
  D -+ t E with E^2 = S^2 / n + V, S^2 the variance over n seeds, V that over 2000 draws of images,
  and Satterthwaite's degrees of freedom. Where images were not counted one by one (shifts,
  corruptions, gratings), it holds the seeds alone.
- p is that of the same t, corrected by Holm's method for the variants of a set; `*` marks corrected
  p below .05, and only that is called better or worse. Scores and sets are not corrected for one
  another: of many scores some will differ by chance.
- Of FErr, MErr, DErr and of causes (what mIoU loses to them), less is better.
- Processor times were taken while other work kept part of the machine busy, see the tables: they
  are good for the order of magnitude only.
"""


def write(results: Path) -> None:
    """Writes the page, its pictures, and the README's table.

    Args:
      results: folder of the result files.
    """
    studies = load(results)
    for name in _pictures(studies):
        _draw(_drawn(studies, FIGURES[name]), FIGURES[name], PAGE.parent / PICTURE.format(name))
    write_text(PAGE, text(studies))
    first_screen.write(studies)
    print(f"written: {PAGE}")


def load(results: Path) -> list[Runs]:
    """Reads the finished runs of all studies."""
    return [Runs(study, results) for study in STUDIES]


def text(studies: Sequence[Runs]) -> str:
    """Returns the page."""
    own = [(one, one.study.variants.keys() - one.study.borrowed.keys()) for one in studies]
    finished = sum(len(one.runs[variant]) for one, variants in own for variant in variants)
    planned = sum(len(variants) * len(one.study.seeds) for one, variants in own)
    shown = [one for one in studies if _compares(one)]
    parts = [_HEAD.format(finished=finished, planned=planned), _plan(studies)]
    parts.append("## In a sentence each\n\n" + "\n".join(f"- {line}" for line in _answers(shown)))
    parts += [
        f"![differences from the baseline, {name}]({PICTURE.format(name)})"
        for name in _pictures(studies)
    ]
    parts += [_study(one) for one in shown]
    parts.append(claims.section(studies))
    parts.append(_missing(studies))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _compares(one: Runs) -> bool:
    """Whether at least one run of a study is finished that is not borrowed."""
    return any(runs for variant, runs in one.runs.items() if variant not in one.study.borrowed)


def _answers(shown: Sequence[Runs]) -> list[str]:
    return [
        sentence(found, one.main_score, one.study.title, next(iter(one.study.variants)))
        for one in shown
        for found in one.differences("scores", one.main_score)
    ] or ["No run is finished."]


def _plan(studies: Sequence[Runs]) -> str:
    rows = [["set", "recipe", "steps", "variants", "seeds", "finished runs", "images scored"]]
    for one in studies:
        study = one.study
        own = [variant for variant in study.variants if variant not in study.borrowed]
        done = sum(len(one.runs[variant]) for variant in own)
        images = str(len(one.first["images"])) if one.finished else "-"
        rows.append(
            [
                study.title,
                f"`{study.recipe}`",
                str(study.changes["train.steps"]),
                ", ".join(study.variants),
                str(len(study.seeds)),
                f"{done} of {len(own) * len(study.seeds)}",
                f"{images}, {study.split}",
            ]
        )
    return markdown_table(rows)


def _study(one: Runs) -> str:
    parts = [f"## {one.study.title[0].upper()}{one.study.title[1:]}"]
    if one.study.remark:
        parts.append(f"{one.study.remark}.")
    parts.append("Means over the seeds, in per cent:\n\n" + _means(one, _columns(one)))
    parts.append("Differences from the first row, in points:\n\n" + _differences(one))
    if "mIoU" in one.first["scores"]:
        parts.append("The same of what mIoU loses to each cause:\n\n" + _causes(one, CAUSES))
        parts.append(
            "mIoU of corrupted images; `*`: differs clearly from the first row:\n\n"
            + _conditions(one, "corruptions")
        )
    else:
        parts.append(
            "What TP/(TP+FP+FN) at IoU .5 loses to each cause, means:\n\n"
            + _means(one, [("scores", cause) for cause in counts.OBJECT_CAUSES])
        )
        parts.append(
            "The same, differences from the first row:\n\n" + _causes(one, counts.OBJECT_CAUSES)
        )
    if "as taken" in one.first:
        parts.append(
            "The same networks on the images as they were taken:\n\n"
            + _means(one, [("as taken", name) for name in counts.OBJECTS])
        )
    if "gratings" in one.first:
        parts.append(
            "mIoU with a grating of 20 gray values added, a fifth below or above the Nyquist limit "
            "of an operator:\n\n" + _conditions(one, "gratings")
        )
    if "aliasing" in one.first:
        parts.append(
            "Aliasing scores in per cent of what enters an operator, and of what its filter "
            "leaves, if there is one:\n\n" + _aliasing(one)
        )
    parts.append("Cost:\n\n" + _cost(one))
    return "\n\n".join(parts)


def _columns(one: Runs) -> list[tuple[str, ...]]:
    causes = (*CAUSES, *counts.OBJECT_CAUSES)
    names = [name for name in one.first["scores"] if name not in causes]
    columns: list[tuple[str, ...]] = [("scores", name) for name in names]
    return [*columns, ("shift_consistency",)] if "shift_consistency" in one.first else columns


def _means(one: Runs, columns: Sequence[tuple[str, ...]]) -> str:
    rows = [["variant", "seeds", *(keys[-1].replace("_", " ") for keys in columns)]]
    for variant in one.study.variants:
        cells = (_mean(one.values(variant, *keys), 100) for keys in columns)
        if one.runs[variant]:
            rows.append([variant, str(len(one.runs[variant])), *cells])
    return markdown_table(rows)


def _differences(one: Runs) -> str:
    return _difference_table(one, _columns(one))


def _causes(one: Runs, causes: Sequence[str]) -> str:
    return _difference_table(one, [("scores", cause) for cause in causes])


def _difference_table(one: Runs, columns: Sequence[tuple[str, ...]]) -> str:
    found = [one.differences(*keys) for keys in columns]
    rows = [["variant", *(keys[-1].replace("_", " ") for keys in columns)]]
    for own in zip(*found, strict=True):
        if own[0].seeds:
            rows.append([own[0].variant, *(_starred(each) for each in own)])
    return markdown_table(rows)


def _conditions(one: Runs, kind: str) -> str:
    """Rows are conditions, since there are more of them than of variants."""
    variants = [variant for variant, runs in one.runs.items() if runs]
    rows = [["images", *variants]]
    for keys in [("scores", "mIoU"), *((kind, name) for name in one.first[kind])]:
        clear = {d.variant: d.verdict != "undecided" for d in one.differences(*keys)}
        cells = [
            _mean(one.values(variant, *keys), 100) + " *" * clear.get(variant, False)
            for variant in variants
        ]
        rows.append(["unchanged" if keys[0] == "scores" else keys[-1], *cells])
    return markdown_table(rows)


def _aliasing(one: Runs) -> str:
    names = list(
        dict.fromkeys(
            name
            for runs in one.runs.values()
            for run in runs.values()
            for name in run["aliasing"]["operators"]
        )
    )
    rows = [["variant", *names]]
    for variant in one.study.variants:
        if one.runs[variant]:
            cells = (_before_and_after(one, variant, name) for name in names)
            rows.append([variant, *cells])
    return markdown_table(rows)


def _before_and_after(one: Runs, variant: str, operator: str) -> str:
    before, after = (
        _mean(one.values(variant, "aliasing", "operators", operator, side), 1)
        for side in ("before", "after")
    )
    return before if before == after else f"{before} to {after}"


def _cost(one: Runs) -> str:
    rows = [["variant", "parameters", "GFLOP of a crop", "ms of a step", "ms of an image", "busy"]]
    for variant, runs in one.runs.items():
        if not runs:
            continue
        parameters, gflop = (one.values(variant, "cost", key) for key in ("parameters", "gflop"))
        step, image = (
            _mean(one.values(variant, "timing", f"processor seconds per {what}"), 1000)
            for what in ("step", "image")
        )
        busy = [x for x in one.values(variant, "timing", "others' processors") if x == x]
        total = next(iter(runs.values()))["timing"]["processors"]
        rows.append(
            [
                variant,
                f"{parameters[0]:,.0f}" if parameters and parameters[0] == parameters[0] else "-",
                f"{gflop[0]:.3f}" if gflop and gflop[0] == gflop[0] else "-",
                step,
                image,
                f"{min(busy):.1f} to {max(busy):.1f} of {total}" if busy else "-",
            ]
        )
    note = (
        "Milliseconds of processor time, medians of 10, means over seeds; busy: processors that "
        "other work kept busy meanwhile, least and most."
    )
    return f"{markdown_table(rows)}\n\n{note}"


def _missing(studies: Sequence[Runs]) -> str:
    lines = []
    for one in studies:
        own = [variant for variant in one.study.variants if variant not in one.study.borrowed]
        left = len(own) * len(one.study.seeds) - sum(len(one.runs[variant]) for variant in own)
        if left:
            lines.append(f"- {one.study.title}: {left} runs of the plan.")
    lines.append("- Networks, crops and schedules of published size; Cityscapes, VOC 2012, ADE20K.")
    lines.append("- Networks of the blurs of 5 and 7 pixels, and of adaptive blur.")
    return "## What was not tried yet\n\n" + "\n".join(lines)


def _starred(found: Difference) -> str:
    return found.text + (f" {found.verdict} *" if found.verdict != "undecided" else "")


def _mean(values: Sequence[float], scale: float) -> str:
    known = [value for value in values if not math.isnan(value)]
    return f"{scale * float(np.mean(known)):.2f}" if known else "-"


def _pictures(studies: Sequence[Runs]) -> list[str]:
    """Names of the pictures that have anything to show."""
    return [name for name, scores in FIGURES.items() if _drawn(studies, scores)]


def _drawn(studies: Sequence[Runs], scores: Sequence[str]) -> list[tuple[str, str, Difference]]:
    """Set, score and difference of all comparisons that have an interval."""
    rows = []
    for one in filter(_compares, studies):
        name = next((score for score in scores if score in one.first["scores"]), None)
        if name is not None:
            found = one.differences("scores", name)
            rows += [(one.study.name, name, each) for each in found if each.seeds > 1]
    return rows


def _draw(rows: Sequence[tuple[str, str, Difference]], scores: Sequence[str], path: Path) -> None:
    """Differences with their intervals, a row for each comparison."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": path.stem, "font.size": 9}):
        figure = Figure(figsize=(7, 1.0 + 0.28 * len(rows)), layout="constrained")
        axes = figure.subplots()
        colors = {"better": "tab:green", "worse": "tab:red", "undecided": "tab:gray"}
        for place, (_, _, each) in enumerate(rows):
            axes.plot([each.low, each.high], [place, place], color=colors[each.verdict])
            axes.plot(each.value, place, "o", color=colors[each.verdict])
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [f"{s}: {d.variant} ({d.seeds})" for s, _, d in rows])
        axes.invert_yaxis()
        shown = " or ".join(dict.fromkeys(name for _, name, _ in rows))
        less = ", less is better" if scores[0] in counts.SMALLER else ""
        axes.set_xlabel(f"difference of {shown} in points, 95 % interval (seeds){less}")
        axes.grid(axis="x", alpha=0.3)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
