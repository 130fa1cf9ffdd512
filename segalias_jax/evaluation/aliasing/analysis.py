"""What a network's strides fold, image by image, and which errors stand where they fold much.

Before and after a filter are what the encoder hands to it and what its strided operator reads
(`models.stages.recording_filters`). Without a filter both are the same map: nothing hypothetical is
measured. Of an image only sums of power and its patches' errors are kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8

from segalias_jax.errors import InputError
from segalias_jax.evaluation.aliasing.patches import (
    error_rows,
    patch_errors,
    patch_pixels,
    patch_powers,
)
from segalias_jax.evaluation.evaluator import Evaluation, evaluate
from segalias_jax.metrics import ERROR_KINDS, ScoreRules
from segalias_jax.metrics.formulas import fraction
from segalias_jax.scoring.causes import CAUSES, error_types
from segalias_jax.scoring.host_bands import error_kinds
from segalias_jax.scoring.reports import bootstrap
from segalias_jax.typing import Array

PATCH = 64
"""Side of a patch in pixels, about."""

BINS = 10
"""Bins of the patches by their aliasing score, with about as many patches in each."""

Inspect = Callable[[UInt8[np.ndarray, "b h w 3"]], tuple[Array, Array]]


@dataclasses.dataclass(frozen=True)
class Operator:
    """A place where a network keeps fewer pixels than it has.

    Attributes:
      name: of the place, such as "stage 2".
      sampling_rate: equivalent sampling rate, in samples per pixel.
      nyquist_frequency: what that rate can carry, in cycles per pixel.
      filter: what stands before it, "none" for nothing.

    Example:
      >>> Operator("stage 2", 0.7071, 0.3536, "daf").filter
      'daf'
    """

    name: str
    sampling_rate: float
    nyquist_frequency: float
    filter: str


def operator_powers(
    before: Float[Array, "b h w c"],
    after: Float[Array, "b h2 w2 c"],
    cutoff: float,
    grid: tuple[int, int],
) -> Float[Array, "2 2 b rows columns"]:
    """Powers of the patches of what enters an operator's filter, and of what leaves it.

    Args:
      before: what enters the filter.
      after: what leaves it and is sampled; `before` itself where there is none. A filter that
        samples itself has taken off what would fold.
      cutoff: the operator's Nyquist frequency, in cycles per pixel.
      grid: numbers of patches, of `patches.patch_grid`.

    Returns:
      Before and after: `patches.patch_powers`.

    Example:
      >>> operator_powers(jnp.ones((1, 8, 8, 2)), jnp.ones((1, 4, 4, 2)), 0.25, (2, 2)).shape
      (2, 2, 1, 2, 2)
    """
    entering = patch_powers(before, cutoff, grid)
    if before.shape != after.shape:
        return jnp.stack([entering, entering.at[0].set(0)])
    return jnp.stack([entering, patch_powers(after, cutoff, grid)])


@dataclasses.dataclass(frozen=True)
class AliasingAnalysis:
    """Aliasing scores of images and of their patches, and the patches' boundary errors.

    Scores are in per cent, errors are fractions.

    Attributes:
      operators: where the network samples.
      names: of the images.
      scores: of each image at each operator, before and after its filter.
      image: which image each patch is of.
      patch_scores: of each patch at each operator, before the filter.
      patch_errors: of each patch the `errors`, nan where it has none of the band.
      patch_kinds: pixels of each patch by `metrics.ERROR_KINDS`, of which every labeled pixel has
        one: the pixels that overlays of error kinds paint.
      patch_causes: pixels of each patch that are right, and that have each of `scoring.CAUSES`.
      errors: names of these scores.

    Example:
      >>> nothing, no = np.zeros((0, 0)), np.zeros((0, 0), int)
      >>> scores = nothing[..., None].repeat(2, 2)
      >>> AliasingAnalysis((), (), scores, np.arange(0), nothing, nothing, no, no)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: aliasing: no image has a pixel near a boundary
    """

    operators: tuple[Operator, ...]
    names: tuple[str, ...]
    scores: Float[np.ndarray, "images operators 2"]
    image: Int[np.ndarray, " patches"]
    patch_scores: Float[np.ndarray, "patches operators"]
    patch_errors: Float[np.ndarray, "patches errors"]
    patch_kinds: Int[np.ndarray, "patches kinds"]
    patch_causes: Int[np.ndarray, "patches causes"]
    errors: tuple[str, ...] = dataclasses.field(
        default_factory=lambda: tuple(row.name for row in error_rows())
    )

    def __post_init__(self):
        """Raises `InputError` where there is nothing to relate."""
        if not self.near.any():
            raise InputError("aliasing: no image has a pixel near a boundary")

    @property
    def near(self) -> Bool[np.ndarray, " patches"]:
        """The patches with a labeled pixel near a boundary."""
        return np.asarray(~np.isnan(self.patch_errors).all(1))

    def score_rows(self) -> list[dict[str, Any]]:
        """One row for each operator.

        Returns:
          The operator's numbers, and for "before" and "after" mean, interval of the mean (low,
          high), and the 5 % and 95 % quantiles of the images.
        """
        count = len(self.names)
        mean = bootstrap.bca(lambda total: total / count, self.scores)
        rows = []
        for i, operator in enumerate(self.operators):
            row: dict[str, Any] = dataclasses.asdict(operator)
            for j, moment in enumerate(("before", "after")):
                values = self.scores[:, i, j]
                least, most = np.percentile(values, (5, 95))
                row[moment] = {
                    "mean": float(values.mean()),
                    "low": float(mean.low[i, j]),
                    "high": float(mean.high[i, j]),
                    "5%": float(least),
                    "95%": float(most),
                }
            rows.append(row)
        return rows

    def correlations(self) -> list[dict[str, Any]]:
        """Spearman's correlation of a patch's score with each error, over all patches.

        Returns:
          For each operator and error: value and interval (low, high), and the patches that have
          the band of that error.
        """
        rows = []
        for i, operator in enumerate(self.operators):
            for j, error in enumerate(self.errors):
                known = ~np.isnan(self.patch_errors[:, j])
                sums = bootstrap.rank_sums(
                    self.patch_scores[known, i],
                    self.patch_errors[known, j],
                    self.image[known],
                    len(self.names),
                )
                found = bootstrap.bca(bootstrap.rank_correlation, sums)
                row = {"operator": operator.name, "error": error, "patches": int(known.sum())}
                rows.append(row | _numbers(found, ()))
        return rows

    def bins(self, count: int = BINS) -> list[dict[str, Any]]:
        """Mean errors of the patches near boundaries in bins by score, as many patches in each.

        Args:
          count: number of bins.

        Returns:
          For each operator and bin: smallest, mean and largest score, patches, and of each error
          the mean over the patches that have its band, with its interval.
        """
        rows = []
        for i, operator in enumerate(self.operators):
            scores = self.patch_scores[self.near, i]
            # By order and not by value, so that no bin is empty where many scores are equal.
            place = np.empty(len(scores), int)
            place[np.argsort(scores, kind="stable")] = np.arange(len(scores)) * count // len(scores)
            found = bootstrap.bca(fraction, *self._bin_errors(place, count))
            for b in np.unique(place):
                inside = scores[place == b]
                row: dict[str, Any] = {
                    "operator": operator.name,
                    "bin": int(b) + 1,
                    "patches": len(inside),
                    "from": float(inside.min()),
                    "score": float(inside.mean()),
                    "to": float(inside.max()),
                }
                for j, error in enumerate(self.errors):
                    row[error] = _numbers(found, (int(b), j))
                rows.append(row)
        return rows

    def _bin_errors(
        self, place: np.ndarray, count: int
    ) -> tuple[Float[np.ndarray, "images bins errors"], Float[np.ndarray, "images bins errors"]]:
        """Of the patches of each image in each bin that have an error, its sum and their number."""
        cell = self.image[self.near] * count + place
        cells, sums, patches = len(self.names) * count, [], []
        for values in self.patch_errors[self.near].T:
            known = ~np.isnan(values)
            for result, weights in ((sums, values[known]), (patches, np.ones(known.sum()))):
                result.append(np.bincount(cell[known], weights, cells).reshape(-1, count))
        return np.stack(sums, -1), np.stack(patches, -1)


def _numbers(found: bootstrap.Estimate, index: tuple[int, ...]) -> dict[str, float]:
    ends = {"value": found.value, "low": found.low, "high": found.high}
    return {name: float(array[index]) for name, array in ends.items()}


def study(
    inspect: Inspect,
    batches: Iterable[Mapping[str, Any]],
    operators: Sequence[Operator],
    *,
    num_classes: int,
    reduce_zero_label: bool = False,
    boundary: str = "laplacian",
    ignore: str = "reference",
    total: int | None = None,
    progress: str | None = None,
) -> tuple[Evaluation, AliasingAnalysis]:
    """Scores a network in one pass over batches, and what its strides fold in each image.

    Of every image a few numbers per patch are kept, and nothing else.

    Args:
      inspect: images as bytes to class ids [b, h, w], and of all operators the `operator_powers`,
        [operators, 2, 2, b, rows, columns].
      batches: as for `evaluate`.
      operators: where the network samples.
      num_classes: number of classes C.
      reduce_zero_label: as for `evaluate`, and so all that follow.
      boundary: "laplacian" or "exact".
      ignore: "reference" or "exclude".
      total: number of images.
      progress: title of the progress bar; None: no bar.

    Returns:
      The scores and the analysis.

    Raises:
      InputError: unknown rule, or no pixel near a boundary in any image.
    """
    found = _Found(num_classes, ScoreRules(boundary, ignore, reduce_zero_label))

    def predict(image: np.ndarray) -> Array:
        classes, powers = inspect(image)
        found.add(classes, np.asarray(powers, np.float64))
        return classes

    result = evaluate(
        predict,
        found.watch(batches),
        num_classes=num_classes,
        total=total,
        progress=progress,
        reduce_zero_label=reduce_zero_label,
        boundary=boundary,
        ignore=ignore,
    )
    return result, found.analysis(operators)


class _Found:
    """Numbers of the images so far; what the evaluation reads passes through it."""

    def __init__(self, num_classes: int, rules: ScoreRules):
        self._num_classes, self._rules = num_classes, rules
        self._batch: Mapping[str, Any] = {}
        self._names: list[str] = []
        self._scores: list[np.ndarray] = []
        self._patches: list[tuple[np.ndarray, ...]] = []

    def watch(self, batches: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for batch in batches:
            self._batch = batch
            yield batch

    def add(self, classes: Integer[Array | np.ndarray, "b h w"], powers: np.ndarray) -> None:
        rows, columns = powers.shape[-2:]
        classes = np.asarray(classes)
        for n, row in enumerate(np.flatnonzero(self._batch["valid"])):
            above, whole = powers[:, :, 0, row], powers[:, :, 1, row]
            self._scores.append(_percent(above.sum((-2, -1)), whole.sum((-2, -1))))
            maps = classes[row], np.asarray(self._batch["label"][row])
            grid, rules = (rows, columns), self._rules
            errors = patch_errors(*maps, grid, num_classes=self._num_classes, rules=rules)
            kinds = error_kinds(*maps, rules)
            causes, _ = error_types(
                *maps,
                num_classes=self._num_classes,
                ignore=rules.ignore_label,
                reduce_zero_label=rules.reduce_zero_label,
            )
            found = (
                _percent(above[:, 0], whole[:, 0]).transpose(1, 2, 0),
                errors,
                patch_pixels(kinds, grid, len(ERROR_KINDS)),
                patch_pixels(causes, grid, 1 + len(CAUSES)),
            )
            self._patches.append(tuple(one.reshape(rows * columns, -1) for one in found))
            names = self._batch.get("name")
            self._names.append(names[n] if names else str(len(self._names)))

    def analysis(self, operators: Sequence[Operator]) -> AliasingAnalysis:
        counts = [len(found[0]) for found in self._patches]
        scores, errors, kinds, causes = map(np.concatenate, zip(*self._patches, strict=True))
        return AliasingAnalysis(
            tuple(operators),
            tuple(self._names),
            np.stack(self._scores),
            np.repeat(np.arange(len(counts)), counts),
            scores,
            errors,
            kinds,
            causes,
        )


def _percent(above: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return 100 * np.nan_to_num(fraction(above, whole))
