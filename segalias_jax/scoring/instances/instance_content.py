"""The content of report.json on scored objects, and what is said first: which cause costs most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segalias_jax.scoring.instances.coco_scores import coco_names
from segalias_jax.scoring.instances.instance_scorer import InstanceScorer
from segalias_jax.scoring.instances.object_causes import (
    CAUSES,
    DISPLACED,
    FALSE,
    FOUND,
)
from segalias_jax.scoring.instances.records import InstanceRecord
from segalias_jax.scoring.instances.tide import ERRORS, SPECIAL
from segalias_jax.scoring.instances.totals import IOU, REACH, SCORES, SIZES, Totals
from segalias_jax.scoring.reports.content import library
from segalias_jax.scoring.reports.tables import escaped, markdown_table, percent

SCHEMA = 1
"""Version of this content; "kind" tells it from reports of class maps."""

ACCURACY = "TP/(TP+FP+FN)"

RULES = {
    "matching": "objects of one class with an IoU above 1/2 are matched one to one, the largest "
    "IoU first; predictions with more than half of their pixels on a crowd of their class are not "
    "counted",
    ACCURACY: "of all classes together, at IoU above .5; the mean is over .5, .55, ..., .95",
    "PQ": "panoptic quality of things (Kirillov et al., CVPR 2019), mean over the classes that are "
    "there",
    "AJI": "aggregated Jaccard index (Kumar et al., TMI 2017), mean over images",
    "merged": "true objects of which one prediction holds at least half of two or more",
    "split": "true objects that two or more predictions, each at least half inside, cover half of",
    "confused": "true objects that have an IoU above .5 with a prediction of another class alone",
    "displaced": "true objects that have an IoU from .1 to .5 with a prediction of their class",
    "missed": "all other true objects",
    "false": "predictions that none of these explain",
    "offset": "mean signed distance of the predicted from the true boundary in pixels, positive "
    "where the prediction reaches too far",
    "gain": f"what repairing a cause by itself adds to {ACCURACY} at IoU .5: its objects are found "
    "and its unmatched predictions vanish",
    "TIDE": "what AP at IoU .5 gains without an error (Bolya et al., ECCV 2020)",
    "AP, AR": "COCO's, by faster-coco-eval; boundary: the lesser of the IoU of masks and of their "
    "bands (Cheng et al., CVPR 2021)",
}
"""How objects are scored, in words."""


def report_content(
    scorer: InstanceScorer,
    scores: Mapping[str, Any],
    *,
    title: str,
    settings: Mapping[str, Any],
    notices: Sequence[str] = (),
    command: str = "",
    date: str = "",
) -> dict[str, Any]:
    """Puts together all of `report.json`.

    Args:
      scorer: with all images.
      scores: what it computes.
      title: headline.
      settings: what else a reader must know, by name.
      notices: what a reader should know, in sentences.
      command: the command line; "": there was none.
      date: when it was scored, in ISO 8601.

    Returns:
      What JSON can hold, but for nan.
    """
    totals = scorer.totals
    counts = {side: totals.counts(side) for side in ("true", "predicted")}
    per_class = {k.removesuffix("_per_class"): v for k, v in scores.items() if np.ndim(v)}
    number = counts["true"].sum((0, 2))
    return {
        "kind": "instances",
        "schema": SCHEMA,
        "library": library(),
        "command": command,
        "date": date,
        "title": title,
        "settings": {**settings, **scorer.settings.to_json()},
        "scoring": RULES,
        # Without scores of their own, detections have no order that precision could follow.
        "ranked": len({x for one in scorer.images for x in one.tide.scores.tolist()}) > 1,
        "notices": [*notices, *_suspicions(scores)],
        "scores": {k: v for k, v in scores.items() if not np.ndim(v)},
        "classes": [
            {"name": name, "true": int(number[c])}
            | {key: np.asarray(values)[c].item() for key, values in per_class.items()}
            for c, name in enumerate(scorer.classes)
        ],
        "causes": {
            "names": list(CAUSES),
            "sizes": list(SIZES),
            "true": counts["true"].tolist(),
            "predicted": counts["predicted"].tolist(),
            "gains": totals.gains(),
            "reach": REACH,
            "offsets": {CAUSES[k]: totals.offset_histogram(k).tolist() for k in (FOUND, DISPLACED)},
        },
        "images": [_image(one, totals.num_classes) for one in scorer.images],
    }


def _image(one: InstanceRecord, num_classes: int) -> dict[str, Any]:
    totals = Totals.of([one], num_classes)
    counts = {side: totals.counts(side).sum((1, 2)).tolist() for side in ("true", "predicted")}
    quality = totals.panoptic()[0]
    classes = set(one.true.classes.tolist()) | set(one.predicted.classes.tolist())
    return {
        "name": one.name,
        "height": one.size[0],
        "width": one.size[1],
        "classes": sorted(c - 1 for c in classes),
        "accuracy_50": totals.accuracy(IOU),
        "PQ": float(quality[~np.isnan(quality)].mean()) if len(classes) else float("nan"),
        "true": len(one.true),
        "predicted": len(one.predicted),
        "causes": {
            name: counts["predicted" if k == FALSE else "true"][k] for k, name in enumerate(CAUSES)
        },
    }


def _suspicions(scores: Mapping[str, Any]) -> list[str]:
    """What looks like an error in the files rather than in the predictions."""
    found = []
    if scores["confused"] > scores["found"]:
        found.append(
            f"{scores['confused']} objects are found as another class and {scores['found']} as "
            "their own: check that both sides number classes alike"
        )
    return found


def leading_causes(content: Mapping[str, Any]) -> list[str]:
    """Causes that there are, that of the largest gain first; "found" is none.

    Example:
      >>> names = ["missed", "merged", "found"]
      >>> gains = {"missed": 0.1, "merged": 0.2, "found": 0.0}
      >>> scores = {"missed": 1, "merged": 4, "found": 9}
      >>> leading_causes({"causes": {"names": names, "gains": gains}, "scores": scores})
      ['merged', 'missed']
    """
    causes, scores = content["causes"], content["scores"]
    names = [name for name in causes["names"] if name != CAUSES[FOUND] and scores[name]]
    return sorted(names, key=lambda name: (-causes["gains"][name], -scores[name]))


def headline(content: Mapping[str, Any]) -> str:
    """Says in one sentence which cause costs most.

    Args:
      content: of `report_content`.

    Returns:
      The sentence.
    """
    scores = content["scores"]
    true = sum(one["true"] for one in content["classes"])
    names = leading_causes(content)
    if not true and not names:
        return "There is no object, true or predicted."
    if not names:
        return "Every object is found."
    name, now = names[0], 100 * scores["accuracy_50"]
    then = now + 100 * content["causes"]["gains"][name]
    number = f"{scores[name]:,}"
    said = (
        f"{number} predictions are false"
        if name == CAUSES[FALSE]
        else f"{number} of {true:,} objects ({100 * scores[name] / true:.0f} %) are {name}"
    )
    return f"{said}; without that, {ACCURACY} at IoU .5 would be {then:.1f} instead of {now:.1f}."


def cause_table(content: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the table of causes, the header first: gain, objects, and how many by size.

    Args:
      content: of `report_content`.

    Returns:
      Texts.
    """
    causes, scores = content["causes"], content["scores"]
    true = max(1, sum(one["true"] for one in content["classes"]))
    rows = [["cause", f"{ACCURACY} without it", "objects", "of true objects", *causes["sizes"]]]
    for name in [*leading_causes(content), CAUSES[FOUND]]:
        k = causes["names"].index(name)
        false = name == CAUSES[FALSE]
        by_size = np.asarray(causes["predicted" if false else "true"][k]).sum(0)
        rows.append(
            [
                name,
                "-" if name == CAUSES[FOUND] else f"{100 * causes['gains'][name]:+.2f}",
                str(scores[name]),
                "-" if false else percent(scores[name] / true),
                *map(str, by_size.tolist()),
            ]
        )
    return rows


