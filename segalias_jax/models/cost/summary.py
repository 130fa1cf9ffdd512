"""What the model of a recipe costs, and where it downsamples.

    python -m segalias_jax.models.cost.summary --config FILE[:VARIANT] [--config.model.KEY=VALUE]

Prints parameters, FLOPs and activation bytes per part, and every downsampling operator with its
equivalent sampling rate. Further flags: `--size H W` (the recipe's crop), `--batch N` (1),
`--num_classes N` (19), `--json FILE`, `--count-only` (compile nothing, which takes seconds).
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import FlagParser, InputError, exiting_on_mistakes
from segalias_jax.models.cost.complexity import summarize
from segalias_jax.runs.recipes import parse_recipe

_TELL_AFTER = 2.0  # seconds


def main(argv: Sequence[str]) -> None:
    """Runs the command; a mistake ends in one line on stderr and exit status 2.

    Args:
      argv: the command line, the program's name first.

    Example:
      >>> main(["summary", "--help"])  # doctest: +SKIP
    """
    with exiting_on_mistakes():
        _run(argv)


def _run(argv: Sequence[str]) -> None:
    if {"--help", "-h"} & set(argv):
        print(__doc__)
        return
    parser = FlagParser(
        prog="python -m segalias_jax.models.cost.summary", add_help=False, allow_abbrev=False
    )
    parser.add_argument("--size", type=_positive, nargs=2, metavar=("H", "W"))
    parser.add_argument("--batch", type=_positive, default=1)
    parser.add_argument("--num_classes", type=_positive, default=19)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count-only", action="store_true")
    own, rest = parser.parse_known_args(argv[1:])
    config, unexpected = parse_recipe([argv[0], *rest], values=flags.FlagValues())
    if unexpected:
        raise InputError(f"argument {unexpected[0]!r} is not expected; --help lists the flags")
    section = config.model.to_dict() | {"pretrained": ""}
    model = nnx.eval_shape(
        lambda: models.create_model(section, num_classes=own.num_classes, rngs=nnx.Rngs(0))
    )
    timer = threading.Timer(_TELL_AFTER, print, ("compiling the forward pass ...",))
    timer.daemon = True
    if not own.count_only:
        timer.start()
    try:
        shape = (own.batch, *(own.size or config.data.crop), 3)
        summary = summarize(model, shape, compiled=not own.count_only)
    finally:
        timer.cancel()
    print(f"{config.name}: {section['name']} on {section['encoder']}, {own.num_classes} classes")
    print(summary.table())
    if own.json:
        _write(own.json, json.dumps({"recipe": config.name} | summary.to_json(), indent=1) + "\n")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise InputError(f"--json: {path} cannot be written ({error.strerror})") from None


if __name__ == "__main__":
    main(sys.argv)
