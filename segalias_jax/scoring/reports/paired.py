"""Models on the same images, in numbers: differences with intervals, and how sure they are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from segalias_jax.errors import InputError, check_choice
from segalias_jax.metrics.counts import ClassCounts
from segalias_jax.metrics.lookup import find_score, rows_of, rows_shown
from segalias_jax.metrics.rows import Score
from segalias_jax.scoring import pair_scores
from segalias_jax.scoring.cause_counts import CAUSES, repaired_miou
from segalias_jax.scoring.image_counts import CountPlan, ImageCounts
from segalias_jax.scoring.reports import binary, bootstrap, significance, tables
from segalias_jax.typing import Float, Int32

MODELS = 8
"""Most models of a comparison: of more, neither colors nor columns can be told apart."""

MEASURES = ("delta_mIoU", "pixels")
"""What causes of errors are compared by, see `PairedModels.cause_rows`."""


@dataclasses.dataclass(frozen=True)
class ImageArrays:
    """What is compared of the images of one model.

    Attributes:
      names: of the images.
      sums: what `pair_scores.areas` gives of each.
      foreground: of binary segmentation, `binary.foreground_sums`.
      causes: wrong pixels of each by cause, side and class, as in `CauseCounts`.
    """

    names: tuple[str, ...]
    sums: Int32[np.ndarray, "images rows classes"]
    foreground: Float[np.ndarray, "images sums"] | None = None
    causes: Int32[np.ndarray, "images causes 2 classes"] | None = None

    @classmethod
    def of(cls, images: Iterable[ImageCounts]) -> ImageArrays:
        """Takes what is compared out of the counts of images, in one pass.

        Args:
          images: one or more.

        Returns:
          Arrays of 32 bits, which no image has more pixels than.

        Example:
          >>> from segalias_jax.scoring.counting import CountSettings
          >>> from segalias_jax.scoring.image_counts import count_image
          >>> ids = np.asarray([[0, 1]])
          >>> one = count_image(ids, ids, CountPlan(CountSettings(2)), name="a")
          >>> ImageArrays.of([one]).causes.shape
          (1, 7, 2, 2)
        """
        names, sums, bins, causes = [], [], [], []
        for one in images:
            names.append(one.name)
            sums.append(one.sums.astype(np.int32))
            if one.bins is not None:
                bins.append(one.bins)
            if one.causes is not None:
                causes.append(one.causes.pixels.astype(np.int32))
        return cls(
            tuple(names),
            np.stack(sums),
            binary.foreground_sums(np.stack(bins)) if bins else None,
            np.stack(causes) if causes else None,
        )

    def chosen(self, names: Sequence[str]) -> ImageArrays:
        """Returns the arrays of some of the images.

        Args:
          names: of the images, in the order that is wanted.
        """
        place = {name: i for i, name in enumerate(self.names)}
        index = [place[name] for name in names]
        foreground, causes = (
            array if array is None else array[index] for array in (self.foreground, self.causes)
        )
        return ImageArrays(tuple(names), self.sums[index], foreground, causes)


@dataclasses.dataclass(frozen=True)
class PairedModels:
    """Models on the images that all of them were scored on.

    Intervals are those of `bootstrap.bca`, with the same draws of images for all models, so that
    the interval of a difference is that of paired images. Differences are tested by exchanging
    images between models (`significance.permutation_test`), and p is corrected for the number of
    models, and of classes or causes, that are tested together; below 0.05 a difference is clear.

    Attributes:
      names: of the models; the first is what others differ from.
      images: of each model, the same ones in the same order.
      plan: what was counted of all.
      classes: names of the classes.

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings
      >>> from segalias_jax.scoring.image_counts import count_image
      >>> plan, ids = CountPlan(CountSettings(2)), np.asarray([[0, 0, 1, 1]])
      >>> found = [ImageArrays.of([count_image(p, ids, plan, name="a")]) for p in (ids, 0 * ids)]
      >>> models = PairedModels.of({"one": found[0], "two": found[1]}, plan, ("a", "b"))
      >>> [row["model"] for row in models.ranking()], models.rows()[1]["difference"]
      (['one', 'two'], -0.75)
    """

    names: tuple[str, ...]
    images: tuple[ImageArrays, ...]
    plan: CountPlan
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls, models: Mapping[str, ImageArrays], plan: CountPlan, classes: Sequence[str]
    ) -> PairedModels:
        """Takes the images that all models have.

        Args:
          models: of each its images, by name; the first is what others differ from.
          plan: what was counted of all.
          classes: names of the classes.

        Returns:
          The models.

        Raises:
          InputError: there are fewer than two models or more than eight, or no common image.
        """
        common = check_comparable(list(models), [set(one.names) for one in models.values()])
        images = tuple(one.chosen(sorted(common)) for one in models.values())
        return cls(tuple(models), images, plan, tuple(classes))

    def rows(self) -> list[dict[str, Any]]:
        """One row for each score and model.

        Returns:
          score, model, value and its interval (low, high); but for the first model also the
          difference from it, its interval, its p, p corrected for the number of models, and
          whether that is below 0.05.
        """
        names, found = self._scores
        corrected = np.stack([significance.holm(p) for p in found.p.T], 1)
        return [
            {"score": name, **row}
            for i, name in enumerate(names)
            for row in model_rows(self.names, found, corrected, (i,))
        ]

    def class_rows(self, score: str = "IoU") -> list[dict[str, Any]]:
        """One row for each class and model.

        Args:
          score: name of a score that classes have, of either form ("mIoU" or "IoU").

        Returns:
          class, and what `rows` has; p is corrected for the number of classes and models.

        Raises:
          InputError: no such score, or classes do not have it.
        """
        counts = self._class_counts(self.images[0].sums[:1])
        rows = [row for row in rows_of(counts) if row.per_class and row.unit == "%"]
        named = {name: row for row in rows for name in (row.per_class, row.name)}
        check_choice("score", score, named)
        row, shape = named[score], self.images[0].sums.shape[1:]
        read = _rows_read(row, self._class_counts, shape)

        def statistic(sums: np.ndarray) -> np.ndarray:
            every = np.zeros((len(sums), *shape))
            every[:, read] = sums
            return row.of_classes(self._class_counts(every))

        found = significance.paired_differences(
            statistic, [(one.sums[:, read],) for one in self.images]
        )
        return self._family("class", self.classes, found)

    def cause_rows(self, measure: str = "delta_mIoU") -> list[dict[str, Any]]:
        """One row for each cause of errors and model.

        Args:
          measure: "delta_mIoU", what mIoU would gain if the cause were repaired, or "pixels", its
            wrong pixels as a fraction of all labeled ones.

        Returns:
          cause, and what `rows` has; p is corrected for the number of causes and models.

        Raises:
          InputError: causes were not counted, or there is no such measure.
        """
        check_choice("measure", measure, MEASURES)
        models = []
        for one in self.images:
            if one.causes is None:
                raise InputError("causes: they were not counted; score again with them")
            models.append((one.sums[:, :3], one.causes))
        statistic = _repaired if measure == "delta_mIoU" else _cause_fractions
        return self._family("cause", CAUSES, significance.paired_differences(statistic, models))

    def ranking(self, score: str = "mIoU") -> list[dict[str, Any]]:
        """One row for each model, the best first.

        Args:
          score: one of those of `rows`.

        Returns:
          rank, from 1 on, and what `rows` has, but differences are those from the best model;
          models of equal value have equal ranks, those without a value come last.

        Raises:
          InputError: no such score.
        """
        names, found = self._scores
        check_choice("score", score, names)
        sign = 1 if find_score(score).direction == "smaller" else -1
        values = sign * found.values.value[:, names.index(score)]
        order = np.argsort(values, kind="stable").tolist()

        def statistic(*sums: np.ndarray) -> np.ndarray:
            return self._mean_scores(*sums)[score]

        from_best = significance.paired_differences(statistic, self._sums(), base=order[0])
        corrected = significance.holm(from_best.p)
        rows = model_rows(self.names, from_best, corrected, (), base=order[0])
        # nan is better than nothing, and nothing is better than it.
        values = np.where(np.isnan(values), np.inf, values)
        return [{"rank": 1 + int((values < values[i]).sum()), **rows[i]} for i in order]

    def differing_images(self, count: int = 8) -> list[dict[str, Any]]:
        """The images on whose own score models differ most, the largest difference first.

        Args:
          count: number of images.

        Returns:
          name; score, which is mIoU, or Dice of the foreground of two classes; values, one for each
          model (nan where an image has none); difference of the largest and the smallest.
        """
        source = "classes" if self.images[0].foreground is None else "foreground"
        row = rows_shown("caption", source=source)[0]
        values = np.stack([self._mean_scores(*sums)[row.name] for sums in self._sums()])
        known = np.where(np.isnan(values).any(0), 0, values)
        difference = known.max(0) - known.min(0)
        return [
            {
                "name": self.images[0].names[i],
                "score": row.per_image,
                "values": values[:, i].tolist(),
                "difference": float(difference[i]),
            }
            for i in np.argsort(-difference, kind="stable")[:count]
        ]

    @functools.cached_property
    def _scores(self) -> tuple[list[str], significance.Differences]:
        """Names of the compared scores, and their numbers."""
        counts = self._class_counts(self.images[0].sums[:1])
        shown = list(rows_of(counts))
        names = [row.name for row in tables.table_rows({row.name: 0 for row in shown})]
        names += [row.name for row in sorted(shown, key=lambda row: row.rank) if row.needs]
        if self.images[0].foreground is not None:
            names += [row.name for row in binary.foreground_rows()]

        def statistic(*sums: np.ndarray) -> np.ndarray:
            scores = self._mean_scores(*sums)
            return np.stack([scores[name] for name in names], -1)

        return names, significance.paired_differences(statistic, self._sums())

    def _sums(self) -> list[tuple[np.ndarray, ...]]:
        """Of each model what `_mean_scores` takes, of each image."""
        return [
            (one.sums,) if one.foreground is None else (one.sums, one.foreground)
            for one in self.images
        ]

    def _mean_scores(self, sums: np.ndarray, *foreground: np.ndarray) -> dict[str, Any]:
        settings = self.plan.settings
        inner = bool(settings.boundary_iou)
        means = pair_scores.mean_scores(sums, settings.tolerances, inner=inner)
        for each in foreground:
            means |= binary.scores_of_sums(each)
        return means

    def _class_counts(self, sums: np.ndarray) -> ClassCounts:
        settings = self.plan.settings
        inner = bool(settings.boundary_iou)
        return pair_scores.class_counts(sums, settings.tolerances, inner=inner)

    def _family(
        self, kind: str, names: Sequence[str], found: significance.Differences
    ) -> list[dict[str, Any]]:
        """Rows of things that are tested together."""
        corrected = significance.holm(found.p)
        return [
            {kind: name, **row}
            for i, name in enumerate(names)
            for row in model_rows(self.names, found, corrected, (i,))
        ]


def model_rows(
    names: Sequence[str],
    found: significance.Differences,
    corrected: np.ndarray,
    index: tuple[int, ...],
    *,
    base: int = 0,
) -> list[dict[str, Any]]:
    """Returns the numbers of one statistic, a row for each model.

    Args:
      names: of the models.
      found: statistics of all.
      corrected: p of their differences.
      index: of the statistic in the arrays of both.
      base: the model that others differ from.

    Returns:
      Rows as those of `PairedModels.rows`, without the name of the score.
    """
    rows = []
    for i, model in enumerate(names):
        value, low, high = (float(array[(i, *index)]) for array in found.values.arrays)
        row: dict[str, Any] = {"model": model, "value": value, "low": low, "high": high}
        if i != base:
            place = (i - (i > base), *index)
            ends = ("", "_low", "_high")
            for end, array in zip(ends, found.differences.arrays, strict=True):
                row[f"difference{end}"] = float(array[place])
            row["p"], row["p_corrected"] = float(found.p[place]), float(corrected[place])
            row["clear"] = row["p_corrected"] < significance.LEVEL
        rows.append(row)
    return rows


def difference_cells(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]
) -> list[list[str]]:
    """Returns the cells of a table that has a row for each score and columns for each model.

    Args:
      names: of the models; the first is what others differ from.
      rows: as those of `PairedModels.rows`, in per cent after multiplication by 100; those without
        an interval have a value alone.
      titles: of the scores.

    Returns:
      Texts, the header first.

    Example:
      >>> rows = [{"score": "AP", "model": "a", "value": 0.5}]
      >>> rows.append({"score": "AP", "model": "b", "value": 0.6, "difference": 0.1})
      >>> difference_cells(["a", "b"], rows, {"AP": "AP of masks"})
      [['score', 'a', 'b', 'b - a'], ['AP of masks', '50.00', '60.00', '+10.00']]
    """
    first, *others = names

    def text(row: Mapping[str, Any], *keys: str, sign: str = "") -> str:
        value, low, high = (100 * row.get(key, np.nan) for key in keys)
        if keys[1] in row:
            return bootstrap.with_interval(value, low, high, sign=sign)
        return "-" if np.isnan(value) else f"{value:{sign}.2f}"

    cells = [["score", first, *(x for n in others for x in (n, f"{n} - {first}"))]]
    for row in rows:
        if row["model"] == first:
            cells.append([titles[row["score"]]])
        cells[-1].append(text(row, "value", "low", "high"))
        if row["model"] != first:
            p = significance.with_p(row.get("p_corrected", np.nan))
            keys = ("difference", "difference_low", "difference_high")
            cells[-1].append(text(row, *keys, sign="+") + p)
    return cells


def check_comparable(names: Sequence[str], images: Sequence[set[str]]) -> set[str]:
    """Raises where models cannot be compared.

    Args:
      names: of the models.
      images: of each model the names of its images.

    Returns:
      The images that all models have.

    Raises:
      InputError: there are fewer than two models or more than eight, two of one name, or no common
        image.

    Example:
      >>> check_comparable(["x", "y"], [{"a", "b"}, {"b", "c"}])
      {'b'}
    """
    if not 2 <= len(images) <= MODELS:
        raise InputError(f"reports: {len(images)} models; 2 to {MODELS} can be compared")
    if len(set(names)) < len(names):
        raise InputError(f"names: two models have one name among {', '.join(names)}; name each one")
    common = set.intersection(*images)
    if not common:
        raise InputError(
            "reports: no image was scored for all models; give folders of one data set"
        )
    return common


def _repaired(areas: np.ndarray, causes: np.ndarray) -> np.ndarray:
    # Sums of integers, which `repaired_miou` takes as such.
    right, true, predicted = np.moveaxis(areas.astype(np.int64), -2, 0)
    return repaired_miou(true, predicted, right, causes.astype(np.int64))


def _cause_fractions(areas: np.ndarray, causes: np.ndarray) -> np.ndarray:
    pixels = areas[..., 1, :].sum(-1)[..., None]
    wrong = causes[..., 0, :].sum(-1)
    return np.divide(wrong, pixels, where=pixels > 0, out=np.full(wrong.shape, np.nan))


def _rows_read(
    row: Score, counts: Callable[[np.ndarray], ClassCounts], shape: tuple[int, ...]
) -> list[int]:
    """The rows of `pair_scores.areas` that a score follows from, found by changing each.

    Most scores follow from a few of some thirty, and tests take their time for each of them.
    """
    sums = np.random.default_rng(0).integers(1, 1 << 20, shape).astype(np.float64)
    read, before = [], row.of_classes(counts(sums))
    for i in range(shape[0]):
        changed = sums.copy()
        changed[i] += 1
        if not np.array_equal(row.of_classes(counts(changed)), before, equal_nan=True):
            read.append(i)
    return read
