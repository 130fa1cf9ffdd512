"""Boundary bands on the host: `ops.morphology` and `metrics.region_map` by NumPy and OpenCV."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Integer, UInt8

from segalias_jax.metrics import ScoreRules


@dataclasses.dataclass(frozen=True)
class Steps:
    """Where a pixel differs from the one before it.

    Attributes:
      down: bool [h - 1, w], from a row to the next.
      across: bool [h, w - 1], from a column to the next.

    Example:
      >>> Steps.between(np.asarray([[1, 1, 2]])).across.tolist()
      [[False, True]]
    """

    down: Bool[np.ndarray, "h1 w"]
    across: Bool[np.ndarray, "h w1"]

    @classmethod
    def between(cls, ids: Integer[np.ndarray, "h w"], ignored: int | None = None) -> Steps:
        """Steps of a map; none from or to an ignored pixel."""
        down, across = ids[1:] != ids[:-1], ids[:, 1:] != ids[:, :-1]
        if ignored is not None:
            counted = ids != ignored
            down &= counted[1:] & counted[:-1]
            across &= counted[:, 1:] & counted[:, :-1]
        return cls(down, across)

    def edges(self) -> UInt8[np.ndarray, "h w"]:
        """1 on pixels that differ from any of their 4 neighbors, else 0."""
        edges = np.zeros((self.across.shape[0], self.down.shape[1]), np.uint8)
        down, across = self.down.view(np.uint8), self.across.view(np.uint8)
        edges[1:] = down
        edges[:-1] |= down
        edges[:, 1:] |= across
        edges[:, :-1] |= across
        return edges


def class_label(label: Integer[np.ndarray, "h w"], rules: ScoreRules) -> Integer[np.ndarray, "h w"]:
    """`ScoreRules.class_label` on the host.

    Example:
      >>> class_label(np.asarray([[0, 1, 255]]), ScoreRules(reduce_zero_label=True)).tolist()
      [[255, 0, 255]]
    """
    if not rules.reduce_zero_label:
        return label
    ignored = (label == 0) | (label == rules.ignore_label)
    return np.where(ignored, rules.ignore_label, label.astype(np.int64) - 1)


def regions(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, "h w"],
    steps: tuple[Steps, Steps],
    rules: ScoreRules,
) -> UInt8[np.ndarray, "h w"]:
    """`metrics.region_map` on the host.

    Args:
      prediction: predicted class ids.
      label: true labels in the numbering that makes boundaries: as given under "reference",
        class ids under "exclude".
      steps: of the prediction and of the label, the latter without the ignored ones under
        "exclude".
      rules: boundary and ignore rule, width.

    Returns:
      0 neither band, 1 predicted only, 2 true only, 3 both.

    Example:
      >>> maps = np.asarray([[0, 1, 1, 1, 1, 1]]), np.asarray([[0, 0, 0, 0, 1, 1]])
      >>> steps = tuple(Steps.between(ids) for ids in maps)
      >>> regions(*maps, steps, ScoreRules(width=3)).tolist()
      [[1, 1, 3, 2, 2, 2]]
    """
    edges = [step.edges() for step in steps] if rules.boundary == "exact" else [
        _laplacian(prediction),
        _laplacian(label) if rules.ignore == "reference" else _counted_laplacian(label, steps[1]),
    ]  # fmt: skip
    before = rules.width // 2
    return window_or(edges[0] | (edges[1] << 1), before, rules.width - 1 - before)


def inner_regions(steps: tuple[Steps, Steps], radius: int) -> UInt8[np.ndarray, "h w"]:
    """Bit 0 in the predicted inner band, bit 1 in the true one.

    A pixel is in the inner band of its own class when the square of 2 radius + 1 around it
    holds another class: when it holds a step.

    Args:
      steps: of the prediction and of the label.
      radius: in pixels.

    Returns:
      Bytes of the two bits.

    Example:
      >>> step = Steps.between(np.asarray([[0, 0, 0, 1, 1, 1]]))
      >>> inner_regions((step, step), 2).tolist()
      [[0, 3, 3, 3, 3, 0]]
    """
    height, width = steps[0].across.shape[0], steps[0].down.shape[1]
    bits = np.zeros((height, width), np.uint8)
    for i, step in enumerate(steps):
        bits[1:] |= step.down.view(np.uint8) << i
        bits[:, 1:] |= step.across.view(np.uint8) << (i + 2)
    near = window_or(bits, radius - 1, radius)
    # Across the direction of a step this window is one pixel short; a shift supplies it.
    down, across = near & 3, near >> 2
    band = down | across
    band[:, 1:] |= down[:, :-1]
    band[1:] |= across[:-1]
    return band


def window_or(bits: UInt8[np.ndarray, "h w"], before: int, after: int) -> UInt8[np.ndarray, "h w"]:
    """ORs the square of pixels from `before` up and left to `after` down and right of each.

    Args:
      bits: eight masks in bytes.
      before: pixels, at least 0.
      after: pixels, at least 0.

    Returns:
      Array of the same shape; what lies outside the picture is not set.

    Example:
      >>> window_or(np.asarray([[0, 0, 0, 1]], np.uint8), 1, 1).tolist()
      [[0, 0, 1, 1]]
    """
    size = before + after + 1
    for axis in (0, 1):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (before, after)
        bits, reach = np.pad(bits, padding), 1
        while reach < size:
            shift = min(reach, size - reach)
            if axis == 0:
                bits = bits[:-shift] | bits[shift:]
            else:
                bits = bits[:, :-shift] | bits[:, shift:]
            reach += shift
    return bits


def _laplacian(ids: np.ndarray) -> np.ndarray:
    if ids.dtype == np.uint8:
        return (cv2.Laplacian(ids, cv2.CV_16S, ksize=1) != 0).view(np.uint8)
    return (cv2.Laplacian(ids.astype(np.float64), cv2.CV_64F, ksize=1) != 0).view(np.uint8)


def _counted_laplacian(ids: np.ndarray, steps: Steps) -> np.ndarray:
    """The Laplacian over the steps that count."""
    ids = ids.astype(np.int32)
    total = np.zeros(ids.shape, np.int32)
    for axis, counted in ((0, steps.down), (1, steps.across)):
        step = np.where(counted, np.diff(ids, axis=axis), 0)
        after, before = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        after[axis], before[axis] = (0, 1), (1, 0)
        second = np.pad(step, after) - np.pad(step, before)
        # At the border, mirroring without the edge pixel meets the only neighbor twice.
        np.moveaxis(second, axis, 0)[[0, -1]] *= 2
        total += second
    return (total != 0).view(np.uint8)
