"""TIDE: what average precision at IoU .5 loses to each kind of error, detection by detection.

Every false positive has one error, tested in this order, with t_f = .5 and t_b = .1:
localization, t_b <= IoU <= t_f with a true object of its class; classification, IoU >= t_f with one
of another class; duplicate, IoU >= t_f with one of its class that a better detection has;
background, IoU <= t_b with every one; both, what is left. True objects that no detection has, and
that repairing a localization or classification would not give one, are missed. The gain of AP when
all errors of one kind are repaired says what the kind costs: false positives become right where
they stand for a true object that no other detection has, and vanish otherwise; missed objects are
no longer asked for.

Reference:
  Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from segalias_jax.scoring.instances.overlaps import Overlaps
from segalias_jax.typing import Bool, Float64, Int64

ERRORS = ("classification", "localization", "both", "duplicate", "background", "missed")
"""Kinds of errors, as in the publication's tables."""

SPECIAL = ("false positive", "false negative")
"""All false positives ranked last, and no true object asked for that has no detection."""

_CLS, _LOC, _BOTH, _DUPLICATE, _BACKGROUND = range(5)
_RIGHT = -1
_T_F, _T_B = 0.5, 0.1
_RECALLS = np.arange(101) / 100


@dataclasses.dataclass(frozen=True)
class TideImage:
    """What TIDE keeps of an image.

    Attributes:
      scores: of each detection that counts, the largest first.
      classes: their classes.
      kinds: -1 right, else the index in `ERRORS`.
      repaired: the class that a detection is right in when its error is repaired; 0: it vanishes.
      true: number of true objects of each class, the first of class 1.
      unmatched: those of them that no detection has.
      missed: those of them that repairing detections does not find.
    """

    scores: Float64[np.ndarray, " n"]
    classes: Int64[np.ndarray, " n"]
    kinds: Int64[np.ndarray, " n"]
    repaired: Int64[np.ndarray, " n"]
    true: Int64[np.ndarray, " c"]
    unmatched: Int64[np.ndarray, " c"]
    missed: Int64[np.ndarray, " c"]

    def to_json(self) -> dict[str, Any]:
        """Lists, as JSON holds them."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> TideImage:
        """Reads what `to_json` wrote."""
        columns = {
            name: np.asarray(content[name], np.float64 if name == "scores" else np.int64)
            for name in cls.__dataclass_fields__
        }
        return cls(**columns)


def tide_image(overlaps: Overlaps, num_classes: int, *, most: int = 100) -> TideImage:
    """Finds the error of each detection of an image.

    Args:
      overlaps: of its objects.
      num_classes: number of classes.
      most: detections of highest score that count.

    Returns:
      The errors.

    Example:
      >>> from segalias_jax.scoring.instances.objects import Objects
      >>> a, b = (Objects.of_map(np.asarray([row])) for row in ([1, 1, 0, 2], [0, 0, 0, 2]))
      >>> tide_image(Overlaps.of(a, b), 1).kinds.tolist()
      [4, -1]
    """
    kept = np.flatnonzero(~overlaps.true.crowd)
    order = np.argsort(-overlaps.predicted.scores, kind="stable")[:most]
    ious = overlaps.ious[np.ix_(kept, order)]
    same = overlaps.same_class[np.ix_(kept, order)]
    true_classes = overlaps.true.classes[kept]
    classes = overlaps.predicted.classes[order]
    used = np.zeros(len(kept), bool)
    kinds = np.full(len(order), _BACKGROUND)
    own = np.where(same, ious, 0)
    for p in range(len(order)):
        free = np.where(used, 0, own[:, p])
        if len(kept) and free.max() >= _T_F:
            kinds[p] = _RIGHT
            used[free.argmax()] = True
    counted = (kinds == _RIGHT) | ~_on_crowds(overlaps)[order]

    repaired = np.zeros(len(order), np.int64)
    usable = np.zeros(len(kept), bool)
    for p in np.flatnonzero(counted & (kinds != _RIGHT)) if len(kept) else ():
        kind, t = _error(ious[:, p], same[:, p], used)
        kinds[p] = kind
        # Of several that would be right for one true object the best is; they come by score.
        if kind in (_CLS, _LOC) and not used[t]:
            repaired[p] = 0 if usable[t] else true_classes[t]
            usable[t] = True

    def number(which: Bool[np.ndarray, " k"]) -> Int64[np.ndarray, " c"]:
        return np.bincount(true_classes[which], minlength=num_classes + 1)[1:].astype(np.int64)

    return TideImage(
        overlaps.predicted.scores[order][counted],
        classes[counted],
        kinds[counted],
        repaired[counted],
        number(np.ones(len(kept), bool)),
        number(~used),
        number(~used & ~usable),
    )


def _on_crowds(overlaps: Overlaps) -> Bool[np.ndarray, " p"]:
    """Detections that have more than half of their pixels in one crowd of their class."""
    crowds = overlaps.true.crowd
    part = overlaps.shared[crowds] / np.maximum(1, overlaps.predicted.pixels)
    on_void = overlaps.void > _T_F * overlaps.predicted.pixels
    return ((part > _T_F) & overlaps.same_class[crowds]).any(0) | on_void


def _error(
    ious: Float64[np.ndarray, " t"], same: Bool[np.ndarray, " t"], used: Bool[np.ndarray, " t"]
) -> tuple[int, int]:
    """The kind of a false positive, and the true object that it stands for."""
    own, other = np.where(same, ious, 0), np.where(same, 0, ious)
    if _T_B <= own.max() <= _T_F:
        return _LOC, int(own.argmax())
    if other.max() >= _T_F:
        return _CLS, int(other.argmax())
    taken = np.where(used, own, 0)
    if taken.max() >= _T_F:
        return _DUPLICATE, int(taken.argmax())
    return (_BACKGROUND if ious.max() <= _T_B else _BOTH), 0


def tide_gains(images: Sequence[TideImage]) -> dict[str, float]:
    """AP at IoU .5 over all images, and what it gains without each kind of error.

    Args:
      images: in the order in which detections of one score are ranked.

    Returns:
      Fractions: "AP50", and a gain for each of `ERRORS` and of `SPECIAL`; nan where there is no
      true object. A gain that rounding makes negative is 0, as published.

    Example:
      >>> from segalias_jax.scoring.instances.objects import Objects
      >>> a, b = (Objects.of_map(np.asarray([row])) for row in ([1, 1, 0, 2], [0, 0, 0, 2]))
      >>> gains = tide_gains([tide_image(Overlaps.of(a, b), 1)])
      >>> gains["AP50"], gains["background"], gains["missed"]
      (0.5, 0.5, 0.0)
    """
    names = ("AP50", *ERRORS, *SPECIAL)
    if not images or not sum(one.true.sum() for one in images):
        return dict.fromkeys(names, float("nan"))
    scores, classes, kinds, repaired = (
        np.concatenate([getattr(one, name) for one in images])
        for name in ("scores", "classes", "kinds", "repaired")
    )
    true, unmatched, missed = (
        np.sum([getattr(one, name) for one in images], 0)
        for name in ("true", "unmatched", "missed")
    )
    right = kinds == _RIGHT
    plain = _mean_precision(scores, classes, right, true)
    gains = {"AP50": plain}
    for kind, name in enumerate(ERRORS):
        if name == "missed":
            gains[name] = _mean_precision(scores, classes, right, true - missed) - plain
            continue
        fixed = (kinds == kind) & (repaired > 0)
        kept = (kinds != kind) | fixed
        gains[name] = (
            _mean_precision(
                scores[kept],
                np.where(fixed, repaired, classes)[kept],
                (right | fixed)[kept],
                true,
            )
            - plain
        )
        gains[name] = max(0.0, gains[name])
    gains["missed"] = max(0.0, gains["missed"])
    gains[SPECIAL[0]] = _mean_precision(right.astype(float), classes, right, true) - plain
    gains[SPECIAL[1]] = _mean_precision(scores, classes, right, true - unmatched) - plain
    return gains


def _mean_precision(
    scores: Float64[np.ndarray, " n"],
    classes: Int64[np.ndarray, " n"],
    right: Bool[np.ndarray, " n"],
    true: Int64[np.ndarray, " c"],
) -> float:
    """Mean over the classes that have a detection or a true object; such without truth have 0."""
    found = []
    for c, number in enumerate(true.tolist(), start=1):
        own = classes == c
        if number or own.any():
            found.append(average_precision(scores[own], right[own], number))
    return float(np.mean(found)) if found else 0.0


def average_precision(
    scores: Float64[np.ndarray, " n"], right: Bool[np.ndarray, " n"], true: int
) -> float:
    """Area under a curve of precision over recall, at the 101 recalls of COCO.

    AP = mean over r = 0, .01, ..., 1 of the largest precision at a recall of at least r.

    Args:
      scores: of the detections of a class.
      right: which are.
      true: number of true objects.

    Returns:
      A fraction; 0 without true objects.

    Example:
      >>> average_precision(np.asarray([0.9, 0.8]), np.asarray([False, True]), 1)
      0.5
    """
    if not true or not len(scores):
        return 0.0
    hits = np.cumsum(right[np.argsort(-scores, kind="stable")])
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    places = np.searchsorted(hits / true, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[places].sum() / len(_RECALLS))
