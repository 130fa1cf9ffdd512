"""RoIAlign: features of boxes on a fixed grid, by bilinear samples, from one map or from several.

The mean over a cell's samples is separable: y = P F Q' with a matrix for rows and one for columns,
each the mean of a cell's interpolation weights. There are two ways to compute it. "gather" reads
the pixels that a matrix has weights for, four for each sample; it is the fast one where memory is
cheap to address. "product" multiplies by the matrices, which needs many more operations but no
address, and whose gradient is a product again and no scatter: for a TPU. They are equal but for
rounding.

Boxes get no gradient: no detector here sends one through its proposals.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from segalias_jax.errors import InputError, check_choice
from segalias_jax.ops.boxes import box_area
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.ops.targets import current_target
from segalias_jax.typing import Array, Float, Int, Integer, UInt8

ROI_METHODS = ("auto", "gather", "product")

# Samples of a cell along an axis with `sampling_ratio=0`: none of more than 4096 lies in a map.
_MOST_SAMPLES = 4096

_TOGETHER, _TOGETHER_CPU = 64 * 14**2, 16 * 7**2
"""Cells whose intermediate values exist at a time, of one box at least; a CPU's caches hold few."""


@on_any_mesh
def roi_align(
    features: Float[Array, "b h w c"],
    boxes: Float[Array, "b n 4"],
    size: int,
    *,
    scale: int | float,
    aligned: bool = True,
    sampling_ratio: int = 2,
    method: str = "auto",
) -> Float[Array, "b n s s c"]:
    """Averages bilinear samples of a feature map over a grid of cells in each box.

    y[i, j] = (1 / r^2) sum_{a, b} F(y1 + (i + (a + 1/2) / r) h / s, x1 + (j + (b + 1/2) / r) w / s)

    F interpolates the map between pixels (the first is at 0), is constant up to one pixel beyond
    the outermost ones, and 0 farther out. y1, x1, h and w are those of the box in pixels of the
    map.

    Args:
      features: feature map, channels last.
      boxes: (x1, y1, x2, y2) in pixels of the image.
      size: s, cells along each side.
      scale: pixels of the map per pixel of the image.
      aligned: whether pixel centers are at 1/2, so that boxes are moved by -1/2 pixel of the map;
        else they are not, and their sides are at least one pixel, as first published.
      sampling_ratio: r, samples of a cell along each axis; 0 takes as many as a cell has pixels,
        rounded up, along each axis by itself ("adaptive").
      method: "gather", "product", or "auto", which is "product" on a TPU and wherever the number
        of samples is not known, else "gather".

    Returns:
      The features of each box, in the type of the map.

    Raises:
      InputError: an unknown method, or "gather" with `sampling_ratio=0`.

    Example:
      >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
      >>> roi_align(x, jnp.array([[[0.0, 0.0, 4.0, 4.0]]]), 2, scale=1.0)[0, 0, :, :, 0].tolist()
      [[2.5, 4.5], [10.5, 12.5]]

    Reference:
      He et al., "Mask R-CNN", ICCV 2017.
    """
    levels = jnp.zeros(boxes.shape[:2], jnp.int32)
    return roi_align_levels(
        (features,),
        boxes,
        levels,
        size,
        scales=(scale,),
        aligned=aligned,
        sampling_ratio=sampling_ratio,
        method=method,
    )


@on_any_mesh
def roi_align_levels(
    features: tuple[Float[Array, "b _ _ c"], ...],
    boxes: Float[Array, "b n 4"],
    levels: Integer[Array, "b n"],
    size: int,
    *,
    scales: tuple[int | float, ...],
    aligned: bool = True,
    sampling_ratio: int = 2,
    method: str = "auto",
) -> Float[Array, "b n s s c"]:
    """`roi_align` of each box on one of several feature maps.

    Args:
      features: feature maps, fine to coarse.
      boxes: (x1, y1, x2, y2) in pixels of the image.
      levels: index of the map of each box, see `roi_levels`.
      size: s, cells along each side.
      scales: pixels of each map per pixel of the image.
      aligned: as for `roi_align`.
      sampling_ratio: as for `roi_align`.
      method: as for `roi_align`.

    Returns:
      The features of each box, in the type of the maps.

    Raises:
      InputError: as for `roi_align`.

    Example:
      >>> maps = (jnp.zeros((1, 4, 4, 1)), jnp.ones((1, 2, 2, 1)))
      >>> boxes = jnp.array([[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0]]])
      >>> y = roi_align_levels(maps, boxes, jnp.array([[0, 1]]), 2, scales=(1.0, 0.5))
      >>> y.mean((2, 3, 4)).tolist()
      [[0.0, 1.0]]
    """
    check_choice("method", method, ROI_METHODS)
    if method == "gather" and sampling_ratio == 0:
        raise InputError(
            "method is 'gather', which needs to know the number of samples; "
            "choose 'product' with sampling_ratio=0"
        )
    if method == "auto":
        products = sampling_ratio == 0 or current_target().platform == "tpu"
        method = "product" if products else "gather"
    # Positions in a short type would be off by whole pixels.
    boxes = jax.lax.stop_gradient(boxes.astype(jnp.promote_types(boxes.dtype, jnp.float32)))
    pool = _product if method == "product" else _gather

    def image(features: tuple[Array, ...], boxes: Array, levels: Array) -> Array:
        return pool(features, boxes, levels, size, scales, aligned, sampling_ratio)

    return jax.vmap(image)(features, boxes, levels)


