"""Scores folders of predictions against folders of labels, whatever made them.

    segalias score PREDICTIONS LABELS [--num-classes N] [--out REPORT]
    segalias score --instances RESULTS.json TRUTH.json [--out REPORT]
    segalias score merge REPORT1 REPORT2 ... --out REPORT

Maps of class ids, gray or palette PNG or npy, named as their labels; Cityscapes' official names and
ids are understood. REPORT gets report.html, report.md, report.json with all counts, and tables of
images, their classes and objects as CSV; --resume goes on where a killed run stopped. Reports of
parts of a data set merge to that of the whole. Exit status: 0, 2 after an error in flags or files,
3 where --keep-going left files out, 4 where a score is on the wrong side of its --fail-under.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segalias_jax.errors import FlagParser, InputError
from segalias_jax.files import map_ahead
from segalias_jax.metrics import BOUNDARY_RULES, IGNORE_RULES
from segalias_jax.metrics.distance_counts import DistanceSettings
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.progress import progress_bar
from segalias_jax.scoring.cause_rules import CauseSettings
from segalias_jax.scoring.check_flags import Checks, add_check_flags
from segalias_jax.scoring.counting import CountSettings
from segalias_jax.scoring.counts_file import JOURNAL
from segalias_jax.scoring.folders import matched, score_folders
from segalias_jax.scoring.image_counts import CountPlan
from segalias_jax.scoring.input_flags import absent_classes, add_input_flags, input_options
from segalias_jax.scoring.inputs import InputOptions
from segalias_jax.scoring.instances.instance_command import (
    add_instance_flags,
    check_no_instance_flags,
    run_instances,
)
from segalias_jax.scoring.limits import LEFT_OUT
from segalias_jax.scoring.merging import merge_reports
from segalias_jax.scoring.offsets import DIRECTIONS, EDGES
from segalias_jax.scoring.pair_list import Pair, PairList
from segalias_jax.scoring.reports.comparison import Comparison, check_unused_by, model_names
from segalias_jax.scoring.reports.folder import FILES, FolderReport
from segalias_jax.scoring.reports.tables import check_unused
from segalias_jax.scoring.reports.views.report_page import PICTURES
from segalias_jax.scoring.sources import shown
from segalias_jax.typing import IGNORE_LABEL

_MERGE = "merge"
_WITH_MERGE = ("folders", "out", "overwrite", "fail_under", "baseline")


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
        help="folder of predicted maps, and folder of true maps of the same names; or merge and "
        "the folders of reports",
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
    add("--resume", action="store_true", help="continue a run that was killed, in the same --out")
    add("--overwrite", action="store_true", help="replace a report that is in --out")
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
        "--pictures",
        type=_number,
        default=PICTURES,
        metavar="N",
        help="images in report.html: the worst, and those with most of each cause (%(default)s)",
    )
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
    add(
        "--offset-direction",
        choices=DIRECTIONS,
        default="all",
        help="where they are shifted to; pixels of all four are added up (%(default)s)",
    )
    add(
        "--offset-edge",
        choices=EDGES,
        default="ignore",
        help="of pixels that they no longer cover: leave them out, keep what was predicted there, "
        "repeat the edge, or take what left on the other side (%(default)s)",
    )
    add("--threads", type=int, metavar="N", help="pairs at a time (one for each processor)")
    add(
        "--keep-going",
        action="store_true",
        help="leave unusable files out, list them, and exit with status 3 where there are any",
    )
    add_input_flags(parser)
    add_instance_flags(parser)
    _add_rules(parser)
    add_check_flags(parser)
    _add_errors(parser)


def run(flags: argparse.Namespace) -> int:
    """Scores what the flags name, prints the tables and writes the report.

    Args:
      flags: of `add_flags`.

    Returns:
      Exit status: 0, `limits.LEFT_OUT`, or `limits.FAILED`.

    Raises:
      InputError: an error in the flags or the files.

    Example:
      >>> parser = FlagParser("score")
      >>> add_flags(parser)
      >>> run(parser.parse(["a", "b", "--num-classes=2"]))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: a: no such folder
    """
    if flags.folders and str(flags.folders[0]) == _MERGE:
        return _merge(flags)
    predictions, labels = _two_folders(flags)
    if flags.instances:
        command = _command_line(flags)
        return run_instances(flags, _defaults(), predictions, labels, command)
    check_no_instance_flags(flags, predictions)
    inputs, classes = input_options(flags)
    folders = [predictions, *flags.compare]
    names = model_names(folders)
    journals = _journals(flags, names)
    # All folders, before the first one takes its time.
    pairs = PairList()
    for folder in folders:
        matches = matched(
            folder,
            labels,
            flags.images,
            keep_going=flags.keep_going,
            probabilities=flags.probabilities,
            inputs=inputs,
        )
        pairs.extend(matches.pairs)
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
    del matches, pairs  # of many images they are much to keep
    checks = Checks.read(flags, _plan(flags, num_classes), classes)
    reports = []
    for name, folder, journal in zip(names, folders, journals, strict=True):
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
            offset_direction=flags.offset_direction,
            offset_edge=flags.offset_edge,
            keep_going=flags.keep_going,
            threads=flags.threads,
            progress=f"scoring {name}" if flags.compare else "scoring",
            inputs=inputs,
            notify=lambda notice: print(f"note: {notice}", file=sys.stderr),
            causes=None if flags.no_causes else CauseSettings(coverage=flags.coverage),
            distances=_distances(flags),
            journal=journal,
            resume=flags.resume,
        )
        if report.left_out:
            print(report.left_out_text(), file=sys.stderr)
        reports.append(dataclasses.replace(report, command=_command_line(flags)))
    if missing := absent_classes(reports[0]):
        print(f"warning: {missing}", file=sys.stderr)
    result = Comparison(tuple(reports), names) if flags.compare else reports[0]
    _finish(result, flags, journals)
    failed = checks.finish(dict(zip(names, reports, strict=True)), flags.out)
    return failed or (LEFT_OUT if any(report.left_out for report in reports) else 0)


def _merge(flags: argparse.Namespace) -> int:
    """`segalias score merge`."""
    for name, default in _defaults().items():
        if name not in _WITH_MERGE and getattr(flags, name) != default:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"{flag}: reports are merged as they were scored; leave it out")
    if flags.out:
        check_unused(flags.out, () if flags.overwrite else FILES)
    report = merge_reports(flags.folders[1:])
    checks = Checks.read(flags, report.plan, report.classes)
    _finish(dataclasses.replace(report, command=_command_line(flags)), flags, [])
    return checks.finish({_MERGE: report}, flags.out) or (LEFT_OUT if report.left_out else 0)


def _defaults() -> dict[str, Any]:
    """What all flags are where none is given."""
    parser = FlagParser("segalias score")
    add_flags(parser)
    return vars(parser.parse([]))


def _journals(flags: argparse.Namespace, names: Sequence[str]) -> list[Path | None]:
    """Where the counts of each model are kept while they are made.

    Raises:
      InputError: a report is there already, or cannot be written.
    """
    if not flags.out:
        if flags.resume or flags.overwrite:
            flag = "--resume" if flags.resume else "--overwrite"
            raise InputError(f"{flag}: says what to do with the report in --out; give --out")
        return [None] * len(names)
    folders = [flags.out / name for name in names] if flags.compare else [flags.out]
    journals = [folder / JOURNAL for folder in folders]
    # Counts outlive a call that was killed among the files of its report: those are no other's.
    replaces = flags.overwrite or (flags.resume and any(path.exists() for path in journals))
    if flags.compare:
        check_unused_by(flags.out, names, overwrite=replaces)
    else:
        check_unused(flags.out, () if replaces else FILES)
    if flags.overwrite and not flags.resume:
        for journal in journals:
            journal.unlink(missing_ok=True)
    return list(journals)


def _finish(
    result: FolderReport | Comparison, flags: argparse.Namespace, journals: Sequence[Path | None]
) -> None:
    """Prints the tables, and then writes the report: what was scored is not lost with the disk."""
    closed = None
    try:
        print(result.table(), flush=True)
    except BrokenPipeError as error:
        closed = error  # whoever reads the table has seen enough, but wants the report
    if flags.out:
        try:
            # Another report would have been refused before anything was scored.
            replaces = flags.overwrite or (flags.resume and any(j and j.exists() for j in journals))
            result.save(flags.out, worst=flags.pictures, overwrite=replaces)
        except OSError as error:
            again = "run it with --resume, which takes the counts that were kept"
            raise InputError(
                f"{flags.out}: the report cannot be written ({error.strerror or error}); make room "
                f"for it there, and {again if any(journals) else 'run the same command again'}"
            ) from None
        for journal in journals:
            if journal is not None:
                journal.unlink(missing_ok=True)
        if closed is None:
            print(f"report: {flags.out / 'report.html'}")
    if closed is not None:
        raise closed


def _command_line(flags: argparse.Namespace) -> str:
    words = getattr(flags, "words", None)
    return "" if words is None else shown(shlex.join(["segalias", *words]))


def _plan(flags: argparse.Namespace, num_classes: int) -> CountPlan:
    """What `score_folders` will count."""
    rules = ScoreRules(
        flags.boundary, flags.ignore_rule, flags.reduce_zero_label, flags.ignore, flags.width
    )
    settings = CountSettings(num_classes, rules, flags.boundary_iou, flags.tolerances)
    causes = None if flags.no_causes else CauseSettings(coverage=flags.coverage)
    return CountPlan(
        settings,
        causes,
        _distances(flags),
        flags.offsets,
        flags.probabilities,
        flags.offset_direction,
        flags.offset_edge,
    )


def _distances(flags: argparse.Namespace) -> DistanceSettings | None:
    given = flags.spacing is not None or flags.surface_tolerances is not None
    if not flags.distances and not given:
        return None
    default = DistanceSettings()
    return DistanceSettings(
        spacing=default.spacing if flags.spacing is None else flags.spacing,
        tolerances=flags.surface_tolerances or default.tolerances,
    )


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


def _add_errors(parser: FlagParser) -> None:
    add = parser.add_argument_group("causes of errors, and distances").add_argument
    add("--no-causes", action="store_true", help="do not look for the causes of errors")
    add(
        "--coverage",
        type=float,
        default=CauseSettings().coverage,
        metavar="X",
        help="fraction of an object that must be right for it to be found (%(default)s)",
    )
    add(
        "--distances",
        action="store_true",
        help="distances between boundaries (HD95, ASSD, NSD), clDice, and curves over widths",
    )
    add(
        "--spacing",
        type=_lengths,
        metavar="SY,SX",
        help="distance between rows and between columns, in whose unit distances are; with "
        "--distances (1,1)",
    )
    add(
        "--surface-tolerances",
        type=_lengths,
        metavar="X,...",
        help="of NSD, in the unit of the spacing; with --distances (1,2,3)",
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


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of images such as 24, or 0")
    return int(text)


def _pixels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",") if word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of pixels such as 1,3,5") from None


def _lengths(text: str) -> tuple[int | float, ...]:
    try:
        # Names of scores hold them: NSD_2, not NSD_2.0.
        numbers = [float(word) for word in text.split(",") if word]
        return tuple(int(n) if n.is_integer() else n for n in numbers)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of lengths such as 1,0.5") from None
