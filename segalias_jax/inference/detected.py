"""What a detector finds in one image: boxes, classes, masks; as COCO's results, and drawn."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from segalias_jax.data.masks import paste_masks
from segalias_jax.data.run_length import compress_counts
from segalias_jax.data.tools.browse_objects import draw_box, light_color
from segalias_jax.errors import InputError
from segalias_jax.models import Detections, MaskDetections
from segalias_jax.scoring.instances import Objects
from segalias_jax.scoring.instances.objects import Mask, runs_of_mask
from segalias_jax.tasks.panoptic import Segments
from segalias_jax.typing import Bool, Float32, Int64, UInt8, UInt16

_TINT = 0.45

Found = Detections | MaskDetections | Segments
"""What networks of objects predict."""


class DetectedObjects:
    """The objects in one image, best first. The device may still work on them; reading waits.

    Boxes and masks are in pixels of the image as it was given, whatever size the network saw.

    Args:
      image: RGB bytes.
      detections: of a batch, of which the first row is this image.
      seen: (height, width) of the image as the network saw it, without padding.
      classes: names of the classes, of which the first has number 1.
      palette: RGB color of each class.
      least: objects of a lower score are left out.
      shown: those of a lower score are not drawn.

    Attributes:
      image: RGB bytes.
      size: (height, width) of the image.

    Example:
      >>> one = Detections(
      ...     np.array([[[0.0, 0, 4, 4]]], np.float32), np.ones((1, 1), np.float32),
      ...     np.ones((1, 1), np.int32), np.ones((1, 1, 28, 28), np.float32),
      ... )
      >>> picture, colors = np.zeros((8, 8, 3), np.uint8), np.full((1, 3), 99, np.uint8)
      >>> found = DetectedObjects(picture, one, (4, 8), classes=["cell"], palette=colors)
      >>> found
      DetectedObjects(8x8 pixels, 1 object: 1 cell)
      >>> found.boxes.tolist(), found.masks.sum()
      ([[0.0, 0.0, 4.0, 8.0]], np.int64(40))
    """

    _detections: Any  # Detections, or what a subclass reads

    def __init__(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        detections: Found,
        seen: tuple[int, int],
        *,
        classes: Sequence[str],
        palette: UInt8[np.ndarray, "n 3"],
        least: int | float = 0.0,
        shown: int | float = 0.5,
    ):
        self.image, self.size = image, (image.shape[0], image.shape[1])
        self._detections, self._seen = detections, seen
        self._classes, self._palette = tuple(classes), palette
        self._least, self._shown = least, shown

    @functools.cached_property
    def _kept(self) -> np.ndarray:
        scores, classes = self._detections.scores[0], self._detections.classes[0]
        return (np.asarray(classes) > 0) & (np.asarray(scores) >= self._least)

    @functools.cached_property
    def boxes(self) -> Float32[np.ndarray, "n 4"]:
        """Boxes (x1, y1, x2, y2) in pixels."""
        ratios = [whole / seen for whole, seen in zip(self.size, self._seen, strict=True)]
        boxes = np.asarray(self._detections.boxes[0], np.float64)[self._kept]
        return (boxes * (*ratios[::-1], *ratios[::-1])).astype(np.float32)

    @functools.cached_property
    def scores(self) -> Float32[np.ndarray, " n"]:
        """Probability of the class of each object, falling."""
        return np.asarray(self._detections.scores[0], np.float32)[self._kept]

    @functools.cached_property
    def classes(self) -> Int64[np.ndarray, " n"]:
        """Class of each object, from 1 on."""
        return np.asarray(self._detections.classes[0], np.int64)[self._kept]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the class of each object."""
        return tuple(self._classes[label - 1] for label in self.classes)

    @functools.cached_property
    def objects(self) -> Objects:
        """The objects as `scoring` takes them, masks cut to their boxes."""
        cells = np.asarray(self._detections.masks[0], np.float64)[self._kept]
        boxes = np.asarray(self.boxes, np.float64)
        # One mask of the whole image at a time: hundreds of them would fill the memory.
        masks = tuple(
            Mask.of_pixels(paste_masks(cell[None], box[None], self.size)[0])
            for cell, box in zip(cells, boxes, strict=True)
        )
        xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        scores = self.scores.astype(np.float64)
        return Objects(self.classes, masks, scores, size=self.size, xywh=xywh)

    @property
    def masks(self) -> Bool[np.ndarray, "n h w"]:
        """Pixels of each object, made anew each time: n masks of the whole image."""
        whole = [mask.window(0, 0, *self.size) for mask in self.objects.masks]
        return np.stack(whole) if whole else np.zeros((0, *self.size), np.bool_)

    def overlay(self, *, threshold: float | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """Returns the image with tinted masks, outlines, boxes, names and scores, RGB.

        Args:
          threshold: objects of a lower score are not drawn; None for the recipe's
            `eval.threshold`.
        """
        least = self._shown if threshold is None else threshold
        picture = self.image.copy()
        drawn = [i for i in range(len(self)) if self.scores[i] >= least]
        for i in reversed(drawn):  # the best lie above
            color, mask = self._palette[self.classes[i] - 1], self.objects.masks[i]
            height, width = mask.bits.shape
            place = picture[mask.top : mask.top + height, mask.left : mask.left + width]
            mixed = (1 - _TINT) * place[mask.bits] + _TINT * color
            place[mask.bits] = mixed.astype(np.uint8)
            padded = np.pad(mask.bits.astype(np.uint8), 1)
            inner = cv2.erode(padded, np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
            # Of touching objects of one class only their outlines tell them apart.
            place[mask.bits & ~inner] = light_color(color)
        for i in reversed(drawn):
            color = light_color(self._palette[self.classes[i] - 1])
            draw_box(picture, self.boxes[i], f"{self.names[i]} {self.scores[i]:.2f}", color)
        return picture

    def to_coco(
        self, image_id: int, *, categories: Mapping[int, int] | None = None
    ) -> list[dict[str, Any]]:
        """Returns COCO's results of the image, as they stand in JSON.

        Args:
          image_id: of the image.
          categories: id of the category of each class; None for the number of the class.

        Returns:
          "image_id", "category_id", "bbox" (x, y, width, height), "score" and "segmentation" (run
          lengths) of each object.
        """
        objects = self.objects
        return [
            {
                "image_id": image_id,
                "category_id": int(label if categories is None else categories[int(label)]),
                "bbox": [float(number) for number in box],
                "score": float(score),
                "segmentation": {
                    "size": list(self.size),
                    "counts": compress_counts(runs_of_mask(mask, self.size)),
                },
            }
            for label, box, score, mask in zip(
                objects.classes, objects.xywh, objects.scores, objects.masks, strict=True
            )
        ]

    def instance_map(self, divisor: int = 0) -> UInt16[np.ndarray, "h w"]:
        """Returns a map of objects; where they overlap, the one of the higher score.

        Args:
          divisor: values are class * divisor + number; 0 for the number alone. Numbers count the
            drawn objects from 1 on, best first.

        Returns:
          The map, 0 where there is no object.

        Raises:
          InputError: numbers that 16 bits, or the divisor, do not hold.
        """
        drawn = [i for i in range(len(self)) if self.scores[i] >= self._shown]
        largest = (len(self._classes) * divisor if divisor else 0) + len(drawn)
        if largest > np.iinfo(np.uint16).max or 0 < divisor <= len(drawn):
            raise InputError(
                f"{len(drawn)} objects of {len(self._classes)} classes do not fit into a map of 16 "
                f"bits with divisor {divisor}; raise the threshold of scores"
            )
        ids = np.zeros(self.size, np.uint16)
        for number, i in reversed(list(enumerate(drawn, 1))):
            mask = self.objects.masks[i]
            height, width = mask.bits.shape
            place = ids[mask.top : mask.top + height, mask.left : mask.left + width]
            place[mask.bits] = int(self.classes[i]) * divisor + number
        return ids

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.scores)

    def __repr__(self) -> str:
        names = self.names
        counts = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
        several = "" if len(self) == 1 else "s"
        height, width = self.size
        found = f"{len(self)} object{several}" + (f": {counts}" if counts else "")
        return f"DetectedObjects({height}x{width} pixels, {found})"

    def _repr_png_(self) -> bytes:
        """The overlay, which notebooks show."""
        return cv2.imencode(".png", self.overlay()[..., ::-1])[1].tobytes()
