"""What looks at each proposed box: its class, its exact place, and its mask."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import Conv, UpConv
from segalias_jax.layers.conv import kaiming_normal
from segalias_jax.losses.detection import binary_cross_entropy, mean_over_samples, smooth_l1
from segalias_jax.models.detections import Proposals, Truths
from segalias_jax.models.rpn import least_growth, target_deltas
from segalias_jax.typing import Array, Bool, Float, Int

BOX_CELLS, MASK_CELLS = 7, 14
"""Cells along each side of a box, of what the two heads read; masks have twice as many."""

MATCH_THRESHOLD = 0.5
POSITIVE_FRACTION = 0.25

_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_SMALLEST = 1e-2
_CLASSES_TOGETHER = 8

_linear_xavier = jax.nn.initializers.variance_scaling(
    1.0, "fan_avg", "uniform", in_axis=(-4, -3, -2), out_axis=-1
)


class HiddenLayers(nnx.Module):
    """Two layers of all features of a box: h = relu(W2 relu(W1 x + b1) + b2).

    Args:
      in_channels: channels of the features of a box.
      channels: of both layers.
      rngs: random streams.
    """

    def __init__(self, in_channels: int, channels: int, *, rngs: nnx.Rngs):
        # A layer of vectors is a 1x1 convolution here, as in all key tables.
        self.first = Conv(
            in_channels,
            channels,
            BOX_CELLS,
            padding=0,
            use_bias=True,
            kernel_init=_linear_xavier,
            rngs=rngs,
        )
        self.second = Conv(channels, channels, use_bias=True, kernel_init=_linear_xavier, rngs=rngs)

    def hidden(self, x: Float[Array, "b n s s c"]) -> Float[Array, "b 1 n h"]:
        """Returns h of every box, in the type of `x`."""
        batch, count = x.shape[:2]
        # As vectors: a convolution over all cells is a slow way to multiply by a matrix.
        kernel = self.first.kernel[...]
        kernel = kernel.reshape(1, 1, -1, kernel.shape[-1])
        hidden = ops.conv2d(x.reshape(batch, 1, count, -1), kernel)
        assert self.first.bias is not None
        hidden = jax.nn.relu(hidden + self.first.bias[...].astype(x.dtype))
        return jax.nn.relu(self.second(hidden))


class BoxHead(HiddenLayers):
    """Two layers of all features of a box, then a logit and a box for each class.

    h = relu(W2 relu(W1 x + b1) + b2);  logits = V h + c;  deltas = U h + d

    Class 0 is the background; its box is never looked at.

    Args:
      in_channels: channels of the features of a box.
      channels: of both layers.
      num_classes: classes without background.
      rngs: random streams.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, *, rngs: nnx.Rngs):
        super().__init__(in_channels, channels, rngs=rngs)
        outputs = num_classes + 1
        normal = jax.nn.initializers.normal
        self.logits = Conv(channels, outputs, use_bias=True, kernel_init=normal(0.01), rngs=rngs)
        self.deltas = Conv(
            channels, 4 * outputs, use_bias=True, kernel_init=normal(0.001), rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "b n s s c"]
    ) -> tuple[Float[Array, "b n k"], Float[Array, "b n k 4"]]:
        """Returns logits and deltas of every class, in float32 at least."""
        batch, count = x.shape[:2]
        hidden = self.hidden(x)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        logits = self.logits(hidden)[:, 0].astype(wide)
        deltas = self.deltas(hidden)[:, 0].astype(wide)
        return logits, deltas.reshape(batch, count, -1, 4)


class MaskHead(nnx.Module):
    """Four convolutions, a transposed one that doubles the cells, and a mask for each class.

    Args:
      in_channels: channels of the features of a box.
      channels: of all convolutions.
      num_classes: classes without background.
      rngs: random streams.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, *, rngs: nnx.Rngs):
        widths = [in_channels] + [channels] * 3
        self.convs = nnx.List([Conv(c, channels, 3, use_bias=True, rngs=rngs) for c in widths])
        self.upsample = UpConv(channels, channels, method="transpose", rngs=rngs)
        self.logits = Conv(
            channels, num_classes + 1, use_bias=True, kernel_init=kaiming_normal, rngs=rngs
        )

    def __call__(self, x: Float[Array, "b n s s c"]) -> Float[Array, "b n m m k"]:
        """Returns logits of every class, the background's too, in float32 at least."""
        batch, count, side = x.shape[:3]
        y = x.reshape(batch * count, side, side, -1)
        for conv in self.convs:
            y = jax.nn.relu(conv(y))
        y = jax.nn.relu(self.upsample(y, (2 * side, 2 * side)))
        y = self.logits(y).astype(jnp.promote_types(x.dtype, jnp.float32))
        return y.reshape(batch, count, *y.shape[1:])