def roi_levels(
    boxes: Float[Array, "*batch 4"], *, finest: int, coarsest: int
) -> Int[Array, "*batch"]:
    """The level of a feature pyramid on which a box is pooled: where it is about 14 pixels wide.

    k = floor(4 + log2(sqrt(area) / 224) + 1e-6), limited to the levels that there are

    Args:
      boxes: (x1, y1, x2, y2) in pixels of the image.
      finest: number of the finest level; level k has a stride of 2^k pixels.
      coarsest: number of the coarsest level.

    Returns:
      Index of a level, 0 for the finest.

    Example:
      >>> boxes = jnp.array([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 224.0, 224.0]])
      >>> roi_levels(boxes, finest=2, coarsest=5).tolist()
      [0, 2]

    Reference:
      Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
    """
    side = jnp.sqrt(box_area(boxes))
    level = jnp.floor(4 + jnp.log2(side / 224) + 1e-6)
    return jnp.clip(level, finest, coarsest).astype(jnp.int32) - finest


def roi_align_masks(
    masks: UInt8[Array, "g h w8"],
    boxes: Float[Array, "n 4"],
    index: Integer[Array, " n"],
    size: int,
    *,
    image_size: Integer[Array, " 2"] | None = None,
) -> Float[Array, "n s s"]:
    """What a mask head has to predict in each box: `roi_align` of a mask of one image.

    Samples are adaptive and boxes are not aligned, as published. Masks are unpacked one after the
    other, so that they never exist as numbers all at once.

    Args:
      masks: masks of the truths, eight pixels of a row in a byte, as `numpy.packbits` has them.
      boxes: (x1, y1, x2, y2) in pixels.
      index: of the mask of each box.
      size: s, cells along each side.
      image_size: height and width of the image without its padding, which no sample reads; None
        for that of the masks.

    Returns:
      Fractions of [0, 1], in the type of the boxes.

    Example:
      >>> masks = jnp.full((1, 8, 1), 0b11110000, jnp.uint8)
      >>> roi_align_masks(masks, jnp.array([[0.0, 0.0, 8.0, 8.0]]), jnp.array([0]), 2)[0].tolist()
      [[0.875, 0.0], [0.875, 0.0]]
    """
    boxes = jax.lax.stop_gradient(boxes)
    height, width = masks.shape[1], 8 * masks.shape[2]
    ends = jnp.array([height, width]) if image_size is None else image_size

    def one(box: Array, index: Array) -> Array:
        rows = _matrix(box[None, 1], box[None, 3], size, height, 1.0, False, 0, ends[0])[0]
        columns = _matrix(box[None, 0], box[None, 2], size, width, 1.0, False, 0, ends[1])[0]
        bits = jnp.unpackbits(masks[index], axis=-1).astype(boxes.dtype)
        highest = jax.lax.Precision.HIGHEST
        return jnp.einsum("pi,qj,ij->pq", rows, columns, bits, precision=highest)

    return jax.lax.map(lambda given: one(*given), (boxes, index))


def _sides(
    low: Array, high: Array, size: int, scale: Array | int | float, aligned: bool
) -> tuple[Array, Array]:
    """Where boxes start along an axis, and how long a cell is, in pixels of the map."""
    offset = 0.5 if aligned else 0.0
    start, stop = low * scale - offset, high * scale - offset
    length = stop - start if aligned else jnp.maximum(stop - start, 1)
    return start, length / size


def _samples(position: Array, length: Array | int) -> tuple[Array, Array]:
    """Positions clamped to a map's pixels along an axis, and which were near enough to count."""
    near = (position >= -1) & (position <= length)
    return jnp.clip(position, 0, length - 1), near


