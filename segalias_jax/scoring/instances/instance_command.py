"""`segalias score --instances`: objects of any origin, one by one."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segalias_jax.data.palettes import read_class_names
from segalias_jax.errors import FlagParser, InputError, check_choice
from segalias_jax.files import map_ahead
from segalias_jax.progress import progress_bar
from segalias_jax.scoring.instances.coco_scores import coco_names
from segalias_jax.scoring.instances.instance_comparison import InstanceComparison
from segalias_jax.scoring.instances.instance_inputs import (
    ImageObjects,
    InstanceInputs,
    open_inputs,
)
from segalias_jax.scoring.instances.instance_report import FILES, InstanceReport
from segalias_jax.scoring.instances.instance_scorer import InstanceScorer
from segalias_jax.scoring.instances.map_files import MapOptions
from segalias_jax.scoring.instances.records import KINDS, InstanceRecord, record_image
from segalias_jax.scoring.instances.totals import SCORES
from segalias_jax.scoring.limits import FAILED, LEFT_OUT, Limit, check_least_per_cent
from segalias_jax.scoring.reports.comparison import check_unused_by, model_names
from segalias_jax.scoring.reports.folder import left_out_text
from segalias_jax.scoring.reports.tables import check_unused

_OWN = ("score_threshold", "average_precision", "max_detections", "divisor", "class_maps")
_SHARED = (
    *("instances", "folders", "predictions", "labels", "num_classes", "out", "overwrite"),
    *("images", "pictures", "threads", "classes", "pattern", "label_pattern", "key"),
    *("max_pixels", "fail_under", "words", "keep_going", "compare"),
)
_INSTEAD = {
    "resume": "objects are scored in one go; run the same command again",
    "baseline": "a report of objects does not keep them; give the earlier predictions to --compare",
}


def add_instance_flags(parser: FlagParser) -> None:
    """Adds `--instances` and the flags that go with it.

    Args:
      parser: of `segalias score`.

    Example:
      >>> parser = FlagParser("score")
      >>> add_instance_flags(parser)
      >>> parser.parse(["--instances", "--average-precision=bbox,segm"]).average_precision
      ('bbox', 'segm')
    """
    add = parser.add_argument_group("objects").add_argument
    add(
        "--instances",
        action="store_true",
        help="score objects: PREDICTIONS are COCO results (JSON) or a folder of instance maps, "
        "LABELS a COCO ground truth or such a folder",
    )
    add(
        "--score-threshold",
        type=float,
        metavar="X",
        help="predictions of a lower score count in average precision and TIDE alone (0.5)",
    )
    add(
        "--average-precision",
        type=_kinds,
        metavar="KIND,...",
        help=f"of {', '.join(KINDS)}, or none (all that predictions have, if they have scores)",
    )
    add(
        "--max-detections",
        type=int,
        metavar="N",
        help="of an image and class in average precision, and of an image in TIDE (100)",
    )
    add(
        "--divisor",
        type=int,
        metavar="N",
        help="objects of maps are of class value // N, such as 1000 for Cityscapes (one class)",
    )
    add(
        "--class-maps",
        type=Path,
        nargs=2,
        metavar=("DIR", "DIR"),
        help="maps of class ids for predicted and for true instance maps, of the same names",
    )


def check_no_instance_flags(flags: argparse.Namespace, predictions: Path) -> None:
    """Raises where something about objects is given without `--instances`.

    Args:
      flags: of `segalias score`.
      predictions: what is scored.

    Raises:
      InputError: names the flag, or a JSON file.

    Example:
      >>> parser = FlagParser("score")
      >>> add_instance_flags(parser)
      >>> check_no_instance_flags(parser.parse(["--divisor=1000"]), Path("maps"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: --divisor: is about objects; add --instances
    """
    for name in _OWN:
        if getattr(flags, name) is not None:
            raise InputError(f"--{name.replace('_', '-')}: is about objects; add --instances")
    if predictions.suffix == ".json":
        raise InputError(f"{predictions}: JSON is about objects; add --instances")


def run_instances(
    flags: argparse.Namespace,
    defaults: Mapping[str, Any],
    predictions: Path,
    truths: Path,
    command: str,
) -> int:
    """Scores objects, prints the tables and writes the report.

    Args:
      flags: of `segalias score`.
      defaults: of all its flags.
      predictions: COCO results, or a folder of instance maps.
      truths: COCO ground truth, or a folder of instance maps.
      command: the command line, for the report.

    Returns:
      Exit status: 0, `limits.LEFT_OUT` or `limits.FAILED`.

    Raises:
      InputError: an error in the flags or the files; nothing is written then.
    """
    for name, default in defaults.items():
        if name not in (*_OWN, *_SHARED) and getattr(flags, name) != default:
            instead = _INSTEAD.get(name, "leave it out")
            raise InputError(f"--{name.replace('_', '-')}: is not for --instances; {instead}")
    models = [predictions, *flags.compare]
    names = model_names([one.with_suffix("") if one.is_file() else one for one in models])
    if flags.out and flags.compare:
        check_unused_by(flags.out, names, overwrite=flags.overwrite, model_files=FILES)
    elif flags.out:
        check_unused(flags.out, () if flags.overwrite else FILES)
    elif flags.overwrite:
        raise InputError("--overwrite: says what to do with the report in --out; give --out")
    # All models, before the first one takes its time.
    opened = [_opened(flags, one, truths) for one in models]
    scorers = [_scorer(flags, one) for one in opened]
    for scorer in scorers:
        _check_limits(flags.fail_under, scorer)
    reports, left_out = [], False
    for name, path, inputs, scorer in zip(names, models, opened, scorers, strict=True):
        title = f"scoring {name}" if flags.compare else "scoring"
        images, records, lost = _scored(inputs.images, scorer, flags, title)
        lost = sorted([*inputs.left_out, *lost])
        if not records:
            raise InputError(f"{path}: no image could be scored; {lost[0][1]}")
        scorer.add(records)
        settings: dict[str, Any] = {"predictions": str(path), "truths": str(truths)}
        if lost:
            left_out = True
            print(left_out_text(lost), file=sys.stderr)
            settings["left out"] = "; ".join(": ".join(one) for one in lost)
        reports.append(InstanceReport(scorer, images, settings, inputs.notices, command))
    _finish(InstanceComparison(tuple(reports), names) if flags.compare else reports[0], flags)
    failed = []
    for name, report in zip(names, reports, strict=True):
        phrases = _failures(flags.fail_under, report.scores, report.scorer.classes)
        failed += [f"{name}: {one}" if flags.compare else one for one in phrases]
    if failed:
        print(f"failed: {'; '.join(failed)}", file=sys.stderr)
    return FAILED if failed else LEFT_OUT if left_out else 0


def _finish(result: InstanceReport | InstanceComparison, flags: argparse.Namespace) -> None:
    """Prints the tables, and then writes the report."""
    print(result.table(), flush=True)
    if not flags.out:
        return
    try:
        result.save(flags.out, pictures=flags.pictures, overwrite=flags.overwrite)
    except OSError as error:
        raise InputError(
            f"{flags.out}: the report cannot be written ({error.strerror or error}); make room "
            "for it there, and run the same command again"
        ) from None
    print(f"report: {flags.out / 'report.html'}")


def _opened(flags: argparse.Namespace, predictions: Path, truths: Path) -> InstanceInputs:
    inputs = open_inputs(
        predictions,
        truths,
        images=flags.images,
        options=MapOptions(flags.divisor or 0, flags.key, flags.max_pixels),
        class_maps=flags.class_maps or (),
        pattern=flags.pattern,
        label_pattern=flags.label_pattern,
        keep_going=flags.keep_going,
    )
    if predictions.resolve() == truths.resolve():
        print(f"warning: {predictions} is the ground truth, too", file=sys.stderr)
    return inputs


def _scorer(flags: argparse.Namespace, inputs: InstanceInputs) -> InstanceScorer:
    """A scorer of the classes and kinds that flags and files name."""
    classes = read_class_names(flags.classes) if flags.classes else inputs.classes
    number = flags.num_classes
    if inputs.classes is not None:
        for given, what in ((number, "--num-classes"), (len(classes or ()), "--classes")):
            if given is not None and given != len(inputs.classes):
                raise InputError(f"{what}: {given}, but the file has {len(inputs.classes)} classes")
    elif number is None:
        number = len(classes) if classes else None
        if number is None and (flags.divisor or flags.class_maps):
            raise InputError("--num-classes: say how many classes the maps have, or --classes")
    if classes is not None and number not in (None, len(classes)):
        raise InputError(f"--classes: {len(classes)} names for {number} classes; name each one")
    kinds = flags.average_precision
    if kinds is None:
        every = ("bbox",) if inputs.boxes else KINDS
        kinds = every if inputs.scored else ()
    elif inputs.boxes and set(kinds) - {"bbox"}:
        raise InputError("--average-precision: predictions are boxes alone; give bbox")
    if classes is None and number in (None, 1):
        classes = ("object",)
    return InstanceScorer(
        len(classes) if classes is not None else number or 1,
        classes=classes,
        threshold=0.5 if flags.score_threshold is None else flags.score_threshold,
        kinds=kinds,
        max_detections=100 if flags.max_detections is None else flags.max_detections,
    )


def _scored(
    images: Sequence[ImageObjects], scorer: InstanceScorer, flags: argparse.Namespace, title: str
) -> tuple[list[ImageObjects], list[InstanceRecord], list[tuple[str, str]]]:
    """The images that could be scored, what is kept of them, and with --keep-going the others."""

    def score(image: ImageObjects) -> InstanceRecord | InputError:
        try:
            predicted, true = image.load()
        except InputError as error:
            return error
        try:
            return record_image(predicted, true, scorer.settings, name=image.name)
        except InputError as error:
            return InputError(f"{image.name}: {error}")

    kept, records, lost = [], [], []
    threads = max(1, flags.threads or os.cpu_count() or 1)
    with progress_bar(title, len(images)) as bar:
        for image, record in map_ahead(score, images, threads=threads):
            if isinstance(record, InstanceRecord):
                kept.append(image)
                records.append(record)
            elif flags.keep_going:
                lost.append((image.name, str(record)))
            else:
                raise record
            bar.update()
    return kept, records, lost


def _check_limits(limits: Sequence[Limit], scorer: InstanceScorer) -> None:
    """Raises where a limit is of no score or class, or a fraction."""
    rows = [row for row in SCORES if row.direction]
    most = scorer.settings.max_detections
    for limit in limits:
        flag = f"--fail-under {limit.score}"
        precisions = {
            kind: [f"{kind}_AP"] if limit.of_class else coco_names(kind, most) for kind in KINDS
        }
        for kind, names in precisions.items():
            if f"{kind}_{limit.score}" in names:
                raise InputError(f"{flag}: say of what, such as {kind}_{limit.score}")
            if limit.score in names and kind not in scorer.settings.kinds:
                raise InputError(f"{flag}: is not counted here; add --average-precision={kind}")
        whole = [row.name for row in rows if row.per_class or not limit.of_class]
        counted = [name for kind in scorer.settings.kinds for name in precisions[kind]]
        check_choice("--fail-under", limit.score, whole + counted)
        if limit.of_class:
            check_choice(flag, limit.of_class, scorer.classes)
        check_least_per_cent(limit)


def _failures(
    limits: Sequence[Limit], scores: Mapping[str, Any], classes: Sequence[str]
) -> list[str]:
    """Says which scores are below their limit; a score without a value is, too."""
    phrases = []
    for limit in limits:
        value = scores[limit.score + "_per_class" * bool(limit.of_class)]
        if limit.of_class:
            value = value[list(classes).index(limit.of_class)]
        # Rounded as little as a float is: 0.7 is 70, not 70 less one bit.
        per_cent = float(f"{100 * float(value):.12g}")
        if math.isnan(per_cent):
            phrases.append(f"{limit.name} has no value")
        elif per_cent < limit.bound:
            phrases.append(f"{limit.name} is {per_cent:.2f}, below {limit.bound:g}")
    return phrases


def _kinds(text: str) -> tuple[str, ...]:
    kinds = () if text == "none" else tuple(text.split(","))
    for kind in kinds:
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f"{kind!r} is none of {', '.join(KINDS)}, none")
    return kinds
