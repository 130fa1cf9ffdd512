"""What is kept of each image: a line for every object, of which all counts and scores are sums."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from segalias_jax.data.run_length import compress_counts
from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.object_causes import object_causes
from segalias_jax.scoring.instances.objects import Objects, runs_of_mask
from segalias_jax.scoring.instances.overlaps import Overlaps
from segalias_jax.scoring.instances.tide import TideImage, tide_image
from segalias_jax.typing import Bool, Float64, Int64

KINDS = ("bbox", "segm", "boundary")
"""What average precision can be of."""


@dataclasses.dataclass(frozen=True)
class RecordSettings:
    """What is kept of each image.

    Attributes:
      num_classes: C, without background.
      threshold: predictions of a lower score are in no count; average precision and TIDE take all.
      kinds: of average precision, of `KINDS`.
      max_detections: of one image that average precision (of one class) and TIDE (of all) take.

    Raises:
      InputError: a number out of range, or another kind.

    Example:
      >>> RecordSettings(80).threshold
      0.5
    """

    num_classes: int
    threshold: float = 0.5
    kinds: tuple[str, ...] = ("bbox", "segm")
    max_detections: int = 100

    def __post_init__(self):
        """Checks the numbers."""
        if self.num_classes < 1:
            raise InputError(f"num_classes: {self.num_classes} must be at least 1")
        if not np.isfinite(self.threshold):
            raise InputError(f"threshold: {self.threshold} is no score; give a number such as 0.5")
        # Recall is given for 1, for 10 and for this number of detections.
        if self.max_detections <= 10:
            raise InputError(f"max_detections: {self.max_detections} must be more than 10")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise InputError(f"kinds: {unknown[0]!r} is none of {', '.join(KINDS)}")

    def to_json(self) -> dict[str, Any]:
        """The settings, as JSON holds them."""
        return {**dataclasses.asdict(self), "kinds": list(self.kinds)}


@dataclasses.dataclass(frozen=True)
class Side:
    """The true or the predicted objects of an image, crowds and uncertain predictions left out.

    Attributes:
      classes: of each.
      areas: in pixels; of true objects as annotated.
      causes: index in `object_causes.CAUSES`, -1 of predictions that are ignored.
      boxes: (x, y, width, height) of the mask.
      scores: confidence, 1 of true objects.
      matched: IoU with the object of the same class that it is matched to; 0: with none.
      others: class of the object that it was found, confused, displaced, merged or split with; 0:
        none.
      ious: with that object.
      offsets: see `ObjectCauses.offset`.
    """

    classes: Int64[np.ndarray, " n"]
    areas: Float64[np.ndarray, " n"]
    causes: Int64[np.ndarray, " n"]
    boxes: Int64[np.ndarray, "n 4"]
    scores: Float64[np.ndarray, " n"]
    matched: Float64[np.ndarray, " n"]
    others: Int64[np.ndarray, " n"]
    ious: Float64[np.ndarray, " n"]
    offsets: Float64[np.ndarray, " n"]

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.classes)

    def to_json(self) -> dict[str, Any]:
        """Lists, as JSON holds them."""
        columns = {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}
        columns["offsets"] = [None if np.isnan(x) else x for x in columns["offsets"]]
        return columns

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Side:
        """Reads what `to_json` wrote."""
        whole = ("classes", "causes", "boxes", "others")
        columns = {
            # None becomes nan.
            name: np.asarray(content[name], np.int64 if name in whole else np.float64)
            for name in cls.__dataclass_fields__
        }
        columns["boxes"] = columns["boxes"].reshape(-1, 4)
        return cls(**columns)


@dataclasses.dataclass(frozen=True)
class InstanceRecord:
    """One image.

    Attributes:
      name: of the image.
      size: height and width in pixels.
      true: its true objects.
      predicted: its predictions.
      jaccard: pixels in the intersections and in the unions of the aggregated Jaccard index.
      tide: what TIDE keeps.
      truths: true objects as COCO's annotations; empty without average precision.
      results: all predictions as COCO's results.
    """

    name: str
    size: tuple[int, int]
    true: Side
    predicted: Side
    jaccard: tuple[int, int]
    tide: TideImage
    truths: tuple[dict[str, Any], ...] = ()
    results: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> str:
        """One line, which is exact."""
        content = {
            "name": self.name,
            "size": self.size,
            "true": self.true.to_json(),
            "predicted": self.predicted.to_json(),
            "jaccard": self.jaccard,
            "tide": self.tide.to_json(),
            "truths": self.truths,
            "results": self.results,
        }
        return json.dumps(content, allow_nan=False)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> InstanceRecord:
        """Reads what `to_json` wrote, parsed.

        Raises:
          KeyError: something is missing.
        """
        return cls(
            content["name"],
            tuple(content["size"]),
            Side.from_json(content["true"]),
            Side.from_json(content["predicted"]),
            tuple(content["jaccard"]),
            TideImage.from_json(content["tide"]),
            tuple(content["truths"]),
            tuple(content["results"]),
        )


def record_image(
    predicted: Objects,
    true: Objects,
    settings: RecordSettings,
    *,
    name: str = "",
    void: Bool[np.ndarray, "h w"] | None = None,
) -> InstanceRecord:
    """Scores one image.

    Args:
      predicted: all predictions, those of low score too.
      true: the true objects.
      settings: what is kept.
      name: of the image.
      void: pixels where truth is not known; None: none.

    Returns:
      What is kept of it.

    Raises:
      InputError: images of two sizes, or a class that is none.

    Example:
      >>> objects = Objects.of_map(np.asarray([[1, 1, 0, 2]]))
      >>> record_image(objects, objects, RecordSettings(1, kinds=())).true.matched.tolist()
      [1.0, 1.0]
    """
    for objects, what in ((predicted, "predicted"), (true, "true")):
        if len(objects) and objects.classes.max() > settings.num_classes:
            raise InputError(
                f"{what} class {objects.classes.max()} is none of 1..{settings.num_classes}"
            )
    if predicted.size != true.size:
        raise InputError(
            f"masks of {predicted.shape[1]}x{predicted.shape[0]} pixels are predicted, and those "
            f"of {true.shape[1]}x{true.shape[0]} true; predict at the size of the image"
        )
    every = Overlaps.of(predicted, true, void)
    certain = predicted.scores >= settings.threshold
    overlaps = Overlaps(
        true, predicted.chosen(certain), every.shared[:, certain], every.void[certain]
    )
    sides = _sides(overlaps)
    truths: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    if settings.kinds:
        truths = [_annotation(true, i) for i in range(len(true))]
        for annotation, crowd in zip(truths, true.crowd.tolist(), strict=True):
            annotation["iscrowd"] = int(crowd)
        results = [_annotation(predicted, i) for i in range(len(predicted))]
        for annotation, score in zip(results, predicted.scores.tolist(), strict=True):
            annotation["score"] = score
    return InstanceRecord(
        name,
        true.shape,
        *sides,
        aggregated_jaccard(overlaps),
        tide_image(every, settings.num_classes, most=settings.max_detections),
        tuple(truths),
        tuple(results),
    )


def _sides(overlaps: Overlaps) -> tuple[Side, Side]:
    true, predicted = overlaps.true, overlaps.predicted
    causes = object_causes(overlaps)
    matched = np.zeros(len(true)), np.zeros(len(predicted))
    for t, p in causes.matched:
        matched[0][t] = matched[1][p] = overlaps.ious[t, p]
    others = np.zeros(len(true), np.int64), np.zeros(len(predicted), np.int64)
    ious = causes.iou, np.zeros(len(predicted))
    offsets = causes.offset, np.full(len(predicted), np.nan)
    for t in np.flatnonzero(causes.partner >= 0):
        p = causes.partner[t]
        others[0][t], others[1][p] = predicted.classes[p], true.classes[t]
        ious[1][p], offsets[1][p] = causes.iou[t], causes.offset[t]
    kept = ~true.crowd
    sides = []
    for k, (objects, own) in enumerate(((true, causes.true), (predicted, causes.predicted))):
        which = kept if k == 0 else np.ones(len(objects), bool)
        boxes = np.asarray([mask.box for mask in objects.masks], np.int64).reshape(-1, 4)
        areas = objects.areas if k == 0 else objects.pixels.astype(np.float64)
        columns = (objects.classes, areas, own, boxes, objects.scores, matched[k])
        columns = (*columns, others[k], ious[k], offsets[k])
        sides.append(Side(*(column[which] for column in columns)))
    return sides[0], sides[1]


def aggregated_jaccard(overlaps: Overlaps) -> tuple[int, int]:
    """Sums of pixels whose quotient is the aggregated Jaccard index of an image.

    AJI = sum_t |t & p(t)| / (sum_t |t | p(t)| + sum of the predictions that are no p(t)), p(t) the
    prediction of its class with the largest IoU.

    Args:
      overlaps: of its objects.

    Returns:
      Pixels of the intersections, and of the unions.

    Example:
      >>> a, b = Objects.of_map(np.asarray([[1, 1, 2]])), Objects.of_map(np.asarray([[0, 1, 1]]))
      >>> aggregated_jaccard(Overlaps.of(a, b))
      (1, 4)

    Reference:
      Kumar et al., "A Dataset and a Technique for Generalized Nuclear Segmentation for
      Computational Pathology", IEEE TMI 2017.
    """
    ious = np.where(overlaps.same_class, overlaps.ious, 0)
    free = ~overlaps.ignored
    inner = union = 0
    for t in np.flatnonzero(~overlaps.true.crowd):
        p = int(ious[t].argmax()) if ious.shape[1] else -1
        union += int(overlaps.true.pixels[t])
        if p >= 0 and ious[t, p] > 0:
            inner += int(overlaps.shared[t, p])
            union += int(overlaps.predicted.pixels[p] - overlaps.shared[t, p])
            free[p] = False
    return inner, union + int(overlaps.predicted.pixels[free].sum())


def _annotation(objects: Objects, i: int) -> dict[str, Any]:
    counts = compress_counts(runs_of_mask(objects.masks[i], objects.shape))
    return {
        "category_id": int(objects.classes[i]),
        "segmentation": {"size": list(objects.shape), "counts": counts},
        "bbox": objects.xywh[i].tolist(),
        "area": float(objects.areas[i]),
    }
