"""Writes a trained network as a program for other runtimes.

    python -m segalias_jax.export.command --run RUN --format stablehlo|onnx|savedmodel --out DIR

The program maps RGB bytes [batch, height, width, 3] to logits; `manifest.json` beside it tells the
rest. Height and width are those of the recipe's windows, or of --size H,W, and fixed; with
--size any, images have any sides of 32 to 8192 pixels. The batch has any length, or that of
--batch N.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from segalias_jax.errors import FlagParser, exiting_on_mistakes
from segalias_jax.export.programs import ANY_SIZE, WRITERS, export_model
from segalias_jax.inference.trained import load_trained
from segalias_jax.runs.recipes import load_recipe


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the flags.

    Args:
      argv: the command line without the program's name.

    Returns:
      Their values by name.

    Raises:
      InputError: an unknown, missing or malformed flag.

    Example:
      >>> parse("--run r --format onnx --out d --size 512,1024".split()).size
      (512, 1024)
    """
    parser = FlagParser(
        prog="python -m segalias_jax.export.command",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--run", required=True, type=Path, help="folder of a run, or of converted weights")
    add("--format", required=True, choices=list(WRITERS))
    add("--out", required=True, type=Path, metavar="DIR", help="new folder for the program")
    add("--config", metavar="FILE", help="recipe of converted weights")
    add("--size", type=_size, metavar="H,W|any", help="of images, in pixels")
    add("--batch", type=int, metavar="N", help="images at a time; without it, any number")
    return parser.parse_args(list(argv))


def main(argv: Sequence[str]) -> None:
    """Runs the command; a mistake ends in one line on stderr and exit status 2.

    Args:
      argv: the command line, the program's name first.

    Example:
      >>> main(["export", "--help"])  # doctest: +SKIP
    """
    logging.set_verbosity(logging.WARNING)  # the checkpoint library tells of every file
    with exiting_on_mistakes():
        flags = parse(argv[1:])
        config = load_recipe(flags.config) if flags.config else None
        path = export_model(
            load_trained(flags.run, config),
            flags.out,
            format=flags.format,
            size=flags.size,
            batch=flags.batch,
        )
        print(f"written to {path}")


def _size(text: str) -> tuple[int, int] | str:
    if text == ANY_SIZE:
        return text
    try:
        height, width = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither H,W such as 512,1024 nor 'any'"
        ) from None
    return height, width


if __name__ == "__main__":
    main(sys.argv)
