"""Predicts images with a trained network.

    python -m segalias_jax.inference.command --run RUN IMAGE... --out DIR

IMAGE is a file or a folder of images, such as the frames of a video. DIR gets `maps/` (palette PNGs
of class ids, which `eval.py --predictions DIR/maps` scores), `overlays/` and `predictions.json`. A
file that cannot be used is named at the end and stops no other; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from absl import logging

from segalias_jax.errors import FlagParser, InputError, exiting_on_mistakes
from segalias_jax.evaluation.views import MODES
from segalias_jax.inference.outputs import PredictionFolder
from segalias_jax.inference.predictor import Predictor, find_images
from segalias_jax.progress import progress_bar
from segalias_jax.runs.recipes import load_recipe
from segalias_jax.runs.setup import enable_compilation_cache

WRITING_THREADS = 2


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the flags.

    Args:
      argv: the command line without the program's name.

    Returns:
      Their values by name.

    Raises:
      InputError: an unknown, missing or malformed flag.

    Example:
      >>> parse(["--run", "r", "frames", "--out", "d", "--scales", "0.75,1"]).scales
      (0.75, 1.0)
    """
    parser = FlagParser(
        prog="python -m segalias_jax.inference.command",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, switch = parser.add_argument, argparse.BooleanOptionalAction
    add("images", nargs="+", metavar="IMAGE", help="files and folders")
    told = "folder of a run, of converted weights or of an exported StableHLO program"
    add("--run", required=True, type=Path, help=told)
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the predictions")
    add("--config", metavar="FILE", help="recipe of converted weights")
    add("--overlays", action=switch, default=True, help="write images with classes' colors over")
    add("--probabilities", action="store_true", help="write float16 [h, w, c] as npz")
    add("--label-ids", action="store_true", help="names and ids of Cityscapes' test server")
    recipe = parser.add_argument_group("instead of what the recipe's section eval says")
    add = recipe.add_argument
    add("--mode", choices=MODES, help="whole images, or windows")
    add("--window", type=_numbers(int), metavar="H,W", help="of windows, in pixels")
    add("--stride", type=_numbers(int), metavar="H,W", help="between windows, in pixels")
    add("--resize", type=_numbers(int), metavar="LONG,SHORT", help="to predict at, in pixels")
    add("--scales", type=_numbers(float), metavar="S,...", help="factors of that size")
    add("--flip", action=switch, help="average with the mirrored image")
    add("--batch-size", type=int, metavar="N", help="windows at a time")
    return parser.parse_args(list(argv))


def main(argv: Sequence[str]) -> int:
    """Runs the command; a mistake ends in one line on stderr and exit status 2.

    Args:
      argv: the command line, the program's name first.

    Returns:
      The exit status: 0, or 1 where images were left out.

    Example:
      >>> main(["predict", "--help"])  # doctest: +SKIP
    """
    logging.set_verbosity(logging.WARNING)  # the checkpoint library tells of every file
    with exiting_on_mistakes():
        return predict(parse(argv[1:]))


def predict(flags: argparse.Namespace) -> int:
    """Predicts what the flags name and writes it.

    Args:
      flags: from `parse`.

    Returns:
      0, or 1 where an image was left out.

    Raises:
      InputError: a mistake that stops everything.
    """
    out = Path(flags.out).resolve()
    found = find_images(flags.images)
    # Overlays of an earlier call are no images of the folder that they were put into.
    images = {name: path for name, path in found.items() if out not in path.resolve().parents}
    if not images:
        raise InputError(f"--out: {flags.out} holds all images that were given; name another one")
    enable_compilation_cache()
    keys = ("mode", "window", "stride", "resize", "scales", "flip", "batch_size")
    predictor = Predictor(
        flags.run,
        config=load_recipe(flags.config) if flags.config else None,
        **{key: getattr(flags, key) for key in keys if getattr(flags, key) is not None},
    )
    folder = PredictionFolder(
        flags.out,
        predictor.classes,
        predictor.palette,
        overlays=flags.overlays,
        probabilities=flags.probabilities,
        label_ids=flags.label_ids,
    )
    about = {"run": str(flags.run), "settings": dataclasses.asdict(predictor.settings)}
    folder.write_manifest(about)
    failed, told = _predict_all(predictor, images, folder)
    folder.write_manifest(about | {"images": len(images) - len(failed), "left out": failed})
    print(f"{told}, written to {flags.out}")
    for path, error in failed.items():
        told = error if error.startswith(path) else f"{path}: {error}"
        print(f"left out {told}", file=sys.stderr)
    return 1 if failed else 0


def _predict_all(
    predictor: Predictor, images: dict[str, Path], folder: PredictionFolder
) -> tuple[dict[str, str], str]:
    """What was left out and why, and a sentence on the speed."""
    failed: dict[str, str] = {}
    done, start, first = 0, time.perf_counter(), 0.0
    results = predictor.stream(images.values(), probabilities=folder.probabilities)
    writing: collections.deque[Any] = collections.deque()
    with (
        progress_bar("predicting", len(images)) as bar,
        ThreadPoolExecutor(WRITING_THREADS) as pool,
    ):
        for name, result in zip(images, results, strict=True):
            if result.error is not None:
                failed[str(result.source)] = str(result.error)
            else:
                writing.append(pool.submit(folder.write, name, result))
                done += 1
            if len(writing) > WRITING_THREADS:  # results that wait fill the memory
                writing.popleft().result()
            first = first or time.perf_counter() - start
            bar.update()
        for future in writing:
            future.result()
    seconds = time.perf_counter() - start
    told = f"{done} images in {seconds:.1f} s"
    if done > 1:
        told += f" ({(done - 1) / (seconds - first):.1f} images/s after the first)"
    return failed, told


def _numbers(kind: type) -> Any:
    def read(text: str) -> tuple:
        try:
            return tuple(kind(word) for word in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no list such as 1,2") from None

    return read


if __name__ == "__main__":
    sys.exit(main(sys.argv))
