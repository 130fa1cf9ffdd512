"""Which prediction belongs to which true object, and how far their boundaries are apart."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from segalias_jax.scoring.instances.objects import Mask, Objects, intersections
from segalias_jax.typing import Bool, Float64, Int64, UInt8


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """What the true and the predicted objects of one image share.

    Attributes:
      true: T objects; crowds have no IoU.
      predicted: P objects.
      shared: pixels of each pair, [T, P].
      void: pixels of each prediction where truth is not known.
    """

    true: Objects
    predicted: Objects
    shared: Int64[np.ndarray, "t p"]
    void: Int64[np.ndarray, " p"]

    @classmethod
    def of(
        cls, predicted: Objects, true: Objects, void: Bool[np.ndarray, "h w"] | None = None
    ) -> Overlaps:
        """Counts the pixels that objects share.

        Args:
          predicted: objects of an image.
          true: objects of the same image.
          void: where truth is not known; None: nowhere.

        Returns:
          The numbers.

        Example:
          >>> a = Objects.of_map(np.asarray([[1, 1, 0]]))
          >>> Overlaps.of(a, Objects.of_map(np.asarray([[0, 1, 1]]))).ious.tolist()
          [[0.3333333333333333]]
        """
        unknown = np.zeros(len(predicted), np.int64)
        if void is not None and len(predicted):
            unknown = intersections(predicted, Objects(np.ones(1, int), void[None]))[:, 0]
        return cls(true, predicted, intersections(true, predicted), unknown)

    @property
    def ious(self) -> Float64[np.ndarray, "t p"]:
        """Intersection over union of each pair; predicted pixels on void are in no union."""
        sizes = self.true.pixels[:, None] + self.predicted.pixels - self.void - self.shared
        found = self.shared / np.maximum(sizes, 1)
        return np.where(self.true.crowd[:, None], 0.0, found)

    @property
    def same_class(self) -> Bool[np.ndarray, "t p"]:
        """Which pairs are of one class."""
        return self.true.classes[:, None] == self.predicted.classes

    @property
    def ignored(self) -> Bool[np.ndarray, " p"]:
        """Predictions that have more than half of their pixels on void or a crowd of their class.

        Of several crowds of a class in an image the last counts, as in the published program.
        """
        beside = self.void.astype(float)
        for number in np.unique(self.true.classes[self.true.crowd]):
            last = np.flatnonzero(self.true.crowd & (self.true.classes == number))[-1]
            beside += np.where(self.predicted.classes == number, self.shared[last], 0)
        return beside > 0.5 * self.predicted.pixels


def matches(ious: Float64[np.ndarray, "t p"], threshold: float) -> list[tuple[int, int]]:
    """Pairs objects one to one, the pair of the largest IoU first.

    Above one half, objects of maps without overlaps have at most one partner in any order.

    Args:
      ious: of each pair; pairs that may not be matched have 0.
      threshold: that the IoU of a pair exceeds.

    Returns:
      (true, predicted) indices.

    Example:
      >>> matches(np.asarray([[0.6, 0.7], [0.9, 0.2]]), 0.5)
      [(1, 0), (0, 1)]
    """
    places = np.argwhere(ious > threshold)
    order = np.argsort(-ious[tuple(places.T)], kind="stable")
    taken: tuple[set[int], set[int]] = (set(), set())
    found = []
    for t, p in places[order].tolist():
        if t not in taken[0] and p not in taken[1]:
            taken[0].add(t)
            taken[1].add(p)
            found.append((t, p))
    return found


def boundary_offset(predicted: Mask, true: Mask, size: tuple[int, int]) -> float:
    """Mean distance by which a predicted boundary lies outside of the true one, in pixels.

    o = mean over b of d(b),  b the pixels of the prediction with one of their 4 neighbors outside
    of it; d = distance to the nearest true pixel where b is not true, else 1 minus that to the
    nearest pixel that is not. A prediction that is k pixels larger all around has o = k, one that
    is k pixels smaller o = -k, the true one 0. The border of the image is no boundary.

    Args:
      predicted: an object.
      true: the object that it stands for.
      size: height and width of the image.

    Returns:
      Pixels, positive where the prediction reaches too far; nan where one of them fills the image.

    Example:
      >>> true = Mask(2, 2, np.ones((4, 4), bool))
      >>> boundary_offset(Mask(1, 1, np.ones((6, 6), bool)), true, (9, 9)) > 1.0
      True
      >>> boundary_offset(Mask(3, 3, np.ones((2, 2), bool)), true, (9, 9))
      -1.0
    """
    boxes = np.asarray([predicted.box, true.box])
    left, top = (int(start) for start in np.maximum(0, boxes[:, :2].min(0) - 1))
    right, bottom = (int(end) for end in (boxes[:, :2] + boxes[:, 2:]).max(0) + 1)
    height, width = min(bottom, size[0]) - top, min(right, size[1]) - left
    inner, wanted = (
        mask.window(top, left, height, width).astype(np.uint8) for mask in (predicted, true)
    )
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    # Outside of the image counts as inside of the object, so that its border is no boundary.
    kept = cv2.erode(inner, cross, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    edge = (inner > kept) if inner.size else inner.astype(bool)
    if not edge.any() or wanted.all() or not wanted.any():
        return float("nan")
    distances = np.where(wanted > 0, 1 - _depth(wanted), _depth(1 - wanted))
    return float(distances[edge].mean())


def _depth(mask: UInt8[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    """Distance of set pixels from the nearest one that is not."""
    rounded = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Its threads round differently each time; the squares of distances are whole numbers.
    return np.sqrt(np.rint(np.square(rounded, dtype=np.float64)))
