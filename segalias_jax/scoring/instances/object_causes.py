"""Why each object is wrong: every true and every predicted object gets one cause.

Rules, in their order, among objects of one class unless said otherwise. I is the intersection.

1. Pairs of IoU above 1/2 are matched, one to one.
2. *merged*: a prediction holds at least half of each of two or more true objects, I >= |t| / 2,
   none of which is matched to another prediction: two that overlap are not merged by that.
3. *split*: two or more predictions have at least half of their pixels in a true object,
   I >= |p| / 2, and together cover at least half of it. Each adds at least a tenth of the object to
   those that cover more of it: a speck is no piece, nor is a second detection of the whole.
4. *found*: matched, and none of these.
5. *confused*: an IoU above 1/2 with a prediction of another class.
6. *displaced*: an IoU of at least 1/10 with a prediction that is nothing of the above.
7. *missed*: what is left of the true objects; *false*: what is left of the predictions, but for
   those mostly on a crowd of their class or where truth is not known, which are ignored.

The numbers .5 and .1 are those of TIDE (Bolya et al., ECCV 2020) and of panoptic quality.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from segalias_jax.scoring.instances.overlaps import Overlaps, boundary_offset, matches
from segalias_jax.typing import Bool, Float64, Int64

CAUSES = ("missed", "false", "merged", "split", "confused", "displaced", "found")
"""What an object is; true objects are all but false, predictions all but missed."""

MISSED, FALSE, MERGED, SPLIT, CONFUSED, DISPLACED, FOUND = range(len(CAUSES))
NO_CAUSE = -1
"""Of crowds, and of ignored predictions."""

IOU = 0.5
"""That an object which is found exceeds."""

LEAST_IOU = 0.1
"""Of an object that is displaced; below it, the prediction is of something else."""

_HALF = 0.5
_PIECE = 0.1


@dataclasses.dataclass(frozen=True)
class ObjectCauses:
    """Cause of each object of one image.

    Attributes:
      true: index in `CAUSES` of each true object, -1 of crowds.
      predicted: the same of predictions, -1 of those that are ignored.
      partner: index of the prediction that a true object was found, confused, displaced or merged
        in, or of its largest piece; -1: none.
      iou: with the partner, 0 without one.
      offset: signed distance of the partner's boundary in pixels of found and displaced objects,
        see `boundary_offset`; nan of others.
      matched: (true, predicted) pairs of one class with an IoU above 1/2.
    """

    true: Int64[np.ndarray, " t"]
    predicted: Int64[np.ndarray, " p"]
    partner: Int64[np.ndarray, " t"]
    iou: Float64[np.ndarray, " t"]
    offset: Float64[np.ndarray, " t"]
    matched: tuple[tuple[int, int], ...]


def object_causes(overlaps: Overlaps) -> ObjectCauses:
    """Names the cause of every object of an image, by the rules at the head of this module.

    Args:
      overlaps: of its objects; predictions that are too uncertain are left out before.

    Returns:
      The causes.

    Example:
      >>> from segalias_jax.scoring.instances.objects import Objects
      >>> true = Objects.of_map(np.asarray([[1, 1, 2, 2, 0, 3]]))
      >>> merged = Objects.of_map(np.asarray([[1, 1, 1, 1, 0, 0]]))
      >>> [CAUSES[k] for k in object_causes(Overlaps.of(merged, true)).true]
      ['merged', 'merged', 'missed']
    """
    true, predicted = overlaps.true, overlaps.predicted
    ious, same, shared = overlaps.ious, overlaps.same_class, overlaps.shared
    pairs = matches(np.where(same, ious, 0), IOU)
    match_of = np.full(len(true), -1)
    owner = np.full(len(predicted), -1)
    for t, p in pairs:
        match_of[t], owner[p] = p, t
    of_true = np.where(true.crowd, NO_CAUSE, MISSED)
    of_predicted = np.where(overlaps.ignored & (owner < 0), NO_CAUSE, FALSE)
    partner = match_of.copy()

    near = same & ~true.crowd[:, None] & (shared > 0)
    held = near & (shared >= _HALF * true.pixels[:, None])
    for p in np.flatnonzero(held.sum(0) > 1):
        inside = [t for t in np.flatnonzero(held[:, p]) if match_of[t] in (-1, p)]
        inside = [t for t in inside if of_true[t] == MISSED]
        if len(inside) > 1:
            of_true[inside], of_predicted[p], partner[inside] = MERGED, MERGED, p

    lies = near & (shared >= _HALF * predicted.pixels)
    for t in np.flatnonzero((lies.sum(1) > 1) & (of_true == MISSED)):
        free = (of_predicted != MERGED) & ((owner < 0) | (owner == t))
        pieces = _pieces(overlaps, int(t), np.flatnonzero(lies[t] & free & (of_predicted != SPLIT)))
        if len(pieces) > 1:
            of_true[t], of_predicted[pieces], partner[t] = SPLIT, SPLIT, pieces[0]

    for t, p in pairs:
        if of_true[t] == MISSED and of_predicted[p] in (FALSE, NO_CAUSE):
            of_true[t], of_predicted[p] = FOUND, FOUND

    def assign(allowed: Bool[np.ndarray, "t p"], threshold: float, cause: int) -> None:
        left = (of_true == MISSED)[:, None] & (of_predicted == FALSE)
        for t, p in matches(np.where(allowed & left, ious, 0), threshold):
            of_true[t], of_predicted[p], partner[t] = cause, cause, p

    assign(~same, IOU, CONFUSED)
    assign(same, np.nextafter(LEAST_IOU, 0), DISPLACED)
    partner[of_true == MISSED] = -1
    chosen = np.flatnonzero(partner >= 0)
    iou = np.zeros(len(true))
    iou[chosen] = ious[chosen, partner[chosen]]
    offset = np.full(len(true), np.nan)
    for t in np.flatnonzero((of_true == FOUND) | (of_true == DISPLACED)):
        mask = predicted.masks[partner[t]]
        offset[t] = boundary_offset(mask, true.masks[t], true.shape)
    return ObjectCauses(of_true, of_predicted, partner, iou, offset, tuple(pairs))


def _pieces(overlaps: Overlaps, t: int, inside: Int64[np.ndarray, " k"]) -> list[int]:
    """Predictions that a true object is split into, the largest first; none where it is not."""
    true = overlaps.true.masks[t]
    frame = (true.top, true.left, *true.bits.shape)
    covered, found = np.zeros(true.bits.shape, bool), []
    for p in inside[np.argsort(-overlaps.shared[t, inside], kind="stable")].tolist():
        part = overlaps.predicted.masks[p].window(*frame) & true.bits
        if np.count_nonzero(part & ~covered) >= _PIECE * overlaps.true.pixels[t]:
            found.append(p)
            covered |= part
    whole = np.count_nonzero(covered) >= _HALF * overlaps.true.pixels[t]
    return found if whole and len(found) > 1 else []
