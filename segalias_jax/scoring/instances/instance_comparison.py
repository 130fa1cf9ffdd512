"""Several models on the same true objects: differences of their scores, and how sure they are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.instance_content import RULES
from segalias_jax.scoring.instances.instance_report import FILES, InstanceReport
from segalias_jax.scoring.instances.instance_scorer import InstanceScorer
from segalias_jax.scoring.instances.object_causes import CAUSES, FALSE, FOUND
from segalias_jax.scoring.instances.records import InstanceRecord
from segalias_jax.scoring.instances.totals import IOU, SCORES, THRESHOLDS, Totals
from segalias_jax.scoring.reports import bootstrap, page, significance
from segalias_jax.scoring.reports.comparison import check_unused_by
from segalias_jax.scoring.reports.paired import check_comparable, difference_cells, model_rows
from segalias_jax.scoring.reports.saving import save_files
from segalias_jax.scoring.reports.tables import (
    bullets,
    escaped,
    json_text,
    markdown_table,
    percent,
)
from segalias_jax.typing import Float, Num

_SHOWN = 8  # images that models differ most on
_COMPARED = {row.name: row.title for row in SCORES if row.unit == "%"} | {
    name: f"{name}, of true objects" for k, name in enumerate(CAUSES) if k != FOUND
}


@dataclasses.dataclass(frozen=True)
class InstanceComparison:
    """Models side by side on the images that all of them were scored on.

    Intervals and tests are those of `reports.paired.PairedModels`. Average precision is no function
    of sums over images, and has neither.

    Attributes:
      reports: of each model; the first is what others differ from.
      names: of the models.

    Raises:
      InputError: there are fewer than two models or more than eight, they were scored by different
        rules, have one name, or share no image.

    Example:
      >>> InstanceComparison((), ())
      Traceback (most recent call last):
      segalias_jax.errors.InputError: reports: 0 models; 2 to 8 can be compared
    """

    reports: tuple[InstanceReport, ...]
    names: tuple[str, ...]

    def __post_init__(self):
        """Raises `InputError` where there is nothing to compare."""
        scorers = [one.scorer for one in self.reports]
        check_comparable(self.names, [{image.name for image in one.images} for one in scorers])
        for name, one in zip(self.names, scorers, strict=True):
            if (one.settings, one.classes) != (scorers[0].settings, scorers[0].classes):
                raise InputError(
                    f"reports: {name} was scored by other rules than {self.names[0]}; score all "
                    "alike, such as with --average-precision=none"
                )

    @functools.cached_property
    def scorers(self) -> list[InstanceScorer]:
        """The images that all models have, of each model in one order."""
        images = [{one.name: one for one in each.scorer.images} for each in self.reports]
        common = sorted(set.intersection(*(set(one) for one in images)))
        found = []
        for report, records in zip(self.reports, images, strict=True):
            settings = report.scorer.settings.to_json()
            scorer = InstanceScorer(classes=report.scorer.classes, **settings)
            scorer.add(records[name] for name in common)
            found.append(scorer)
        return found

    @functools.cached_property
    def sums(self) -> list[tuple[np.ndarray, ...]]:
        """What `mean_scores` takes of each image, of each model."""
        return [object_sums(one.images, one.settings.num_classes) for one in self.scorers]

    @functools.cached_property
    def _rows(self) -> list[dict[str, Any]]:
        found = significance.paired_differences(mean_scores, self.sums)
        corrected = np.stack([significance.holm(p) for p in found.p.T], 1)
        rows = [
            {"score": name, **row}
            for i, name in enumerate(_COMPARED)
            for row in model_rows(self.names, found, corrected, (i,))
        ]
        kinds = self.scorers[0].settings.kinds
        scores = [one.compute() for one in self.scorers] if kinds else []
        for kind in kinds:
            first = float(scores[0][f"{kind}_AP"])
            for k, (name, one) in enumerate(zip(self.names, scores, strict=True)):
                value = float(one[f"{kind}_AP"])
                row = {"score": f"{kind}_AP", "model": name, "value": value}
                rows.append(row | ({"difference": value - first} if k else {}))
        return rows

    def rows(self) -> list[dict[str, Any]]:
        """One row for each score and model, see `PairedModels.rows`."""
        return list(self._rows)

    def differing_images(self, count: int = _SHOWN) -> list[dict[str, Any]]:
        """The images on which TP/(TP+FP+FN) at IoU .5 differs most, the largest difference first.

        Args:
          count: number of images.

        Returns:
          name; values, one for each model (nan where an image has none); difference of the largest
          and the smallest.
        """
        place = list(_COMPARED).index("accuracy_50")
        values = np.stack([mean_scores(*sums)[:, place] for sums in self.sums])
        known = np.where(np.isnan(values).any(0), 0, values)
        difference = known.max(0) - known.min(0)
        return [
            {
                "name": self.scorers[0].images[i].name,
                "values": values[:, i].tolist(),
                "difference": float(difference[i]),
            }
            for i in np.argsort(-difference, kind="stable")[:count]
        ]

    def table(self) -> str:
        """The comparison in Markdown."""
        return markdown_table(self._cells(), names=True)

    def save(self, folder: Path, *, pictures: int, overwrite: bool = False) -> None:
        """Writes the comparison, and the report of each model into a folder of its name.

        Args:
          folder: where to; made when missing.
          pictures: most images in the page of each model.
          overwrite: replace reports that are there.

        Raises:
          InputError: one of these files is there already.
          OSError: the disk is full or cannot be written.
        """
        check_unused_by(folder, self.names, overwrite=overwrite, model_files=FILES)
        for name, one in zip(self.names, self.reports, strict=True):
            one.save(folder / name, pictures=pictures, overwrite=overwrite)
        text = f"# {escaped(self._title)}\n\n{self.table()}\n\n{bullets(self._rules())}\n"
        content = {
            "kind": "comparison of instances",
            "title": self._title,
            "models": list(self.names),
            "images": [one.name for one in self.scorers[0].images],
            "rows": self.rows(),
            "differing_images": self.differing_images(),
            "scoring": self._rules(),
        }
        files = {
            "report.md": lambda: [text.encode("utf-8")],
            "report.html": lambda: [self._page().encode("utf-8")],
            "report.json": lambda: [json_text(content).encode("utf-8")],
        }
        save_files(folder, files)

    def _page(self) -> str:
        differing = [
            [one["name"], *map(percent, one["values"]), percent(one["difference"])]
            for one in self.differing_images()
        ]
        links = [(name, f"{name}/report.html") for name in self.names]
        head = ["image", *self.names, "difference"]
        parts = [
            page.section("Scores", page.table(self._cells())),
            page.section("Reports of the models", page.links(links)),
            page.section(
                "Images that differ most, by TP/(TP+FP+FN) at IoU .5",
                page.table([head, *differing]),
            ),
            page.section("How it was scored", page.definitions(list(self._rules().items()))),
        ]
        return page.whole_page(self._title, parts)

    def _cells(self) -> list[list[str]]:
        titles = {name: _COMPARED.get(name, name.replace("_", " ")) for name in self._names_scored}
        return difference_cells(self.names, self.rows(), titles)

    @property
    def _names_scored(self) -> list[str]:
        return list(dict.fromkeys(row["score"] for row in self._rows))

    @property
    def _title(self) -> str:
        return f"{', '.join(self.names[1:])} against {self.names[0]}"

    def _rules(self) -> dict[str, str]:
        return {
            "images": f"the {len(self.scorers[0])} that all models were scored on",
            "intervals": f"in brackets, {bootstrap.describe()}, the same draws for all models; "
            "average precision has none",
            "differences": f"p of {significance.describe()} over the models, for each score by "
            f"itself; * marks p below {significance.LEVEL}",
            **RULES,
        }


def object_sums(images: Sequence[InstanceRecord], num_classes: int) -> tuple[np.ndarray, ...]:
    """Returns numbers of each image, of whose sums scores are functions.

    Args:
      images: what is kept of each.
      num_classes: number of classes.

    Returns:
      TP, FP and FN by `THRESHOLDS` and class [images, thresholds, 3, classes]; the sum of the IoU
      of TP by class [images, classes]; aggregated Jaccard index and 1, or twice 0 where an image
      has none [images, 2]; and objects by cause, predictions where it is "false" [images, causes].

    Example:
      >>> [array.shape for array in object_sums([], 3)]
      [(0, 10, 3, 3), (0, 3), (0, 2), (0, 7)]
    """
    hits = np.zeros((len(images), len(THRESHOLDS), 3, num_classes), np.int64)
    ious = np.zeros((len(images), num_classes))
    jaccard = np.zeros((len(images), 2))
    causes = np.zeros((len(images), len(CAUSES)), np.int64)
    for i, one in enumerate(images):
        totals = Totals.of([one], num_classes)
        hits[i] = [totals.hits(threshold) for threshold in THRESHOLDS]
        matched = totals.true.matched
        ious[i] = np.bincount(totals.true.classes - 1, matched, num_classes)
        inner, union = one.jaccard
        jaccard[i] = (inner / union, 1) if union else 0
        causes[i] = totals.counts("true").sum((1, 2))
        causes[i, FALSE] = totals.counts("predicted")[FALSE].sum()
    return hits, ious, jaccard, causes


def mean_scores(
    hits: Num[np.ndarray, "rows thresholds 3 classes"],
    ious: Num[np.ndarray, "rows classes"],
    jaccard: Num[np.ndarray, "rows 2"],
    causes: Num[np.ndarray, "rows causes"],
) -> Float[np.ndarray, "rows scores"]:
    """Returns the scores of sums over images: those in per cent, then what causes make up.

    Args:
      hits: sums of `object_sums`, over any images in each row, as are the others.
      ious: of matched objects.
      jaccard: index and number of images.
      causes: objects by cause.

    Returns:
      PQ, SQ, RQ, TP/(TP+FP+FN) at IoU .5 and its mean, AJI; and of each cause but "found" its
      objects as a fraction of all true ones.
    """
    assert THRESHOLDS[0] == IOU
    tp, fp, fn = np.moveaxis(hits[:, 0], -2, 0)
    whole = tp + fp / 2 + fn / 2
    quality = _quotient(ious, tp, whole == 0)
    counts = np.moveaxis(hits.sum(-1), -1, 0)
    accuracy = _quotient(counts[0], counts.sum(0))
    scores = [
        _mean_of_known(_quotient(ious, whole)),
        _mean_of_known(quality),
        _mean_of_known(_quotient(tp, whole)),
        accuracy[:, 0],
        _mean_of_known(accuracy),
        _quotient(jaccard[:, 0], jaccard[:, 1]),
    ]
    true = (tp + fn).sum(-1)
    scores += [_quotient(causes[:, k], true) for k in range(len(CAUSES)) if k != FOUND]
    return np.stack(scores, -1)


def _quotient(over: np.ndarray, under: np.ndarray, unknown: np.ndarray | None = None) -> np.ndarray:
    """Quotients; 0 over 0 is nan, or, where it is said what is unknown, only there."""
    empty = np.asarray(under == 0)
    found = np.divide(over, under, out=np.zeros(empty.shape), where=~empty)
    return np.where(empty if unknown is None else unknown, np.nan, found)


def _mean_of_known(values: np.ndarray) -> Float[np.ndarray, " rows"]:
    known = ~np.isnan(values)
    return _quotient(np.where(known, values, 0).sum(-1), known.sum(-1))
