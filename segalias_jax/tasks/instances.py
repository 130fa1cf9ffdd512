"""Instance segmentation as a task: boxes, classes and masks of single objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax import ops
from segalias_jax.data.masks import paste_masks, unpack_masks
from segalias_jax.errors import InputError, check_choice
from segalias_jax.losses import disturbance_suppression
from segalias_jax.models import Detections
from segalias_jax.scoring.instances import InstanceScorer, Objects
from segalias_jax.tasks.semantic import PRECISIONS
from segalias_jax.training.task import Batch, Task
from segalias_jax.typing import Array, Bool, Float, Int

HEADLINES = ("PQ", "accuracy_50", "segm_AP", "bbox_AP")
"""Scores that a best checkpoint can be kept by; the last two need `segalias_jax[instances]`."""

AVERAGES = ("batch", "image")
"""What losses are means over: the samples of a batch, or first those of each image."""


class InstanceSegmentation(Task):
    """Learns single objects: a box, a class and a mask of each.

    A batch is `{"image": uint8[b, h, w, 3], "size": int32[b, 2], "boxes": float32[b, g, 4],
    "classes": int32[b, g], "crowd": bool[b, g], "masks": uint8[b, g, h, ceil(w / 8)], "valid":
    bool[b]}`. Boxes are (x1, y1, x2, y2) in pixels; classes are 1 ... num_classes, 0 where an image
    has fewer than g objects; masks are packed along the width, see `data.masks.pack_masks`. "size"
    is (height, width) of an image without its padding, which the network sees as zeros. Rows whose
    "valid" is False only fill up a batch. "dark", a darkened copy of "image", adds the losses of
    those images and `losses.disturbance_suppression` between the features of both.

    The network has the methods of `models.MaskRCNN`: `encoder(image)`, `losses(image, batch, key,
    features=..., average=...)`, scalars by name, and `detect(image, size)`.

    Args:
      num_classes: number of classes of objects, without the background.
      average: "batch": losses are means over the samples of all images, as published; "image":
        means over images of the means over the samples of each, so that a batch may be accumulated
        in parts.
      precision: of the network, see `tasks.semantic.PRECISIONS`.
      seed: of what the samplers draw, with the step.
      headline: score by which the best checkpoint is kept, one of `HEADLINES`.
      threshold: detections of a lower score count in average precision alone.

    Raises:
      InputError: a name that does not exist, or a number out of range.

    Example:
      >>> task = InstanceSegmentation(num_classes=3)
      >>> task.headline, task.larger_is_better, task.sums
      ('PQ', True, False)
    """

    further = ("size",)
    stuff: tuple[int, ...] = ()
    spatial = ()  # boxes lie anywhere in an image, so its height cannot be split
    larger_is_better = True

    def __init__(
        self,
        num_classes: int,
        *,
        average: str = "batch",
        precision: str = "float32",
        seed: int = 0,
        headline: str = "PQ",
        threshold: float = 0.5,
    ):
        if num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; it must be at least 1")
        check_choice("average", average, AVERAGES)
        check_choice("precision", precision, PRECISIONS)
        check_choice("headline", headline, HEADLINES)
        if not 0 <= threshold < 1:
            raise InputError(f"threshold is {threshold}; it must be at least 0 and below 1")
        self.num_classes, self.average, self.seed = num_classes, average, seed
        self.headline, self.threshold = headline, threshold
        self.dtype = PRECISIONS[precision]
        self.sums = average == "image"

    def loss(self, model: Any, batch: Batch) -> tuple[Array, Mapping[str, Array]]:
        """Returns the sum of the network's losses, and each of them.

        Args:
          model: the network.
          batch: see the class; "step" is the number that samplers draw by.
        """
        key = jax.random.fold_in(jax.random.key(self.seed), batch.get("step", 0))
        losses, features = self.network_losses(model, batch["image"], batch, key)
        if "dark" in batch:
            of_it = jax.random.fold_in(key, 1)
            dark, of_dark = self.network_losses(model, batch["dark"], batch, of_it)
            losses |= {f"dark_{name}": loss for name, loss in dark.items()}
            losses["disturbance"] = disturbance_suppression(of_dark, features)
        return sum(losses.values(), start=jnp.zeros(())), losses

    def network_losses(
        self, model: Any, image: Array, batch: Batch, key: Array
    ) -> tuple[dict[str, Array], Sequence[Array]]:
        """Returns what a network is trained by, and the features of its encoder.

        Args:
          model: the network.
          image: the images, or darkened ones.
          batch: their objects.
          key: random key of the samples.
        """
        x = self.network_input(image, batch["size"])
        features = model.encoder(x)
        found = model.losses(x, batch, key, features=features, average=self.average)
        return found, features

    def predict(self, model: Any, image: Array, *, size: Array | None = None) -> Detections:
        """Returns the objects that the network finds.

        Args:
          model: the network.
          image: see the class.
          size: (height, width) of each image without its padding; None for all of it.
        """
        size = whole_sizes(image) if size is None else size
        return model.detect(self.network_input(image, size), size)

    def network_input(self, image: Array, size: Int[Array, "b 2"]) -> Float[Array, "b h w 3"]:
        """Returns what the network sees of images: normalized, zero in the padding.

        Args:
          image: see the class.
          size: (height, width) without the padding.
        """
        integers = jnp.issubdtype(image.dtype, jnp.integer)
        x = ops.normalize_image(image) if integers else image
        rows = jnp.arange(x.shape[1]) < size[:, :1]
        columns = jnp.arange(x.shape[2]) < size[:, 1:]
        inside = (rows[:, :, None] & columns[:, None, :])[..., None]
        return jnp.where(inside, x, 0).astype(self.dtype)

    def describe(self, scores: Mapping[str, Any]) -> str:
        """Returns the scores that say most, in per cent; all of them are in the log."""
        shown = dict.fromkeys((self.headline, "PQ", "accuracy_50"))
        return ", ".join(f"{name} {100 * scores[name]:.2f}" for name in shown if name in scores)

    def scorer(self) -> BatchScorer:
        """Returns a scorer that has counted nothing."""
        return BatchScorer(self.empty_scorer(), self)

    def empty_scorer(self, classes: Sequence[str] | None = None) -> InstanceScorer:
        """Returns the scorer of single images.

        Args:
          classes: names of the classes; None for their numbers.
        """
        kind = self.headline.removesuffix("_AP")
        return InstanceScorer(
            self.num_classes,
            classes=classes,
            threshold=self.threshold,
            kinds=(kind,) if kind != self.headline else (),
        )

    def objects(
        self, prediction: Any, row: int, seen: tuple[int, int], size: tuple[int, int]
    ) -> Objects:
        """Returns the objects of an image, best first, see `detected_objects`.

        Args:
          prediction: of a batch.
          row: of the image.
          seen: (height, width) of the image in the batch, without padding.
          size: (height, width) of the masks.
        """
        scale = size[0] / seen[0], size[1] / seen[1]
        return detected_objects(prediction, row, size, scale=scale)

    def void(self, true: Objects) -> Bool[np.ndarray, "h w"] | None:
        """Returns the pixels where truth is not known: those of no object, where stuff has classes.

        Args:
          true: all objects of an image.
        """
        if not self.stuff:
            return None
        unknown = np.ones(true.shape, np.bool_)
        for mask in true.masks:
            height, width = mask.bits.shape
            rows, columns = slice(mask.top, mask.top + height), slice(mask.left, mask.left + width)
            unknown[rows, columns] &= ~mask.bits
        return unknown


class BatchScorer:
    """Scores detections in batches, at the size that the network saw.

    Args:
      scores: of single images.
      task: says which objects a prediction has.
    """

    def __init__(self, scores: InstanceScorer, task: InstanceSegmentation):
        self.scores, self.task = scores, task

    def update(self, prediction: Any, batch: Batch) -> None:
        """Scores the valid rows of a batch."""
        sizes = np.asarray(batch["size"])
        for row in np.flatnonzero(batch["valid"]):
            height, width = (int(side) for side in sizes[row])
            classes = np.asarray(batch["classes"][row])
            there = classes > 0
            masks = unpack_masks(np.asarray(batch["masks"][row])[there], batch["image"].shape[2])
            crowd = np.asarray(batch["crowd"][row])[there]
            true = Objects(classes[there], masks[:, :height, :width], crowd=crowd)
            found = self.task.objects(prediction, int(row), (height, width), (height, width))
            self.scores.update(found, true, void=self.task.void(true))

    def merge(self, other: BatchScorer) -> BatchScorer:
        """Returns the scorer of the images of both."""
        # Images have no names but their numbers, which both began at 0.
        first = len(self.scores)
        images = enumerate(other.scores.images, first)
        self.scores.add(dataclasses.replace(one, name=f"{k:06d}") for k, one in images)
        return self

    def compute(self) -> Mapping[str, Any]:
        """Returns the scores of single numbers."""
        return {name: x for name, x in self.scores.compute().items() if np.ndim(x) == 0}


def whole_sizes(image: Array) -> Int[Array, "b 2"]:
    """Returns (height, width) of each image of a batch that has no padding.

    Args:
      image: the batch.

    Example:
      >>> whole_sizes(jnp.zeros((2, 4, 6, 3))).tolist()
      [[4, 6], [4, 6]]
    """
    return jnp.tile(jnp.asarray(image.shape[1:3], jnp.int32), (len(image), 1))


def detected_objects(
    detections: Detections,
    row: int,
    size: tuple[int, int],
    *,
    scale: tuple[float, float] = (1.0, 1.0),
) -> Objects:
    """Returns the detections of an image as objects with masks of the whole image.

    Args:
      detections: of a batch.
      row: of the image.
      size: (height, width) of the masks, in pixels.
      scale: (vertical, horizontal) pixels of the masks per pixel of the boxes.

    Returns:
      The objects, best first.

    Example:
      >>> one = Detections(
      ...     np.array([[[0.0, 0, 4, 4]]]), np.ones((1, 1)), np.ones((1, 1), int),
      ...     np.ones((1, 1, 28, 28)),
      ... )
      >>> detected_objects(one, 0, (8, 4), scale=(2.0, 1.0)).areas.tolist()
      [32.0]
    """
    found = np.asarray(detections.classes[row]) > 0
    boxes = np.asarray(detections.boxes[row], np.float64)[found]
    boxes = boxes * np.asarray([scale[1], scale[0], scale[1], scale[0]])
    masks = paste_masks(np.asarray(detections.masks[row], np.float64)[found], boxes, size)
    return Objects(
        np.asarray(detections.classes[row])[found],
        masks,
        np.asarray(detections.scores[row], np.float64)[found],
        xywh=np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),
        size=size,
    )
