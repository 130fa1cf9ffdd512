"""Predicts images with a trained network.

    segalias predict --run RUN IMAGE... --out DIR

IMAGE is a file or a folder of images, such as the frames of a video. DIR gets `maps/` (palette PNGs
of class ids, which `segalias score DIR/maps LABELS` scores), `overlays/` and `predictions.json`. A
file that cannot be used is named at the end and stops no other; the exit status is 1 then.

Of a run of instance segmentation, DIR gets `detections.json`, which is a list of COCO's results,
`images.json`, which says the ids of their images and categories, and `overlays/`. Images count from
1 on in the order they are given in; or they have the ids of a ground truth (--ids), with which
`segalias score DIR/detections.json TRUTH.json --instances` scores them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax

from segalias_jax.errors import FlagParser, InputError, printable
from segalias_jax.evaluation.views import MODES
from segalias_jax.files import map_ahead
from segalias_jax.inference.instance_outputs import InstanceFolder
from segalias_jax.inference.instance_predictor import InstancePredictor
from segalias_jax.inference.outputs import PredictionFolder, ResultFolder
from segalias_jax.inference.predictor import (
    Predictor,
    find_images,
    finds_objects,
    without_memory,
)
from segalias_jax.progress import progress_bar
from segalias_jax.runs.setup import enable_compilation_cache
from segalias_jax.scoring.instances.coco_files import read_truth

_WRITING_THREADS = 2

_VIEW_KEYS = ("mode", "window", "stride", "resize", "scales", "flip", "batch_size")
_OBJECT_KEYS = ("score_threshold", "maps", "ids")


def add_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias predict`.

    Example:
      >>> parser = FlagParser("predict")
      >>> add_flags(parser)
      >>> parser.parse(["--run", "r", "frames", "--out", "d", "--scales", "0.75,1"]).scales
      (0.75, 1.0)
    """
    add, switch = parser.add_argument, argparse.BooleanOptionalAction
    add("images", nargs="+", metavar="IMAGE", help="files and folders")
    add(
        "--run",
        required=True,
        type=Path,
        help="folder of a run, of converted weights (with --config) or of a StableHLO program",
    )
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the predictions")
    add(
        "--overlays",
        action=switch,
        default=True,
        help="write images with the colors of their classes over them (on)",
    )
    add("--probabilities", action="store_true", help="write float16 [h, w, c] as npz")
    add("--label-ids", action="store_true", help="names and ids of Cityscapes' test server")
    add = parser.add_argument_group("objects, for runs of instance segmentation").add_argument
    add(
        "--score-threshold",
        type=float,
        metavar="S",
        help="leave out objects of a lower score (what the network leaves out; in overlays and "
        "maps, those below the recipe's eval.threshold)",
    )
    add(
        "--maps",
        action="store_true",
        help="write maps of objects, 16 bit PNGs; predictions.json says their divisor",
    )
    add(
        "--ids",
        type=Path,
        metavar="TRUTH.json",
        help="ground truth of COCO whose ids of images and categories are written",
    )
    add = parser.add_argument_group("instead of what the recipe's section eval says").add_argument
    add("--mode", choices=MODES, help="whole images, or windows")
    add("--window", type=_numbers(int), metavar="H,W", help="size of windows in pixels")
    add("--stride", type=_numbers(int), metavar="H,W", help="between windows, in pixels")
    add("--resize", type=_numbers(int), metavar="LONG,SHORT", help="size to predict at, in pixels")
    add("--scales", type=_numbers(float), metavar="S,...", help="factors of that size")
    add("--flip", action=switch, help="average with the prediction of the flipped image")
    add("--batch-size", type=int, metavar="N", help="windows at a time")


