"""What scores are made of: numbers of pixels, in the form that formulas take."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from segalias_jax.typing import Integer, Num


@dataclasses.dataclass(frozen=True)
class Band:
    """Pixels of every class in a part of the pictures.

    Attributes:
      right: pixels that are truly and predictedly the class.
      true: pixels that are truly it.
      predicted: pixels that are predicted as it.
    """

    right: Num[np.ndarray, "*batch classes"]
    true: Num[np.ndarray, "*batch classes"]
    predicted: Num[np.ndarray, "*batch classes"]


@dataclasses.dataclass(frozen=True)
class ClassCounts:
    """All numbers of pixels that scores of classes follow from, of one set of pictures or many.

    Attributes:
      all: every pixel that is not ignored.
      union: the pixels in the predicted or in the true boundary band.
      predicted: those in the predicted band.
      true: those in the true band.
      both: those in both bands.
      inner: true and predicted area in the inner bands of Boundary IoU; None: not counted.
      contour: true and predicted boundary pixels; None: not counted.
      hits: of these, for each of `tolerances`, the ones that are met.
      tolerances: distances in pixels.
    """

    all: Band
    union: Band
    predicted: Band
    true: Band
    both: Band
    inner: Band | None = None
    contour: Num[np.ndarray, "*batch 2 classes"] | None = None
    hits: Num[np.ndarray, "*batch tolerances 2 classes"] | None = None
    tolerances: tuple[int, ...] = ()

    @classmethod
    def from_regions(cls, regions: Integer[np.ndarray, "4 rows columns"]) -> ClassCounts:
        """Adds up confusion matrices.

        Args:
          regions: pixels by region (see `metrics.region_map`), true and predicted class; the last
            row and column are those of no class.

        Returns:
          The counts.

        Example:
          >>> regions = np.zeros((4, 3, 3), int)
          >>> regions[3, 0] = 2, 1, 1
          >>> ClassCounts.from_regions(regions).both.true.tolist()
          [4, 0]
        """
        _, predicted, true, both = regions

        def band(counts: np.ndarray) -> Band:
            inside = counts[:-1, :-1]
            return Band(inside.diagonal(), counts[:-1].sum(1), inside.sum(0))

        return cls(
            all=band(regions.sum(0)),
            union=band(predicted + true + both),
            predicted=band(predicted + both),
            true=band(true + both),
            both=band(both),
        )


@dataclasses.dataclass(frozen=True)
class ForegroundCounts:
    """Pixels of binary segmentation, arrays of one shape, of NumPy or of JAX.

    Attributes:
      hits: foreground predicted as such.
      false_alarms: background predicted as foreground.
      misses: foreground predicted as background.
      rejections: background predicted as such.
    """

    hits: Any
    false_alarms: Any
    misses: Any
    rejections: Any

    @classmethod
    def from_bins(cls, bins: Any) -> ForegroundCounts:
        """Counts at every threshold.

        Args:
          bins: [..., 2, B], pixels by true class and bin, of NumPy or of JAX; see
            `metrics.binary.probability_counts`.

        Returns:
          Counts [..., B - 1].

        Example:
          >>> ForegroundCounts.from_bins(np.asarray([[2, 1], [0, 4]])).false_alarms.tolist()
          [1]
        """
        xp = bins.__array_namespace__()
        above = xp.cumsum(bins[..., ::-1], -1)[..., ::-1]
        false_alarms, hits = above[..., 0, 1:], above[..., 1, 1:]
        return cls(hits, false_alarms, above[..., 1, :1] - hits, above[..., 0, :1] - false_alarms)

    def of_background(self) -> ForegroundCounts:
        """Returns the counts with the background as what is looked for.

        Example:
          >>> ForegroundCounts(4, 3, 2, 1).of_background()
          ForegroundCounts(hits=1, false_alarms=2, misses=3, rejections=4)
        """
        return ForegroundCounts(self.rejections, self.misses, self.false_alarms, self.hits)
