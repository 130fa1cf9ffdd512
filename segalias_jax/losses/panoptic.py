"""What dense heads for single objects are trained by: targets from masks, and their losses."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from segalias_jax.typing import Array, Bool, Float, Int, UInt8


class PanopticTargets(NamedTuple):
    """What the maps of `models.PanopticDeepLab` should be; arrays of one image, or of a batch.

    Attributes:
      label: class of each pixel, 0 where there is no object.
      label_weight: of the pixel's cross-entropy; 0 where the class is not known.
      center: heat of each pixel, of [0, 1].
      center_weight: 1 where all centers are known, else 0.
      offset: (rows, columns) from each pixel to the center of its object.
      offset_weight: 1 on things, else 0.
    """

    label: Any
    label_weight: Any
    center: Any
    center_weight: Any
    offset: Any
    offset_weight: Any


def panoptic_targets(
    masks: UInt8[Array, "g h w8"],
    classes: Int[Array, " g"],
    crowd: Bool[Array, " g"],
    size: Int[Array, " 2"],
    *,
    width: int,
    stuff: tuple[int, ...] = (),
    sigma: int | float = 8.0,
    small_area: int = 4096,
    small_weight: int | float = 3.0,
) -> PanopticTargets:
    """Makes the targets of an image of its objects; where these overlap, the smallest is seen.

    A thing k has its center c_k at the mean of the pixels of its mask. The heat of a pixel p is
    max_k exp(-|p - round(c_k)|^2 / (2 sigma^2)), its offset that of its own thing, c_k - p. Crowds
    have a class, but neither center nor offset. Pixels of no object are background (class 0) in
    images without stuff, but unknown where stuff would be named.

    Args:
      masks: of the objects, eight pixels of a row in a byte, as `numpy.packbits` has them.
      classes: of the objects; 0 for none.
      crowd: objects that are regions of many.
      size: (height, width) of the image without its padding, which teaches nothing.
      width: of the masks in pixels.
      stuff: classes without single objects.
      sigma: deviation of the heat, in pixels.
      small_area: things with fewer pixels are small.
      small_weight: of the cross-entropy of their pixels; 1 for all others.

    Returns:
      The targets.

    Example:
      >>> mask = jnp.packbits(jnp.array([[[1, 1, 1, 0]]], bool), axis=-1)
      >>> one, none = jnp.array([2]), jnp.array([False])
      >>> targets = panoptic_targets(mask, one, none, jnp.array([1, 4]), width=4)
      >>> targets.label.tolist(), targets.offset[0, :, 1].tolist()
      ([[2, 2, 2, 0]], [1.0, 0.0, -1.0, 0.0])

    Reference:
      Cheng et al., "Panoptic-DeepLab: A Simple, Strong, and Fast Baseline for Bottom-Up Panoptic
      Segmentation", CVPR 2020, whose heat ends at three deviations.
    """
    height = masks.shape[1]
    rows, columns = jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32)
    inside = (rows < size[0])[:, None] & (columns < size[1])
    single = (classes > 0) & ~crowd & ~jnp.isin(classes, jnp.asarray(stuff, jnp.int32))
    areas = jax.lax.population_count(masks).astype(jnp.int32).sum((1, 2))
    known = inside & (not stuff)
    nothing = PanopticTargets(
        jnp.zeros((height, width), jnp.int32),
        known.astype(jnp.float32),
        jnp.zeros((height, width)),
        known,
        jnp.zeros((height, width, 2)),
        jnp.zeros((height, width), bool),
    )

    # One mask after the other: all of a batch at once would take gigabytes of memory.
    def draw(seen: PanopticTargets, k: Array) -> tuple[PanopticTargets, None]:
        mask = jnp.unpackbits(masks[k], axis=-1, count=width).astype(bool) & (classes[k] > 0)
        of_rows, of_columns = mask.sum(1) / areas[k], mask.sum(0) / areas[k]
        # In the short type of a TPU's products, a center would be off by whole pixels.
        highest = jax.lax.Precision.HIGHEST
        y = jnp.matmul(of_rows, rows, precision=highest)
        x = jnp.matmul(of_columns, columns, precision=highest)
        squares = jnp.square(rows - jnp.round(y))[:, None] + jnp.square(columns - jnp.round(x))
        heat = jnp.exp(squares / (-2 * sigma**2)) * single[k]
        weight = jnp.where(single[k] & (areas[k] < small_area), small_weight, 1.0)
        to_center = jnp.stack(jnp.broadcast_arrays((y - rows)[:, None], x - columns), -1)
        drawn = PanopticTargets(
            jnp.where(mask, classes[k], seen.label),
            jnp.where(mask, weight, seen.label_weight),
            jnp.where(areas[k] > 0, jnp.maximum(seen.center, heat), seen.center),
            jnp.where(mask, ~crowd[k], seen.center_weight),
            jnp.where(mask[..., None], to_center, seen.offset),
            jnp.where(mask, single[k], seen.offset_weight),
        )
        return drawn, None

    seen, _ = jax.lax.scan(draw, nothing, jnp.argsort(-areas, stable=True))
    return seen._replace(
        center_weight=seen.center_weight.astype(jnp.float32),
        offset=seen.offset * seen.offset_weight[..., None],
        offset_weight=seen.offset_weight.astype(jnp.float32),
    )


def bootstrapped_cross_entropy(
    logits: Float[Array, "*shape c"],
    label: Int[Array, "*shape"],
    weights: Float[Array, "*shape"],
    *,
    fraction: int | float,
) -> Float[Array, ""]:
    """Mean of the largest weighted cross-entropies of pixels.

    L = 1/k sum of the k largest of w_i (log sum_c exp z_ic - z_i[y_i]), k = floor(fraction n)

    Args:
      logits: z.
      label: y.
      weights: w; pixels of weight 0 count 0.
      fraction: of all n pixels that are kept, of (0, 1].

    Returns:
      The loss.

    Example:
      >>> logits, label = jnp.zeros((1, 4, 2)), jnp.zeros((1, 4), int)
      >>> loss = bootstrapped_cross_entropy(
      ...     logits, label, jnp.array([[1.0, 3.0, 0.0, 0.0]]), fraction=0.5
      ... )
      >>> print(f"{loss:.4f} = 2 log(2)")
      1.3863 = 2 log(2)

    Reference:
      Yang et al., "DeeperLab: Single-Shot Image Parser", 2019.
    """
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    losses = optax.softmax_cross_entropy_with_integer_labels(wide, label) * weights
    kept = max(1, int(fraction * losses.size))
    return jax.lax.top_k(losses.ravel(), kept)[0].mean()


def weighted_mean(
    losses: Float[Array, "*shape"], weights: Float[Array, "*shape"]
) -> Float[Array, ""]:
    """Mean of losses by weights of 0 or 1; 0 where all are 0.

    Args:
      losses: of all entries.
      weights: of them.

    Example:
      >>> weighted_mean(jnp.array([2.0, 4.0]), jnp.array([0.0, 1.0])).item()
      4.0
    """
    return jnp.sum(losses * weights) / jnp.maximum(jnp.sum(weights), 1)