def pool(
    levels: tuple[Float[Array, "b _ _ c"], ...],
    boxes: Float[Array, "b n 4"],
    cells: int,
    *,
    strides: tuple[int, ...],
    convention: str,
) -> Float[Array, "b n s s c"]:
    """Pools each box on the level of the pyramid that suits its size.

    Args:
      levels: of the pyramid, fine to coarse.
      boxes: boxes of each image, in pixels.
      cells: cells along each side of a box.
      strides: pixels of the image per pixel of each level, powers of 2 that double.
      convention: "torchvision": boxes are not aligned, two samples a cell; "mmdetection":
        aligned, adaptive.

    Returns:
      Features of each box.

    Example:
      >>> levels = (jnp.ones((1, 8, 8, 2)), jnp.ones((1, 4, 4, 2)))
      >>> box = jnp.array([[[0.0, 0.0, 9.0, 9.0]]])
      >>> pool(levels, box, 7, strides=(4, 8), convention="torchvision").shape
      (1, 1, 7, 7, 2)
    """
    finest = strides[0].bit_length() - 1
    level = ops.roi_levels(boxes, finest=finest, coarsest=finest + len(strides) - 1)
    aligned = convention == "mmdetection"
    return ops.roi_align_levels(
        levels,
        boxes,
        level,
        cells,
        scales=tuple(1 / stride for stride in strides),
        aligned=aligned,
        sampling_ratio=0 if aligned else 2,
    )


def select(
    logits: Float[Array, "b n k"],
    deltas: Float[Array, "b n k 4"],
    proposals: Proposals,
    size: Int[Array, "b 2"],
    *,
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
    convention: str,
) -> tuple[Float[Array, "b d 4"], Float[Array, "b d"], Int[Array, "b d"]]:
    """The best pairs of a box and a class, after suppression within each class.

    Args:
      logits: of all classes, background first.
      deltas: of all classes.
      proposals: the boxes.
      size: height and width of each image, without padding.
      score_threshold: probabilities must be above.
      nms_threshold: largest IoU of two detections of a class.
      max_detections: of an image.
      convention: see `RPN`.

    Returns:
      Boxes, scores and classes by falling score; zeros where there is no detection.

    Example:
      >>> logits, deltas = jnp.array([[[0.0, 3.0]]]), jnp.zeros((1, 1, 2, 4))
      >>> box = Proposals(jnp.array([[[0.0, 0, 8, 8]]]), jnp.ones((1, 1)), jnp.ones((1, 1), bool))
      >>> boxes, scores, classes = select(logits, deltas, box, jnp.array([[8, 8]]),
      ...     score_threshold=0.05, nms_threshold=0.5, max_detections=2, convention="torchvision")
      >>> classes.tolist(), scores.round(2).tolist()
      ([[1, 0]], [[0.949999988079071, 0.0]])
    """
    limit = least_growth(convention)

    def image(logits: Array, deltas: Array, boxes: Array, valid: Array, size: Array):
        scores = jax.nn.softmax(logits)[:, 1:]
        decoded = ops.decode_boxes(
            deltas[:, 1:], boxes[:, None], weights=_WEIGHTS, least_growth=limit
        )
        decoded = ops.clip_boxes(decoded, size)
        valid = valid[:, None] & (scores > score_threshold) & ops.wide_enough(decoded, _SMALLEST)

        def of_class(given: tuple[Array, Array, Array]) -> Array:
            boxes, scores, valid = given
            return ops.nms_mask(boxes, scores, nms_threshold, valid=valid)

        # Some classes at a time: each has a matrix of all pairs of boxes.
        by_class = (decoded.swapaxes(0, 1), scores.T, valid.T)
        left = jax.lax.map(of_class, by_class, batch_size=_CLASSES_TOGETHER).T
        # Of equal scores the first box comes first, then the first class.
        order, held = ops.best_of(scores.ravel(), left.ravel(), max_detections)
        boxes = jnp.where(held[:, None], decoded.reshape(-1, 4)[order], 0)
        classes = order % scores.shape[1] + 1
        return boxes, jnp.where(held, scores.ravel()[order], 0), jnp.where(held, classes, 0)

    return jax.vmap(image)(logits, deltas, proposals.boxes, proposals.valid, size)


