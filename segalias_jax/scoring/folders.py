"""Scores of anybody's predictions: two folders of maps in, a report out."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Int

from segalias_jax.data.maps import map_size, read_map
from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.metrics.totals import BINS, SegmentationTotals
from segalias_jax.progress import progress_bar
from segalias_jax.scoring import matching
from segalias_jax.scoring.counting import CountSettings, PairCounts, count_pair
from segalias_jax.scoring.offsets import check_offsets, count_offsets
from segalias_jax.scoring.pair_scores import areas
from segalias_jax.scoring.probabilities import SUFFIXES, count_probabilities, read_probability
from segalias_jax.scoring.reports.folder import FolderReport
from segalias_jax.typing import IGNORE_LABEL


@dataclasses.dataclass(frozen=True)
class _Maps:
    """How the files of a folder pair become maps."""

    prediction_ids: np.ndarray | None
    label_ids: np.ndarray | None
    probabilities: bool

    def read(self, pair: matching.Pair) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and label."""
        prediction, _, label = self.decode(pair)
        return prediction, label

    def decode(self, pair: matching.Pair) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Prediction, probability of class 1 or whether it is predicted, and label.

        Sizes of maps are compared before anything is decoded.
        """
        if self.probabilities:
            foreground = read_probability(pair.prediction)
            _check_sizes(pair, foreground.shape, "bilinear interpolation")
            prediction = (foreground > 0.5).astype(np.uint8)
        else:
            _check_sizes(pair, map_size(pair.prediction), "nearest neighbor")
            prediction = _mapped(pair.prediction, self.prediction_ids)
            foreground = prediction == 1
        return prediction, foreground, _mapped(pair.label, self.label_ids)


class _Counts(NamedTuple):
    """What is counted of one pair; of two classes the bins, and shifted where asked for."""

    pair: PairCounts
    bins: Int[np.ndarray, "2 bins"] | None
    offsets: Int[np.ndarray, "offsets 3 classes"] | None


def score_folders(
    predictions: str | os.PathLike,
    labels: str | os.PathLike,
    *,
    num_classes: int,
    images: str | os.PathLike | None = None,
    classes: Sequence[str] | None = None,
    ignore_label: int = IGNORE_LABEL,
    reduce_zero_label: bool = False,
    boundary: str = "laplacian",
    ignore: str = "reference",
    width: int = 15,
    boundary_iou: int | float = 0.02,
    tolerances: Sequence[int] = (1, 3, 5),
    probabilities: bool = False,
    offsets: Sequence[int] = (),
    keep_going: bool = False,
    threads: int | None = None,
    progress: str | None = None,
) -> FolderReport:
    """Scores a folder of predicted maps against a folder of true ones.

    Maps are gray or palette PNG or npy and belong together by name, see
    `matching.match_folders`. A few pairs at a time are decoded and counted in threads; what is
    kept of each is a few kilobytes of sums. Pictures may have any sizes.

    Args:
      predictions: folder of the predictions, class ids 0..C-1.
      labels: folder of the labels.
      num_classes: C.
      images: folder of the pictures, which the report then shows.
      classes: names of the classes; None: their numbers.
      ignore_label: label that is in no score.
      reduce_zero_label: labels hold k + 1 for class k, and 0 for ignored pixels.
      boundary: "laplacian" or "exact", see `metrics.ScoreRules`, as the next two.
      ignore: "reference" or "exclude".
      width: side of the square that dilates boundaries, in pixels.
      boundary_iou: reach of Boundary IoU, see `CountSettings`; 0 leaves it out.
      tolerances: of the boundary F-score in pixels, ascending; () leaves it out.
      probabilities: predictions are probabilities of class 1, see
        `probabilities.read_probability`; two classes only, scored at all thresholds.
      offsets: distances in pixels by which predictions are shifted and scored again, ascending.
      keep_going: leave unusable files out and list them instead of raising.
      threads: pairs at a time; None: one for each processor.
      progress: title of a progress bar; None: no bar.

    Returns:
      The report.

    Raises:
      InputError: a setting out of range, or a file that cannot be scored, by name.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> np.save(folder / "a.npy", np.asarray([[0, 0, 1, 1]]))
      >>> report = score_folders(folder, folder, num_classes=2)
      >>> float(report.scores["mIoU"])
      1.0
    """
    rules = ScoreRules(boundary, ignore, reduce_zero_label, ignore_label, width)
    settings = CountSettings(num_classes, rules, boundary_iou, tuple(tolerances))
    check_offsets(offsets)
    if probabilities and num_classes != 2:
        raise InputError(
            f"probabilities: maps of one probability are of 2 classes, not {num_classes}; score "
            "maps of class ids"
        )
    matches = matched(
        predictions, labels, images, keep_going=keep_going, probabilities=probabilities
    )
    maps = _Maps(
        matching.train_ids([pair.prediction for pair in matches.pairs], num_classes),
        matching.train_ids([pair.label for pair in matches.pairs], num_classes),
        probabilities,
    )
    results = _Results(settings, list(matches.lonely))
    names = _class_names(classes, maps, num_classes)
    work = functools.partial(_attempt, maps, settings, tuple(offsets))
    outcomes = _in_threads(work, matches.pairs, threads)
    with (
        contextlib.closing(outcomes),
        progress_bar(progress, len(matches.pairs)) as bar,
    ):
        for pair, outcome in outcomes:
            results.add(pair, outcome, keep_going)
            bar.update()
    if not results.pairs:
        raise InputError(f"{predictions}: no pair could be scored; {results.left_out[0][1]}")
    about = {
        "predictions": str(predictions),
        "labels": str(labels),
        "images scored": len(results.pairs),
        "files left out": len(results.left_out),
    }
    if images:
        about["images without a picture"] = sum(pair.image is None for pair in results.pairs)
    if maps.label_ids is not None:
        about["stored ids"] = "Cityscapes' ids, made train ids"
    return FolderReport(
        state=SegmentationTotals.from_counts(results.regions, rules),
        count_settings=settings,
        pairs=tuple(results.pairs),
        **results.stacked(),
        offsets=tuple(offsets),
        left_out=tuple(results.left_out),
        classes=names,
        settings=about,
        read=maps.read,
    )


evaluate_folders = score_folders
"""The earlier name of `score_folders`."""


def matched(
    predictions: str | os.PathLike,
    labels: str | os.PathLike,
    images: str | os.PathLike | None = None,
    *,
    keep_going: bool = False,
    probabilities: bool = False,
) -> matching.Matches:
    """Pairs folders as `score_folders` does, and reads no file.

    Args:
      predictions: folder of the predictions.
      labels: folder of the labels.
      images: folder of the pictures.
      keep_going: take what has no partner as well.
      probabilities: predictions are probabilities, in other kinds of files.

    Returns:
      The pairs, and the files without a partner.

    Raises:
      InputError: a file has no partner, or a folder holds nothing that fits.

    Example:
      >>> matched("nowhere", "nowhere")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere: no such folder
    """
    folders = Path(predictions), Path(labels), Path(images) if images else None
    suffixes = {"suffixes": SUFFIXES} if probabilities else {}
    matches = matching.match_folders(*folders, **suffixes)
    if matches.lonely and not keep_going:
        path, reason = matches.lonely[0]
        more = f" (and {len(matches.lonely) - 1} more)" if len(matches.lonely) > 1 else ""
        raise InputError(f"{path}: {reason}{more}; add it, or leave such files out: keep going")
    if images and not any(pair.image for pair in matches.pairs):
        raise InputError(
            f"{images}: no picture has the name of a label, such as {matches.pairs[0].name}; "
            "give the folder of the pictures, or none"
        )
    return matches


@dataclasses.dataclass
class _Results:
    """What was counted so far."""

    settings: CountSettings
    left_out: list[tuple[str, str]]
    pairs: list[matching.Pair] = dataclasses.field(default_factory=list)
    sums: list[Int[np.ndarray, "rows classes"]] = dataclasses.field(default_factory=list)
    bins: list[Int[np.ndarray, "2 bins"]] = dataclasses.field(default_factory=list)
    offsets: list[Int[np.ndarray, "offsets 3 classes"]] = dataclasses.field(default_factory=list)
    regions: Any = 0

    def add(self, pair: matching.Pair, outcome: _Counts | InputError, keep_going: bool) -> None:
        if isinstance(outcome, InputError):
            if not keep_going:
                raise outcome
            self.left_out.append((pair.name, str(outcome)))
            return
        self.pairs.append(pair)
        # A picture has fewer than 2^31 pixels.
        self.sums.append(areas(outcome.pair).astype(np.int32))
        self.regions = self.regions + outcome.pair.regions
        if outcome.bins is not None:
            self.bins.append(outcome.bins.astype(np.int32))
        if outcome.offsets is not None:
            self.offsets.append(outcome.offsets)

    def stacked(self) -> dict[str, np.ndarray]:
        """Counts of all images, by the names of `FolderReport`; those that there are."""
        parts = {"sums": self.sums, "bins": self.bins, "offset_sums": self.offsets}
        return {name: np.stack(arrays) for name, arrays in parts.items() if arrays}


def _attempt(
    maps: _Maps, settings: CountSettings, offsets: tuple[int, ...], pair: matching.Pair
) -> _Counts | InputError:
    try:
        prediction, foreground, label = maps.decode(pair)
    except InputError as error:
        return error
    try:
        counts = count_pair(prediction, label, settings)
    except InputError as error:
        return InputError(f"{pair.prediction} and {pair.label}: {error}")
    classes, rules, bins, shifted = settings.num_classes, settings.rules, None, None
    if classes == 2:
        # Of classes one threshold tells all.
        number = BINS if maps.probabilities else 2
        bins = count_probabilities(foreground, label, rules, number)
    if offsets:
        shifted = count_offsets(prediction, label, offsets, num_classes=classes, rules=rules)
    return _Counts(counts, bins, shifted)


def _in_threads(
    work: Callable[[Any], Any], items: Iterable[Any], threads: int | None
) -> Iterator[tuple[Any, Any]]:
    """(item, work(item)) in order, a few ahead of who asks, whatever the number of items."""
    if threads is not None and threads < 1:
        raise InputError(f"threads: {threads} must be at least 1")
    threads = threads or os.cpu_count() or 1
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one thread a picture wastes nothing on handing parts of it around
    items = iter(items)
    try:
        with ThreadPoolExecutor(threads) as pool:
            waiting = collections.deque()
            for item in itertools.islice(items, 2 * threads):
                waiting.append((item, pool.submit(work, item)))
            while waiting:
                item, future = waiting.popleft()
                yield item, future.result()
                for following in itertools.islice(items, 1):
                    waiting.append((following, pool.submit(work, following)))
    finally:
        cv2.setNumThreads(before)


def _check_sizes(pair: matching.Pair, size: tuple[int, ...], way: str) -> None:
    label = map_size(pair.label)
    if size != label:
        raise InputError(
            f"{pair.prediction}: {size[1]}x{size[0]} pixels, but its label {pair.label} has "
            f"{label[1]}x{label[0]}; resize the prediction to the label, by {way}"
        )


def _mapped(path: Path, table: np.ndarray | None) -> np.ndarray:
    ids = read_map(path)
    return cv2.LUT(ids, table) if table is not None and ids.dtype == np.uint8 else ids


def _class_names(classes: Sequence[str] | None, maps: _Maps, num_classes: int) -> tuple[str, ...]:
    if classes is None:
        known = matching.CITYSCAPES_NAMES if maps.label_ids is not None else None
        return known or tuple(str(i) for i in range(num_classes))
    if len(classes) != num_classes:
        raise InputError(f"classes: {len(classes)} names for {num_classes} classes; name each one")
    return tuple(classes)
