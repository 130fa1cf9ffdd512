"""What detectors exchange, all padded to fixed lengths: truths, proposals and detections."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from segalias_jax.typing import Array, Bool, Float, Int, UInt8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Truths:
    """Objects that an image shows.

    Attributes:
      boxes: (x1, y1, x2, y2) in pixels.
      classes: 1 to the number of classes; 0 for none.
      masks: eight pixels of a row in a byte, as `numpy.packbits` has them.
      sizes: height and width of each image without its padding.
      images: rows of the batch that hold an image.

    Example:
      >>> batch = {"boxes": jnp.ones((1, 2, 4)), "classes": jnp.array([[3, 1]]),
      ...          "crowd": jnp.array([[False, True]]), "masks": jnp.zeros((1, 2, 8, 1), jnp.uint8),
      ...          "size": jnp.array([[8, 8]]), "valid": jnp.ones(1, bool)}
      >>> Truths.of_batch(batch).exist.tolist()
      [[True, False]]
    """

    boxes: Float[Array, "b g 4"]
    classes: Int[Array, "b g"]
    masks: UInt8[Array, "b g h w8"]
    sizes: Int[Array, "b 2"]
    images: Bool[Array, " b"]

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
      boxes: (x1, y1, x2, y2) in pixels, inside of the image.
      scores: of [0, 1].
      valid: entries that hold a proposal.

    Example:
      >>> Proposals(jnp.zeros((1, 2, 4)), jnp.zeros((1, 2)), jnp.zeros((1, 2), bool)).valid.any()
      Array(False, dtype=bool)
    """

    boxes: Float[Array, "b n 4"]
    scores: Float[Array, "b n"]
    valid: Bool[Array, "b n"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Detections:
    """Objects found, best first; entries after the last hold zeros.

    Attributes:
      boxes: (x1, y1, x2, y2) in pixels, inside of the image.
      scores: probability of the class.
      classes: 1 to the number of classes; 0 for no detection.
      masks: probability of each of 28 x 28 cells of the box to belong to the object.

    Example:
      >>> empty = jnp.zeros((1, 2))
      >>> Detections(jnp.zeros((1, 2, 4)), empty, empty.astype(jnp.int32),
      ...            jnp.zeros((1, 2, 28, 28))).classes.tolist()
      [[0, 0]]
    """

    boxes: Float[Array, "b n 4"]
    scores: Float[Array, "b n"]
    classes: Int[Array, "b n"]
    masks: Float[Array, "b n m m"]