def run(flags: argparse.Namespace) -> int:
    """Predicts what the flags name and writes it.

    Args:
      flags: of `add_flags`, and the recipe `config` of converted weights, None for a run.

    Returns:
      0, or 1 where an image was left out.

    Raises:
      InputError: an error that stops everything.
    """
    images = find_images(flags.images)
    _check_apart(flags.out, [*map(Path, flags.images), *images.values()])
    enable_compilation_cache()
    of_objects = finds_objects(flags.run, flags.config)
    _check_flags(flags, of_objects=of_objects)
    keys = (*_VIEW_KEYS, "score_threshold")
    given = {key: getattr(flags, key) for key in keys if getattr(flags, key) is not None}
    truth = read_truth(flags.ids) if flags.ids else None
    predictor = Predictor(flags.run, config=flags.config, **given)
    about: dict[str, Any] = {"run": str(flags.run)}
    if isinstance(predictor, InstancePredictor):
        predictor.pad_for(images.values())
        folder: ResultFolder = InstanceFolder(
            flags.out,
            predictor.classes,
            predictor.palette,
            images,
            overlays=flags.overlays,
            maps=flags.maps,
            truth=truth,
        )
        about["divisor"] = folder.divisor
    else:
        folder = PredictionFolder(
            flags.out,
            predictor.classes,
            predictor.palette,
            overlays=flags.overlays,
            probabilities=flags.probabilities,
            label_ids=flags.label_ids,
        )
    about["settings"] = dataclasses.asdict(predictor.settings)
    folder.write_manifest(about)
    failed, speed = _predict_all(predictor, images, folder)
    if isinstance(folder, InstanceFolder):
        folder.write_results()
    folder.write_manifest(about | {"images": len(images) - len(failed), "left out": failed})
    print(f"{speed}, written to {flags.out}")
    for path, error in failed.items():
        reason = error if error.startswith(path) else f"{path}: {error}"
        print(f"left out {printable(reason)}", file=sys.stderr)
    return 1 if failed else 0


def _check_flags(flags: argparse.Namespace, *, of_objects: bool) -> None:
    """Refuses the flags of the other kind of runs, before anything is read."""
    foreign = (*_VIEW_KEYS, "probabilities", "label_ids") if of_objects else _OBJECT_KEYS
    for key in foreign:
        if getattr(flags, key) not in (None, False) or (key == "flip" and flags.flip is False):
            kind, other = ("instance", "semantic") if of_objects else ("semantic", "instance")
            raise InputError(
                f"--{key.replace('_', '-')}: is for {other} segmentation, and {flags.run} is a run "
                f"of {kind} segmentation; leave it out"
            )


def _check_apart(out: Path, inputs: Iterable[Path]) -> None:
    """Refuses results among the images: overlays would be images of the next call."""
    place = out.resolve()
    for path in inputs:
        given = path.resolve()
        if given == place or given in place.parents:
            raise InputError(
                f"--out: {out} lies in {path}, which is predicted; name a folder elsewhere"
            )
        if place in given.parents:
            raise InputError(
                f"--out: {out} holds {path}, which is predicted; name a folder elsewhere"
            )


def _predict_all(
    predictor: Predictor, images: dict[str, Path], folder: ResultFolder
) -> tuple[dict[str, str], str]:
    """What was left out and why, and a sentence on the speed."""
    failed: dict[str, str] = {}
    done, start, first = 0, time.perf_counter(), 0.0

    def predicted() -> Iterator[tuple[str, Any]]:
        nonlocal done, first
        results = predictor.stream(images.values(), probabilities=folder.probabilities)
        for name, result in zip(images, results, strict=True):
            first = first or time.perf_counter() - start
            bar.update()
            if result.error is None:
                done += 1
                yield name, result
            else:
                failed[str(result.source)] = str(result.error)

    def written(named: tuple[str, Any]) -> InputError | None:
        try:
            folder.write(*named)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            return without_memory(named[1].source, error)

    with progress_bar("predicting", len(images)) as bar:
        # Few of them ahead: results that wait to be written fill the memory.
        for (_, result), error in map_ahead(
            written, predicted(), threads=_WRITING_THREADS, ahead=_WRITING_THREADS + 1
        ):
            if error is not None:
                done -= 1
                failed[str(result.source)] = str(error)
    seconds = time.perf_counter() - start
    speed = f"{done} images in {seconds:.1f} s"
    if done > 1:
        speed += f" ({(done - 1) / (seconds - first):.1f} images/s after the first)"
    return failed, speed


def _numbers(kind: type) -> Callable[[str], tuple]:
    def read(text: str) -> tuple:
        try:
            return tuple(kind(word) for word in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no list such as 1,2") from None

    return read
