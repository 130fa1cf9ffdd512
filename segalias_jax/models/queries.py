"""What networks of queries find: each query has a class, or none, and a mask of the whole image.

A query's p is its softmax over classes and none, its m the sigmoid of its mask, which is brought to
the size of the image first. Objects of `found_objects` may overlap, segments of `found_segments` do
not, and `class_scores` are of pixels. Images are looked at one by one, and masks of the whole image
are made one at a time, because a hundred of them would fill the memory.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax import ops
from segalias_jax.models.mask2former import Mask2Former
from segalias_jax.typing import Array, Bool, Float, Int, UInt8

MASK_THRESHOLD = 0.5
"""Pixels of a mask are at least as probable."""


class QuerySegmenter(Mask2Former):
    """`Mask2Former` that gives logits of classes at every pixel, as a `Segmenter` does.

    Example:
      >>> from flax import nnx
      >>> from segalias_jax.models import create_model
      >>> config = {"name": "mask2former", "encoder": "resnet18", "width": 8, "channels": 16,
      ...           "queries": 10, "decoder_layers": 1, "feedforward": 16, "pixel_layers": 1,
      ...           "pixel_feedforward": 16}
      >>> make = lambda: create_model(config, num_classes=3, rngs=nnx.Rngs(0))
      >>> nnx.eval_shape(lambda: make()(jnp.ones((1, 33, 64, 3)))).shape
      (1, 33, 64, 3)
    """

    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b h w n"]:
        """Returns float32 logits at the size of the normalized image `x`."""
        told = super().__call__(x)
        scores = class_scores(told.class_logits, told.mask_logits, ops.image_size(x))
        # A pixel that no query claims has scores of 0, whose logarithm would be no number.
        return jnp.log(jnp.maximum(scores, jnp.finfo(scores.dtype).tiny))


def class_scores(
    class_logits: Float[Array, "b q c"], mask_logits: Float[Array, "b q h w"], size: tuple[Any, Any]
) -> Float[Array, "b h2 w2 k"]:
    """Returns how much the queries say for each class at each pixel.

    s_c = sum_q p_qc m_q

    Args:
      class_logits: of the queries, the last class being none.
      mask_logits: of their masks.
      size: (height, width) of the image in pixels.

    Returns:
      Scores of all classes but none, at least 0; of a pixel that several queries claim, above 1.

    Example:
      >>> sure = jnp.array([[[9.0, -9.0, -9.0]]])
      >>> scores = class_scores(sure, jnp.zeros((1, 1, 2, 2)), (4, 4))
      >>> scores.shape, scores[0, 0, 0].round(3).tolist()
      ((1, 4, 4, 2), [0.5, 0.0])
    """
    probability = jax.nn.softmax(class_logits)[..., :-1]
    masks = ops.resize_bilinear(jnp.moveaxis(mask_logits, 1, -1), size)
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum("bhwq,bqc->bhwc", jax.nn.sigmoid(masks), probability, precision=highest)


def found_objects(
    class_logits: Float[Array, "q c"],
    mask_logits: Float[Array, "q h w"],
    size: Int[Array, " 2"],
    *,
    shape: tuple[int, int],
    max_detections: int,
) -> tuple[Float[Array, " n"], Int[Array, " n"], UInt8[Array, "n h2 w8"]]:
    """Returns the objects in an image: the pairs of query and class with the highest p.

    A pixel is part of a mask where m > 1/2; the score is p times the mean m of these pixels.

    Args:
      class_logits: of the queries, the last class being none.
      mask_logits: of their masks.
      size: (height, width) of the image without its padding, in pixels.
      shape: (height, width) with it.
      max_detections: n, at most as many as there are pairs.

    Returns:
      Scores, falling; classes from 1 on, 0 for an object without a pixel; and masks, eight pixels
      of a row in a byte, as `numpy.packbits` has them.

    Example:
      >>> sure, wide = jnp.array([[9.0, -9.0]]), jnp.full((1, 2, 4), 9.0)
      >>> scores, classes, masks = found_objects(
      ...     sure, wide, jnp.array([4, 6]), shape=(4, 8), max_detections=1
      ... )
      >>> scores.round(3).tolist(), classes.tolist(), masks[0, 0].tolist()
      ([1.0], [1], [252])

    Reference:
      Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022.
    """
    probability = jax.nn.softmax(class_logits)[:, :-1]
    best, place = jax.lax.top_k(probability.ravel(), min(max_detections, probability.size))
    query, label = jnp.divmod(place, probability.shape[1])
    inside = _inside(size, shape)

    def look(mask: Array) -> tuple[Array, Array]:
        logits = _at_size(mask, shape)
        pixels = (logits > 0) & inside
        mean = jnp.sum(jax.nn.sigmoid(logits), where=pixels) / (pixels.sum() + 1e-6)
        return mean, _packed(pixels)

    means, masks = jax.lax.map(look, jnp.take_along_axis(mask_logits, query[:, None, None], 0))
    scores, order = jax.lax.top_k(best * means, len(best))
    classes = jnp.where(scores > 0, label[order].astype(jnp.int32) + 1, 0)
    return scores, classes, masks[order]


def found_segments(
    class_logits: Float[Array, "q c"],
    mask_logits: Float[Array, "q h w"],
    size: Int[Array, " 2"],
    *,
    shape: tuple[int, int],
    stuff: tuple[int, ...],
    threshold: float,
    overlap: float,
    everywhere: bool = False,
) -> tuple[Int[Array, "h2 w2"], Int[Array, " q"], Float[Array, " q"]]:
    """Returns the segments that an image is divided into.

    Of the queries whose likeliest class is not none and has p > threshold, a pixel is that with the
    largest p m, where its m is at least 1/2. A query whose pixels are fewer than the fraction
    `overlap` of those where its m is so has no segment. Those of a class of stuff are one segment.

    Args:
      class_logits: of the queries, the last class being none.
      mask_logits: of their masks.
      size: (height, width) of the image without its padding, in pixels.
      shape: (height, width) with it.
      stuff: classes without single objects, from 1 on.
      threshold: of p.
      overlap: fraction of a mask's pixels that are left to it, at least.
      everywhere: pixels belong to a query wherever its p m is the largest, and p m >= 1/2 are the
        mask's pixels that overlap counts, as in transformers.

    Returns:
      Segment of each pixel, which is 1 + its query's index, or 0 for none; and for each of them its
      class, 0 where it has no pixel, and its p.

    Example:
      >>> sure, wide = jnp.array([[9.0, -9.0]]), jnp.full((1, 2, 4), 9.0)
      >>> segments, classes, scores = found_segments(
      ...     sure, wide, jnp.array([4, 6]), shape=(4, 8), stuff=(), threshold=0.8, overlap=0.8
      ... )
      >>> segments[0].tolist(), classes.tolist()
      ([1, 1, 1, 1, 1, 1, 0, 0], [1])

    Reference:
      Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022.
    """
    probability = jax.nn.softmax(class_logits)
    score, label = probability.max(-1), probability.argmax(-1)
    kept = (label < class_logits.shape[1] - 1) & (score > threshold)
    inside = _inside(size, shape)

    def look(
        best: tuple[Array, Array, Array], one: Array
    ) -> tuple[tuple[Array, Array, Array], Array]:
        largest, owner, sure = best
        mask = jax.nn.sigmoid(_at_size(mask_logits[one], shape))
        weighed = score[one] * mask
        enough = (weighed if everywhere else mask) >= MASK_THRESHOLD
        better = (weighed > largest) & kept[one]
        best = (
            jnp.where(better, weighed, largest),
            jnp.where(better, one, owner),
            jnp.where(better, enough | everywhere, sure),
        )
        return best, jnp.sum(enough & inside)

    queries = jnp.arange(len(kept))
    nothing = (jnp.full(shape, -1.0), jnp.zeros(shape, queries.dtype), jnp.zeros(shape, bool))
    (_, owner, sure), whole = jax.lax.scan(look, nothing, queries)
    seen = sure & inside
    areas = jnp.zeros(len(kept), whole.dtype).at[owner].add(seen)
    valid = (areas > 0) & (whole > 0) & (areas > overlap * whole)
    of_stuff = valid & jnp.isin(label + 1, jnp.asarray(stuff, label.dtype))
    alike = of_stuff[:, None] & of_stuff & (label[:, None] == label)
    segment = jnp.where(of_stuff, alike.argmax(1), queries)
    first = valid & (segment == queries)
    return (
        jnp.where(seen & valid[owner], segment[owner] + 1, 0).astype(jnp.int32),
        jnp.where(first, label + 1, 0).astype(jnp.int32),
        jnp.where(first, score, 0),
    )


def _packed(pixels: Bool[Array, "h w"]) -> UInt8[Array, "h w8"]:
    """As `jnp.packbits` does it, by products, which programs for other runtimes have."""
    height, width = pixels.shape
    eights = jnp.pad(pixels.astype(jnp.int32), ((0, 0), (0, -width % 8)))
    weights = 2 ** np.arange(7, -1, -1, dtype=np.int32)
    return jnp.sum(eights.reshape(height, -1, 8) * weights, -1).astype(jnp.uint8)


def _at_size(mask: Float[Array, "h w"], shape: tuple[int, int]) -> Float[Array, "h2 w2"]:
    return ops.resize_bilinear(mask[..., None], shape)[..., 0]


def _inside(size: Int[Array, " 2"], shape: tuple[int, int]) -> Bool[Array, "h w"]:
    return (jnp.arange(shape[0]) < size[0])[:, None] & (jnp.arange(shape[1]) < size[1])
