"""Lists what the model of a recipe costs, and where it downsamples.

    segalias summary --config NAME|FILE[:VARIANT] [--config.model.KEY=VALUE]

Prints parameters, FLOPs and activation bytes per part, and every downsampling operator with its
equivalent sampling rate.
"""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path

from flax import nnx

from segalias_jax import models
from segalias_jax.errors import FlagParser, InputError
from segalias_jax.files import write_text
from segalias_jax.models.cost.complexity import summarize
from segalias_jax.settings import section_errors

_TELL_AFTER = 2.0  # seconds


def add_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias summary`.

    Example:
      >>> parser = FlagParser("summary")
      >>> add_flags(parser)
      >>> parser.parse(["--size", "64", "96"]).size
      [64, 96]
    """
    add = parser.add_argument
    add(
        "--size",
        type=_positive,
        nargs=2,
        metavar=("H", "W"),
        help="of the image, in pixels (the recipe's crop)",
    )
    add("--batch", type=_positive, default=1, metavar="N", help="images at a time (%(default)s)")
    add(
        "--num-classes",
        type=_positive,
        default=19,
        metavar="N",
        help="number of classes (%(default)s)",
    )
    add("--json", type=Path, metavar="FILE", help="file for all numbers")
    add("--count-only", action="store_true", help="compile nothing, which takes seconds")


def run(flags: argparse.Namespace) -> int:
    """Prints the tables, and writes the numbers where asked for.

    Args:
      flags: of `add_flags`, and the recipe `config`.

    Returns:
      The exit status, 0.

    Raises:
      InputError: a value of the recipe that no model can have, or a file that cannot be written.
    """
    section = flags.config.model.to_dict() | {"pretrained": ""}
    with section_errors("model"):
        model = nnx.eval_shape(
            lambda: models.create_model(section, num_classes=flags.num_classes, rngs=nnx.Rngs(0))
        )
    timer = threading.Timer(_TELL_AFTER, print, ("compiling the forward pass ...",))
    timer.daemon = True
    if not flags.count_only:
        timer.start()
    try:
        shape = (flags.batch, *(flags.size or flags.config.data.crop), 3)
        summary = summarize(model, shape, compiled=not flags.count_only)
    finally:
        timer.cancel()
    name, encoder = section["name"], section["encoder"]
    print(f"{flags.config.name}: {name} on {encoder}, {flags.num_classes} classes")
    print(summary.table())
    if flags.json:
        numbers = {"recipe": flags.config.name} | summary.to_json()
        try:
            write_text(flags.json, json.dumps(numbers, indent=1) + "\n")
        except OSError as error:
            reason = error.strerror
            raise InputError(f"--json: {flags.json} cannot be written ({reason})") from None
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive integer")
    return int(text)
