"""What networks of queries are trained by: each predicts a class and a mask, or that it has none.

Every truth is assigned the query that suits it best, all at once (`cheapest_assignment`); the query
learns the truth's class and mask, and the others that they show no object. Masks are read at points
alone: random ones for the assignment, and ones where the mask is unsure for the loss.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from segalias_jax import ops
from segalias_jax.losses.assignment import cheapest_assignment
from segalias_jax.losses.detection import binary_cross_entropy, mean_over_samples
from segalias_jax.losses.points import draw_points, mask_logits_at
from segalias_jax.typing import Array, Float, Int, UInt8

Outputs = tuple[Array, Array]
"""Logits of classes [b, q, c + 1], of which the last means no object, and of masks [b, q, h, w]."""


@dataclasses.dataclass(frozen=True)
class QueryLoss:
    """How queries are learned.

    L = class_weight L_class + mask_weight L_mask + dice_weight L_dice, of the last output and of
    each earlier one; the same weights compare queries and truths in the assignment.

    Attributes:
      class_weight: of the cross-entropy of classes; in the assignment, of -p.
      mask_weight: of the binary cross-entropy of masks.
      dice_weight: of their dice loss.
      no_object_weight: of queries without a truth, in the mean over all queries.
      points: of a mask that are read.

    Example:
      >>> QueryLoss().points
      12544
    """

    class_weight: int | float = 2.0
    mask_weight: int | float = 5.0
    dice_weight: int | float = 5.0
    no_object_weight: int | float = 0.1
    points: int = 112**2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QueryTruths:
    """What images show; of each image, filled up to one number of objects.

    Attributes:
      classes: [b, g], from 1 on; 0 for none.
      masks: uint8 [b, g, h, w / 8], eight pixels of a row in a byte, as `numpy.packbits` has them.
      size: (height, width) of the masks in pixels.
      images: [b], rows that hold an image.

    Example:
      >>> bits = jnp.zeros((2, 5, 8, 1), jnp.uint8)
      >>> QueryTruths(jnp.zeros((2, 5), int), bits, (8, 6), jnp.ones(2, bool)).size
      (8, 6)
    """

    classes: Any  # arrays; also what jax's transformations put in their place
    masks: Any
    size: tuple[int, int] = dataclasses.field(metadata={"static": True})
    images: Any


def query_losses(
    outputs: Sequence[Outputs],
    truths: QueryTruths,
    key: Array,
    *,
    how: QueryLoss,
    average: str = "batch",
) -> dict[str, Float[Array, ""]]:
    """Returns the weighted losses of all outputs of a network, whose sum is minimized.

    Args:
      outputs: of the network's layers, the last one first.
      truths: what the images show; of more objects than queries, as many as queries are learned.
      key: random key of the points.
      how: weights, and the number of points.
      average: "batch": masks are averaged over all truths, and classes over all queries; "image":
        first over those of each image, see `losses.detection.mean_over_samples`.

    Returns:
      "loss_class", "loss_mask" and "loss_dice" of the last output, and "loss_auxiliary", the sum of
      those of all others.

    Example:
      >>> logits, bits = jnp.zeros((1, 2, 4)), jnp.full((1, 1, 8, 1), 0b11110000, jnp.uint8)
      >>> truths = QueryTruths(jnp.array([[3]]), bits, (8, 8), jnp.array([True]))
      >>> how = QueryLoss(points=4, dice_weight=0)
      >>> outputs = [(logits, jnp.zeros((1, 2, 2, 2)))]
      >>> compiled = jax.jit(lambda *given: query_losses(*given, how=how))
      >>> found = compiled(outputs, truths, jax.random.key(0))
      >>> {name: round(loss.item(), 3) for name, loss in found.items() if loss > 0}
      {'loss_class': 2.773, 'loss_mask': 3.466}

    Reference:
      Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022.
    """
    keys = [jax.random.split(jax.random.fold_in(key, k)) for k in range(len(outputs))]
    at_random = (len(truths.classes), how.points, 2)

    def compare(class_logits: Array, mask_logits: Array, k: Array) -> Array:
        def of_image(*arrays: Array) -> Array:
            return match_costs(*arrays, size=truths.size, how=how)

        points = jax.random.uniform(k, at_random)
        return jax.vmap(of_image)(class_logits, mask_logits, truths.classes, truths.masks, points)

    costs = [compare(*output, k) for output, (k, _) in zip(outputs, keys, strict=True)]
    # All in one loop, whose many short steps take an accelerator as long for one as for all.
    assign = jax.vmap(jax.vmap(cheapest_assignment), in_axes=(0, None))
    matches = assign(jnp.stack(costs), truths.classes > 0)
    found = []
    for output, match, (_, k) in zip(outputs, matches, keys, strict=True):
        own = matched_masks(output[1], match)
        at = draw_points(k, own, count=how.points)
        found.append(output_losses(output[0], own, match, truths, at, how=how, average=average))
    last, *others = found
    zero = jnp.zeros_like(last["loss_class"])
    return last | {"loss_auxiliary": sum((sum(f.values(), zero) for f in others), zero)}


def match_costs(
    class_logits: Float[Array, "q c"],
    mask_logits: Float[Array, "q h w"],
    classes: Int[Array, " g"],
    masks: UInt8[Array, "g h8 w8"],
    points: Float[Array, "p 2"],
    *,
    size: tuple[int, int],
    how: QueryLoss,
) -> Float[Array, "g q"]:
    """Returns how badly each query suits each truth of an image.

    -class_weight p(class) + mask_weight mean_p BCE(x, t) + dice_weight dice(x, t), x the mask's
    logits and t the truth at the points.

    Args:
      class_logits: of the queries; the last one means no object.
      mask_logits: of the queries.
      classes: of the truths, from 1 on.
      masks: of the truths, packed.
      points: (x, y) of [0, 1], the same for all pairs.
      size: (height, width) of the truths' masks.
      how: the weights.
    """
    wide = jnp.promote_types(class_logits.dtype, jnp.float32)
    class_logits, mask_logits = (
        jax.lax.stop_gradient(logits).astype(wide) for logits in (class_logits, mask_logits)
    )
    probability = jax.nn.softmax(class_logits).T[jnp.maximum(classes - 1, 0)]
    # Queries last: a point reads all of them in one piece.
    channels = jnp.moveaxis(mask_logits, 0, -1)
    sides = jnp.array(channels.shape[1::-1], points.dtype)
    x = ops.sample_points(channels, points * sides)
    truth = _truth_at(masks, jnp.broadcast_to(points, (len(masks), *points.shape)), size)
    truth = truth.astype(wide)
    highest = jax.lax.Precision.HIGHEST  # the short type of a TPU's products would mix up queries
    probabilities = jax.nn.sigmoid(x)
    both = jnp.matmul(truth, probabilities, precision=highest)
    crossed = (jax.nn.softplus(x).sum(0) - jnp.matmul(truth, x, precision=highest)) / len(points)
    dice = 1 - (2 * both + 1) / (probabilities.sum(0) + truth.sum(1, keepdims=True) + 1)
    return -how.class_weight * probability + how.mask_weight * crossed + how.dice_weight * dice


def matched_masks(
    mask_logits: Float[Array, "b q h w"], match: Int[Array, "b g"]
) -> Float[Array, "b g h w"]:
    """Returns the mask of each truth's query; any one where it has none.

    Args:
      mask_logits: of all queries.
      match: query of each truth, -1 for none.
    """
    return jnp.take_along_axis(mask_logits, jnp.maximum(match, 0)[..., None, None], 1)


def output_losses(
    class_logits: Float[Array, "b q c"],
    own: Float[Array, "b g h w"],
    match: Int[Array, "b g"],
    truths: QueryTruths,
    points: Float[Array, "b g p 2"],
    *,
    how: QueryLoss,
    average: str,
) -> dict[str, Float[Array, ""]]:
    """Returns the three weighted losses of an output.

    Args:
      class_logits: of all queries.
      own: logits of the mask of each truth's query, see `matched_masks`.
      match: query of each truth, -1 for none.
      truths: what the images show.
      points: of each truth, (x, y) of [0, 1].
      how: the weights.
      average: see `query_losses`.
    """
    exist = (truths.classes > 0) & truths.images[:, None]
    # Computed again for the gradient: a dozen numbers for each point of each layer are gigabytes.
    cross_entropy, dice = jax.checkpoint(_mask_losses, static_argnums=(2,))(
        own, truths.masks, truths.size, points
    )
    of_classes = _class_loss(class_logits, match, truths, how=how, average=average)
    matched = exist & (match >= 0)
    of_masks, of_dice = (
        mean_over_samples(loss, matched, exist, truths.images, average=average)
        for loss in (cross_entropy, dice)
    )
    return {
        "loss_class": how.class_weight * of_classes,
        "loss_mask": how.mask_weight * of_masks,
        "loss_dice": how.dice_weight * of_dice,
    }


def _mask_losses(
    own: Array, masks: Array, size: tuple[int, int], points: Array
) -> tuple[Float[Array, "b g"], Float[Array, "b g"]]:
    x = mask_logits_at(own.astype(jnp.promote_types(own.dtype, jnp.float32)), points)
    truth = jax.vmap(lambda mask, at: _truth_at(mask, at, size))(masks, points).astype(x.dtype)
    probability = jax.nn.sigmoid(x)
    both, all_of = (probability * truth).sum(-1), (probability + truth).sum(-1)
    return binary_cross_entropy(x, truth).mean(-1), 1 - (2 * both + 1) / (all_of + 1)


def _class_loss(
    logits: Array, match: Array, truths: QueryTruths, *, how: QueryLoss, average: str
) -> Array:
    """Mean of the queries' cross-entropies, weighted by whether they have a truth."""
    rows, queries, none = len(logits), logits.shape[1], logits.shape[2] - 1
    place = jnp.where(match >= 0, match, queries)  # which is none of them
    label = jnp.full((rows, queries), none)
    label = label.at[jnp.arange(rows)[:, None], place].set(truths.classes - 1, mode="drop")
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    losses = optax.softmax_cross_entropy_with_integer_labels(wide, label)
    weights = jnp.where(label == none, how.no_object_weight, 1.0) * truths.images[:, None]
    if average == "batch":
        return jnp.sum(losses * weights) / jnp.maximum(weights.sum(), 1e-6)
    of_images = jnp.sum(losses * weights, 1) / jnp.maximum(weights.sum(1), 1e-6)
    return of_images.sum() / jnp.maximum(truths.images.sum(), 1)


def _truth_at(masks: Array, points: Array, size: tuple[int, int]) -> Float[Array, "g p"]:
    """Fractions of packed masks at points of [0, 1]."""
    sides = jnp.array(size[::-1], points.dtype)
    return ops.sample_mask_points(masks, points * sides, jnp.arange(len(masks)))