def class_table(content: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the table of classes, the header first: scores, and objects by cause.

    Args:
      content: of `report_content`.

    Returns:
      Texts.
    """
    kinds = [key for key in content["classes"][0] if key.endswith("_AP")]
    scored = [*kinds, "PQ", "SQ", "RQ", "accuracy_50"]
    titles = [ACCURACY if key == "accuracy_50" else key.replace("_", " ") for key in scored]
    rows = [["class", *titles, "true", *CAUSES]]
    for one in content["classes"]:
        values = [percent(float(one[key])) for key in scored]
        numbers = [str(one["true"]), *(str(one[name]) for name in CAUSES)]
        rows.append([escaped(one["name"]), *values, *numbers])
    return rows


def tide_table(content: Mapping[str, Any]) -> list[list[str]]:
    """Rows of TIDE's table, the header first.

    Args:
      content: of `report_content`.

    Returns:
      Texts.
    """
    scores = content["scores"]
    names = [*ERRORS, *SPECIAL]
    values = [scores[f"tide_{name.replace(' ', '_')}"] for name in names]
    return [["AP50", *names], [percent(v) for v in (scores["tide_AP50"], *values)]]


def offsets_said(content: Mapping[str, Any]) -> str:
    """Says how far boundaries are from the true ones; "" where no object is found."""
    scores = content["scores"]
    said = []
    for name in (CAUSES[FOUND], CAUSES[DISPLACED]):
        value = scores[f"offset_{name}"]
        if not np.isnan(value):
            side = "outside" if value > 0 else "inside"
            said.append(f"{name} objects {abs(value):.2f} px {side}")
    return f"Boundaries lie, in the mean: {', '.join(said)} of the true ones." if said else ""


def precision_table(content: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the table of average precision and recall, the header first.

    Args:
      content: of `report_content`.

    Returns:
      Texts, a row for each kind; [] where it was not asked for.
    """
    settings, scores = content["settings"], content["scores"]
    names = {kind: coco_names(kind, settings["max_detections"]) for kind in settings["kinds"]}
    if not names:
        return []
    header = [one.partition("_")[2].replace("_", " ") for one in next(iter(names.values()))]
    rows = [[kind, *(percent(scores[name]) for name in found)] for kind, found in names.items()]
    return [["", *header], *rows]


def score_rows(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Title and per cent of each score of counted objects that is a fraction."""
    rows = [row for row in SCORES if row.unit == "%"]
    return [(row.title, percent(content["scores"][row.name])) for row in rows]


def tables(content: Mapping[str, Any]) -> str:
    """The sentence and all tables in Markdown, which also read well in a terminal.

    Args:
      content: of `report_content`.

    Returns:
      Text.
    """
    parts = [headline(content), *(f"Note: {one}." for one in content["notices"])]
    parts.append(markdown_table(cause_table(content), names=True))
    rows = [["score", "%"], *map(list, score_rows(content))]
    parts.append(markdown_table(rows, names=True))
    if precision := precision_table(content):
        parts.append(markdown_table(precision, names=True))
    if len(content["classes"]) > 1:
        parts.append(markdown_table(class_table(content), names=True))
    if content["ranked"]:
        parts.append(markdown_table(tide_table(content)))
    parts.append(offsets_said(content))
    return "\n\n".join(filter(None, parts))
