"""What a page picks out of a report: the worst classes, and the images worth a look.

Everything here reads the content of `report.json`, so that a page can be made of a file as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.lookup import find_score, rows_shown
from segalias_jax.metrics.rows import Score
from segalias_jax.scoring.reports import summary

CONFUSION = 0.01
"""Confusions of at most this fraction of all wrong pixels are not listed."""

_NO_CAUSES: Mapping[str, Any] = {
    "names": [],
    "pixels": {},
    "wrong_pixels": 0,
    "counted_pixels": 0,
    "delta_mIoU": {},
    "by_class": {},
    "objects": {},
    "sizes": [],
    "displacement": [],
}


class Telling(NamedTuple):
    """An image that shows a cause.

    Attributes:
      index: of the image.
      cause: index of the cause.
      fraction: of its pixels.
    """

    index: int
    cause: int
    fraction: float


class Confusion(NamedTuple):
    """Pixels of one class that are predicted as another one.

    Attributes:
      true: class id.
      predicted: class id.
      of_class: fraction of the pixels of the true class.
      of_wrong: fraction of all wrong pixels.
    """

    true: int
    predicted: int
    of_class: float
    of_wrong: float


def class_scores(report: Mapping[str, Any], name: str) -> list[float | int | None]:
    """Values of a score of each class.

    Example:
      >>> class_scores({"classes": [{"name": "sky", "IoU": 0.5}]}, "IoU")
      [0.5]
    """
    return [one.get(name) for one in report["classes"]]


def causes_of(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a report says of causes; of none where they were not counted.

    Example:
      >>> causes_of({"causes": None})["names"]
      []
    """
    return report.get("causes") or _NO_CAUSES


def leading_causes(report: Mapping[str, Any]) -> list[int]:
    """Indices of all causes, the one whose repair gains most mIoU first.

    Example:
      >>> pixels = {"a": 0, "b": 2}
      >>> leading_causes({"causes": {"names": ["a", "b"], "pixels": pixels, "delta_mIoU": pixels}})
      [1, 0]
    """
    names = causes_of(report)["names"]
    leading = summary.leading_causes(report) if names else []
    absent = [name for name in names if name not in leading]
    return [names.index(name) for name in (*leading, *absent)]


def class_causes(report: Mapping[str, Any]) -> np.ndarray:
    """Wrong pixels that touch each class, as its true or its predicted one, by cause.

    Args:
      report: content of `report.json`.

    Returns:
      Pixels, [classes, causes].

    Example:
      >>> both = {"true": [1, 0], "predicted": [0, 1]}
      >>> causes = {"names": ["a"], "by_class": {"a": both}}
      >>> class_causes({"causes": causes, "classes": [{}, {}]}).tolist()
      [[1], [1]]
    """
    causes = causes_of(report)
    found = [causes["by_class"][name] for name in causes["names"]]
    pixels = [np.asarray(one["true"]) + np.asarray(one["predicted"]) for one in found]
    return np.stack(pixels, 1) if pixels else np.zeros((len(report["classes"]), 0), np.int64)


def worst_classes(report: Mapping[str, Any], count: int) -> list[int]:
    """Ids of the classes of lowest IoU, the lowest first; of those that have one.

    Example:
      >>> worst_classes({"classes": [{"IoU": 0.5}, {"IoU": None}, {"IoU": 0.25}]}, 5)
      [2, 0]
    """
    values = class_scores(report, "IoU")
    known = [(value, i) for i, value in enumerate(values) if value is not None]
    return [i for _, i in sorted(known)[:count]]


def cause_fractions(report: Mapping[str, Any]) -> np.ndarray:
    """Wrong pixels of each image by cause, as fractions of its pixels.

    Example:
      >>> image = {"height": 2, "width": 5, "causes": {"a": 1}}
      >>> cause_fractions({"causes": {"names": ["a"]}, "images": [image]}).tolist()
      [[0.1]]
    """
    names, images = causes_of(report)["names"], report["images"]
    pixels = [[image["causes"][name] for name in names] for image in images]
    areas = [[image["height"] * image["width"]] for image in images]
    counts = np.asarray(pixels, np.float64).reshape(len(images), len(names))
    return counts / np.asarray(areas, np.float64).reshape(-1, 1)


