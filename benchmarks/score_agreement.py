"""Do our scores agree with those of other libraries, and what does each of them cost?

    python benchmarks/score_agreement.py --labels DIR --num-classes 11 --ignore 11 [--images 6]

Takes label maps, injects defects, and scores every pair by this package and by the peers that can
be imported (torchmetrics, scikit-learn, MONAI, surface-distance, medpy, seg-metrics, scikit-image),
in turn and in one process. Needs NumPy and OpenCV besides, so it runs in an environment of the
peers with this repository on PYTHONPATH. Writes `docs/agreement.md` and
`benchmarks/results/agreement.json`.

A peer gets masks of one class at a time where it wants that, without the ignored pixels; classes
that one of both maps lacks are left to the tests, for peers give inf, nan, 0 or an error there.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import importlib.metadata
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segalias_jax.data.maps import read_map
from segalias_jax.files import write_text
from segalias_jax.metrics.distance_counts import DistanceSettings
from segalias_jax.metrics.distance_scores import Distances, distance_rows
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring.counting import CountSettings, count_pair
from segalias_jax.scoring.distances import count_distances
from segalias_jax.scoring.pair_scores import areas, class_scores

ROOT = Path(__file__).parents[1]
TOLERANCE = 2
SETTINGS = DistanceSettings(tolerances=(TOLERANCE,), widths=(), skeletons=False)
THIN = dataclasses.replace(SETTINGS, skeletons=True)
# Peers compute in float32, MONAI's ranks of quantiles too.
ROUNDING = 1e-4
PACKAGES = {
    "torchmetrics": "torchmetrics",
    "sklearn": "scikit-learn",
    "monai": "monai",
    "surface_distance": "surface-distance",
    "medpy": "medpy",
    "seg_metrics": "seg-metrics",
    "skimage": "scikit-image",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A pair of maps, and the masks of the classes that both have, ignored pixels left out."""

    prediction: np.ndarray
    label: np.ndarray
    num_classes: int
    ignore: int

    @functools.cached_property
    def counted(self) -> np.ndarray:
        """Pixels that are not ignored."""
        return self.label != self.ignore

    @functools.cached_property
    def classes(self) -> list[int]:
        """Classes that both maps have."""
        both = (np.unique(ids[self.counted]).tolist() for ids in (self.label, self.prediction))
        return sorted(set.intersection(*map(set, both)))

    @functools.cached_property
    def masks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Prediction and truth of each class."""
        return [
            ((self.prediction == c) & self.counted, (self.label == c) & self.counted)
            for c in self.classes
        ]

    @functools.cached_property
    def tensors(self) -> list[Any]:
        """Masks of all classes as MONAI takes them, [1, C, h, w]."""
        torch = importlib.import_module("torch")
        stacked = (np.stack(one)[None] for one in zip(*self.masks, strict=True))
        return [torch.from_numpy(one) for one in stacked]


def defects(label: np.ndarray, num_classes: int, ignore: int) -> dict[str, np.ndarray]:
    """Predictions with one known defect each."""
    clean = np.where(label == ignore, 0, label).astype(np.uint8)
    height, width = label.shape
    blob = clean.copy()
    blob[height // 4 : height // 4 + 30, width // 3 : width // 3 + 50] = num_classes - 1
    small = cv2.resize(clean, (width // 4, height // 4), interpolation=cv2.INTER_NEAREST)
    return {
        "shift": np.roll(clean, (1, 3), (0, 1)),
        "dilation": cv2.dilate(clean, np.ones((3, 3), np.uint8)),
        "blob": blob,
        "quarter": cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST),
    }


def our_pixels(case: Case) -> Any:
    rules = ScoreRules(ignore_label=case.ignore)
    return count_pair(case.prediction, case.label, CountSettings(case.num_classes, rules, 0, ()))


def our_confusion(case: Case) -> np.ndarray:
    return our_pixels(case).regions.sum(0)


def our_class_score(case: Case, *, name: str) -> np.ndarray:
    return class_scores(areas(our_pixels(case)), (), inner=False)[name][case.classes]


def our_distance(case: Case, *, name: str) -> np.ndarray:
    settings = THIN if name == "clDice" else SETTINGS
    rules = ScoreRules(ignore_label=case.ignore)
    counts = count_distances(case.prediction, case.label, rules, case.num_classes, settings)
    if name == "HD":  # the largest distance is no score: one stray pixel decides it
        return counts.largest.max(0)[case.classes]
    row = next(row for row in distance_rows(settings) if row.per_class == name)
    return row.formula(Distances(counts, settings))[case.classes]


def _sklearn_confusion(case: Case) -> np.ndarray:
    module = importlib.import_module("sklearn.metrics")
    true, predicted = case.label[case.counted], case.prediction[case.counted]
    return module.confusion_matrix(true, predicted, labels=range(case.num_classes))


def _sklearn_dice(case: Case) -> np.ndarray:
    module = importlib.import_module("sklearn.metrics")
    true, predicted = case.label[case.counted], case.prediction[case.counted]
    return module.f1_score(true, predicted, labels=case.classes, average=None)


def _torchmetrics_iou(case: Case) -> np.ndarray:
    torch = importlib.import_module("torch")
    module = importlib.import_module("torchmetrics.functional.classification")
    maps = (torch.from_numpy(ids.astype(np.int64)) for ids in (case.prediction, case.label))
    # An ignored index that is no class of theirs.
    classes = max(case.num_classes, case.ignore + 1) if case.ignore < 255 else case.num_classes
    values = module.multiclass_jaccard_index(*maps, classes, average=None, ignore_index=case.ignore)
    return values.numpy()[case.classes]


def _monai(case: Case, *, call: str, **arguments: Any) -> np.ndarray:
    function = getattr(importlib.import_module("monai.metrics"), call)
    if call == "compute_surface_dice":
        arguments["class_thresholds"] = [TOLERANCE] * len(case.classes)
    return function(*case.tensors, include_background=True, **arguments).numpy()[0]


def _medpy(case: Case, *, call: str) -> list[float]:
    function = getattr(importlib.import_module("medpy.metric.binary"), call)
    return [function(*masks) for masks in case.masks]


def _surface_distance(case: Case, *, call: str) -> list[float]:
    module = importlib.import_module("surface_distance")
    result = []
    for predicted, true in case.masks:
        found = module.compute_surface_distances(true, predicted, spacing_mm=(1, 1))
        if call == "hd95":
            result.append(module.compute_robust_hausdorff(found, 95))
        elif call == "nsd":
            result.append(module.compute_surface_dice_at_tolerance(found, TOLERANCE))
        else:
            both = module.compute_average_surface_distance(found)
            result.append(statistics.fmean(both))
    return result


def _seg_metrics(case: Case, *, name: str) -> list[float]:
    module = importlib.import_module("seg_metrics.seg_metrics")
    result = []
    for predicted, true in case.masks:
        found = module.write_metrics(
            labels=[1],
            gdth_img=true.astype(np.uint8),
            pred_img=predicted.astype(np.uint8),
            metrics=[name],
        )
        found = found[0] if isinstance(found, list) else found
        result.append(found[name][0])
    return result


def _skimage_cldice(case: Case, *, call: str) -> list[float]:
    function = getattr(importlib.import_module("skimage.morphology"), call)
    result = []
    for predicted, true in case.masks:
        lines = function(predicted), function(true)
        precise = (lines[0] & true).sum() / lines[0].sum()
        sensitive = (lines[1] & predicted).sum() / lines[1].sum()
        result.append(2 * precise * sensitive / max(precise + sensitive, 1e-300))
    return result


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A score by us and by a peer; `why` says what differs where definitions do."""

    score: str
    peer: str
    ours: Callable[[Case], Any]
    theirs: Callable[[Case], Any]
    why: str = ""


