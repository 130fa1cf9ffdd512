"""Shows what a recipe trains on: a sheet of augmented samples, class fractions and statistics.

    segalias browse --config NAME|FILE[:VARIANT] --out sheet.png

The statistics are of the files as they are; the sheet shows what training sees. Recipes about
objects show their masks, boxes and classes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segalias_jax.data.instance_settings import INSTANCE_SOURCES, read_instance_settings
from segalias_jax.data.pairs import PairSource
from segalias_jax.data.settings import DataSettings, read_settings
from segalias_jax.data.sources import Source, open_split
from segalias_jax.data.splits import same_content
from segalias_jax.data.tools import sheets
from segalias_jax.data.tools.browse_objects import browse_objects
from segalias_jax.data.tools.statistics import Statistics, collect_statistics
from segalias_jax.data.transforms import Sample, training_transforms
from segalias_jax.errors import FlagParser, InputError
from segalias_jax.typing import IGNORE_LABEL, UInt8

_CELL = 220  # longest side of a picture in pixels
_LEGEND = 26


def contact_sheet(
    samples: Sequence[tuple[str, Sample]],
    *,
    classes: Sequence[str],
    palette: UInt8[np.ndarray, "classes 3"],
    fractions: Sequence[float],
    ignored: float = 0.0,
) -> UInt8[np.ndarray, "h w 3"]:
    """Puts samples and their labels into one picture, with a legend of the classes.

    Args:
      samples: names and samples; sizes may differ.
      classes: names of the classes.
      palette: RGB color of each class.
      fractions: fraction of each class in all labeled pixels; classes without any are not in the
        legend.
      ignored: fraction of all pixels that are ignored.

    Returns:
      RGB picture.

    Example:
      >>> sample = {"image": np.zeros((9, 9, 3), np.uint8), "label": np.zeros((9, 9), np.uint8)}
      >>> palette = np.zeros((1, 3), np.uint8)
      >>> contact_sheet([("a", sample)], classes=["sky"], palette=palette, fractions=[1.0]).shape
      (312, 1858, 3)
    """
    pair = 2 * _CELL + sheets.MARGIN // 2
    width = sheets.MARGIN + sheets.COLUMNS * (pair + sheets.MARGIN)
    parts, texts, top = [], [], sheets.MARGIN
    for start in range(0, len(samples), sheets.COLUMNS):
        row = [
            (name, *_pictures(s, palette)) for name, s in samples[start : start + sheets.COLUMNS]
        ]
        for column, (name, *pictures) in enumerate(row):
            left = sheets.MARGIN + column * (pair + sheets.MARGIN)
            texts.append((left, top + sheets.CAPTION // 2, sheets.shortened(name, 2 * _CELL)))
            for picture in pictures:
                parts.append((left, top + sheets.CAPTION, picture))
                left += _CELL + sheets.MARGIN // 2
        top += sheets.CAPTION + max(row[2].shape[0] for row in row) + sheets.MARGIN
    order = sorted((k for k in range(len(classes)) if fractions[k]), key=lambda k: -fractions[k])
    entries = [(classes[k], fractions[k], _swatch(palette[k])) for k in order]
    striped = _striped(_swatch(palette[0]), np.ones((16, 16), bool))
    legend, top = _legend([*entries, ("ignored", ignored, striped)], width, top)
    canvas = np.full((top + sheets.MARGIN, width, 3), 255, np.uint8)
    for left, above, picture in parts + [part for part, _ in legend]:
        height, across = picture.shape[:2]
        canvas[above : above + height, left : left + across] = picture
    return sheets.with_texts(canvas, texts + [text for _, text in legend])


def browse(
    settings: DataSettings,
    split: str,
    *,
    count: int = 16,
    limit: int | None = None,
    augment: bool = True,
    seed: int = 0,
) -> tuple[np.ndarray, Statistics, Source]:
    """Draws the sheet of a split and collects its statistics.

    Args:
      settings: the recipe's `data` section.
      split: name of the split.
      count: samples on the sheet, spread evenly over the split.
      limit: images that the statistics read, spread evenly too; None reads all.
      augment: apply the recipe's training transforms to what the sheet shows.
      seed: of the augmentation.

    Returns:
      RGB picture, statistics, and the split.

    Raises:
      InputError: an error in the settings, or no sample can be used.

    Example:
      >>> settings = DataSettings("synthetic", num_eval=3)
      >>> browse(settings, "val", count=2)[1].images
      3
    """
    # What is missing is to be counted and listed, not to end the command.
    source = open_split(dataclasses.replace(settings, on_error="skip"), split)
    indices = sheets.spread(len(source), len(source) if limit is None else limit)
    statistics = collect_statistics(source, indices, threads=settings.threads)
    transforms = training_transforms(settings) if augment else ()
    sheet = contact_sheet(
        sheets.chosen_samples(source, split, transforms, count=count, seed=seed),
        classes=source.classes,
        palette=source.palette,
        fractions=statistics.class_shares().tolist(),
        ignored=statistics.ignored_share,
    )
    return sheet, statistics, source


def add_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias browse`.

    Example:
      >>> parser = FlagParser("browse")
      >>> add_flags(parser)
      >>> parser.parse(["--out=sheet.png", "--noaugment"]).augment
      False
    """
    add = parser.add_argument
    add("--out", type=_picture, required=True, metavar="FILE", help="png or jpg file of the sheet")
    add("--split", default="", metavar="NAME", help="split to show (the one trained on)")
    add("--json", type=Path, metavar="FILE", help="file for the statistics")
    add(
        "--count",
        type=_positive,
        default=16,
        metavar="N",
        help="samples on the sheet (%(default)s)",
    )
    add("--limit", type=_positive, metavar="N", help="images for the statistics (all)")
    add(
        "--augment",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="apply the training transforms (on)",
    )
    add(
        "--duplicates",
        action="store_true",
        help="compare the images of both splits by content",
    )


