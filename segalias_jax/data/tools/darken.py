"""Writes copies of images as a camera would have taken them in the dark, with its noise.

    segalias darken IMAGES OUT [--seed 0] [--ratio 10,100]

Copies have the names and sizes of the images, whatever folders those are in below IMAGES, so that
labels, lists and COCO's JSON are used unchanged. JPEG files are written at quality 100 without
chroma subsampling; the kinds that lose nothing lose nothing. OUT appears when all is written, with
darkened.json, which says what was drawn for each image. An image depends on --seed and on its place
among the names, in alphabetical order.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np

from segalias_jax.data.files import image_size, read_image
from segalias_jax.data.low_light import FORMS, Camera, LowLight, darken
from segalias_jax.errors import FlagParser, InputError
from segalias_jax.files import map_ahead, write_text
from segalias_jax.progress import progress_bar

RECORD = "darkened.json"
"""File in the folder of the copies that says how they were made."""

_JPEG = (
    *(cv2.IMWRITE_JPEG_QUALITY, 100),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)
_WEBP = (cv2.IMWRITE_WEBP_QUALITY, 101)  # above 100 it loses nothing
# What a kind of file is written with.
_OPTIONS = {".jpg": _JPEG, ".jpeg": _JPEG, ".webp": _WEBP} | dict.fromkeys(
    (".bmp", ".png", ".ppm", ".tif", ".tiff"), ()
)


def darken_folder(
    images: Path,
    out: Path,
    *,
    seed: int = 0,
    settings: LowLight | None = None,
    threads: int = 4,
    progress: bool = True,
) -> int:
    """Writes a darkened copy of every image in a folder and those below it.

    Args:
      images: the folder.
      out: folder of the copies, which does not exist or is empty.
      seed: of all that is drawn.
      settings: how images are darkened; None for the defaults.
      threads: images at a time.
      progress: show a bar where it takes more than two seconds.

    Returns:
      How many images there are.

    Raises:
      InputError: no image, an image that cannot be used, or an `out` that holds something or lies
        in `images`; nothing has been written then.

    Example:
      >>> darken_folder(Path("/no"), Path("/tmp/dark"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: /no: no such folder; give one with images
    """
    settings = settings or LowLight()
    names = _image_names(images)
    _check_out(images, out)
    for name in names:
        image_size(images / name)
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")

    def copy(index: int) -> Camera:
        rng = np.random.default_rng([seed, index])
        camera = Camera.draw(settings, rng)
        source, target = images / names[index], partial / names[index]
        dark = darken(read_image(source), rng, settings, camera)
        target.parent.mkdir(parents=True, exist_ok=True)
        suffix = target.suffix.lower()
        data = cv2.imencode(suffix, dark[..., ::-1], _OPTIONS[suffix])[1]
        target.write_bytes(data.tobytes())  # whole or absent is the folder, not each file
        return camera

    cameras = {}
    title = "darkening" if progress else None
    try:
        partial.mkdir(parents=True)
        with progress_bar(title, len(names)) as bar:
            for index, camera in map_ahead(copy, range(len(names)), threads=threads):
                cameras[names[index]] = dataclasses.asdict(camera)
                bar.update()
        record = {"seed": seed, "settings": dataclasses.asdict(settings), "images": cameras}
        write_text(partial / RECORD, json.dumps(record, indent=1) + "\n")
        os.replace(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return len(names)


def add_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias darken`.

    Example:
      >>> parser = FlagParser("darken")
      >>> add_flags(parser)
      >>> parser.parse(["images", "out", "--ratio=10,50"]).ratio
      (10.0, 50.0)
    """
    add = parser.add_argument
    add("images", type=Path, metavar="IMAGES", help="folder of the images")
    add(
        "out", type=Path, metavar="OUT", help="folder of the copies; it must not exist, or be empty"
    )
    add("--seed", type=_natural, default=0, metavar="N", help="of all that is drawn (%(default)s)")
    add(
        "--ratio",
        type=_interval,
        default=LowLight.ratio,
        metavar="LEAST,MOST",
        help="factors by which light is missing (10,100)",
    )
    add(
        "--form",
        choices=FORMS,
        default=LowLight.form,
        help="noise as the paper says, or as its code has it (%(default)s)",
    )
    add("--develop", action="store_true", help="take the copies back to sRGB")
    add("--threads", type=_positive, default=4, metavar="N", help="images at a time (%(default)s)")


def run(flags: argparse.Namespace) -> int:
    """Writes the copies that the flags ask for.

    Args:
      flags: of `add_flags`.

    Returns:
      The exit status, 0.

    Raises:
      InputError: see `darken_folder`.
    """
    count = darken_folder(
        flags.images,
        flags.out,
        seed=flags.seed,
        settings=LowLight(flags.ratio, flags.form, flags.develop),
        threads=flags.threads,
    )
    print(f"{count} darkened images: {flags.out}; how each was made: {flags.out / RECORD}")
    return 0


def _image_names(folder: Path) -> list[str]:
    """Paths of all images below a folder, relative to it, in alphabetical order."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with images")
    names = [
        (Path(path) / file).relative_to(folder).as_posix()
        for path, _, files in os.walk(folder)
        for file in files
        if Path(file).suffix.lower() in _OPTIONS and not file.startswith(".")
    ]
    if not names:
        raise InputError(f"{folder}: has no image ({', '.join(sorted(_OPTIONS))}); give another")
    return sorted(names)


def _check_out(images: Path, out: Path) -> None:
    if out.resolve().is_relative_to(images.resolve()):
        raise InputError(
            f"{out}: lies in the folder of the images, {images}; give a folder outside of it"
        )
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out}: holds something; give a new folder, or remove it")


def _interval(text: str) -> tuple[float, float]:
    try:
        low, high = (float(word) for word in text.split(","))
        return LowLight(ratio=(low, high)).ratio
    except ValueError:
        reason = f"{text!r} is not LEAST,MOST from 1, such as 10,100"
        raise argparse.ArgumentTypeError(reason) from None


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no integer from 0")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive integer")
    return int(text)
