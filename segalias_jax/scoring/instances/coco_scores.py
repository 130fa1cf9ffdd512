"""Average precision and recall of boxes, masks and boundaries, counted by faster-coco-eval."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.records import InstanceRecord

_NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
_RECALLS = ("AR_small", "AR_medium", "AR_large")
_FEW = (1, 10)


def check_installed() -> None:
    """Raises where faster-coco-eval is missing.

    Raises:
      InputError: how to install it, or to do without.
    """
    if importlib.util.find_spec("faster_coco_eval") is None:
        raise InputError(
            "average precision needs faster-coco-eval: pip install 'segalias_jax[instances]', or "
            "leave it out (--average-precision none, kinds=())"
        )


def coco_names(kind: str, max_detections: int = 100) -> tuple[str, ...]:
    """Names of the 12 numbers of a kind, in COCO's order.

    Args:
      kind: "bbox", "segm" or "boundary".
      max_detections: largest number of detections of an image and class.

    Returns:
      The names.

    Example:
      >>> coco_names("segm")[6:9]
      ('segm_AR_1', 'segm_AR_10', 'segm_AR_100')
    """
    limits = tuple(f"AR_{number}" for number in (*_FEW, max_detections))
    return tuple(f"{kind}_{name}" for name in (*_NAMES, *limits, *_RECALLS))


def coco_scores(
    images: Sequence[InstanceRecord],
    kind: str,
    num_classes: int,
    *,
    max_detections: int = 100,
) -> dict[str, Any]:
    """The 12 numbers of COCO over all images, and the average precision of each class.

    Args:
      images: with truths and results, in the order in which detections of one score are ranked.
      kind: "bbox", "segm" or "boundary": the least of the IoU of two masks and of that of their
        bands of 2 % of the diagonal.
      num_classes: number of classes.
      max_detections: largest number of detections of an image and class.

    Returns:
      Fractions by name, those of classes as an array of [C] under "KIND_AP_per_class"; nan where
      there is no true object.

    Raises:
      InputError: faster-coco-eval is not installed.

    Reference:
      Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; Cheng et al., "Boundary
      IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021.
    """
    check_installed()
    package = importlib.import_module("faster_coco_eval")
    names = coco_names(kind, max_detections)
    if not any(not t["iscrowd"] for one in images for t in one.truths):
        empty = dict.fromkeys(names, float("nan"))
        return {**empty, f"{kind}_AP_per_class": np.full(num_classes, np.nan)}
    truths, results = [], []
    for i, one in enumerate(images):
        truths += [{**t, "image_id": i, "id": len(truths) + k} for k, t in enumerate(one.truths, 1)]
        # The size of a detection is that of its box or of its mask, by what it is given.
        kept = "bbox" if kind == "bbox" else "segmentation"
        results += [
            {k: r[k] for k in ("category_id", "score", kept)} | {"image_id": i} for r in one.results
        ]
    found = [{"id": i, "height": one.size[0], "width": one.size[1]} for i, one in enumerate(images)]
    categories = [{"id": c, "name": str(c)} for c in range(1, num_classes + 1)]
    truth = package.COCO({"images": found, "annotations": truths, "categories": categories})
    count = package.COCOeval_faster(
        truth, truth.loadRes(results), kind, boundary_cpu_count=1, rle_iou_max_workers=1
    )
    count.params.maxDets = [*_FEW, max_detections]
    count.evaluate()
    count.accumulate()
    precision, recall = (np.asarray(count.eval[k]) for k in ("precision", "recall"))
    values = [precision[..., 0, -1], precision[0, ..., 0, -1], precision[5, ..., 0, -1]]
    values += [precision[..., size, -1] for size in (1, 2, 3)]
    values += [recall[..., 0, limit] for limit in (0, 1, 2)]
    values += [recall[..., size, -1] for size in (1, 2, 3)]
    per_class = [_known_mean(precision[:, :, c, 0, -1]) for c in range(num_classes)]
    scores: dict[str, Any] = dict(zip(names, map(_known_mean, values), strict=True))
    return {**scores, f"{kind}_AP_per_class": np.asarray(per_class)}


def _known_mean(values: np.ndarray) -> float:
    """Mean of what has a value; COCO writes -1 where there is none."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")
