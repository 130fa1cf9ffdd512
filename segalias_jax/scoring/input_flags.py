"""Flags of `segalias score` that say how files are named and what their values mean."""

from __future__ import annotations

import argparse

import numpy as np

from segalias_jax.data.classes import DATASETS
from segalias_jax.data.maps import MAX_PIXELS
from segalias_jax.data.palettes import read_class_names, read_palette
from segalias_jax.errors import FlagParser, InputError
from segalias_jax.scoring.inputs import InputOptions, parse_changes
from segalias_jax.scoring.reports.folder import FolderReport

_LISTED = 10


def add_input_flags(parser: FlagParser) -> None:
    """Adds the flags.

    Example:
      >>> parser = FlagParser("score")
      >>> add_input_flags(parser)
      >>> parser.parse(["--map", "255=1"]).map
      {255: 1}
    """
    add = parser.add_argument_group("files and their values").add_argument
    known = ", ".join(DATASETS)
    add(
        "--classes",
        metavar="NAME",
        help=f"names of the classes: a file of one a line, or one of {known}",
    )
    add(
        "--colors",
        metavar="NAME",
        help="classes of the colors of color images: a file of lines 'R G B name', CSV or JSON, or "
        f"one of {known}",
    )
    add(
        "--pattern",
        metavar="TEXT",
        help="how predictions are named, such as '{name}_pred.png' (as their labels)",
    )
    add("--label-pattern", metavar="TEXT", help="how labels are named")
    add(
        "--map",
        type=_changes,
        default={},
        metavar="ID=CLASS,...",
        help="class of stored ids, such as 255=1,7=0; other ids stay",
    )
    add(
        "--map-predictions",
        type=_changes,
        default={},
        metavar="ID=CLASS,...",
        help="...of one side",
    )
    add("--map-labels", type=_changes, default={}, metavar="ID=CLASS,...", help="...of the other")
    add("--key", metavar="NAME", help="array to take from npz files that hold several")
    add(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help="refuse maps that claim more (%(default)s)",
    )


def input_options(flags: argparse.Namespace) -> tuple[InputOptions, tuple[str, ...] | None]:
    """Makes the options of the flags, and reads the files that they name.

    Args:
      flags: of `add_input_flags`, and `ignore`.

    Returns:
      The options, and the names of the classes, None where they are not said.

    Raises:
      InputError: a file cannot be read, or a value is out of range.

    Example:
      >>> parser = FlagParser("score")
      >>> add_input_flags(parser)
      >>> _ = parser.add_argument("--ignore", type=int, default=255)
      >>> input_options(parser.parse(["--classes", "voc"]))[1][:2]
      ('background', 'aeroplane')
    """
    colors = read_palette(flags.colors, flags.ignore) if flags.colors else None
    classes = read_class_names(flags.classes) if flags.classes else None
    if classes is None and colors is not None and colors.names:
        classes = colors.names
    options = InputOptions(
        pattern=flags.pattern,
        label_pattern=flags.label_pattern,
        colors=colors,
        changes=flags.map,
        prediction_changes=flags.map_predictions,
        label_changes=flags.map_labels,
        key=flags.key,
        max_pixels=flags.max_pixels,
    )
    return options, classes


def absent_classes(report: FolderReport) -> str:
    """A sentence on the classes that no label has a pixel of; empty where there are none.

    Args:
      report: of a folder.

    Returns:
      The sentence.
    """
    pixels = np.asarray(report.state.compute()["class_pixels"])
    rules = report.count_settings.rules
    ignored = rules.ignore_label - rules.reduce_zero_label
    names = [name for i, name in enumerate(report.classes) if not pixels[i] and i != ignored]
    if not names:
        return ""
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (
        f"no label has a pixel of {', '.join(names[:_LISTED])}{rest}; check the number of classes, "
        "and what is ignored"
    )


def _changes(text: str) -> dict[int, int]:
    try:
        return parse_changes(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
