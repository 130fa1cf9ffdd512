"""What is found in one image by masks of all of it: segments, and objects of queries."""

from __future__ import annotations

import functools

import numpy as np

from segalias_jax.inference.detected import DetectedObjects
from segalias_jax.scoring.instances import Objects
from segalias_jax.tasks.panoptic import Segments, segment_objects
from segalias_jax.tasks.queries import mask_objects
from segalias_jax.typing import Float32, Int64


class SegmentedObjects(DetectedObjects):
    """`DetectedObjects` of masks of the whole image, which networks without boxes find.

    Those of `tasks.panoptic.Segments` are things, and a region of each class of stuff, which do not
    overlap; those of `models.MaskDetections` may do so.

    Example:
      >>> from segalias_jax.tasks.panoptic import Segments
      >>> one = Segments(np.array([[[2, 2], [0, 0]]]), np.array([[0, 1]]), np.ones((1, 2)))
      >>> picture, colors = np.zeros((4, 4, 3), np.uint8), np.full((1, 3), 99, np.uint8)
      >>> found = SegmentedObjects(picture, one, (2, 2), classes=["sky"], palette=colors)
      >>> found, found.boxes.tolist()
      (DetectedObjects(4x4 pixels, 1 object: 1 sky), [[0.0, 0.0, 4.0, 2.0]])
    """

    @functools.cached_property
    def objects(self) -> Objects:
        """The objects as `scoring` takes them, masks cut to their boxes."""
        of_segments = isinstance(self._detections, Segments)
        objects_of = segment_objects if of_segments else mask_objects
        every = objects_of(self._detections, 0, self._seen, self.size)
        return every.chosen(every.scores >= self._least)

    @property
    def boxes(self) -> Float32[np.ndarray, "n 4"]:
        """The smallest boxes (x1, y1, x2, y2) that hold the masks, in pixels."""
        xywh = self.objects.xywh
        return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1).astype(np.float32)

    @property
    def scores(self) -> Float32[np.ndarray, " n"]:
        """Score of each object, falling."""
        return np.asarray(self.objects.scores, np.float32)

    @property
    def classes(self) -> Int64[np.ndarray, " n"]:
        """Class of each object, from 1 on."""
        return self.objects.classes
