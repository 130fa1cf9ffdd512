"""What scores of distances are made of: numbers and lengths of boundaries, of one image or many."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.typing import Float, Int

OFFSET_REACH = 16
"""Signed offsets are counted up to so many times the smaller spacing, which is 1 by default."""

OFFSET_BINS = 4 * OFFSET_REACH + 1
"""Bins of signed offsets, each half the smaller spacing wide, the middle one around 0."""


@dataclasses.dataclass(frozen=True)
class DistanceSettings:
    """Which distances are counted.

    Attributes:
      spacing: (sy, sx), distance between rows and between columns; (1, 1): pixels.
      tolerances: of the normalized surface distance and of false and missed boundaries, in the unit
        of the spacing, ascending.
      widths: of the curves of boundary F and trimap mIoU, in pixels, ascending; () leaves them out.
      skeletons: whether clDice is counted, which takes longer than all the rest on large areas.

    Example:
      >>> DistanceSettings(tolerances=(2, 1))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: tolerances: (2, 1) must be distances in ascending order
    """

    spacing: tuple[int | float, int | float] = (1, 1)
    tolerances: tuple[int | float, ...] = (1, 2, 3)
    widths: tuple[int, ...] = (1, 2, 3, 5, 8, 12, 20)
    skeletons: bool = True

    def __post_init__(self):
        """Raises `InputError` for numbers out of range."""
        if len(self.spacing) != 2 or not all(0 < s < np.inf for s in self.spacing):
            raise InputError(
                f"spacing: {self.spacing} must be two lengths above 0, between rows and columns"
            )
        for name, values, least in (("tolerances", self.tolerances, 0), ("widths", self.widths, 1)):
            if any(v < least for v in values) or list(values) != sorted(set(values)):
                what = "pixels from 1 on" if least else "distances"
                raise InputError(f"{name}: {values} must be {what} in ascending order")


@dataclasses.dataclass(frozen=True)
class DistanceCounts:
    """Counts of one image; with a leading axis on all arrays, those of many.

    The surface of a class are its pixels with a neighbor, of 4, that is not of the class; beyond
    the image and under ignored pixels no class is. Where axes say 2, the truth comes first, then
    the prediction.

    Attributes:
      diagonal: of the image, in the unit of the spacing.
      surface: surface pixels.
      total: sum of their distances to the nearest surface pixel of the other map; 0 where the other
        map lacks the class.
      quantile: the 95 % quantile of these distances, or 0.
      largest: the largest of them, or 0.
      within: surface pixels that are at most each tolerance away from those of the other map.
      offset: sum of signed distances from predicted surfaces to true ones, of those that are at
        most `OFFSET_REACH` smaller spacings away; positive outside of the true area.
      offsets: their histogram, in bins of half the smaller spacing.
      skeleton: pixels of skeletons.
      covered: those of them that are of the class in the other map.
      contour: boundary pixels as boundary F has them.
      met: those of them that are met within each width.
      trimap: right, true and predicted pixels at most each width from a true boundary.
    """

    diagonal: Float[np.ndarray, "*images"]
    surface: Int[np.ndarray, "*images 2 classes"]
    total: Float[np.ndarray, "*images 2 classes"]
    quantile: Float[np.ndarray, "*images 2 classes"]
    largest: Float[np.ndarray, "*images 2 classes"]
    within: Int[np.ndarray, "*images tolerances 2 classes"]
    offset: Float[np.ndarray, "*images classes"]
    offsets: Int[np.ndarray, "*images classes bins"]
    skeleton: Int[np.ndarray, "*images 2 classes"]
    covered: Int[np.ndarray, "*images 2 classes"]
    contour: Int[np.ndarray, "*images 2 classes"]
    met: Int[np.ndarray, "*images widths 2 classes"]
    trimap: Int[np.ndarray, "*images widths 3 classes"]

    @classmethod
    def zeros(cls, num_classes: int, settings: DistanceSettings) -> DistanceCounts:
        """Counts of an image without any class.

        Args:
          num_classes: C.
          settings: what is counted.

        Returns:
          The counts, whose arrays may be written to.
        """
        c, t, w = num_classes, len(settings.tolerances), len(settings.widths)
        return cls(
            diagonal=np.zeros((), np.float64),
            surface=np.zeros((2, c), np.int64),
            total=np.zeros((2, c), np.float64),
            quantile=np.zeros((2, c), np.float64),
            largest=np.zeros((2, c), np.float64),
            within=np.zeros((t, 2, c), np.int64),
            offset=np.zeros(c, np.float64),
            offsets=np.zeros((c, OFFSET_BINS), np.int64),
            skeleton=np.zeros((2, c), np.int64),
            covered=np.zeros((2, c), np.int64),
            contour=np.zeros((2, c), np.int64),
            met=np.zeros((w, 2, c), np.int64),
            trimap=np.zeros((w, 3, c), np.int64),
        )

    @classmethod
    def stack(cls, images: Sequence[DistanceCounts]) -> DistanceCounts:
        """Puts the counts of images behind each other, in a new first axis.

        Args:
          images: counts by the same settings, at least one.

        Returns:
          Counts of all.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: np.stack([getattr(one, name) for one in images]) for name in names})

    def pooled(self) -> DistanceCounts:
        """Adds up all images; of the result, only numbers of pixels say something."""
        names = [field.name for field in dataclasses.fields(self)]
        return DistanceCounts(**{name: np.asarray(getattr(self, name).sum(0)) for name in names})