def _matrix(
    low: Array,
    high: Array,
    size: int,
    length: int,
    scale: int | float,
    aligned: bool,
    ratio: int,
    end: Array | int | None = None,
) -> Float[Array, "n s l"]:
    """Mean interpolation weights of every cell of every box, for each pixel along an axis.

    `end` is the number of pixels that are there, where the rest is padding.
    """
    end = length if end is None else end
    start, cell = _sides(low, high, size, scale, aligned)
    samples = jnp.full(len(low), ratio, low.dtype)
    if not ratio:
        samples = jnp.clip(jnp.ceil(cell), 1, _MOST_SAMPLES)
    first = start[:, None] + jnp.arange(size, dtype=low.dtype) * cell[:, None]
    pixel = jnp.arange(length, dtype=low.dtype)

    def add(i: Array | int, matrix: Array) -> Array:
        position = first + ((i + 0.5) * cell / samples)[:, None]
        clamped, near = _samples(position, end)
        near &= (i < samples)[:, None]
        weights = jnp.maximum(1 - jnp.abs(clamped[..., None] - pixel), 0)
        return matrix + jnp.where(near[..., None], weights, 0)

    matrix = jnp.zeros((len(low), size, length), low.dtype)
    if ratio:
        for i in range(ratio):
            matrix = add(i, matrix)
    else:
        # As many rounds as the largest box needs: exact without a bound known beforehand.
        most = samples.max().astype(jnp.int32)
        matrix = jax.lax.fori_loop(0, most, add, matrix)
    return matrix / samples[:, None, None]


def _product(
    features: tuple[Array, ...],
    boxes: Array,
    levels: Array,
    size: int,
    scales: tuple[int | float, ...],
    aligned: bool,
    ratio: int,
) -> Array:
    def some(boxes: Array, levels: Array) -> Array:
        total = jnp.zeros((), features[0].dtype)
        for level, (feature, scale) in enumerate(zip(features, scales, strict=True)):
            height, width = feature.shape[:2]
            rows = _matrix(boxes[:, 1], boxes[:, 3], size, height, scale, aligned, ratio)
            columns = _matrix(boxes[:, 0], boxes[:, 2], size, width, scale, aligned, ratio)
            rows = jnp.where((levels == level)[:, None, None], rows, 0)
            highest = jax.lax.Precision.HIGHEST
            wide = jnp.einsum(
                "npi,ijc->npjc", rows.astype(feature.dtype), feature, precision=highest
            )
            total += jnp.einsum(
                "nqj,npjc->npqc", columns.astype(feature.dtype), wide, precision=highest
            )
        return total

    return _in_parts(some, boxes, levels, size)


def _gather(
    features: tuple[Array, ...],
    boxes: Array,
    levels: Array,
    size: int,
    scales: tuple[int | float, ...],
    aligned: bool,
    ratio: int,
) -> Array:
    """All maps lie one after the other in one list of pixels, so that every box reads its own."""
    channels = features[0].shape[-1]
    pixels = jnp.concatenate([feature.reshape(-1, channels) for feature in features])
    heights, widths = (jnp.array([f.shape[axis] for f in features]) for axis in (0, 1))
    offsets = jnp.cumsum(heights * widths) - heights * widths

    def some(boxes: Array, levels: Array) -> Array:
        scale = jnp.asarray(scales, boxes.dtype)[levels]
        height, width, offset = heights[levels], widths[levels], offsets[levels]
        rows, of_rows = _taps(boxes[:, 1], boxes[:, 3], size, height, scale, aligned, ratio)
        columns, of_columns = _taps(boxes[:, 0], boxes[:, 2], size, width, scale, aligned, ratio)
        row_starts = offset[:, None, None] + rows * width[:, None, None]
        index = row_starts[:, :, :, None, None] + columns[:, None, None]
        read = pixels[index]
        weights = of_rows[:, :, :, None, None] * of_columns[:, None, None]
        highest = jax.lax.Precision.HIGHEST
        return jnp.einsum("npaqb,npaqbc->npqc", weights.astype(read.dtype), read, precision=highest)

    return _in_parts(some, boxes, levels, size)


def _taps(
    low: Array,
    high: Array,
    size: int,
    length: Array,
    scale: Array,
    aligned: bool,
    ratio: int,
) -> tuple[Int[Array, "n s t"], Float[Array, "n s t"]]:
    """The pixels along an axis that every cell reads, two for each sample, and their weights."""
    start, cell = _sides(low, high, size, scale, aligned)  # scale: one for each box
    step = jnp.arange(size)[:, None] + (jnp.arange(ratio) + 0.5) / ratio
    position = start[:, None, None] + step.astype(low.dtype) * cell[:, None, None]
    length = length[:, None, None]
    clamped, near = _samples(position, length)
    lower = jnp.floor(clamped)
    upper = jnp.minimum(lower + 1, length - 1)
    share = clamped - lower
    weights = jnp.stack([1 - share, share], -1) * near[..., None] / ratio
    pixels = jnp.stack([lower, upper], -1).astype(jnp.int32)
    shape = (*pixels.shape[:2], 2 * ratio)
    return pixels.reshape(shape), weights.reshape(shape)


def _in_parts(
    some: Callable[[Array, Array], Array], boxes: Array, levels: Array, size: int
) -> Array:
    """Applies a function to some boxes at a time, whose intermediate values are large."""
    cells = _TOGETHER_CPU if current_target().platform == "cpu" else _TOGETHER
    together = max(cells // size**2, 1)
    if len(boxes) <= together:
        return some(boxes, levels)
    return jax.lax.map(
        lambda box: some(box[0][None], box[1][None])[0], (boxes, levels), batch_size=together
    )
