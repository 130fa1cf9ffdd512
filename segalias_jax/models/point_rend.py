"""PointRend: Mask R-CNN whose masks are predicted point by point, where a coarse mask is unsure."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import Conv
from segalias_jax.losses.detection import binary_cross_entropy, mean_over_samples
from segalias_jax.losses.points import draw_points, least_sure
from segalias_jax.models import roi_heads
from segalias_jax.models.detections import Truths
from segalias_jax.models.mask_rcnn import MaskRCNN
from segalias_jax.models.roi_heads import BOX_CELLS, MASK_CELLS, HiddenLayers
from segalias_jax.typing import Array, Bool, Float, Int


class CoarseMaskHead(HiddenLayers):
    """A mask of 7x7 cells for each class, from two layers of all features of a box.

    Args:
      in_channels: channels of the features of a box.
      channels: of the convolution that halves their cells.
      hidden_channels: of both layers.
      num_classes: classes without background, of which there is no mask.
      rngs: random streams.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        hidden_channels: int,
        num_classes: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.reduce = Conv(in_channels, channels, 2, stride=2, padding=0, use_bias=True, rngs=rngs)
        super().__init__(channels, hidden_channels, rngs=rngs)
        self.logits = Conv(
            hidden_channels,
            num_classes * BOX_CELLS**2,
            use_bias=True,
            kernel_init=jax.nn.initializers.constant(0.001),
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "b n s s c"]) -> Float[Array, "b n m m k"]:
        """Returns logits of classes 1 and up, in float32 at least."""
        batch, count, side = x.shape[:3]
        halved = jax.nn.relu(self.reduce(x.reshape(batch * count, side, side, -1)))
        hidden = self.hidden(halved.reshape(batch, count, *halved.shape[1:]))
        logits = self.logits(hidden)[:, 0].astype(jnp.promote_types(x.dtype, jnp.float32))
        return jnp.moveaxis(logits.reshape(batch, count, -1, BOX_CELLS, BOX_CELLS), 2, -1)