def run(flags: argparse.Namespace) -> int:
    """Writes the sheet and prints the statistics.

    Args:
      flags: of `add_flags`, and the recipe `config`.

    Returns:
      The exit status, 0.

    Raises:
      InputError: an error in the recipe, the data or the files to be written.
    """
    config, section = flags.config, flags.config.data.to_dict()
    about_objects = config.data.source in INSTANCE_SOURCES
    if about_objects and flags.duplicates:
        raise InputError("--duplicates: compares images of label maps; leave it out for objects")
    settings = read_instance_settings(section) if about_objects else read_settings(section)
    show: Callable[..., tuple[np.ndarray, Any, Any]] = browse_objects if about_objects else browse
    split = flags.split or settings.train_split
    sheet, statistics, source = show(
        settings,
        split,
        count=flags.count,
        limit=flags.limit,
        augment=flags.augment,
        seed=config.seed,
    )
    print(f"{settings.source}, split {split}, {len(source)} images")
    print(statistics.table(source.classes))
    if flags.duplicates:
        print(_duplicates(read_settings(section), settings.train_split, settings.eval_split))
    sheets.write(flags.out, cv2.imencode(flags.out.suffix, sheet[..., ::-1])[1].tobytes())
    print(f"sheet: {flags.out}")
    if flags.json:
        text = json.dumps(statistics.as_dict(source.classes), indent=1, allow_nan=False)
        sheets.write(flags.json, (text + "\n").encode())
        print(f"statistics: {flags.json}")
    return 0


def _duplicates(settings: DataSettings, first: str, second: str) -> str:
    one, other = open_split(settings, first), open_split(settings, second)
    if not (isinstance(one, PairSource) and isinstance(other, PairSource)):
        raise InputError(f"--duplicates: compares image files, {settings.source!r} has none")
    same = [f"{a} = {b}" for a, b in same_content(one, other)]
    return f"images of equal content in {first} and {second}: {', '.join(same) or 'none'}"


def _pictures(sample: Sample, palette: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image, and its labels over its gray values; ignored pixels are dark with stripes."""
    image, label = sample["image"], sample["label"]
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    height, width = label.shape
    scale = _CELL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    # Colors are averaged, not ids: a crack of one pixel stays visible on a small picture.
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    painted = cv2.resize(colors[label], size, interpolation=shrink)
    ignored = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST) == IGNORE_LABEL
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    overlay = (0.4 * gray + 0.6 * painted).astype(np.uint8)
    return image, _striped(overlay, ignored)


def _striped(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    i, j = np.indices(mask.shape)
    picture[mask] = np.where((i + j) % 8 < 2, 130, 40)[mask, None]
    return picture


def _swatch(color: np.ndarray) -> np.ndarray:
    return np.full((16, 16, 3), color, np.uint8)


def _legend(
    entries: Sequence[tuple[str, float, np.ndarray]], width: int, top: int
) -> tuple[list[tuple[tuple[int, int, np.ndarray], tuple[int, int, str]]], int]:
    """Places swatches and (name, fraction), a new line where one is full; and where they end."""
    placed, left = [], sheets.MARGIN
    for name, fraction, swatch in entries:
        text = f"{name} {100 * fraction:.2g} %"
        need = 24 + 8 * len(text) + sheets.MARGIN
        if left + need > width:
            left, top = sheets.MARGIN, top + _LEGEND
        placed.append(((left, top + 5, swatch), (left + 22, top + 13, text)))
        left += need
    return placed, top + _LEGEND


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in (".png", ".jpg"):
        raise argparse.ArgumentTypeError(f"{text!r} ends in neither .png nor .jpg")
    return path


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive integer")
    return int(text)
