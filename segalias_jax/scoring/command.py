"""Scores folders of predictions against folders of labels, whatever made them.

    segalias score PREDICTIONS LABELS [--num-classes N] [--out REPORT]

Maps of class ids, gray or palette PNG or npy, that have the names of their labels. Cityscapes'
official names and ids are understood. REPORT gets report.html, report.md, report.json and
per_image.csv. Exit status: 0, 2 after an error in flags or files, 3 where --keep-going left files
out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from segalias_jax.errors import FlagParser, InputError
from segalias_jax.files import map_ahead
from segalias_jax.metrics import BOUNDARY_RULES, IGNORE_RULES
from segalias_jax.progress import progress_bar
from segalias_jax.scoring.folders import matched, score_folders
from segalias_jax.scoring.input_flags import absent_classes, add_input_flags, input_options
from segalias_jax.scoring.inputs import InputOptions
from segalias_jax.scoring.matching import Pair
from segalias_jax.scoring.reports.comparison import FILES as COMPARISON_FILES
from segalias_jax.scoring.reports.comparison import Comparison, model_names
from segalias_jax.scoring.reports.folder import FILES
from segalias_jax.scoring.reports.tables import check_unused
from segalias_jax.typing import IGNORE_LABEL

LEFT_OUT = 3
"""Exit status of a report that some files are missing from."""


def add_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias score`.

    Example:
      >>> parser = FlagParser("score")
      >>> add_flags(parser)
      >>> parser.parse("p l --num_classes 19 --tolerances 2,4".split()).tolerances
      (2, 4)
    """
    add = parser.add_argument
    add(
        "folders",
        type=Path,
        nargs="*",
        metavar="PREDICTIONS LABELS",  # two, see `_two_folders`
        help="folder of predicted maps, and folder of true maps of the same names",
    )
    add("--predictions", type=Path, metavar="DIR", help="the same as PREDICTIONS")
    add("--labels", type=Path, metavar="DIR", help="the same as LABELS")
    add(
        "--num-classes",
        type=int,
        metavar="N",
        help="predictions hold 0..N-1 (the number of names in --classes, or one more than the "
        "largest id in the maps)",
    )
    add("--out", type=Path, metavar="DIR", help="folder for the report (none is written)")
    add(
        "--compare",
        type=Path,
        metavar="DIR",
        nargs="+",
        default=[],
        help="predictions of further models",
    )
    add("--images", type=Path, metavar="DIR", help="the images, to be shown in report.html")
    add(
        "--probabilities",
        action="store_true",
        help="predictions are probabilities of class 1 in binary segmentation",
    )
    add(
        "--offsets",
        type=_pixels,
        default=(),
        metavar="N,...",
        help="score predictions shifted by so many pixels as well, such as 1,2,5",
    )
    add("--threads", type=int, metavar="N", help="pairs at a time (one for each processor)")
    add(
        "--keep-going",
        action="store_true",
        help="leave unusable files out, list them, and exit with status 3 where there are any",
    )
    add_input_flags(parser)
    _add_rules(parser)


def run(flags: argparse.Namespace) -> int:
    """Scores what the flags name, prints the tables and writes the report.

    Args:
      flags: of `add_flags`.

    Returns:
      Exit status: 0, or `LEFT_OUT`.

    Raises:
      InputError: an error in the flags or the files.

    Example:
      >>> parser = FlagParser("score")
      >>> add_flags(parser)
      >>> run(parser.parse(["a", "b", "--num-classes=2"]))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: a: no such folder
    """
    predictions, labels = _two_folders(flags)
    inputs, classes = input_options(flags)
    folders = [predictions, *flags.compare]
    names = model_names(folders)
    if flags.out:
        check_unused(flags.out, (*names, *COMPARISON_FILES) if flags.compare else FILES)
    # All folders, before the first one takes its time.
    pairs: list[Pair] = []
    for folder in folders:
        matches = matched(
            folder,
            labels,
            flags.images,
            keep_going=flags.keep_going,
            probabilities=flags.probabilities,
            inputs=inputs,
        )
        pairs += matches.pairs
        if folder.resolve() == labels.resolve():
            print(f"warning: {folder} is the folder of the labels, too", file=sys.stderr)
    num_classes = flags.num_classes
    if num_classes is None:
        num_classes = _count_classes(flags, inputs, classes, pairs)
    if classes is not None and len(classes) != num_classes:
        raise InputError(
            f"{flags.classes or flags.colors}: {len(classes)} names for {num_classes} classes; "
            "write one name a line"
        )
    reports = []
    for name, folder in zip(names, folders, strict=True):
        report = score_folders(
            folder,
            labels,
            num_classes=num_classes,
            images=flags.images,
            classes=classes,
            ignore_label=flags.ignore,
            reduce_zero_label=flags.reduce_zero_label,
            boundary=flags.boundary,
            ignore=flags.ignore_rule,
            width=flags.width,
            boundary_iou=flags.boundary_iou,
            tolerances=flags.tolerances,
            probabilities=flags.probabilities,
            offsets=flags.offsets,
            keep_going=flags.keep_going,
            threads=flags.threads,
            progress=f"scoring {name}" if flags.compare else "scoring",
            inputs=inputs,
            notify=lambda notice: print(f"note: {notice}", file=sys.stderr),
        )
        if report.left_out:
            print(report.left_out_text(), file=sys.stderr)
        reports.append(report)
    if missing := absent_classes(reports[0]):
        print(f"warning: {missing}", file=sys.stderr)
    result = Comparison(tuple(reports), names) if flags.compare else reports[0]
    if flags.out:
        result.save(flags.out)
    print(result.table())
    if flags.out:
        print(f"report: {flags.out / 'report.html'}")
    return LEFT_OUT if any(report.left_out for report in reports) else 0