def _distance(score: str, name: str, peer: str, theirs: Callable, why: str = "") -> Comparison:
    return Comparison(score, peer, functools.partial(our_distance, name=name), theirs, why)


_SURFELS = (
    "its surface elements lie between pixels and are weighted by their length; ours are pixels"
)
_POOLED = "the quantile of both directions together; ours is the larger one of two quantiles"
_CONTOURS = "its contours look at 8 neighbors, not at 4, and leave out the border of the image"
P = functools.partial
COMPARISONS = [
    Comparison("confusion matrix", "sklearn", our_confusion, _sklearn_confusion),
    Comparison("IoU", "torchmetrics", P(our_class_score, name="IoU"), _torchmetrics_iou),
    Comparison("Dice", "sklearn", P(our_class_score, name="Dice"), _sklearn_dice),
    Comparison(
        "Dice", "monai", P(our_class_score, name="Dice"), P(_monai, call="compute_dice")
    ),
    _distance("Hausdorff distance", "HD", "medpy", P(_medpy, call="hd")),
    _distance(
        "HD95", "HD95", "monai", P(_monai, call="compute_hausdorff_distance", percentile=95)
    ),
    _distance(
        "HD95", "HD95", "medpy", P(_medpy, call="hd95"),
        _POOLED,
    ),
    _distance("HD95", "HD95", "surface_distance", P(_surface_distance, call="hd95"), _SURFELS),
    _distance(
        "HD95", "HD95", "seg_metrics", P(_seg_metrics, name="hd95"), f"{_POOLED}; {_CONTOURS}"
    ),
    _distance(
        "ASSD", "ASSD", "monai",
        P(_monai, call="compute_average_surface_distance", symmetric=True),
    ),
    _distance(
        "ASSD", "ASSD", "medpy", P(_medpy, call="assd")),
    _distance("ASSD", "ASSD", "surface_distance", P(_surface_distance, call="assd"), _SURFELS),
    _distance("ASSD", "ASSD", "seg_metrics", P(_seg_metrics, name="msd"), _CONTOURS),
    _distance(
        f"NSD within {TOLERANCE}", f"NSD_{TOLERANCE}", "monai",
        P(_monai, call="compute_surface_dice"),
    ),
    _distance(
        f"NSD within {TOLERANCE}", f"NSD_{TOLERANCE}", "surface_distance",
        P(_surface_distance, call="nsd"), _SURFELS,
    ),
    _distance("clDice", "clDice", "skimage", P(_skimage_cldice, call="thin")),
    _distance(
        "clDice", "clDice", "skimage", P(_skimage_cldice, call="skeletonize"),
        "skeletons by Zhang and Suen; ours are those of Guo and Hall (`thin`)",
    ),
]  # fmt: skip


