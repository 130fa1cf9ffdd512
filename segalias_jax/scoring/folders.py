"""Scores of anybody's predictions: two folders of maps in, a report out.

Folders are counted on the host, picture by picture in threads: a device program is compiled for
each size, and a folder may hold a hundred sizes. What is kept of each picture is a few kilobytes
of sums.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int

from segalias_jax.data.maps import MAP_SUFFIXES
from segalias_jax.errors import InputError
from segalias_jax.files import map_ahead
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.metrics.totals import BINS, SegmentationTotals
from segalias_jax.progress import progress_bar
from segalias_jax.scoring import matching
from segalias_jax.scoring.counting import CountSettings, count_pair
from segalias_jax.scoring.inputs import AS_STORED, InputOptions, Readers, map_readers
from segalias_jax.scoring.offsets import check_offsets, count_offsets
from segalias_jax.scoring.pair_scores import areas
from segalias_jax.scoring.probabilities import SUFFIXES, count_probabilities, read_probability
from segalias_jax.scoring.reports.folder import FolderReport
from segalias_jax.scoring.sources import shown
from segalias_jax.typing import IGNORE_LABEL


@dataclasses.dataclass(frozen=True)
class _Counter:
    """Reads and counts the pairs of two folders.

    Attributes:
      settings: what is counted of every pair.
      offsets: distances by which predictions are shifted.
      readers: how maps are read.
      probabilities: whether predictions are probabilities of class 1.
    """

    settings: CountSettings
    offsets: tuple[int, ...]
    readers: Readers
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
            foreground = read_probability(
                pair.prediction, self.readers.prediction.key, self.readers.prediction.max_pixels
            )
            self._check_sizes(pair, foreground.shape, "bilinear interpolation")
            prediction = (foreground > 0.5).astype(np.uint8)
        else:
            size = self.readers.prediction.size(pair.prediction)
            self._check_sizes(pair, size, "nearest neighbor")
            prediction = self.readers.prediction.read(pair.prediction)
            foreground = prediction == 1
        return prediction, foreground, self.readers.label.read(pair.label)

    def _check_sizes(self, pair: matching.Pair, size: tuple[int, ...], way: str) -> None:
        label = self.readers.label.size(pair.label)
        if size != label:
            raise InputError(
                f"{pair.prediction}: {size[1]}x{size[0]} pixels, but its label {pair.label} has "
                f"{label[1]}x{label[0]}; resize the prediction to the label, by {way}"
            )

    def count(
        self, pair: matching.Pair
    ) -> tuple[Int[np.ndarray, "4 classes classes"], _Counts] | InputError:
        """Counts a pair: its pixels by region, true and predicted class, and what is kept of it.

        Returns the error of a pair that cannot be counted; who waits for it decides what follows.
        """
        try:
            prediction, foreground, label = self.decode(pair)
        except InputError as error:
            return error
        try:
            counts = count_pair(prediction, label, self.settings)
        except InputError as error:
            return InputError(f"{pair.prediction} and {pair.label}: {error}")
        classes, rules, bins, shifted = self.settings.num_classes, self.settings.rules, None, None
        if classes == 2:
            # Of classes one threshold says all.
            number = BINS if self.probabilities else 2
            bins = count_probabilities(foreground, label, rules, number).astype(np.int32)
        if self.offsets:
            shifted = count_offsets(
                prediction, label, self.offsets, num_classes=classes, rules=rules
            )
        # A picture has fewer than 2^31 pixels.
        return counts.regions, _Counts(areas(counts).astype(np.int32), bins, shifted)


@dataclasses.dataclass(frozen=True)
class _Counts:
    """What is kept of one pair.

    Attributes:
      sums: what `pair_scores.areas` gives.
      bins: of binary segmentation, pixels by true class and bin of probability.
      offsets: counts of the shifted prediction, where asked for.
    """

    sums: Int[np.ndarray, "rows classes"]
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
    inputs: InputOptions = AS_STORED,
    notify: Callable[[str], None] | None = None,
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
      keep_going: leave unusable files out and list them instead of raising.
      threads: pairs at a time; None: one for each processor.
      progress: title of a progress bar; None: no bar.
      inputs: how files are named and what their values mean.
      notify: called with what was found out of the files and should be known; the report has it
        among its settings, too.

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
    if notify:
        for notice in notices:
            notify(notice)
    counter = _Counter(settings, tuple(offsets), readers, probabilities)
    if classes is None:
        known = matching.CITYSCAPES_NAMES if readers.cityscapes else None
        classes = known or [str(i) for i in range(num_classes)]
    elif len(classes) != num_classes:
        raise InputError(f"classes: {len(classes)} names for {num_classes} classes; name each one")
    pairs: list[matching.Pair] = []
    counted: list[_Counts] = []
    left_out = list(matches.lonely)
    regions = np.zeros((4, num_classes, num_classes), np.int64)
    threads = threads or os.cpu_count() or 1
    with (
        _single_threaded_opencv(),
        contextlib.closing(map_ahead(counter.count, matches.pairs, threads=threads)) as outcomes,
        progress_bar(progress, len(matches.pairs)) as bar,
    ):
        for pair, outcome in outcomes:
            if isinstance(outcome, InputError):
                if not keep_going:
                    raise outcome
                left_out.append((pair.name, shown(outcome)))
            else:
                pairs.append(pair)
                # Confusion matrices of every picture would be too much to keep.
                matrices, kept = outcome
                regions += matrices
                counted.append(kept)
            bar.update()
    if not pairs:
        raise InputError(f"{predictions}: no pair could be scored; {left_out[0][1]}")
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
    bins = [one.bins for one in counted if one.bins is not None]
    shifted = [one.offsets for one in counted if one.offsets is not None]
    return FolderReport(
        state=SegmentationTotals.from_counts(regions, rules),
        count_settings=settings,
        pairs=tuple(pairs),
        sums=np.stack([one.sums for one in counted]),
        left_out=tuple(left_out),
        classes=tuple(classes),
        settings=about,
        read=counter.read,
        bins=np.stack(bins) if bins else None,
        offsets=tuple(offsets),
        offset_sums=np.stack(shifted) if shifted else None,
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


@contextlib.contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Keeps OpenCV to one thread: one a picture wastes nothing on handing parts of it around."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
