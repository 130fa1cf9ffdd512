"""Panoptic segmentation as a task: classes of pixels, centers of things, and offsets to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.losses.panoptic import (
    PanopticTargets,
    bootstrapped_cross_entropy,
    panoptic_targets,
    weighted_mean,
)
from segalias_jax.models import PanopticMaps
from segalias_jax.scoring.instances import Objects
from segalias_jax.scoring.instances.objects import Mask
from segalias_jax.tasks.instances import InstanceSegmentation, whole_sizes
from segalias_jax.training.task import Batch
from segalias_jax.typing import Array, Float, Int, Int64


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Segments:
    """What images are divided into: things and regions of stuff, which do not overlap.

    Attributes:
      segments: [b, h, w], number of the segment of each pixel, from 1 on; 0 for none.
      classes: [b, n], class of each segment; 0 for one that is empty.
      scores: [b, n], mean probability of the classes of its pixels, times the heat of its center.

    Example:
      >>> nothing = jnp.zeros((1, 9))
      >>> Segments(jnp.zeros((1, 4, 4), int), nothing.astype(int), nothing).classes.shape
      (1, 9)
    """

    segments: Any  # arrays; also what jax's transformations put in their place
    classes: Any
    scores: Any


@dataclasses.dataclass(frozen=True)
class PanopticLoss:
    """How the three maps are learned.

    L = cross-entropy + center_weight center + offset_weight offset: the mean over the pixels with
    the largest cross-entropies, that of the squared errors of heat over pixels where it is known,
    and that of |rows| + |columns| of errors of offsets over things.

    Attributes:
      fraction: of pixels whose cross-entropy counts, see `losses.panoptic`.
      center_weight: of the heat.
      offset_weight: of the offsets.
      sigma: deviation of the heat around a center, in pixels.
      small_area: things with fewer pixels are small.
      small_weight: of the cross-entropy of their pixels.

    Example:
      >>> PanopticLoss().center_weight
      200.0
    """

    fraction: int | float = 0.2
    center_weight: int | float = 200.0
    offset_weight: int | float = 0.01
    sigma: int | float = 8.0
    small_area: int = 4096
    small_weight: int | float = 3.0


class PanopticSegmentation(InstanceSegmentation):
    """Learns what every pixel shows: a class, and of things which one.

    Batches are those of `InstanceSegmentation`; a class of stuff is an object of which an image has
    one. Where no class is stuff, pixels of no object are learned as background; else nothing is
    known of them. Predictions are `Segments`.

    Args:
      num_classes: number of classes of things and stuff, without background.
      stuff: classes without single objects, by number from 1.
      how: the parts of the loss.
      average: "batch": losses are means over the pixels of all images, as published; "image": means
        over images of the means over the pixels of each, so that a batch may be accumulated in
        parts.
      center_threshold: centers are hotter than that.
      max_centers: of an image.
      stuff_area: pixels that a segment of stuff has at least, at the size the network sees.
      precision: of the network, see `tasks.semantic.PRECISIONS`.
      headline: score by which the best checkpoint is kept, see `InstanceSegmentation`.
      threshold: segments of a lower score count in average precision alone.

    Raises:
      InputError: a name that does not exist, or a number out of range.

    Example:
      >>> task = PanopticSegmentation(num_classes=3, stuff=(1,))
      >>> task.headline, task.stuff
      ('PQ', (1,))
    """

    def __init__(
        self,
        num_classes: int,
        *,
        stuff: Sequence[int] = (),
        how: PanopticLoss | None = None,
        average: str = "batch",
        center_threshold: float = 0.1,
        max_centers: int = 200,
        stuff_area: int = 2048,
        precision: str = "float32",
        headline: str = "PQ",
        threshold: float = 0.0,
    ):
        super().__init__(
            num_classes,
            average=average,
            precision=precision,
            headline=headline,
            threshold=threshold,
        )
        self.stuff, self.how = checked_stuff(stuff, num_classes), how or PanopticLoss()
        self.center_threshold, self.max_centers = center_threshold, max_centers
        self.stuff_area = stuff_area

    def network_losses(
        self, model: Any, image: Array, batch: Batch, key: Array
    ) -> tuple[dict[str, Array], Sequence[Array]]:
        """Returns the three weighted losses, and the features of the encoder.

        Args:
          model: the network.
          image: the images, or darkened ones.
          batch: its objects.
          key: random key, of which nothing is drawn here.
        """
        x = self.network_input(image, batch["size"])
        features = model.encoder(x)
        maps = model.maps(features, ops.image_size(x))
        with jax.named_scope("targets"):
            targets = jax.vmap(self.targets)(*(batch[name] for name in _OBJECTS))
        there = batch["valid"]
        if self.average == "image":
            of_images = jax.vmap(self.map_losses)(maps, targets)
            mean = lambda x: jnp.sum(x, where=there) / jnp.maximum(there.sum(), 1)  # noqa: E731
            return jax.tree.map(mean, of_images), features
        rows = there[:, None, None]
        weights = ("label_weight", "center_weight", "offset_weight")
        known = {name: getattr(targets, name) * rows for name in weights}
        return self.map_losses(maps, targets._replace(**known)), features

    def targets(self, masks: Array, classes: Array, crowd: Array, size: Array) -> PanopticTargets:
        """Returns what the maps of an image should be, see `losses.panoptic.panoptic_targets`.

        Args:
          masks: of its objects, packed; images are as wide as they are when unpacked.
          classes: of the objects.
          crowd: of the objects.
          size: (height, width) without padding.
        """
        return panoptic_targets(
            masks,
            classes,
            crowd,
            size,
            width=8 * masks.shape[-1],
            stuff=self.stuff,
            sigma=self.how.sigma,
            small_area=self.how.small_area,
            small_weight=self.how.small_weight,
        )

    def map_losses(self, maps: PanopticMaps, targets: PanopticTargets) -> dict[str, Array]:
        """Returns the losses of maps, of an image or of many together.

        Args:
          maps: what the network says.
          targets: what it should.
        """
        offsets = jnp.abs(maps.offset - targets.offset).sum(-1)
        centers = jnp.square(maps.center - targets.center)
        return {
            "loss_semantic": bootstrapped_cross_entropy(
                maps.semantic, targets.label, targets.label_weight, fraction=self.how.fraction
            ),
            "loss_center": self.how.center_weight * weighted_mean(centers, targets.center_weight),
            "loss_offset": self.how.offset_weight * weighted_mean(offsets, targets.offset_weight),
        }

    def predict(self, model: Any, image: Array, *, size: Array | None = None) -> Segments:
        """Returns the segments of images.

        Args:
          model: the network.
          image: see `InstanceSegmentation`.
          size: (height, width) of each image without its padding; None for all of it.
        """
        size = whole_sizes(image) if size is None else size
        maps = model(self.network_input(image, size))
        with jax.named_scope("grouping"):
            segments_of = jax.vmap(self.segments_of)
            return Segments(*segments_of(maps.semantic, maps.center, maps.offset, size))

    def segments_of(
        self,
        logits: Float[Array, "h w c"],
        heat: Float[Array, "h w"],
        offsets: Float[Array, "h w 2"],
        size: Int[Array, " 2"],
    ) -> tuple[Int[Array, "h w"], Int[Array, " n"], Float[Array, " n"]]:
        """Returns segments, their classes and their scores, of the maps of an image.

        Args:
          logits: of the classes.
          heat: of centers.
          offsets: to the center of each pixel's object.
          size: (height, width) without padding.
        """
        height, width = heat.shape
        inside = (jnp.arange(height) < size[0])[:, None] & (jnp.arange(width) < size[1])
        semantic = jnp.where(inside, logits.argmax(-1), 0)
        centers, heats, valid = ops.find_centers(
            jnp.where(inside, heat, 0),
            threshold=self.center_threshold,
            max_centers=self.max_centers,
        )
        segments, classes = ops.merge_segments(
            semantic,
            ops.group_pixels(offsets, centers, valid),
            max_groups=self.max_centers,
            num_classes=self.num_classes,
            stuff=self.stuff,
            stuff_area=self.stuff_area,
        )
        probability = jax.nn.softmax(logits).max(-1)
        sums = jnp.zeros(len(classes) + 1).at[segments].add(probability)[1:]
        areas = jnp.zeros(len(classes) + 1).at[segments].add(1)[1:]
        heats = jnp.concatenate([jnp.clip(heats, 0, 1), jnp.ones(len(self.stuff))])
        return segments, classes, heats * sums / jnp.maximum(areas, 1)

    def objects(
        self, prediction: Any, row: int, seen: tuple[int, int], size: tuple[int, int]
    ) -> Objects:
        """Returns the segments of an image, see `segment_objects`.

        Args:
          prediction: of a batch.
          row: of the image.
          seen: (height, width) of the image in the batch, without padding.
          size: (height, width) of the masks.
        """
        return segment_objects(prediction, row, seen, size)


_OBJECTS = ("masks", "classes", "crowd", "size")


def checked_stuff(stuff: Sequence[int], num_classes: int) -> tuple[int, ...]:
    """Returns the classes of stuff.

    Args:
      stuff: by number.
      num_classes: of things and stuff.

    Raises:
      InputError: a number that is no class.

    Example:
      >>> checked_stuff([1, 3], 3)
      (1, 3)
    """
    stuff = tuple(stuff)
    if not {*stuff} <= {*range(1, num_classes + 1)}:
        raise InputError(f"stuff is {stuff}; give classes of 1 to {num_classes}")
    return stuff


def segment_objects(
    prediction: Segments, row: int, seen: tuple[int, int], size: tuple[int, int]
) -> Objects:
    """Returns the segments of an image as objects, best first; each pixel is the nearest one's.

    Args:
      prediction: of a batch.
      row: of the image.
      seen: (height, width) of the image in the batch, without padding.
      size: (height, width) of the masks.

    Example:
      >>> one = Segments(np.array([[[2, 2, 0, 0]]]), np.array([[0, 5]]), np.ones((1, 2)))
      >>> objects = segment_objects(one, 0, (1, 3), (2, 6))
      >>> objects.classes.tolist(), objects.areas.tolist()
      ([5], [8.0])
    """
    segments = np.asarray(prediction.segments[row])
    classes = np.asarray(prediction.classes[row], np.int64)
    scores = np.asarray(prediction.scores[row], np.float64)
    at_size = segments[np.ix_(*nearest_pixels(seen, size))]
    numbers = np.unique(at_size)
    numbers = numbers[numbers > 0]
    numbers = numbers[np.argsort(-scores[numbers - 1], kind="stable")]
    masks = tuple(Mask.of_pixels(at_size == number) for number in numbers)
    return Objects(classes[numbers - 1], masks, scores[numbers - 1], size=size)


def nearest_pixels(
    seen: tuple[int, int], size: tuple[int, int]
) -> tuple[Int64[np.ndarray, " h"], Int64[np.ndarray, " w"]]:
    """Returns the rows and columns of a map that are nearest to those of another size.

    Args:
      seen: (height, width) of the map.
      size: (height, width) wanted.

    Example:
      >>> nearest_pixels((2, 2), (4, 1))[0].tolist()
      [0, 0, 1, 1]
    """
    rows, columns = (
        ((2 * np.arange(whole) + 1) * part // (2 * whole))
        for part, whole in zip(seen, size, strict=True)
    )
    return rows, columns