def candidates(proposals: Proposals, truths: Truths) -> tuple[Array, Bool[Array, "b n"]]:
    """Returns what training chooses from: the proposals and after them the truths, and which exist.

    Early in training no proposal is any good, and the heads would see no object.

    Args:
      proposals: of the network.
      truths: objects of the images.

    Returns:
      Boxes, and which exist.
    """
    boxes = jnp.concatenate([proposals.boxes, truths.boxes.astype(proposals.boxes.dtype)], 1)
    return boxes, jnp.concatenate([proposals.valid, truths.exist], 1)


def match_candidates(
    boxes: Float[Array, "b n 4"], exist: Bool[Array, "b n"], truths: Truths
) -> Int[Array, "b n"]:
    """Returns the truth of each candidate; -1 for background, -2 for what does not exist.

    Args:
      boxes: the candidates.
      exist: which of them exist.
      truths: objects of the images.

    Returns:
      Indices of truths.
    """

    def image(own: Array, there: Array, boxes: Array) -> Array:
        iou = ops.box_iou(own.astype(boxes.dtype), boxes)
        return ops.match_boxes(iou, there, low=MATCH_THRESHOLD, high=MATCH_THRESHOLD)

    match = jax.vmap(image)(truths.boxes, truths.exist, boxes)
    return jnp.where(exist & truths.images[:, None], match, ops.BETWEEN)


def sample_candidates(key: Array, match: Int[Array, "b n"], *, count: int) -> ops.Samples:
    """Draws the boxes of each image whose loss is taken.

    Args:
      key: random key.
      match: of the candidates.
      count: boxes of an image.

    Returns:
      The samples.
    """

    def image(key: Array, match: Array) -> ops.Samples:
        return ops.sample_boxes(
            key,
            match >= 0,
            match == ops.BACKGROUND,
            count=count,
            positive_fraction=POSITIVE_FRACTION,
        )

    return jax.vmap(image)(jax.random.split(key, len(match)), match)


def labels(
    truth: Int[Array, "b k"], positive: Bool[Array, "b k"], truths: Truths
) -> Int[Array, "b k"]:
    """Returns the true classes of samples, 0 for background.

    Args:
      truth: index of each sample's truth, where it is positive.
      positive: samples that have one.
      truths: objects of the images.

    Returns:
      The classes.
    """
    return jnp.where(positive, jnp.take_along_axis(truths.classes, truth, 1), 0)


def box_losses(
    logits: Float[Array, "b k c"],
    deltas: Float[Array, "b k c 4"],
    boxes: Float[Array, "b k 4"],
    truth: Int[Array, "b k"],
    samples: ops.Samples,
    truths: Truths,
    *,
    average: str = "batch",
) -> dict[str, Float[Array, ""]]:
    """The losses of classes and of boxes, both divided by all samples.

    Args:
      logits: of the samples.
      deltas: of the samples.
      boxes: of the samples.
      truth: index of each sample's truth, where it is positive.
      samples: what they are.
      truths: objects of the images.
      average: see `losses.detection.mean_over_samples`.

    Returns:
      Cross-entropy, and smooth L1 of the column of the true class.
    """
    label = labels(truth, samples.positive, truths)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), label[..., None], 2)[..., 0]
    own = jnp.take_along_axis(deltas, label[..., None, None], 2)[..., 0, :]
    target = target_deltas(truths.boxes, truth, boxes, samples.positive, _WEIGHTS)
    distance = smooth_l1(own - target).sum(-1)
    mean = functools.partial(
        mean_over_samples, samples=samples.valid, images=truths.images, average=average
    )
    return {
        "loss_classifier": mean(-chosen, samples.valid),
        "loss_box_reg": mean(distance, samples.positive),
    }


def mask_loss(
    logits: Float[Array, "b k m m c"],
    boxes: Float[Array, "b k 4"],
    truth: Int[Array, "b k"],
    positive: Bool[Array, "b k"],
    truths: Truths,
    *,
    average: str = "batch",
) -> Float[Array, ""]:
    """The mean cross-entropy of the masks of the true classes, over positive samples.

    Args:
      logits: of the samples.
      boxes: of the samples.
      truth: index of each sample's truth.
      positive: samples that have one.
      truths: objects of the images.
      average: see `losses.detection.mean_over_samples`.

    Returns:
      The loss; 0 without positive samples.
    """
    label = labels(truth, positive, truths)
    own = jnp.take_along_axis(logits, label[..., None, None, None], 4)[..., 0]
    side = own.shape[-1]

    def image(masks: Array, boxes: Array, truth: Array, size: Array) -> Array:
        return ops.roi_align_masks(masks, boxes, truth, side, image_size=size)

    target = jax.vmap(image)(truths.masks, boxes, truth, truths.sizes)
    loss = binary_cross_entropy(own, target.astype(own.dtype)).mean((2, 3))
    return mean_over_samples(loss, positive, positive, truths.images, average=average)
