"""Numbers of the patches of an image: power of feature maps, and boundary errors.

An image is cut into rows and columns of patches of equal size, up to a pixel. A feature map is cut
alike: its pixel i of n belongs where the middle of what it stands for lies, (i + 1/2) / n of the
way along the axis.

A patch's aliasing score is local power of the whole map's high band. Cutting a feature map into
patches and transforming each would count the patches' own borders as frequencies. So the map is
split at the operator's Nyquist frequency as a whole, and power is summed per patch: patches of any
size add up to the image's score.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Integer

from segalias_jax import ops
from segalias_jax.metrics import Band, ClassCounts, Score, ScoreRules, region_map, rows_shown
from segalias_jax.metrics.formulas import each_mean_over_classes
from segalias_jax.typing import Array


def error_rows() -> list[Score]:
    """Returns the errors of patches, in the order of the columns of `patch_errors`.

    Example:
      >>> [row.name for row in error_rows()]
      ['FErr', 'MErr', 'DErr']
    """
    return rows_shown("patches", source="classes")


def patch_grid(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Numbers of patches down and across an image.

    Args:
      size: (height, width) in pixels.
      side: about how many pixels a patch has along either axis.

    Returns:
      At least one of each.

    Example:
      >>> patch_grid((360, 480), 64)
      (6, 8)
    """
    down, across = (max(1, round(pixels / side)) for pixels in size)
    return down, across


def patch_powers(
    x: Float[Array, "b h w c"], cutoff: float, grid: tuple[int, int]
) -> Float[Array, "2 b rows columns"]:
    """Power of the patches of a feature map: above a frequency, and in all.

    P(patch) = sum_{p in patch, c} |x_high(p, c)|^2  and  sum |x(p, c)|^2,

    x_high being what `ops.low_pass` takes off the whole map. So patches have no borders of their
    own that would add frequencies, and the sums over all patches give `ops.aliasing_score`.

    Args:
      x: feature map.
      cutoff: in cycles per pixel, in (0, 0.5].
      grid: numbers of patches, of `patch_grid`.

    Returns:
      Power above the cutoff and total power, in float32.

    Example:
      >>> above, total = patch_powers(jnp.ones((1, 8, 8, 2)), 0.25, (2, 2))
      >>> float(above.max()), total[0].tolist()
      (0.0, [[32.0, 32.0], [32.0, 32.0]])
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    _, high = ops.split_bands(x, cutoff)
    power = jnp.stack([jnp.sum(jnp.square(part), -1) for part in (high, x)])
    rows, columns = (
        jax.nn.one_hot(patch_places(length, count), count, dtype=power.dtype)
        for length, count in zip(x.shape[1:3], grid, strict=True)
    )
    with jax.default_matmul_precision("highest"):
        return jnp.einsum("kbhw,hr,wc->kbrc", power, rows, columns)


def patch_places(length: int, count: int) -> Integer[np.ndarray, " length"]:
    """The patch that each pixel of an axis belongs to.

    Args:
      length: pixels of the axis.
      count: patches along it.

    Returns:
      Their numbers, from 0 on.

    Example:
      >>> patch_places(5, 2).tolist()
      [0, 0, 1, 1, 1]
    """
    return (2 * np.arange(length) + 1) * count // (2 * length)


def patch_pixels(
    values: Integer[np.ndarray, "h w"], grid: tuple[int, int], count: int
) -> Int[np.ndarray, "rows columns count"]:
    """Counts the pixels of each value in each patch of a map.

    Args:
      values: such as `scoring.host_bands.error_kinds` or `scoring.error_types`; from `count` on
        they are counted nowhere.
      grid: numbers of patches, of `patch_grid`.
      count: number of values, which are 0 and up.

    Returns:
      Numbers of pixels.

    Example:
      >>> patch_pixels(np.asarray([[0, 1, 1, 255]]), (1, 2), 2).tolist()
      [[[1, 1], [0, 1]]]
    """
    place, counted = _places(values.shape, grid), values < count
    cell = place[counted] * count + values[counted]
    return np.bincount(cell, minlength=grid[0] * grid[1] * count).reshape(*grid, count)


def _places(shape: tuple[int, ...], grid: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """The patch that each pixel of an image belongs to, row by row."""
    rows, columns = (patch_places(n, k) for n, k in zip(shape, grid, strict=True))
    return rows[:, None] * grid[1] + columns


def patch_errors(
    prediction: Integer[Array | np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    grid: tuple[int, int],
    *,
    num_classes: int,
    rules: ScoreRules,
) -> Float[np.ndarray, "rows columns errors"]:
    """Returns the boundary errors in each patch.

    They are what `metrics.SegmentationScores` computes, of the pixels of a patch: for FErr, MErr
    and DErr, one minus the mean accuracy of the classes in the predicted band, in the true one, and
    where both overlap. Bands are those of the whole image.

    Args:
      prediction: predicted class ids.
      label: true labels of the same shape.
      grid: numbers of patches, of `patch_grid`.
      num_classes: number of classes C.
      rules: what a boundary is, and what is ignored.

    Returns:
      Fractions in [0, 1], in the order of `error_rows`; nan where a patch has no labeled pixel in
      the band.

    Example:
      >>> label = np.repeat([[0, 0, 1, 1]], 4, 0)
      >>> wrong = np.roll(label, 1, 1)
      >>> patch_errors(wrong, label, (1, 1), num_classes=2, rules=ScoreRules(width=1)).tolist()
      [[[0.5, 0.5, 0.5]]]
    """
    prediction, region = np.asarray(prediction), np.asarray(region_map(prediction, label, rules))
    classes = np.asarray(rules.class_label(label))
    place = _places(label.shape, grid)
    shape = (grid[0] * grid[1], 4, num_classes)
    counted = (classes >= 0) & (classes < num_classes)
    known = counted & (prediction >= 0) & (prediction < num_classes)
    hit = counted & (prediction == classes)

    def pixels(where: np.ndarray, ids: np.ndarray) -> np.ndarray:
        cell = np.ravel_multi_index((place[where], region[where], ids[where]), shape)
        return np.bincount(cell, minlength=np.prod(shape)).reshape(shape)

    right, true = pixels(hit, classes), pixels(counted, classes)
    predicted = pixels(known, prediction)

    def band(*regions: int) -> Band:
        return Band(
            right=right[:, regions].sum(1),
            true=true[:, regions].sum(1),
            predicted=predicted[:, regions].sum(1),
        )

    counts = ClassCounts(
        all=band(0, 1, 2, 3),
        union=band(1, 2, 3),
        predicted=band(1, 3),
        true=band(2, 3),
        both=band(3),
    )
    errors = []
    for row in error_rows():
        mean = each_mean_over_classes(row.formula(counts))
        errors.append(1 - mean if row.complement else mean)
    return np.stack(errors, -1).reshape(*grid, len(errors))