def compared(comparison: Comparison, cases: list[Case]) -> dict[str, Any]:
    """Largest difference over all cases and classes, and the ratio of processor time."""
    apart, ratios, seconds = [], [], []
    for number, case in enumerate(cases):
        case.masks, case.classes  # noqa: B018  shared by both, so neither pays for them
        spent, values = {}, {}
        sides = [("ours", comparison.ours), ("theirs", comparison.theirs)]
        for name, call in sides if number % 2 else sides[::-1]:
            start = time.process_time()
            values[name] = np.asarray(call(case), np.float64)
            spent[name] = time.process_time() - start
        scale = np.maximum(1, np.abs(values["ours"]))
        apart.append((np.abs(values["ours"] - values["theirs"]) / scale).reshape(-1))
        ratios.append(spent["theirs"] / spent["ours"])
        seconds.append(spent["ours"])
    everything = np.concatenate(apart)
    return {
        "score": comparison.score,
        "peer": PACKAGES[comparison.peer],
        "version": importlib.metadata.version(PACKAGES[comparison.peer]),
        "values": len(everything),
        "largest relative difference": float(everything.max()),
        "equal": bool(everything.max() <= ROUNDING),
        "why": comparison.why,
        "processor time, peer / ours": statistics.median(ratios),
        "our milliseconds": 1e3 * statistics.median(seconds),
    }


def page(rows: list[dict[str, Any]], missing: list[str], cases: int) -> str:
    """Writes the table of the documentation."""
    lines = [
        "# Agreement with other libraries",
        "Written by `benchmarks/score_agreement.py`: real label maps with injected defects "
        f"(shift, dilation, blob, nearest x4), {cases} pairs, each score by this package and by a "
        "peer in turn and in one process of one thread. A difference is that of a value of a "
        "class in an image, relative to the value where it is above 1; up to "
        f"{ROUNDING:g} is float32 rounding of peers (and of MONAI's ranks of quantiles). The ratio "
        "is the median of processor seconds; ours counts HD95, ASSD, NSD, false and missed "
        "boundaries and offsets at once.",
    ]
    table = ["| score | peer | largest difference | time, peer / ours | definition |"]
    table.append("|---|---|--:|--:|---|")
    for row in rows:
        what = "equal" if row["equal"] else f"another: {row['why']}"
        apart, ratio = row["largest relative difference"], row["processor time, peer / ours"]
        peer = f"{row['peer']} {row['version']}"
        table.append(f"| {row['score']} | {peer} | {apart:.1e} | {ratio:.1f} | {what} |")
    lines.append("\n".join(table))
    lines.append(
        "Ours: a surface are the pixels of a class with one of 4 neighbors outside of it, beyond "
        "the image and under ignored pixels included (the erosion by a cross of MONAI and medpy); "
        "quantiles interpolate linearly. Boundary IoU, boundary F and trimap mIoU are in none of "
        "these libraries; tests hold them against definitions written out naively."
    )
    if missing:
        lines.append(f"Not importable when this was written: {', '.join(missing)}.")
    return "\n\n".join(lines) + "\n"


def main() -> int:
    """Compares and writes; the status is 1 where a definition without a reason differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--labels", type=Path, nargs="+", required=True, help="folders of label maps")
    add("--num-classes", type=int, nargs="+", required=True, help="one for each folder")
    add("--ignore", type=int, nargs="+", required=True, help="one for each folder")
    add("--images", type=int, default=2, help="of each folder")
    flags = parser.parse_args()
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    here, missing = set(), []
    for module, package in PACKAGES.items():
        try:
            importlib.import_module(module)
            here.add(module)
        except ImportError:
            missing.append(package)
    if "monai" in here or "torchmetrics" in here:
        importlib.import_module("torch").set_num_threads(1)
    cases = []
    for folder, classes, ignore in zip(flags.labels, flags.num_classes, flags.ignore, strict=True):
        paths = sorted(folder.rglob("*.png"))
        for path in paths[:: max(1, len(paths) // flags.images)][: flags.images]:
            label = read_map(path)
            found = defects(label, classes, ignore).values()
            cases += [Case(prediction, label, classes, ignore) for prediction in found]
    rows = []
    for comparison in COMPARISONS:
        if comparison.peer in here:
            rows.append(compared(comparison, cases))
            print(rows[-1], flush=True)
    write_text(ROOT / "docs" / "agreement.md", page(rows, missing, len(cases)))
    content = {"pairs": len(cases), "missing": missing, "rows": rows}
    path = ROOT / "benchmarks" / "results" / "agreement.json"
    write_text(path, json.dumps(content, indent=1) + "\n")
    return int(any(not row["equal"] and not row["why"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
