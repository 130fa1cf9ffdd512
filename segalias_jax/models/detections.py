"""What detectors exchange, all padded to fixed lengths: truths, proposals and detections."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from segalias_jax.typing import Array, Bool


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Truths:
    """Objects that an image shows.

    Attributes:
      boxes: [b, g, 4], (x1, y1, x2, y2) in pixels.
      classes: [b, g], 1 to the number of classes; 0 for none.
      masks: uint8 [b, g, h, w / 8], eight pixels of a row in a byte, as `numpy.packbits` has them.
      sizes: [b, 2], height and width of each image without its padding.
      images: [b], rows of the batch that hold an image.

    Example:
      >>> batch = {"boxes": jnp.ones((1, 2, 4)), "classes": jnp.array([[3, 1]]),
      ...          "crowd": jnp.array([[False, True]]), "masks": jnp.zeros((1, 2, 8, 1), jnp.uint8),
      ...          "size": jnp.array([[8, 8]]), "valid": jnp.ones(1, bool)}
      >>> Truths.of_batch(batch).exist.tolist()
      [[True, False]]
    """

    boxes: Any  # arrays; also what jax's transformations put in their place
    classes: Any
    masks: Any
    sizes: Any
    images: Any

    @property
    def exist(self) -> Bool[Array, "b g"]:
        """Which entries hold an object."""
        return self.classes > 0

    @classmethod
    def of_batch(cls, batch: Mapping[str, Array]) -> Truths:
        """Takes the objects out of a batch of instances; crowds are none of them.

        A crowd is a region with any number of objects; its box is no truth for any prediction.
        """
        classes = jnp.where(batch["crowd"] | ~batch["valid"][:, None], 0, batch["classes"])
        return cls(batch["boxes"], classes, batch["masks"], batch["size"], batch["valid"])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Proposals:
    """Boxes that may hold an object, best first.

    Attributes:
      boxes: [b, n, 4], (x1, y1, x2, y2) in pixels, inside of the image.
      scores: [b, n], of [0, 1].
      valid: [b, n], entries that hold a proposal.

    Example:
      >>> Proposals(jnp.zeros((1, 2, 4)), jnp.zeros((1, 2)), jnp.zeros((1, 2), bool)).valid.any()
      Array(False, dtype=bool)
    """

    boxes: Any  # arrays; also what jax's transformations put in their place
    scores: Any
    valid: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Detections:
    """Objects found, best first; entries after the last hold zeros.

    Attributes:
      boxes: [b, n, 4], (x1, y1, x2, y2) in pixels, inside of the image.
      scores: [b, n], probability of the class.
      classes: [b, n], 1 to the number of classes; 0 for no detection.
      masks: [b, n, m, m], probability of each cell of the box to belong to the object; m is 28
        for Mask R-CNN and 224 for PointRend.

    Example:
      >>> empty = jnp.zeros((1, 2))
      >>> Detections(jnp.zeros((1, 2, 4)), empty, empty.astype(jnp.int32),
      ...            jnp.zeros((1, 2, 28, 28))).classes.tolist()
      [[0, 0]]
    """

    boxes: Any  # arrays; also what jax's transformations put in their place
    scores: Any
    classes: Any
    masks: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MaskDetections:
    """Objects found by masks of the whole image, best first; they have no boxes but those of masks.

    Attributes:
      scores: [b, n], probability of the class times the mean of its mask.
      classes: [b, n], 1 to the number of classes; 0 for no detection.
      masks: uint8 [b, n, h, w / 8], eight pixels of a row in a byte, as `numpy.packbits` has them.

    Example:
      >>> empty = jnp.zeros((1, 2))
      >>> bits = jnp.zeros((1, 2, 32, 4), jnp.uint8)
      >>> MaskDetections(empty, empty.astype(jnp.int32), bits).classes.tolist()
      [[0, 0]]
    """

    scores: Any  # arrays; also what jax's transformations put in their place
    classes: Any
    masks: Any
