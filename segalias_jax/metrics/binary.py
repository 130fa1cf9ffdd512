"""Scores of two classes at every threshold, over all pixels and as means over images.

The state keeps a histogram of the foreground's probability for each true class, and for each
threshold the sum of every image's own scores as whole numbers (2^24 is 1). So states merge exactly
over batches, devices and processes, in any order, and need the same memory for any number of
images.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, UInt32

from segalias_jax.errors import InputError
from segalias_jax.metrics.confusion import share, wide_add, wide_psum, wide_total, wide_zeros
from segalias_jax.typing import Array

SCORES = ("accuracy", "precision", "recall", "Dice", "IoU")
"""Scores of the foreground; Dice is F1, IoU the critical success index of weather forecasting."""

OVER_PIXELS, OVER_IMAGES = "pixels_of_all_images", "mean_over_images"
"""What names of scores end in: of the counts of all pixels together, or the mean of the images'."""

BINS = 256
_BITS = 24
_ONE = 1 << _BITS  # a score of 1 in the sums over images


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BinaryScores:
    """Mergeable state of the scores of two classes, 0 the background and 1 the foreground.

    A pixel is predicted as foreground at threshold t where its probability is above t, for t =
    1 / B, ..., (B - 1) / B; at 1 / 2 that is the class of the larger probability.

    An image in which neither the truth nor the prediction has foreground scores 1 in everything:
    there was nothing to find. Any other 0 / 0 is 0. So all images that have a labeled pixel are in
    all means, whatever was predicted.

    Attributes:
      counts: uint32 [2, 2, B], pixels by true class and bin, in two halves of 64 bits.
      sums: uint32 [2, 5, B - 1], sums over images of `SCORES` at each threshold, times 2^24.
      images: uint32 [2, 2], numbers of images, and of those without true foreground.

    Example:
      >>> label = np.asarray([[[0, 1, 1, 1]], [[0, 1, 0, 0]]])
      >>> scores = BinaryScores.empty().update(np.asarray([[[0, 1, 1, 1]], [[1, 0, 0, 0]]]), label)
      >>> result = scores.compute()
      >>> float(result["Dice_mean_over_images"]), float(result["Dice_pixels_of_all_images"])
      (0.5, 0.75)
    """

    counts: Any  # arrays; also what jax's transformations put in their place
    sums: Any
    images: Any

    @classmethod
    def empty(cls, bins: int = BINS) -> BinaryScores:
        """A state without any image.

        Args:
          bins: B, even; 2 where predictions are classes.

        Returns:
          The empty state.
        """
        if bins < 2 or bins % 2:
            raise InputError(f"bins: {bins} must be even, so that one threshold is 0.5")
        shapes = (2, bins), (len(SCORES), bins - 1), (2,)
        return cls(*map(wide_zeros, shapes))

    @property
    def thresholds(self) -> Float[np.ndarray, " thresholds"]:
        """t, ascending."""
        bins = self.counts.shape[-1]
        return np.arange(1, bins) / bins

    @property
    def swept(self) -> bool:
        """Whether thresholds make a difference; False where predictions were classes."""
        return bool(np.any(np.asarray(self.counts)[..., 1:-1]))

    def update(
        self, probability: ArrayLike, label: Integer[Array | np.ndarray, "*batch h w"]
    ) -> BinaryScores:
        """The state with more images counted; may be jitted and its state donated.

        Args:
          probability: of the foreground in [0, 1], or whether a pixel is predicted as it.
          label: true classes of the same shape, [h, w] or with one batch axis in front; pixels
            that are neither 0 nor 1 are in no score.

        Returns:
          The new state.

        Raises:
          InputError: shapes differ.
        """
        return self.add(probability_counts(probability, label, self.counts.shape[-1]))

    @jax.jit
    def add(self, counts: Integer[Array | np.ndarray, "images 2 bins"]) -> BinaryScores:
        """The state with images that were counted elsewhere, see `probability_counts`."""
        counts = jnp.asarray(counts).astype(jnp.uint32)
        counted = counts.any((-2, -1))
        blank = counted & ~counts[:, 1].any(-1)
        fixed = _scores(counts, jnp, _fixed_ratio, jnp.uint32(_ONE))
        new = (counts, fixed * counted[:, None, None], jnp.stack([counted, blank], -1))
        added = [wide_add(a, _over_images(b)) for a, b in zip(self._leaves(), new, strict=True)]
        return BinaryScores(*added)

    def merge(self, other: BinaryScores) -> BinaryScores:
        """The state of all images of both.

        Raises:
          InputError: the two have other numbers of bins.
        """
        if self.counts.shape != other.counts.shape:
            bins = self.counts.shape[-1], other.counts.shape[-1]
            raise InputError(f"scores of {bins[0]} bins do not merge with those of {bins[1]}")
        return BinaryScores(*map(wide_add, self._leaves(), other._leaves()))

    def psum(self, axis_name: str) -> BinaryScores:
        """The sum of the states of all devices along a mapped axis, see `confusion.wide_psum`."""
        return BinaryScores(*(wide_psum(leaf, axis_name) for leaf in self._leaves()))

    def _leaves(self) -> tuple[Any, Any, Any]:
        return self.counts, self.sums, self.images

    def curves(self) -> dict[str, Float[np.ndarray, " thresholds"]]:
        """Scores at every threshold, in float64.

        Returns:
          By name: "Dice_pixels_of_all_images", "Dice_mean_over_images", and so on for `SCORES`;
          nan without any image. The means are exact to 2^-25.
        """
        images, sums = wide_total(self.images)[0], wide_total(self.sums)
        pixels = _scores(wide_total(self.counts), np, np.divide, 1.0)
        over = {
            OVER_IMAGES: share(sums, _ONE * images),
            OVER_PIXELS: pixels if images else np.full_like(pixels, np.nan),
        }
        return {
            f"{name}_{average}": values[i]
            for i, name in enumerate(SCORES)
            for average, values in over.items()
        }

    def compute(self) -> dict[str, np.generic]:
        """Scores at threshold 0.5, and what the sweep over thresholds gives, in float64.

        Returns:
          By name: those of `curves` at 0.5; "images", "images_without_foreground"; where
          `swept`, of Dice, IoU and accuracy also the largest (NAME_best), its threshold
          (NAME_best_threshold, the middle one where several are best) and the mean over all
          thresholds (NAME_mean_of_thresholds), and "average_precision" and "ROC_AUC", areas
          below the curves of precision over recall (in steps) and of recall over false alarms
          of all pixels, nan where a class has no pixel.
        """
        middle, result = len(self.thresholds) // 2, {}
        for name, values in self.curves().items():
            result[name] = values[middle]
            if self.swept and name.split("_")[0] not in ("precision", "recall"):
                best = np.flatnonzero(values == values.max())
                result[f"{name}_best"] = values.max()
                result[f"{name}_best_threshold"] = self.thresholds[best[len(best) // 2]]
                result[f"{name}_mean_of_thresholds"] = values.mean()
        names = "images", "images_without_foreground"
        result |= dict(zip(names, wide_total(self.images), strict=True))
        if self.swept:
            result |= _areas_below(wide_total(self.counts))
        return result


@functools.partial(jax.jit, static_argnames="bins")
def probability_counts(
    probability: ArrayLike, label: Integer[Array | np.ndarray, "*batch h w"], bins: int = BINS
) -> UInt32[Array, "images 2 bins"]:
    """Counts the pixels of each image by true class and probability of the foreground.

    Bin k holds probabilities in (k / B, (k + 1) / B], the first one also 0: so those above
    threshold k / B are the bins from k on.

    Args:
      probability: of the foreground in [0, 1], or whether a pixel is predicted as it.
      label: true classes of the same shape; pixels that are neither 0 nor 1 are in no count.
      bins: B.

    Returns:
      Counts; those of fewer than 2^30 pixels an image can be scored.

    Raises:
      InputError: shapes differ.

    Example:
      >>> probability = np.asarray([[0.0, 0.5, 0.6, 1.0]])
      >>> probability_counts(probability, np.asarray([[0, 0, 1, 255]]), 2).tolist()
      [[[2, 0], [0, 1]]]
    """
    shape = np.shape(label)
    if np.shape(probability) != shape:
        raise InputError(
            f"probabilities of shape {np.shape(probability)} do not fit the label of shape {shape}"
        )
    probability, label = (jnp.reshape(x, (-1, *shape[-2:])) for x in (probability, label))
    scaled = probability.astype(jnp.float32) * bins
    # What is no number is no foreground.
    bin_of = jnp.where(scaled > 0, jnp.clip(jnp.ceil(scaled), 1, bins) - 1, 0).astype(jnp.int32)
    size = 2 * bins * len(label)
    image = jax.lax.broadcasted_iota(jnp.int32, label.shape, 0)
    cell = (2 * image + label.astype(jnp.int32)) * bins + bin_of
    cell = jnp.where((label == 0) | (label == 1), cell, size)  # out of range, hence dropped
    counts = jnp.zeros(size, jnp.uint32).at[cell.ravel()].add(1, mode="drop")
    return counts.reshape(-1, 2, bins)


def image_scores(
    counts: Integer[np.ndarray, "*images 2 bins"],
) -> Float[np.ndarray, "*images 5 thresholds"]:
    """Scores of images by themselves, on the host.

    Args:
      counts: what `probability_counts` returns.

    Returns:
      `SCORES` at each threshold, by the rules of `BinaryScores`, in float64.

    Example:
      >>> image_scores(np.asarray([[2, 0], [0, 1]]))[:, 0].tolist()
      [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    return _scores(np.asarray(counts, np.int64), np, np.divide, 1.0)


def _scores(counts: Any, xp: ModuleType, ratio: Callable[[Any, Any], Any], one: Any) -> Any:
    """`SCORES` of counts [..., 2, B], stacked ahead of the thresholds; `one` is a score of 1."""
    above = xp.cumsum(counts[..., ::-1], -1)[..., ::-1]
    false_alarms, hits = above[..., 0, 1:], above[..., 1, 1:]
    misses = above[..., 1, :1] - hits
    right = above[..., 0, :1] - false_alarms + hits
    wrong = false_alarms + misses
    # In the order of `SCORES`; a part is 0 where its whole is.
    parts = xp.stack([right, hits, hits, 2 * hits, hits], -2)
    wholes = xp.stack(
        [right + wrong, hits + false_alarms, hits + misses, 2 * hits + wrong, hits + wrong], -2
    )
    scores = ratio(parts, xp.maximum(wholes, 1))
    nothing = (hits + wrong == 0)[..., None, :] & (np.arange(len(SCORES)) > 0)[:, None]
    return xp.where(nothing, one, scores)


def _fixed_ratio(part: Array, whole: Array) -> Array:
    """The nearest whole number to part / whole times 2^24, bit by bit as on paper.

    Whole numbers are the same on every device and in every batch; compilers round divisions of
    floats in more than one way.
    """

    def next_bit(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        quotient, rest = carry
        bit = (2 * rest >= whole).astype(jnp.uint32)
        return 2 * quotient + bit, 2 * rest - bit * whole

    start = (part // whole, part % whole)
    quotient, rest = jax.lax.fori_loop(0, _BITS, next_bit, start)
    return quotient + (2 * rest >= whole)


def _over_images(values: Array) -> Array:
    """Their exact sum over the first axis, as a 64-bit counter."""
    wide = jnp.stack([values.astype(jnp.uint32), jnp.zeros(values.shape, jnp.uint32)], 1)
    return jax.vmap(lambda x: wide_psum(x, "image"), axis_name="image")(wide)[0]


def _areas_below(counts: np.ndarray) -> dict[str, np.float64]:
    false_alarms, hits = np.cumsum(counts[:, ::-1].astype(np.float64), -1)
    precision = share(hits, hits + false_alarms)
    steps = np.diff(share(hits, hits[-1]), prepend=0)
    # A background pixel is ranked below the foreground in higher bins, and half of its own.
    below = counts[0, ::-1] * (hits - counts[1, ::-1] / 2)
    return {
        # A step without any pixel is 0 high.
        "average_precision": np.sum(steps * np.nan_to_num(precision)),
        "ROC_AUC": share(below.sum(), hits[-1] * false_alarms[-1])[()],
    }
