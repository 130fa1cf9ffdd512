"""Writes a trained network as a program for other runtimes.

    segalias export --run RUN --format stablehlo|onnx|savedmodel --out DIR

The program maps RGB bytes [batch, height, width, 3] to logits; `manifest.json` beside it says the
rest. Height and width are those of the recipe's windows, or of --size H,W, and fixed; with
--size any, images have any sides of 32 to 8192 pixels. The batch has any length, or that of
--batch N.

The program of a detector takes one image and its size without padding, and gives boxes, scores,
classes and masks of objects; its height and width are fixed, multiples of 32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segalias_jax.errors import FlagParser
from segalias_jax.export.programs import ANY_SIZE, WRITERS, export_model
from segalias_jax.inference.trained import load_trained


def add_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias export`.

    Example:
      >>> parser = FlagParser("export")
      >>> add_flags(parser)
      >>> parser.parse("--run r --format onnx --out d --size 512,1024".split()).size
      (512, 1024)
    """
    add = parser.add_argument
    add(
        "--run",
        required=True,
        type=Path,
        help="folder of a run, or of converted weights (with --config)",
    )
    add("--format", required=True, choices=list(WRITERS), help="of the program")
    add("--out", required=True, type=Path, metavar="DIR", help="new folder for the program")
    add("--size", type=_size, metavar="H,W|any", help="of images, in pixels (the recipe's windows)")
    add("--batch", type=int, metavar="N", help="images at a time (any number)")


def run(flags: argparse.Namespace) -> int:
    """Writes the program that the flags name.

    Args:
      flags: of `add_flags`, and the recipe `config` of converted weights, None for a run.

    Returns:
      The exit status, 0.

    Raises:
      InputError: see `load_trained` and `export_model`.
    """
    path = export_model(
        load_trained(flags.run, flags.config),
        flags.out,
        format=flags.format,
        size=flags.size,
        batch=flags.batch,
    )
    print(f"written to {path}")
    return 0


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
