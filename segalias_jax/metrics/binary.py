"""Scores of binary segmentation on a device: at every threshold, over pixels and over images.

The state keeps a histogram of the foreground's probability for each true class, and for each
threshold the sum of every image's own scores as integers (2^24 is 1). So states merge exactly
over batches, devices and processes, in any order, and need the same memory for any number of
images.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, UInt32

from segalias_jax.errors import InputError
from segalias_jax.metrics.confusion import wide_add, wide_psum, wide_total, wide_zeros
from segalias_jax.metrics.counts import ForegroundCounts
from segalias_jax.metrics.histogram import joint_histogram
from segalias_jax.metrics.rows import Score
from segalias_jax.metrics.totals import (
    BINS,
    BITS,
    ONE,
    BinaryTotals,
    check_same_bins,
    check_same_rows,
    image_rows,
)
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BinaryScores:
    """Mergeable state of the scores of binary segmentation, see `BinaryTotals`.

    Attributes:
      counts: uint32 [2, 2, B], pixels by true class and bin, in two halves of 64 bits.
      sums: uint32 [2, n, B - 1], sums over images of the scores `rows` at each threshold, times
        2^24.
      images: uint32 [2, 2], numbers of images, and of those without true foreground.
      rows: the n scores that are means over images.

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
    rows: tuple[Score, ...] = dataclasses.field(metadata={"static": True})

    @classmethod
    def empty(cls, bins: int = BINS) -> BinaryScores:
        """A state without any image.

        Args:
          bins: B, even; 2 where predictions are classes.

        Returns:
          The empty state.
        """
        rows = image_rows(bins)
        return cls(wide_zeros((2, bins)), wide_zeros((len(rows), bins - 1)), wide_zeros((2,)), rows)

    def host(self) -> BinaryTotals:
        """Returns the state on the host."""
        return BinaryTotals(
            wide_total(self.counts), wide_total(self.sums), wide_total(self.images), self.rows
        )

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
        return _updated(self, probability, label)

    @jax.jit
    def add(self, counts: Integer[Array | np.ndarray, "images 2 bins"]) -> BinaryScores:
        """The state with images that were counted elsewhere, see `probability_counts`."""
        counts = jnp.asarray(counts).astype(jnp.uint32)
        # An image without a labeled pixel is in no mean; rows that fill up a batch are such images.
        counted = counts.any((-2, -1))
        blank = counted & ~counts[:, 1].any(-1)
        pixels = ForegroundCounts.from_bins(counts)
        fixed = _fixed_scores(self.rows, pixels)
        mean = (fixed + _fixed_scores(self.rows, pixels.of_background()) + 1) >> 1
        both = np.asarray([row.both for row in self.rows], bool)[:, None]
        fixed = jnp.where(both, mean, fixed)
        return dataclasses.replace(
            self,
            counts=wide_add(self.counts, _over_images(counts)),
            sums=wide_add(self.sums, _over_images(fixed * counted[:, None, None])),
            images=wide_add(self.images, _over_images(jnp.stack([counted, blank], -1))),
        )

    def merge(self, other: BinaryScores) -> BinaryScores:
        """The state of all images of both.

        Raises:
          InputError: the two have other numbers of bins, or other scores.
        """
        check_same_bins(self.counts.shape[-1], other.counts.shape[-1])
        check_same_rows(self.rows, other.rows)
        return jax.tree.map(wide_add, self, other)

    def psum(self, axis_name: str) -> BinaryScores:
        """The sum of the states of all devices along a mapped axis, see `confusion.wide_psum`."""
        return jax.tree.map(lambda leaf: wide_psum(leaf, axis_name), self)

    def curves(self) -> dict[str, Float[np.ndarray, " thresholds"]]:
        """Scores at every threshold, see `BinaryTotals.curves`."""
        return self.host().curves()

    def compute(self) -> dict[str, Any]:
        """Scores at threshold 0.5, and what the sweep over thresholds gives.

        Returns:
          By name, see `BinaryTotals.compute`.
        """
        return self.host().compute()


@on_any_mesh
def _updated(state: BinaryScores, probability: ArrayLike, label: Any) -> BinaryScores:
    return state.add(probability_counts(probability, label, state.counts.shape[-1]))


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
    known = jnp.where((label == 0) | (label == 1), label.astype(jnp.int32), -1)
    pixels = (len(label), label.shape[1] * label.shape[2])
    return joint_histogram(known.reshape(pixels), bin_of.reshape(pixels), rows=2, columns=bins)


def _fixed_scores(rows: tuple[Score, ...], pixels: ForegroundCounts) -> Array:
    """The nearest integers to the scores of each image times 2^24, [images, n, thresholds]."""
    pairs = [row.formula(pixels) for row in rows]
    parts = jnp.stack([part for part, _ in pairs], -2)
    wholes = jnp.maximum(jnp.stack([whole for _, whole in pairs], -2), 1)
    nothing = pixels.hits + pixels.false_alarms + pixels.misses == 0
    return jnp.where(nothing[:, None], jnp.uint32(ONE), _fixed_ratio(parts, wholes))


def _fixed_ratio(part: Array, whole: Array) -> Array:
    """The nearest integer to part / whole times 2^24, bit by bit as on paper.

    32 bits are all there are: the product of the part and 2^24 does not fit.
    """

    def next_bit(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        quotient, rest = carry
        bit = (2 * rest >= whole).astype(jnp.uint32)
        return 2 * quotient + bit, 2 * rest - bit * whole

    start = (part // whole, part % whole)
    quotient, rest = jax.lax.fori_loop(0, BITS, next_bit, start)
    return quotient + (2 * rest >= whole)


def _over_images(values: Array) -> Array:
    """Their exact sum over the first axis, of 65536 at most, as a 64-bit counter."""
    # By halves of 16 bits as in `wide_psum`, which takes no mapped axis inside of `shard_map`.
    values = values.astype(jnp.uint32)
    lower = jnp.sum(values & 0xFFFF, 0, dtype=jnp.uint32)
    upper = jnp.sum(values >> 16, 0, dtype=jnp.uint32) + (lower >> 16)
    return jnp.stack([(upper << 16) | (lower & 0xFFFF), upper >> 16])
