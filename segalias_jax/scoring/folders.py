"""Scores of anybody's predictions: two folders of maps in, a report out.

Folders are counted on the host, image by image in threads: a device program is compiled for each
size, and a folder may hold a hundred sizes. What is kept of each image is a few kilobytes of sums,
on the disk when there are many.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from segalias_jax.data.maps import MAP_SUFFIXES
from segalias_jax.errors import InputError
from segalias_jax.files import map_ahead
from segalias_jax.metrics.distance_counts import DistanceSettings
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.progress import progress_bar
from segalias_jax.scoring import matching
from segalias_jax.scoring.cause_rules import CauseSettings
from segalias_jax.scoring.counting import CountSettings
from segalias_jax.scoring.counts_file import CountsFile, Journal, file_stamp
from segalias_jax.scoring.image_counts import (
    DEFAULT_CAUSES,
    CountPlan,
    ImageCounts,
    count_image,
)
from segalias_jax.scoring.inputs import AS_STORED, InputOptions, Readers, map_readers
from segalias_jax.scoring.pair_list import PairList
from segalias_jax.scoring.probabilities import SUFFIXES, read_probability
from segalias_jax.scoring.reports.folder import FolderReport
from segalias_jax.scoring.sources import shown
from segalias_jax.typing import IGNORE_LABEL


@dataclasses.dataclass(frozen=True)
class _Counter:
    """Reads and counts the pairs of two folders.

    Attributes:
      plan: what is counted of every pair.
      readers: how maps are read.
      journal: what an earlier run counted; None: nothing.
    """

    plan: CountPlan
    readers: Readers
    journal: Journal | None = None

    def read(self, pair: matching.Pair) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and label."""
        prediction, _, label = self.decode(pair)
        return prediction, label

    def decode(self, pair: matching.Pair) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Prediction, probability of class 1 where predictions are that, and label.

        Sizes of maps are compared before anything is decoded.
        """
        foreground = None
        if self.plan.probabilities:
            foreground = read_probability(
                pair.prediction, self.readers.prediction.key, self.readers.prediction.max_pixels
            )
            self._check_sizes(pair, foreground.shape, "bilinear interpolation")
            prediction = (foreground > 0.5).astype(np.uint8)
        else:
            size = self.readers.prediction.size(pair.prediction)
            self._check_sizes(pair, size, "nearest neighbor")
            prediction = self.readers.prediction.read(pair.prediction)
        return prediction, foreground, self.readers.label.read(pair.label)

    def _check_sizes(self, pair: matching.Pair, size: tuple[int, ...], way: str) -> None:
        label = self.readers.label.size(pair.label)
        if size != label:
            raise InputError(
                f"{pair.prediction}: {size[1]}x{size[0]} pixels, but its label {pair.label} has "
                f"{label[1]}x{label[0]}; resize the prediction to the label, by {way}"
            )

    def count(self, pair: matching.Pair) -> tuple[ImageCounts | InputError | None, list[int]]:
        """Counts a pair.

        Returns:
          The counts, None where an earlier run made them of the same files, or the error of a pair
          that cannot be counted: who waits for it decides what follows. Then the files' stamps.
        """
        stamp: list[int] = []
        if self.journal is not None:
            # Before they are read: of files that change meanwhile, the next run sees that.
            stamp = [*file_stamp(pair.prediction), *file_stamp(pair.label)]
            if self.journal.knows(pair.name, stamp):
                return None, stamp
        try:
            prediction, foreground, label = self.decode(pair)
        except InputError as error:
            return error, stamp
        try:
            name = shown(pair.name)
            found = count_image(prediction, label, self.plan, name=name, foreground=foreground)
        except InputError as error:
            return InputError(f"{pair.prediction} and {pair.label}: {error}"), stamp
        return found, stamp


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
    offset_direction: str = "all",
    offset_edge: str = "ignore",
    keep_going: bool = False,
    threads: int | None = None,
    progress: str | None = None,
    inputs: InputOptions = AS_STORED,
    notify: Callable[[str], None] | None = None,
    causes: CauseSettings | None = DEFAULT_CAUSES,
    distances: DistanceSettings | None = None,
    journal: str | os.PathLike | None = None,
    resume: bool = False,
) -> FolderReport:
    """Scores a folder of predicted maps against a folder of true ones.

    Maps are PNG, TIFF, BMP, npy or npz, in folders or archives, and belong together by name, see
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
        `probabilities.read_probability`; binary segmentation only, scored at all thresholds.
      offsets: distances in pixels by which predictions are shifted and scored again, ascending.
      offset_direction: "all" four, whose pixels are added up, "up", "down", "left" or "right".
      offset_edge: "ignore", "keep", "replicate" or "wrap", see `offsets.count_offsets`.
      keep_going: leave unusable files out and list them instead of raising.
      threads: pairs at a time; None: one for each processor.
      progress: title of a progress bar; None: no bar.
      inputs: how files are named and what their values mean.
      notify: called with what was found out of the files and should be known; the report has it
        among its settings, too.
      causes: what separates the causes of errors; None: they are not counted.
      distances: which distances between boundaries are counted; None: none.
      journal: file that keeps the counts of each image as soon as they are made; it stays until
        someone removes it. None: none.
      resume: take from the journal what it has of files that have not changed.

    Returns:
      The report.

    Raises:
      InputError: a setting out of range, or a file that cannot be scored, by name; a journal that
        is there already and not to be resumed, or was written with other settings.
      OSError: the disk is full.

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
    plan = CountPlan(
        settings, causes, distances, tuple(offsets), probabilities, offset_direction, offset_edge
    )
    if threads is not None and threads < 1:
        raise InputError(f"threads: {threads} must be at least 1")
    matches = matched(
        predictions,
        labels,
        images,
        keep_going=keep_going,
        probabilities=probabilities,
        inputs=inputs,
    )
    readers = map_readers(
        matches.pairs,
        inputs,
        num_classes=num_classes,
        ignore_label=ignore_label,
        reduce_zero_label=reduce_zero_label,
        probabilities=probabilities,
    )
    notices = [*matches.notices, *readers.notices]
    if notify is not None:
        for notice in notices:
            notify(notice)
    lonely = matches.lonely
    ordered = matches.pairs
    ordered.sort()  # as reports have them
    if classes is None:
        known = matching.CITYSCAPES_NAMES if readers.cityscapes else None
        classes = known or [str(i) for i in range(num_classes)]
    elif len(classes) != num_classes:
        raise InputError(f"classes: {len(classes)} names for {num_classes} classes; name each one")
    kept = CountsFile(plan)
    if journal is not None:
        kept = Journal(Path(journal), plan, _reading(readers, predictions, labels), resume=resume)
    counter = _Counter(plan, readers, kept if isinstance(kept, Journal) else None)
    try:
        pairs, failed = _count_all(
            counter, kept, ordered, keep_going=keep_going, threads=threads, progress=progress
        )
        left_out = [*lonely, *failed]
        if not pairs:
            raise InputError(f"{predictions}: no pair could be scored; {left_out[0][1]}")
    except BaseException:
        if isinstance(kept, Journal):
            kept.drop_empty()
        raise
    about = {
        "predictions": shown(predictions),
        "labels": shown(labels),
        "images scored": len(pairs),
        "files left out": len(left_out),
    }
    if images:
        about["images without a picture"] = sum(pair.image is None for pair in pairs)
    if readers.official:
        about["stored ids"] = "Cityscapes' ids, made train ids"
    if notices:
        about["notices"] = "; ".join(notices)
    return FolderReport(
        images=kept,
        plan=plan,
        classes=tuple(classes),
        settings=about,
        left_out=tuple(sorted(left_out)),
        files=pairs,
        read=counter.read,
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
    inputs: InputOptions = AS_STORED,
) -> matching.Matches:
    """Pairs folders as `score_folders` does, and reads no file.

    Args:
      predictions: folder of the predictions.
      labels: folder of the labels.
      images: folder of the pictures.
      keep_going: take what has no partner as well.
      probabilities: predictions are probabilities, in other kinds of files.
      inputs: how files are named.

    Returns:
      The pairs, and the files without a partner.

    Raises:
      InputError: a file has no partner, or a folder holds nothing that fits.

    Example:
      >>> matched("nowhere", "nowhere")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere: no such folder
    """
    matches = matching.match_folders(
        Path(predictions),
        Path(labels),
        Path(images) if images else None,
        suffixes=SUFFIXES if probabilities else MAP_SUFFIXES,
        pattern=inputs.pattern,
        label_pattern=inputs.label_pattern,
    )
    if matches.lonely and not keep_going:
        path, reason = matches.lonely[0]
        more = f" (and {len(matches.lonely) - 1} more)" if len(matches.lonely) > 1 else ""
        raise InputError(f"{path}: {reason}{more}; add it, or leave such files out (--keep-going)")
    if images and not any(pair.image for pair in matches.pairs):
        raise InputError(
            f"{images}: no picture has the name of a label, such as {matches.pairs[0].name}; "
            "give the folder of the pictures, or none"
        )
    return matches