class PointHead(nnx.Module):
    """Layers of single points, each of which reads the coarse mask's logits again.

    h_0 = f;  h_i = relu(W_i [h_{i-1}, m] + b_i);  logits = W [h_3, m] + b

    Args:
      in_channels: channels of the features f of a point.
      channels: of all layers.
      num_classes: classes without background.
      rngs: random streams.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, *, rngs: nnx.Rngs):
        widths = [in_channels] + [channels] * 2
        self.convs = nnx.List(
            [Conv(c + num_classes, channels, use_bias=True, rngs=rngs) for c in widths]
        )
        self.logits = Conv(
            channels + num_classes,
            num_classes,
            use_bias=True,
            kernel_init=jax.nn.initializers.normal(0.001),
            rngs=rngs,
        )

    def __call__(
        self, fine: Float[Array, "b n p c"], coarse: Float[Array, "b n p k"]
    ) -> Float[Array, "b n p k"]:
        """Returns logits of classes 1 and up, in float32 at least.

        Args:
          fine: f, features of points.
          coarse: m, logits of the coarse mask there.
        """
        y, given = fine, coarse.astype(fine.dtype)
        for conv in self.convs:
            y = jax.nn.relu(conv(jnp.concatenate([y, given], -1)))
        return self.logits(jnp.concatenate([y, given], -1)).astype(coarse.dtype)


class PointMaskHead(nnx.Module):
    """A coarse mask, and what makes it finer at the points where it is closest to 1/2.

    Points of a box are (x, y) of [0, 1], from its upper left to its lower right corner.

    Args:
      in_channels: channels of the features.
      channels: of convolutions and of the layers of points.
      hidden_channels: of the two layers that tell the coarse mask.
      num_classes: classes without background.
      stride: pixels of the image per pixel of the features.
      rngs: random streams.

    Attributes:
      subdivisions: how often detection doubles the cells of the coarse mask.
      refined_points: of a mask that are predicted again after each doubling.
      training_points: of a mask whose loss is taken.
      oversampling: candidates for each of them.
      importance: fraction of them that is chosen among the candidates; the rest is random.
    """

    subdivisions = 5
    refined_points = 28**2
    training_points = 14**2
    oversampling = 3
    importance = 0.75

    def __init__(
        self,
        in_channels: int,
        channels: int,
        hidden_channels: int,
        num_classes: int,
        *,
        stride: int,
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        self.coarse = CoarseMaskHead(in_channels, channels, hidden_channels, num_classes, rngs=rngs)
        self.points = PointHead(in_channels, channels, num_classes, rngs=rngs)

    def coarse_masks(
        self, features: Float[Array, "b h w c"], boxes: Float[Array, "b n 4"]
    ) -> Float[Array, "b n m m k"]:
        """Returns logits of 7x7 cells for classes 1 and up.

        Args:
          features: the finest level of a pyramid.
          boxes: boxes of each image, in pixels.
        """
        points = jnp.broadcast_to(_centers(MASK_CELLS), (*boxes.shape[:2], MASK_CELLS**2, 2))
        pooled = self.features_at(features, boxes, points)
        return self.coarse(pooled.reshape(*boxes.shape[:2], MASK_CELLS, MASK_CELLS, -1))

    def features_at(
        self,
        features: Float[Array, "b h w c"],
        boxes: Float[Array, "b n 4"],
        points: Float[Array, "b n p 2"],
    ) -> Float[Array, "b n p c"]:
        """Returns features at points of boxes.

        Args:
          features: as for `coarse_masks`.
          boxes: as for `coarse_masks`.
          points: of each box.
        """
        flat = points_in_image(points, boxes).reshape(len(boxes), -1, 2) / self.stride
        return ops.sample_points(features, flat).reshape(*points.shape[:3], -1)

    def point_logits(
        self,
        features: Float[Array, "b h w c"],
        coarse: Float[Array, "b n m m k"],
        boxes: Float[Array, "b n 4"],
        points: Float[Array, "b n p 2"],
    ) -> Float[Array, "b n p k"]:
        """Predicts points by their features and the coarse mask.

        Args:
          features: as for `coarse_masks`.
          coarse: of `coarse_masks`.
          boxes: as for `coarse_masks`.
          points: of each box.
        """
        fine = self.features_at(features, boxes, points)
        return self.points(fine, ops.sample_points(coarse, points * coarse.shape[-2]))

    def refined(
        self,
        features: Float[Array, "b h w c"],
        coarse: Float[Array, "b n m m k"],
        boxes: Float[Array, "b n 4"],
        classes: Int[Array, "b n"],
    ) -> Float[Array, "b n t t"]:
        """Doubles the cells of masks, and predicts those again that are the least sure.

        After a doubling that leaves at most a quarter of `refined_points` cells, all would be
        predicted again at the next one anyway, so that none is.

        Args:
          features: as for `coarse_masks`.
          coarse: of `coarse_masks`.
          boxes: as for `coarse_masks`.
          classes: of each box; its mask is refined.

        Returns:
          Logits of the masks of the classes.
        """
        masks, side = of_classes(coarse, classes), coarse.shape[2]
        for step in range(self.subdivisions):
            side *= 2
            masks = ops.resize_bilinear(masks[..., None], (side, side))[..., 0]
            if 4 * side**2 <= self.refined_points and step < self.subdivisions - 1:
                continue
            flat = masks.reshape(*masks.shape[:2], -1)
            cells = least_sure(flat, min(self.refined_points, side**2))
            points = jnp.stack([cells % side + 0.5, cells // side + 0.5], -1) / side
            points = points.astype(boxes.dtype)
            found = of_classes(self.point_logits(features, coarse, boxes, points), classes)
            flat = jnp.put_along_axis(
                flat, cells, found.astype(flat.dtype), 2, inplace=False, mode="promise_in_bounds"
            )
            masks = flat.reshape(masks.shape)
        return masks

    def draw_points(self, key: Array, coarse: Float[Array, "b n m m"]) -> Float[Array, "b n p 2"]:
        """Draws the points of each box whose loss is taken.

        Args:
          key: random key.
          coarse: logits of the true classes.
        """
        return draw_points(
            key,
            coarse,
            count=self.training_points,
            oversampling=self.oversampling,
            importance=self.importance,
        )


def of_classes(
    maps: Float[Array, "b n *points k"], classes: Int[Array, "b n"]
) -> Float[Array, "b n *points"]:
    """Returns what maps of classes 1 and up hold for one class each.

    Args:
      maps: numbers for every class.
      classes: of each box; 0, for no object, reads class 1.

    Returns:
      Numbers of that class.

    Example:
      >>> of_classes(jnp.array([[[5.0, 6.0], [7.0, 8.0]]]), jnp.array([[2, 0]])).tolist()
      [[6.0, 7.0]]
    """
    index = jnp.maximum(classes - 1, 0).reshape(*classes.shape, *(1,) * (maps.ndim - 2))
    return jnp.take_along_axis(maps, index, -1)[..., 0]


def points_in_image(
    points: Float[Array, "b n p 2"], boxes: Float[Array, "b n 4"]
) -> Float[Array, "b n p 2"]:
    """Returns points of boxes as points of the image.

    Args:
      points: (x, y) of [0, 1] inside of each box.
      boxes: (x1, y1, x2, y2) in pixels.

    Returns:
      (x, y) in pixels.

    Example:
      >>> points_in_image(jnp.array([[[[0.5, 1.0]]]]), jnp.array([[[2.0, 3.0, 6.0, 9.0]]])).tolist()
      [[[[4.0, 9.0]]]]
    """
    corner, sides = boxes[:, :, None, :2], (boxes[..., 2:] - boxes[..., :2])[:, :, None]
    return jax.lax.stop_gradient(corner + points.astype(boxes.dtype) * sides)


class PointRend(MaskRCNN):
    """`MaskRCNN` with sharper masks; everything before them is the same.

    A coarse mask of 7x7 cells is doubled five times, to 224x224; after each time the 784 cells with
    probabilities closest to 1/2 are predicted again from the finest level of the pyramid. `losses`
    has one more, "loss_point". The layers of the coarse mask have `box_channels`, those of points
    `mask_channels`.

    Example:
      >>> from segalias_jax.models import create_detector
      >>> config = {"name": "point_rend", "encoder": "resnet18", "width": 8, "pyramid_channels": 8,
      ...           "box_channels": 16, "mask_channels": 8, "post_nms": 20, "max_detections": 5}
      >>> make = lambda: create_detector(config, num_classes=3, rngs=nnx.Rngs(0))
      >>> detect = lambda x, size: make().detect(x, size)
      >>> jax.eval_shape(detect, jnp.ones((1, 64, 64, 3)), jnp.array([[60, 64]])).masks.shape
      (1, 5, 224, 224)

    Reference:
      Kirillov et al., "PointRend: Image Segmentation as Rendering", CVPR 2020, with the numbers of
      mmdetection.
    """

    mask_head: PointMaskHead

    def make_mask_head(
        self, in_channels: int, channels: int, hidden_channels: int, *, rngs: nnx.Rngs
    ) -> PointMaskHead:
        """Returns what tells masks, see `MaskRCNN.make_mask_head`."""
        return PointMaskHead(
            in_channels,
            channels,
            hidden_channels,
            self.num_classes,
            stride=self.strides[0],
            rngs=rngs,
        )

    @property
    def mask_side(self) -> int:
        """Cells along each side of a detected mask."""
        return BOX_CELLS * 2**self.mask_head.subdivisions

    def masks(
        self,
        levels: tuple[Float[Array, "b _ _ c"], ...],
        boxes: Float[Array, "b n 4"],
        classes: Int[Array, "b n"],
    ) -> Float[Array, "b n m m"]:
        """Returns probabilities of the masks of detected boxes, see `MaskRCNN.masks`."""
        coarse = self.mask_head.coarse_masks(levels[0], boxes)
        return jax.nn.sigmoid(self.mask_head.refined(levels[0], coarse, boxes, classes))

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
        """Returns the losses of coarse masks and of points, see `MaskRCNN.mask_losses`."""
        head = self.mask_head
        coarse = head.coarse_masks(levels[0], boxes)
        # There is no mask of the background, which the loss of all classes counts with.
        with_background = jnp.pad(coarse, [(0, 0)] * 4 + [(1, 0)])
        of_coarse = roi_heads.mask_loss(
            with_background, boxes, truth, positive, truths, average=average
        )
        label = roi_heads.labels(truth, positive, truths)
        points = head.draw_points(key, of_classes(coarse, label))
        logits = of_classes(head.point_logits(levels[0], coarse, boxes, points), label)
        target = jax.vmap(ops.sample_mask_points)(
            truths.masks, points_in_image(points, boxes), truth
        )
        loss = binary_cross_entropy(logits, target.astype(logits.dtype)).mean(2)
        of_points = mean_over_samples(loss, positive, positive, truths.images, average=average)
        return {"loss_mask": of_coarse, "loss_point": of_points}


def _centers(side: int) -> Array:
    """Points at the centers of cells, row by row."""
    centers = (jnp.arange(side, dtype=jnp.float32) + 0.5) / side
    return jnp.stack(jnp.meshgrid(centers, centers), -1).reshape(-1, 2)
