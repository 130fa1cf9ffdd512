"""The region proposal network: where something is, of whatever class."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers import Conv
from segalias_jax.losses.detection import binary_cross_entropy, mean_over_samples, smooth_l1
from segalias_jax.models.detections import Proposals, Truths
from segalias_jax.typing import Array, Float, Int

CONVENTIONS = ("torchvision", "mmdetection")

ANCHOR_SCALE = 8
"""Side of the square anchors in pixels of their level, where nothing else is said."""

_SMALLEST = 1e-3
_POSITIVE_FRACTION = 0.5
_MATCHES = {"low": 0.3, "high": 0.7, "low_quality": True}

Levels = tuple[Float[Array, "b _"], ...]
Deltas = tuple[Float[Array, "b _ 4"], ...]


class RPN(nnx.Module):
    """Scores anchors on every level of a pyramid, moves them, and keeps the best.

    h = relu(conv3x3(p));  logit = conv1x1(h);  (dx, dy, dw, dh) = conv1x1(h), one for each anchor

    Args:
      channels: of every level of the pyramid.
      strides: pixels of the image per pixel of each level, fine to coarse.
      anchor_sizes: side of the square anchor of each level, in pixels of the image; () for eight
        times its stride.
      anchor_ratios: heights over widths of the anchors of a level.
      convention: "torchvision": anchors are rounded to integers, and a level's stride is the
        padded image's size over its own, rounded down; "mmdetection": neither.
      rpn_samples: anchors of an image whose loss is taken.
      rpn_nms_threshold: largest IoU of two proposals of a level.
      rngs: random streams.

    Raises:
      InputError: other numbers of sizes and levels, or an unknown convention.

    Reference:
      Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks",
      NeurIPS 2015.
    """

    def __init__(
        self,
        channels: int,
        *,
        strides: tuple[int, ...],
        anchor_sizes: tuple[int, ...] = (),
        anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        convention: str = "torchvision",
        rpn_samples: int = 256,
        rpn_nms_threshold: float = 0.7,
        rngs: nnx.Rngs,
    ):
        check_choice("convention", convention, CONVENTIONS)
        sizes = tuple(anchor_sizes) or tuple(ANCHOR_SCALE * stride for stride in strides)
        if len(sizes) != len(strides):
            raise InputError(
                f"anchor_sizes is {sizes}; give one for each of the {len(strides)} levels of the "
                f"pyramid, whose strides are {', '.join(map(str, strides))}"
            )
        self.strides, self.sizes, self.ratios = tuple(strides), sizes, tuple(anchor_ratios)
        self.convention, self.samples = convention, rpn_samples
        self.nms_threshold = rpn_nms_threshold
        normal = jax.nn.initializers.normal(0.01)
        count = len(self.ratios)
        self.conv = Conv(channels, channels, 3, use_bias=True, kernel_init=normal, rngs=rngs)
        self.logits = Conv(channels, count, use_bias=True, kernel_init=normal, rngs=rngs)
        self.deltas = Conv(channels, 4 * count, use_bias=True, kernel_init=normal, rngs=rngs)

    def __call__(self, levels: tuple[Float[Array, "b _ _ c"], ...]) -> tuple[Levels, Deltas]:
        """Returns logits and deltas of all anchors, level by level, in float32 at least."""
        logits, deltas = [], []
        with jax.named_scope("rpn"):
            for level in levels:
                hidden = jax.nn.relu(self.conv(level))
                wide = jnp.promote_types(hidden.dtype, jnp.float32)
                batch = len(hidden)
                logits.append(self.logits(hidden).reshape(batch, -1).astype(wide))
                deltas.append(self.deltas(hidden).reshape(batch, -1, 4).astype(wide))
        return tuple(logits), tuple(deltas)

    def anchors(
        self, grids: tuple[tuple[int, int], ...], size: tuple[int, int]
    ) -> tuple[Float[Array, "_ 4"], ...]:
        """Returns the anchors of every level.

        Args:
          grids: height and width of each level.
          size: height and width of the padded image.
        """
        rounded = self.convention == "torchvision"
        anchors = []
        for grid, side, stride in zip(grids, self.sizes, self.strides, strict=True):
            base = ops.base_anchors(side, self.ratios, rounded=rounded)
            steps = (size[0] // grid[0], size[1] // grid[1]) if rounded else (stride, stride)
            anchors.append(ops.grid_anchors(base, grid, steps))
        return tuple(anchors)

    def propose(
        self,
        logits: Levels,
        deltas: Deltas,
        anchors: tuple[Float[Array, "_ 4"], ...],
        size: Int[Array, "b 2"],
        *,
        pre_nms: int,
        post_nms: int,
    ) -> Proposals:
        """Returns the best boxes of each image; no gradient flows into them.

        Args:
          logits: of the anchors.
          deltas: of the anchors.
          anchors: of every level.
          size: height and width of each image, without padding.
          pre_nms: best anchors of each level that are looked at.
          post_nms: best boxes of all levels that are kept.
        """

        def image(
            logits: tuple[Array, ...], deltas: tuple[Array, ...], size: Array
        ) -> tuple[Array, Array, Array]:
            boxes, scores, left = [], [], []
            for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
                best, order = jax.lax.top_k(logit, min(pre_nms, len(logit)))
                decoded = ops.decode_boxes(
                    delta[order],
                    anchor.astype(delta.dtype)[order],
                    least_growth=least_growth(self.convention),
                )
                decoded = ops.clip_boxes(decoded, size)
                score = jax.nn.sigmoid(best)
                valid = ops.wide_enough(decoded, _SMALLEST)
                left.append(ops.nms_mask(decoded, score, self.nms_threshold, valid=valid))
                boxes.append(decoded)
                scores.append(score)
            every, score = jnp.concatenate(boxes), jnp.concatenate(scores)
            count = min(post_nms, len(score))
            order, held = ops.best_of(score, jnp.concatenate(left), count)
            # What holds no proposal is a box without area, which every pooling can read.
            return jnp.where(held[:, None], every[order], 0), score[order], held

        with jax.named_scope("proposals"):
            return Proposals(*jax.vmap(image)(*jax.lax.stop_gradient((logits, deltas)), size))

    def match(self, anchors: Float[Array, "n 4"], truths: Truths) -> Int[Array, "b n"]:
        """Returns the truth of each anchor of each image, see `ops.match_boxes`."""

        def image(boxes: Array, exist: Array) -> Array:
            iou = ops.box_iou(boxes, anchors.astype(boxes.dtype))
            return ops.match_boxes(iou, exist, **_MATCHES)

        return jax.vmap(image)(truths.boxes, truths.exist)

    def sample(self, key: Array, match: Int[Array, "b n"], truths: Truths) -> ops.Samples:
        """Draws the anchors of each image whose loss is taken."""

        def image(key: Array, match: Array, there: Array) -> ops.Samples:
            return ops.sample_boxes(
                key,
                (match >= 0) & there,
                (match == ops.BACKGROUND) & there,
                count=self.samples,
                positive_fraction=_POSITIVE_FRACTION,
            )

        return jax.vmap(image)(jax.random.split(key, len(match)), match, truths.images)

    def losses(
        self,
        logits: Levels,
        deltas: Deltas,
        anchors: tuple[Float[Array, "_ 4"], ...],
        match: Int[Array, "b m"],
        samples: ops.Samples,
        truths: Truths,
        *,
        average: str = "batch",
    ) -> dict[str, Float[Array, ""]]:
        """Returns the losses of objectness and of boxes, both divided by all samples.

        Args:
          logits: of the anchors.
          deltas: of the anchors.
          anchors: of every level.
          match: truth of each anchor.
          samples: anchors that are looked at.
          truths: objects of the images.
          average: see `losses.detection.mean_over_samples`.
        """
        logit = jnp.take_along_axis(jnp.concatenate(logits, 1), samples.index, 1)
        delta = jnp.take_along_axis(jnp.concatenate(deltas, 1), samples.index[..., None], 1)
        anchor = jnp.concatenate(anchors).astype(delta.dtype)[samples.index]
        truth = jnp.maximum(jnp.take_along_axis(match, samples.index, 1), 0)
        target = target_deltas(truths.boxes, truth, anchor, samples.positive, (1.0,) * 4)
        objectness = binary_cross_entropy(logit, samples.positive.astype(logit.dtype))
        boxes = smooth_l1(delta - target).sum(-1)
        mean = functools.partial(
            mean_over_samples, samples=samples.valid, images=truths.images, average=average
        )
        return {
            "loss_objectness": mean(objectness, samples.valid),
            "loss_rpn_box_reg": mean(boxes, samples.positive),
        }


def least_growth(convention: str) -> float:
    """Returns the limit of decoded sides from below, see `ops.decode_boxes`.

    Example:
      >>> least_growth("torchvision")
      -inf
    """
    return -math.inf if convention == "torchvision" else -math.log(1000 / 16)


def target_deltas(
    boxes: Float[Array, "b g 4"],
    truth: Int[Array, "b k"],
    anchors: Float[Array, "b k 4"],
    positive: Array,
    weights: tuple[float, ...],
) -> Float[Array, "b k 4"]:
    """Codes the truth of each positive sample; zeros for all others.

    Args:
      boxes: of the truths.
      truth: index of each sample's truth.
      anchors: what each sample starts from.
      positive: samples that have a truth.
      weights: see `ops.encode_boxes`.

    Returns:
      Targets of a regression.

    Example:
      >>> box = jnp.array([[[0.0, 0.0, 2.0, 2.0]]])
      >>> target_deltas(box, jnp.array([[0]]), box, jnp.array([[True]]), (1.0,) * 4).tolist()
      [[[0.0, 0.0, 0.0, 0.0]]]
    """
    own = jnp.take_along_axis(boxes.astype(anchors.dtype), truth[..., None], 1)
    whole = jnp.array([0, 0, 1, 1], anchors.dtype)
    # Of padding and background nothing is coded: the logarithm of an empty side is no number.
    own, anchors = (jnp.where(positive[..., None], box, whole) for box in (own, anchors))
    return ops.encode_boxes(own, anchors, weights=weights)
