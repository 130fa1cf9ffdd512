"""The three tasks for networks of queries (`models.Mask2Former`): one network, one loss.

Every query has a class, or none, and a mask of the whole image; `losses.queries` trains them, and
`models.queries` makes objects, segments or classes of pixels of them. Batches and scores are those
of the tasks that these are derived from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax.data.masks import unpack_masks
from segalias_jax.losses.queries import QueryLoss, QueryTruths, query_losses
from segalias_jax.models import MaskDetections
from segalias_jax.models.detections import Truths
from segalias_jax.models.queries import found_objects, found_segments
from segalias_jax.scoring.instances import Objects
from segalias_jax.scoring.instances.objects import Mask
from segalias_jax.tasks.instances import InstanceSegmentation, whole_sizes
from segalias_jax.tasks.panoptic import Segments, checked_stuff, nearest_pixels, segment_objects
from segalias_jax.tasks.semantic import SemanticSegmentation
from segalias_jax.training.curriculum import Curriculum
from segalias_jax.training.task import Batch
from segalias_jax.typing import Array, Int32, UInt8


class InstanceQueries(InstanceSegmentation):
    """`InstanceSegmentation` by a network of queries; predictions are `models.MaskDetections`.

    Args:
      num_classes: number of classes of objects, without the background.
      how: weights of the loss, and the number of its points.
      average: "batch": masks are averaged over all objects of a batch, and classes over all
        queries, as published; "image": first over those of each image, so that a batch may be
        accumulated in parts.
      precision: of the network, see `tasks.semantic.PRECISIONS`.
      seed: of the points, with the step.
      headline: score by which the best checkpoint is kept, see `InstanceSegmentation`.
      threshold: detections of a lower score count in average precision alone.

    Raises:
      InputError: a name that does not exist, or a number out of range.

    Example:
      >>> InstanceQueries(num_classes=3).how.mask_weight
      5.0
    """

    def __init__(
        self,
        num_classes: int,
        *,
        how: QueryLoss | None = None,
        average: str = "batch",
        precision: str = "float32",
        seed: int = 0,
        headline: str = "PQ",
        threshold: float = 0.5,
    ):
        super().__init__(
            num_classes,
            average=average,
            precision=precision,
            seed=seed,
            headline=headline,
            threshold=threshold,
        )
        self.how = how or QueryLoss()

    def network_losses(
        self, model: Any, image: Array, batch: Batch, key: Array
    ) -> tuple[dict[str, Array], Sequence[Array]]:
        """Returns the weighted losses of all queries, and the features of the encoder.

        Args:
          model: the network.
          image: the images, or darkened ones.
          batch: their objects; regions of many objects (crowds) teach nothing.
          key: random key of the points.
        """
        x = self.network_input(image, batch["size"])
        features = model.encoder(x)
        shown = Truths.of_batch(batch)
        truths = QueryTruths(shown.classes, shown.masks, _sides(x), shown.images)
        found = _losses(model.segments(features), truths, key, how=self.how, average=self.average)
        return found, features

    def predict(self, model: Any, image: Array, *, size: Array | None = None) -> Any:
        """Returns the objects that the network finds, as many as it has queries.

        Args:
          model: the network.
          image: see `InstanceSegmentation`.
          size: (height, width) of each image without its padding; None for all of it.
        """
        size = whole_sizes(image) if size is None else size
        x = self.network_input(image, size)
        told = model.segments(model.encoder(x))
        return self.found(told.class_logits, told.mask_logits, size, _sides(x))

    def found(
        self, class_logits: Array, mask_logits: Array, size: Array, shape: tuple[int, int]
    ) -> Any:
        """Returns the objects that queries tell of.

        Args:
          class_logits: of the queries of each image.
          mask_logits: of their masks.
          size: (height, width) of each image without its padding.
          shape: (height, width) with it.
        """
        queries = class_logits.shape[1]

        def of_image(*arrays: Array) -> Any:
            return found_objects(*arrays, shape=shape, max_detections=queries)

        return MaskDetections(*jax.vmap(of_image)(class_logits, mask_logits, size))

    def objects(
        self, prediction: Any, row: int, seen: tuple[int, int], size: tuple[int, int]
    ) -> Objects:
        """Returns the objects of an image, see `mask_objects`.

        Args:
          prediction: of a batch.
          row: of the image.
          seen: (height, width) of the image in the batch, without padding.
          size: (height, width) of the masks.
        """
        return mask_objects(prediction, row, seen, size)


class PanopticQueries(InstanceQueries):
    """Panoptic segmentation by a network of queries; predictions are `tasks.panoptic.Segments`.

    A class of stuff is an object of which an image has one.

    Args:
      num_classes: number of classes of things and stuff, without background.
      stuff: classes without single objects, by number from 1.
      how: as for `InstanceQueries`, like the next five.
      average: of the losses.
      precision: of the network.
      seed: of the points.
      headline: score of the best checkpoint.
      threshold: segments of a lower score count in average precision alone.
      least_probable: probability of its class that a query with a segment exceeds.
      overlap: fraction of a mask's pixels that are its segment's at least.

    Raises:
      InputError: a name that does not exist, or a number out of range.

    Example:
      >>> PanopticQueries(num_classes=3, stuff=(1,)).overlap
      0.8
    """

    def __init__(
        self,
        num_classes: int,
        *,
        stuff: Sequence[int] = (),
        how: QueryLoss | None = None,
        average: str = "batch",
        precision: str = "float32",
        seed: int = 0,
        headline: str = "PQ",
        threshold: float = 0.0,
        least_probable: float = 0.8,
        overlap: float = 0.8,
    ):
        super().__init__(
            num_classes,
            how=how,
            average=average,
            precision=precision,
            seed=seed,
            headline=headline,
            threshold=threshold,
        )
        self.stuff = checked_stuff(stuff, num_classes)
        self.least_probable, self.overlap = least_probable, overlap

    def found(
        self, class_logits: Array, mask_logits: Array, size: Array, shape: tuple[int, int]
    ) -> Segments:
        """Returns the segments that queries tell of, see `InstanceQueries.found`.

        Args:
          class_logits: of the queries of each image.
          mask_logits: of their masks.
          size: (height, width) of each image without its padding.
          shape: (height, width) with it.
        """

        def of_image(*arrays: Array) -> Any:
            return found_segments(
                *arrays,
                shape=shape,
                stuff=self.stuff,
                threshold=self.least_probable,
                overlap=self.overlap,
            )

        return Segments(*jax.vmap(of_image)(class_logits, mask_logits, size))

    def objects(
        self, prediction: Any, row: int, seen: tuple[int, int], size: tuple[int, int]
    ) -> Objects:
        """Returns the segments of an image, see `tasks.panoptic.segment_objects`.

        Args:
          prediction: of a batch.
          row: of the image.
          seen: (height, width) of the image in the batch, without padding.
          size: (height, width) of the masks.
        """
        return segment_objects(prediction, row, seen, size)


class SemanticQueries(SemanticSegmentation):
    """`SemanticSegmentation` by a network of queries, `models.queries.QuerySegmenter`.

    In training, every class that an image shows is a mask to find; pixels without a label are in
    none. Predictions are logits of pixels, as of any other network of this task.

    Args:
      num_classes: number of classes.
      how: weights of the loss, and the number of its points.
      seed: of the points, with the step.
      precision: as for `SemanticSegmentation`, like all others.
      curriculum: of the spectrum.
      boundary: rule of the scores.
      ignore: of the scores.
      width: of boundaries.
      reduce_zero_label: of labels of validation.

    Raises:
      InputError: a name that does not exist, or a number out of range.

    Example:
      >>> SemanticQueries(3).headline
      'mIoU'
    """

    def __init__(
        self,
        num_classes: int,
        *,
        how: QueryLoss | None = None,
        seed: int = 0,
        precision: str = "float32",
        curriculum: Curriculum | None = None,
        boundary: str = "laplacian",
        ignore: str = "reference",
        width: int = 15,
        reduce_zero_label: bool = False,
    ):
        super().__init__(
            num_classes,
            precision=precision,
            curriculum=curriculum,
            boundary=boundary,
            ignore=ignore,
            width=width,
            reduce_zero_label=reduce_zero_label,
        )
        self.how, self.seed = how or QueryLoss(), seed
        self.sums = False  # but a mean over all masks of a batch

    def loss(self, model: Any, batch: Batch) -> tuple[Array, Mapping[str, Array]]:
        """Returns the sum of the weighted losses of all queries, and each of them.

        Args:
          model: the network.
          batch: see `SemanticSegmentation`; "step" is the number that points are drawn by.
        """
        x = self.network_input(batch["image"], batch.get("ratio"))
        label = batch["label"]
        valid = batch.get("valid", jnp.ones(len(label), bool))
        classes, masks = class_masks(label, self.num_classes)
        truths = QueryTruths(classes, masks, _sides(x), valid)
        key = jax.random.fold_in(jax.random.key(self.seed), batch.get("step", 0))
        told = model.segments(model.encoder(x))
        losses = _losses(told, truths, key, how=self.how, average="batch")
        return sum(losses.values(), start=jnp.zeros(())), losses


def class_masks(
    label: Int32[Array, "b h w"], num_classes: int
) -> tuple[Int32[Array, "b c"], UInt8[Array, "b c h w8"]]:
    """Returns a mask for each class that label maps show.

    Args:
      label: class of each pixel from 0 on; others, as `IGNORE_LABEL`, are in no mask.
      num_classes: c.

    Returns:
      1 + the class where the image shows it, else 0; and packed masks as `numpy.packbits` does it.

    Example:
      >>> classes, masks = class_masks(jnp.array([[[2, 2, 255, 0]]]), 3)
      >>> classes.tolist(), masks[0, :, 0, 0].tolist()
      ([[1, 0, 3]], [16, 0, 192])
    """
    numbers = jnp.arange(num_classes, dtype=label.dtype)
    masks = label[:, None] == numbers[:, None, None]
    there = masks.any((2, 3))
    return jnp.where(there, numbers + 1, 0).astype(jnp.int32), jnp.packbits(masks, axis=-1)


def mask_objects(
    prediction: MaskDetections, row: int, seen: tuple[int, int], size: tuple[int, int]
) -> Objects:
    """Returns the detections of an image as objects; each pixel is the nearest one's.

    Args:
      prediction: of a batch.
      row: of the image.
      seen: (height, width) of the image in the batch, without padding.
      size: (height, width) of the masks.

    Returns:
      The objects, best first.

    Example:
      >>> bits = np.full((1, 1, 2, 1), 0b11000000, np.uint8)
      >>> one = MaskDetections(np.ones((1, 1)), np.array([[3]]), bits)
      >>> mask_objects(one, 0, (2, 4), (4, 8)).areas.tolist()
      [16.0]
    """
    found = np.asarray(prediction.classes[row]) > 0
    packed = np.asarray(prediction.masks[row])[found]
    rows, columns = nearest_pixels(seen, size)
    # One mask of the whole image at a time: hundreds of them would fill the memory.
    masks = tuple(
        Mask.of_pixels(unpack_masks(one[None], seen[1])[0][rows][:, columns]) for one in packed
    )
    scores = np.asarray(prediction.scores[row], np.float64)[found]
    classes = np.asarray(prediction.classes[row], np.int64)[found]
    objects = Objects(classes, masks, scores, size=size)
    return objects.chosen(objects.pixels > 0)  # small ones may lie between the pixels


def _losses(
    told: Any, truths: QueryTruths, key: Array, *, how: QueryLoss, average: str
) -> dict[str, Array]:
    outputs = [(told.class_logits, told.mask_logits), *map(tuple, told.auxiliary)]
    with jax.named_scope("losses"):
        return query_losses(outputs, truths, key, how=how, average=average)


def _sides(x: Array) -> tuple[int, int]:
    return x.shape[1], x.shape[2]