def telling_images(report: Mapping[str, Any], count: int = 3) -> list[Telling]:
    """The images that show the leading causes best, a different one for each cause.

    Args:
      report: content of `report.json`.
      count: number of images.

    Returns:
      Of each leading cause the image with the largest fraction of it.

    Example:
      >>> telling_images({"causes": {"names": [], "pixels": {}, "delta_mIoU": {}}, "images": []})
      []
    """
    fractions, found = cause_fractions(report), []
    for cause in leading_causes(report):
        for index in np.argsort(-fractions[:, cause], kind="stable"):
            if fractions[index, cause] > 0 and all(index != one.index for one in found):
                found.append(Telling(int(index), cause, float(fractions[index, cause])))
                break
    return found[:count]


def pictured(report: Mapping[str, Any], count: int) -> list[int]:
    """Indices of the images that a page embeds: the telling ones, then the worst in turns.

    Args:
      report: content of `report.json`.
      count: most images.

    Returns:
      Distinct indices. In turns comes the next one of those of lowest score, and of those with
      most pixels of each cause that there is.

    Raises:
      InputError: `count` is negative.

    Example:
      >>> pictured({"causes": {"names": [], "pixels": {}, "delta_mIoU": {}}, "images": []}, 8)
      []
    """
    if count < 0:
        raise InputError(f"pictures: {count} is no number of images; give 0 or more")
    fractions = cause_fractions(report)
    score = first_score(report)
    values = [image["scores"].get(score) for image in report["images"]]
    known = np.asarray([np.inf if value is None else value for value in values], np.float64)
    queues = [[int(i) for i in np.argsort(known, kind="stable")]]
    for cause in leading_causes(report):
        order = np.argsort(-fractions[:, cause], kind="stable")
        queues.append([int(i) for i in order if fractions[i, cause] > 0])
    chosen = dict.fromkeys(one.index for one in telling_images(report))
    for place in range(len(values)):
        for queue in queues:
            if len(chosen) >= count:
                return list(chosen)[:count]
            if place < len(queue):
                chosen.setdefault(queue[place])
    return list(chosen)[:count]


def first_score(report: Mapping[str, Any]) -> str:
    """Name of the score that images are ranked by: Dice of the foreground, or mIoU.

    Example:
      >>> first_score({"images": []})
      'mIoU'
    """
    two = rows_shown("caption", source="foreground")[0].per_image
    return two if report["images"] and two in report["images"][0]["scores"] else "mIoU"


def known_score(name: str) -> Score | None:
    """The row of a score; None for other numbers in reports, or scores of another program.

    Example:
      >>> known_score("IoU_shifted_1px") is None, known_score("IoU").name
      (True, 'mIoU')
    """
    try:
        return find_score(name)
    except InputError:
        return None


def image_scores(report: Mapping[str, Any]) -> tuple[list[str], set[str]]:
    """Names of the scores that images have, and which of them are shown at first.

    Scores of which less is better are the published three, which are one number on real sets and
    say less than the causes beside them; they are shown on demand.

    Example:
      >>> scores = {"pixels": 4, "mIoU": 1.0, "mDice": 1.0}
      >>> image_scores({"images": [{"scores": scores}]})
      (['mIoU', 'mDice'], {'mIoU'})
    """
    names = list(report["images"][0]["scores"]) if report["images"] else []
    rows = {name: row for name in names if (row := known_score(name)) is not None}
    kept = [name for name, row in rows.items() if row.unit == "%"]
    main = {
        name for name, row in rows.items() if "caption" in row.shown and row.direction == "larger"
    }
    first = first_score(report)
    return sorted(kept, key=lambda name: (name != first, name not in main)), main


def confusions(counts: Sequence[Sequence[int]], least: float = CONFUSION) -> list[Confusion]:
    """The confusions that matter, the one of most pixels first.

    Args:
      counts: pixels by true class (rows) and predicted one; further columns are no class.
      least: fraction of all wrong pixels that a confusion must exceed.

    Returns:
      Pairs of classes.

    Example:
      >>> confusions([[98, 2], [0, 7]])
      [Confusion(true=0, predicted=1, of_class=0.02, of_wrong=1.0)]
    """
    every = np.asarray(counts, np.int64)
    classes = len(every)
    wrong = every.copy()
    np.fill_diagonal(wrong, 0)
    total, of_class = wrong.sum(), every.sum(1)
    found = []
    for place in np.argsort(-wrong[:, :classes], axis=None, kind="stable"):
        true, predicted = divmod(int(place), classes)
        pixels = int(wrong[true, predicted])
        if pixels <= least * total:
            break
        found.append(Confusion(true, predicted, pixels / int(of_class[true]), pixels / int(total)))
    return found
