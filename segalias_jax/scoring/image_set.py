"""What counts of images say of all of them together, and of each: one pass, little memory.

Images are taken some at a time, always the same ones together: numbers of floating point would
otherwise depend on how a set was put together.
"""

from __future__ import annotations

import array
import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.distance_counts import DistanceCounts
from segalias_jax.metrics.lookup import rows_of
from segalias_jax.metrics.totals import BinaryTotals, SegmentationTotals
from segalias_jax.scoring import pair_scores
from segalias_jax.scoring.cause_counts import CAUSES, CauseCounts, ObjectRecords, repaired_miou
from segalias_jax.scoring.counting import PairCounts
from segalias_jax.scoring.distance_report import distance_columns
from segalias_jax.scoring.image_counts import CountPlan, ImageCounts
from segalias_jax.scoring.reports.binary import foreground_scores
from segalias_jax.typing import Bool, Int, Num

_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Sums over images, and a few numbers of each.

    Attributes:
      state: pixels by region and class of all images.
      sums: what `pair_scores.areas` gives, of all images.
      causes: causes of all wrong pixels; None: they were not counted.
      binary: scores of binary segmentation; None of other numbers of classes.
      names: of the images.
      sizes: height and width of each.
      scores: scores of each image by itself, by name; classes that it lacks are in no mean.
      present: which classes each has, in either map.
      image_causes: wrong pixels of each image by cause; 0 where they were not counted.
      offsets: what `count_offsets` gives of each image, where it was asked for.
      distances: between boundaries of all images, where they were asked for.

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings
      >>> from segalias_jax.scoring.image_counts import count_image
      >>> plan, ids = CountPlan(CountSettings(2)), np.asarray([[0, 1]])
      >>> found = ImageSet.of([count_image(ids, ids, plan, name="a")], plan)
      >>> found.scores["mIoU"].tolist(), found.state.compute()["mIoU"].tolist()
      ([1.0], 1.0)
    """

    state: SegmentationTotals
    sums: Int[np.ndarray, "rows classes"]
    causes: CauseCounts | None
    binary: BinaryTotals | None
    names: tuple[str, ...]
    sizes: Int[np.ndarray, "images 2"]
    scores: dict[str, Num[np.ndarray, " images"]]
    present: Bool[np.ndarray, "images classes"]
    image_causes: Int[np.ndarray, "images causes"]
    offsets: Int[np.ndarray, "images offsets 3 classes"] | None
    distances: DistanceCounts | None

    @classmethod
    def of(cls, images: Iterable[ImageCounts], plan: CountPlan) -> ImageSet:
        """Adds up images.

        Args:
          images: their counts.
          plan: what was counted.

        Returns:
          The sums.

        Raises:
          InputError: two images have one name.
        """
        classes, parts = plan.num_classes, _Parts(plan)
        regions = np.zeros((4, classes, classes), np.int64)
        causes = CauseCounts.zeros(classes) if plan.causes is not None else None
        total = pair_scores.areas(PairCounts.zeros(plan.settings))
        for one in images:
            regions += one.pair.regions
            if causes is not None and one.causes is not None:
                # Without records, of which there is one for each object.
                causes += dataclasses.replace(one.causes, records=ObjectRecords())
            total += parts.add(one)
        parts.flush()
        _check_names(parts.names)
        return cls(
            state=SegmentationTotals.from_counts(regions, plan.settings.rules),
            sums=total,
            causes=causes,
            binary=parts.binary,
            names=tuple(parts.names),
            sizes=np.frombuffer(parts.sizes, np.int64).reshape(-1, 2),
            scores={name: np.concatenate(found) for name, found in parts.scores.items()},
            present=np.concatenate([np.zeros((0, classes), bool), *parts.present]),
            image_causes=np.frombuffer(parts.causes, np.int64).reshape(-1, len(CAUSES)),
            offsets=np.stack(parts.offsets) if parts.offsets else None,
            distances=DistanceCounts.stack(parts.distances) if parts.distances else None,
        )

    def repaired(self) -> dict[str, float]:
        """What mIoU would gain if all pixels of a cause were right, by cause."""
        if self.causes is None:
            return {}
        right, true, predicted = self.sums[:3]
        gains = repaired_miou(true, predicted, right, self.causes.pixels)
        return dict(zip(CAUSES, gains.tolist(), strict=True))


class _Parts:
    """Numbers of each image, and scores of some images at a time."""

    def __init__(self, plan: CountPlan):
        self.plan = plan
        self.names: list[str] = []
        # Arrays hold numbers in a tenth of the memory of lists.
        self.sizes, self.causes = array.array("q"), array.array("q")
        self.scores: dict[str, list[np.ndarray]] = {}
        self.present: list[np.ndarray] = []
        self.offsets: list[np.ndarray] = []
        self.distances: list[DistanceCounts] = []
        self.binary = BinaryTotals.empty(plan.bins) if plan.bins else None
        self._sums: list[np.ndarray] = []
        self._bins: list[np.ndarray] = []

    def add(self, one: ImageCounts) -> Int[np.ndarray, "rows classes"]:
        """Takes the numbers of an image, and returns its sums."""
        sums = one.sums
        self.names.append(one.name)
        self.sizes.extend((one.height, one.width))
        causes = (0,) * len(CAUSES) if one.causes is None else one.causes.totals.values()
        self.causes.extend(causes)
        if one.offsets is not None:
            self.offsets.append(one.offsets)
        if one.distances is not None:
            self.distances.append(one.distances)
        self._sums.append(sums)
        if one.bins is not None:
            self._bins.append(one.bins)
        if len(self._sums) == _AT_ONCE:
            self.flush()
        return sums

    def flush(self) -> None:
        """Scores the images that wait for it."""
        if not self._sums:
            return
        sums = np.stack(self._sums)
        bins = np.stack(self._bins) if self._bins else None
        self._sums, self._bins = [], []
        self.present.append(sums[:, 1] + sums[:, 2] > 0)
        found = image_scores(sums, bins, self.plan)
        if self.plan.distances is not None:
            distances = DistanceCounts.stack(self.distances[-len(sums) :])
            found |= distance_columns(distances, self.plan.distances)
        for name, values in found.items():
            self.scores.setdefault(name, []).append(np.asarray(values))
        if self.binary is not None and bins is not None:
            self.binary = self.binary.add(bins)


def image_scores(
    sums: Int[np.ndarray, "images rows classes"],
    bins: Int[np.ndarray, "images 2 bins"] | None,
    plan: CountPlan,
) -> dict[str, Any]:
    """Scores of images by themselves.

    Args:
      sums: what `pair_scores.areas` gives of each.
      bins: of binary segmentation, pixels of each by true class and bin of probability.
      plan: what was counted.

    Returns:
      The number of labeled pixels, and scores by name, means first.
    """
    counts = plan_counts(sums, plan)
    rows = [row for row in rows_of(counts) if "image" in row.shown]
    rows.sort(key=lambda row: row.average != "classes")
    found = {"pixels": counts.all.true.sum(-1)}
    found |= {row.per_image: row.of_each(counts) for row in rows}
    return found if bins is None else found | foreground_scores(bins)


def plan_counts(
    sums: Int[np.ndarray, "*images rows classes"], plan: CountPlan
) -> pair_scores.ClassCounts:
    """Gives the rows of sums their names.

    Args:
      sums: what `pair_scores.areas` gives.
      plan: what was counted.

    Returns:
      The counts.
    """
    settings = plan.settings
    inner = bool(settings.boundary_iou)
    return pair_scores.class_counts(sums, settings.tolerances, inner=inner)


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise InputError(f"image {name!r} is counted twice; leave one of them out")
            seen.add(name)
