"""Mask R-CNN on any encoder: proposals, then a class, a box and a mask for each.

All shapes are known beforehand: what may be many or few is padded to the most there can be, so that
one program serves all images of one padded size. Numbers are those of torchvision's, down to the
order of detections with equal scores; `convention="mmdetection"` changes what that project does
otherwise: anchors are not rounded, boxes are aligned and their samples adaptive, and decoded sides
are limited from below, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.models import roi_heads
from segalias_jax.models.detections import Detections, Proposals, Truths
from segalias_jax.models.encoder import Encoder, read_features
from segalias_jax.models.feature_pyramid import FeaturePyramid
from segalias_jax.models.roi_heads import BOX_CELLS, MASK_CELLS, BoxHead, MaskHead
from segalias_jax.models.rpn import RPN
from segalias_jax.typing import Array, Bool, Float, Int


class MaskRCNN(nnx.Module):
    """Finds objects, and the pixels of each.

    `detect` returns what it finds, `losses` what it is trained by.

    Args:
      encoder: an `Encoder` whose strides double from map to map.
      num_classes: classes without background.
      pyramid_channels: channels of every level of the pyramid.
      box_channels: channels of the two layers that tell class and box.
      mask_channels: channels of the convolutions that tell the mask.
      anchor_sizes: see `RPN`; the pyramid has one level more than the encoder.
      anchor_ratios: see `RPN`.
      convention: "torchvision" or "mmdetection", whose numbers these are.
      pre_nms: best anchors of each level that detection looks at.
      post_nms: proposals that detection keeps.
      pre_nms_train: the same for training.
      post_nms_train: the same for training.
      rpn_samples: anchors of an image whose loss is taken.
      box_samples: proposals of an image whose loss is taken.
      rpn_nms_threshold: largest IoU of two proposals of a level.
      nms_threshold: largest IoU of two detections of a class.
      score_threshold: scores of detections must be above.
      max_detections: of an image.
      rngs: random streams.

    Raises:
      InputError: strides that do not double, or numbers of anchors that do not fit.

    Example:
      >>> from segalias_jax.models import create_detector
      >>> config = {"name": "mask_rcnn", "encoder": "resnet18", "width": 8, "pyramid_channels": 8,
      ...           "box_channels": 16, "mask_channels": 8, "post_nms": 20, "max_detections": 5}
      >>> model = nnx.eval_shape(lambda: create_detector(config, num_classes=3, rngs=nnx.Rngs(0)))
      >>> image, size = jnp.ones((1, 64, 64, 3)), jnp.array([[60, 64]])
      >>> nnx.eval_shape(lambda model: model.detect(image, size), model).masks.shape
      (1, 5, 28, 28)

    Reference:
      He et al., "Mask R-CNN", ICCV 2017.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        num_classes: int,
        pyramid_channels: int = 256,
        box_channels: int = 1024,
        mask_channels: int = 256,
        anchor_sizes: tuple[int, ...] = (),
        anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        convention: str = "torchvision",
        pre_nms: int = 1000,
        post_nms: int = 1000,
        pre_nms_train: int = 2000,
        post_nms_train: int = 2000,
        rpn_samples: int = 256,
        box_samples: int = 512,
        rpn_nms_threshold: float = 0.7,
        nms_threshold: float = 0.5,
        score_threshold: float = 0.05,
        max_detections: int = 100,
        rngs: nnx.Rngs,
    ):
        strides = encoder.strides
        if any(2 * a != b for a, b in itertools.pairwise(strides)):
            raise InputError(
                f"the encoder's strides are {', '.join(map(str, strides))}, but mask_rcnn needs "
                "strides that double; leave out output_stride"
            )
        self.encoder, self.strides, self.num_classes = encoder, strides, num_classes
        self.convention = convention
        self.pre_nms, self.post_nms = pre_nms, post_nms
        self.pre_nms_train, self.post_nms_train = pre_nms_train, post_nms_train
        self.box_samples, self.max_detections = box_samples, max_detections
        self.nms_threshold, self.score_threshold = nms_threshold, score_threshold
        width = pyramid_channels
        self.pyramid = FeaturePyramid(encoder.channels, pyramid_channels=width, rngs=rngs)
        self.rpn = RPN(
            width,
            strides=(*strides, 2 * strides[-1]),
            anchor_sizes=anchor_sizes,
            anchor_ratios=anchor_ratios,
            convention=convention,
            rpn_samples=rpn_samples,
            rpn_nms_threshold=rpn_nms_threshold,
            rngs=rngs,
        )
        self.box_head = BoxHead(width, box_channels, num_classes, rngs=rngs)
        self.mask_head = self.make_mask_head(width, mask_channels, box_channels, rngs=rngs)

    def make_mask_head(
        self, in_channels: int, channels: int, hidden_channels: int, *, rngs: nnx.Rngs
    ) -> Any:
        """Returns what tells masks: with `masks` and `mask_losses` all that another kind changes.

        Args:
          in_channels: of the pyramid.
          channels: of its convolutions.
          hidden_channels: of layers that read all features of a box, of which there are none here.
          rngs: random streams.
        """
        return MaskHead(in_channels, channels, self.num_classes, rngs=rngs)

    @property
    def mask_side(self) -> int:
        """Cells along each side of a detected mask."""
        return 2 * MASK_CELLS

    def levels(
        self, features: Sequence[Float[Array, "b _ _ _"]]
    ) -> tuple[Float[Array, "b _ _ c"], ...]:
        """Returns the pyramid, and every second pixel of its coarsest level as one level more.

        Args:
          features: of the encoder, fine to coarse.
        """
        levels = self.pyramid.levels(tuple(features))
        coarsest = levels[-1]
        return (*levels, ops.strided(coarsest, (0, 0), ops.image_size(coarsest), 2))

    def detect(self, image: Float[Array, "b h w 3"], size: Int[Array, "b 2"]) -> Detections:
        """Finds objects.

        Args:
          image: normalized images, padded with zeros to one size, a multiple of 32.
          size: height and width of each image without its padding.
        """
        levels = self.levels(read_features(self.encoder, image))
        anchors = self.rpn.anchors(_grids(levels), ops.image_size(image))
        proposals = self.rpn.propose(
            *self.rpn(levels), anchors, size, pre_nms=self.pre_nms, post_nms=self.post_nms
        )
        return self.detect_in(levels, proposals, size)

    def detect_in(
        self,
        levels: tuple[Float[Array, "b _ _ c"], ...],
        proposals: Proposals,
        size: Int[Array, "b 2"],
    ) -> Detections:
        """Finds objects in proposed boxes.

        Args:
          levels: of the pyramid.
          proposals: boxes that may hold an object.
          size: height and width of each image without its padding.
        """
        with jax.named_scope("box_head"):
            logits, deltas = self.box_head(self.pool(levels, proposals.boxes, BOX_CELLS))
            boxes, scores, classes = roi_heads.select(
                logits,
                deltas,
                proposals,
                size,
                score_threshold=self.score_threshold,
                nms_threshold=self.nms_threshold,
                max_detections=self.max_detections,
                convention=self.convention,
            )
        with jax.named_scope("mask_head"):
            masks = self.masks(levels, boxes, classes)
            masks = jnp.where((classes > 0)[..., None, None], masks, 0)
        return Detections(boxes, scores, classes, masks)

    def masks(
        self,
        levels: tuple[Float[Array, "b _ _ c"], ...],
        boxes: Float[Array, "b n 4"],
        classes: Int[Array, "b n"],
    ) -> Float[Array, "b n m m"]:
        """Returns probabilities of the cells of boxes to belong to their object.

        Args:
          levels: of the pyramid.
          boxes: detected boxes of each image.
          classes: of the boxes.
        """
        logits = self.mask_head(self.pool(levels, boxes, MASK_CELLS))
        of_class = jnp.take_along_axis(logits, classes[..., None, None, None], 4)[..., 0]
        return jax.nn.sigmoid(of_class)

    def pool(
        self, levels: tuple[Float[Array, "b _ _ c"], ...], boxes: Float[Array, "b n 4"], cells: int
    ) -> Float[Array, "b n s s c"]:
        """Returns the features of boxes; the coarsest level is the proposals' alone.

        Args:
          levels: of the pyramid.
          boxes: boxes of each image.
          cells: cells along each side of a box.
        """
        return roi_heads.pool(
            levels[:-1], boxes, cells, strides=self.strides, convention=self.convention
        )

    def losses(
        self,
        image: Float[Array, "b h w 3"],
        batch: Mapping[str, Array],
        key: Array,
        *,
        features: Sequence[Float[Array, "b _ _ _"]] | None = None,
        average: str = "batch",
    ) -> dict[str, Float[Array, ""]]:
        """Returns the five losses, whose sum is minimized.

        Each is a mean over samples: of proposals ("loss_objectness",
        "loss_rpn_box_reg") and of detections ("loss_classifier", "loss_box_reg", "loss_mask").

        Args:
          image: normalized images, padded with zeros.
          batch: its objects: "boxes", "classes" (0 for none), "crowd", "masks", "size", "valid".
          key: random key of the samples.
          features: of the encoder, where they were computed before.
          average: over the samples of the "batch", as published, or first over those of each
            "image", see `losses.detection.mean_over_samples`.
        """
        truths = Truths.of_batch(batch)
        of_anchors, of_boxes = jax.random.split(key)
        of_masks = jax.random.fold_in(key, 2)  # so that the two above are as without masks
        levels = self.levels(read_features(self.encoder, image) if features is None else features)
        logits, deltas = self.rpn(levels)
        anchors = self.rpn.anchors(_grids(levels), ops.image_size(image))
        match = self.rpn.match(jnp.concatenate(anchors), truths)
        samples = self.rpn.sample(of_anchors, match, truths)
        found = self.rpn.losses(logits, deltas, anchors, match, samples, truths, average=average)
        proposals = self.rpn.propose(
            logits,
            deltas,
            anchors,
            batch["size"],
            pre_nms=self.pre_nms_train,
            post_nms=self.post_nms_train,
        )
        boxes, exist = roi_heads.candidates(proposals, truths)
        match = roi_heads.match_candidates(boxes, exist, truths)
        samples = roi_heads.sample_candidates(of_boxes, match, count=self.box_samples)
        return found | self.head_losses(
            levels, boxes, match, samples, truths, of_masks, average=average
        )

    def head_losses(
        self,
        levels: tuple[Float[Array, "b _ _ c"], ...],
        boxes: Float[Array, "b n 4"],
        match: Int[Array, "b n"],
        samples: ops.Samples,
        truths: Truths,
        key: Array,
        *,
        average: str = "batch",
    ) -> dict[str, Float[Array, ""]]:
        """Returns the losses of sampled boxes: of their class, their place and their mask.

        Args:
          levels: of the pyramid.
          boxes: proposals and truths.
          match: truth of each box.
          samples: those whose loss is taken.
          truths: objects of the images.
          key: random key of what masks draw.
          average: as for `losses`.
        """
        boxes = jnp.take_along_axis(boxes, samples.index[..., None], 1)
        truth = jnp.maximum(jnp.take_along_axis(match, samples.index, 1), 0)
        with jax.named_scope("box_head"):
            logits, deltas = self.box_head(self.pool(levels, boxes, BOX_CELLS))
            found = roi_heads.box_losses(
                logits, deltas, boxes, truth, samples, truths, average=average
            )
        # Positive samples come first, so that the rest needs no mask.
        most = int(samples.index.shape[1] * roi_heads.POSITIVE_FRACTION)
        boxes, truth, positive = (part[:, :most] for part in (boxes, truth, samples.positive))
        with jax.named_scope("mask_head"):
            return found | self.mask_losses(
                levels, boxes, truth, positive, truths, key, average=average
            )

    def mask_losses(
        self,
        levels: tuple[Float[Array, "b _ _ c"], ...],
        boxes: Float[Array, "b k 4"],
        truth: Int[Array, "b k"],
        positive: Bool[Array, "b k"],
        truths: Truths,
        key: Array,
        *,
        average: str,
    ) -> dict[str, Float[Array, ""]]:
        """Returns the losses of masks.

        Args:
          levels: of the pyramid.
          boxes: samples.
          truth: index of each sample's truth.
          positive: samples that have one.
          truths: objects of the images.
          key: random key, of which nothing is drawn here.
          average: as for `losses`.
        """
        logits = self.mask_head(self.pool(levels, boxes, MASK_CELLS))
        loss = roi_heads.mask_loss(logits, boxes, truth, positive, truths, average=average)
        return {"loss_mask": loss}


def _grids(levels: tuple[Array, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((level.shape[1], level.shape[2]) for level in levels)