def _add_rules(parser: FlagParser) -> None:
    add = parser.add_argument_group("rules of the scores").add_argument
    add(
        "--ignore",
        type=int,
        default=IGNORE_LABEL,
        metavar="ID",
        help="label in no score (%(default)s)",
    )
    add("--reduce-zero-label", action="store_true", help="labels: 0 is ignored, k + 1 is class k")
    add(
        "--boundary",
        choices=BOUNDARY_RULES,
        default="laplacian",
        help="which pixels are at a boundary (%(default)s)",
    )
    add(
        "--ignore-rule",
        choices=IGNORE_RULES,
        default="reference",
        help="whether ignored pixels make boundaries (reference) or not (exclude) (%(default)s)",
    )
    add(
        "--width",
        type=int,
        default=15,
        metavar="N",
        help="of boundary bands in pixels (%(default)s)",
    )
    add(
        "--boundary-iou",
        type=float,
        default=0.02,
        metavar="X",
        help="reach of Boundary IoU: fraction of the diagonal, or pixels from 1 on; 0 leaves it "
        "out (%(default)s)",
    )
    add(
        "--tolerances",
        type=_pixels,
        default=(1, 3, 5),
        metavar="N,...",
        help="of the boundary F-score in pixels; '' leaves it out (1,3,5)",
    )


def _two_folders(flags: argparse.Namespace) -> tuple[Path, Path]:
    """PREDICTIONS and LABELS, given by their places or as flags."""
    named = [flags.predictions, flags.labels]
    if flags.folders and any(named):
        raise InputError("give PREDICTIONS LABELS, or --predictions and --labels, not both")
    folders = flags.folders or [folder for folder in named if folder is not None]
    if len(folders) != 2:
        raise InputError(
            f"give two folders, PREDICTIONS and LABELS, not {len(folders)}; segalias score --help "
            "lists the flags"
        )
    return folders[0], folders[1]


def _count_classes(
    flags: argparse.Namespace,
    inputs: InputOptions,
    classes: Sequence[str] | None,
    pairs: Sequence[Pair],
) -> int:
    """The number of classes where --num-classes does not say it.

    Classes beyond the largest id would have no pixel in any map, and such classes are in no mean,
    so that the scores are those of the whole number of classes.
    """
    if classes is not None:
        return len(classes)
    if flags.probabilities:
        return 2
    if any(path.stem.endswith("_labelIds") for pair in pairs for path in pair[1:3]):
        return 19  # Cityscapes' own ids, which become those of its 19 classes

    sides = (
        (inputs.reader(inputs.prediction_changes), 0),
        (inputs.reader(inputs.label_changes), int(flags.reduce_zero_label)),
    )

    def largest(pair: Pair) -> int:
        found = 0
        for path, (reader, reduced) in zip((pair.prediction, pair.label), sides, strict=True):
            try:
                ids = reader.read(path)
            except InputError:
                continue  # scoring the pair says so
            found = max(found, int(ids.max(initial=0, where=ids != flags.ignore)) - reduced)
        return found

    threads = max(1, flags.threads or os.cpu_count() or 1)
    number = 2
    with progress_bar("counting classes", len(pairs)) as bar:
        for _, found in map_ahead(largest, pairs, threads=threads):
            number = max(number, found + 1)
            bar.update()
    print(f"{number} classes, by the largest id in the maps")
    return number


def _pixels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",") if word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of pixels such as 1,3,5") from None