def _count_all(
    counter: _Counter,
    kept: CountsFile,
    pairs: PairList,
    *,
    keep_going: bool,
    threads: int | None,
    progress: str | None,
) -> tuple[PairList, list[tuple[str, str]]]:
    """Counts pairs.

    Args:
      counter: of the pairs.
      kept: where counts go.
      pairs: what is counted.
      keep_going: leave out what cannot be counted.
      threads: pairs at a time; None: one for each processor.
      progress: title of the bar.

    Returns:
      The counted pairs; and names of the others, with the reason.
    """
    failed: dict[int, tuple[str, str]] = {}
    threads = threads or os.cpu_count() or 1
    with (
        _single_threaded_opencv(),
        contextlib.closing(map_ahead(counter.count, pairs, threads=threads)) as outcomes,
        progress_bar(progress, len(pairs)) as bar,
    ):
        for index, (pair, (outcome, stamp)) in enumerate(outcomes):
            if isinstance(outcome, InputError):
                if not keep_going:
                    raise outcome
                failed[index] = shown(pair.name), shown(outcome)
            elif not isinstance(kept, Journal):
                if outcome is not None:
                    kept.add(outcome)
            elif outcome is None:
                kept.take(pair.name, stamp)
            else:
                kept.add_stamped(outcome, pair.name, stamp)
            bar.update()
    _return_memory()
    return pairs.without(failed) if failed else pairs, list(failed.values())


def _return_memory() -> None:
    """Hands freed memory back to the system: after large maps, glibc keeps half a gigabyte."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other C libraries
        ctypes.CDLL(None).malloc_trim(0)


def _reading(
    readers: Readers, predictions: str | os.PathLike, labels: str | os.PathLike
) -> dict[str, str]:
    """What else decides the counts of a pair of files."""
    about = {"reading of predictions": repr(readers.prediction)}
    about["reading of labels"] = repr(readers.label)
    # A file in an archive has no time of its own.
    for name, root in (("predictions", Path(predictions)), ("labels", Path(labels))):
        about[f"folder of {name}"] = str(root.resolve())
        if root.is_file():
            about[f"archive of {name}"] = str(file_stamp(root))
    return about


@contextlib.contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Keeps OpenCV to one thread: one a picture wastes nothing on handing parts of it around."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
