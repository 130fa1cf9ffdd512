"""Data sets of image and label files: their encoded bytes, and the one way to decode them.

`decode_pair` serves folders and whatever else keeps encoded files; the rule beside the bytes is
plain numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segalias_jax.data.files import decode_gray, decode_image, image_size, read_bytes
from segalias_jax.data.labels import LabelRule
from segalias_jax.data.transforms import Sample
from segalias_jax.errors import InputError
from segalias_jax.typing import IGNORE_LABEL, UInt8

_INSIDE = 127  # gray values above it are inside the field of view


class Pair(NamedTuple):
    """An image file, its label file, the name both go by, and the field of view if there is one."""

    image: Path
    label: Path
    name: str
    region: Path | None = None


class PairSource:
    """A data set of image and label files.

    `source[i]` is `decode_pair(source.encoded(i), source.rule, source.pair(i), exif=source.exif)`.

    Args:
      pairs: the files, in order.
      origin: the list or folder that the pairs come from, named in errors.
      rule: what stored label values mean.
      class_names: name of each class, by id.
      palette: RGB color of each class, by id.
      exif: see `decode_image`.
      complete: whether a file that does not exist is an error now, not where it is read.

    Raises:
      InputError: no pairs, or an image or label file that does not exist.

    Example:
      >>> PairSource([], origin=Path("val.txt"), rule=LabelRule(2), class_names=("no", "yes"),
      ...            palette=np.zeros((2, 3), np.uint8))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: val.txt: holds no images; check data.root and the split
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        origin: Path,
        rule: LabelRule,
        class_names: tuple[str, ...],
        palette: UInt8[np.ndarray, "n 3"],
        exif: bool = True,
        complete: bool = True,
    ):
        if not pairs:
            raise InputError(f"{origin}: holds no images; check data.root and the split")
        for pair in pairs if complete else ():
            _check_files(pair, origin)
        self.pairs = list(pairs)
        self.names = [pair.name for pair in pairs]
        self.classes = class_names
        self.palette = palette
        self.rule = rule
        self.exif = exif

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        return decode_pair(self.encoded(index), self.rule, pair, exif=self.exif)

    def pair(self, index: int) -> Pair:
        """Returns the paths and the name of a sample."""
        return self.pairs[index]

    def encoded(self, index: int) -> dict[str, bytes]:
        """Returns the bytes of the files "image", "label" and, if there is one, "region"."""
        image, label, _, region = self.pairs[index]
        files = {"image": image, "label": label} | ({"region": region} if region else {})
        return {key: read_bytes(path) for key, path in files.items()}

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of a sample in pixels."""
        return image_size(self.pairs[index].image, exif=self.exif)

    def check(self, index: int) -> None:
        """Raises `InputError` where a label value or size is wrong or a file is unreadable."""
        pair = self.pairs[index]
        regions = {"region": read_bytes(pair.region)} if pair.region else {}
        encoded = {"label": read_bytes(pair.label)} | regions
        decode_label(encoded, self.rule, pair, self.size(index))


def decode_pair(
    encoded: Mapping[str, bytes], rule: LabelRule, pair: Pair, *, exif: bool = True
) -> Sample:
    """Decodes the files of one sample.

    Pixels outside the field of view, where the region's gray value is at most 127, are ignored.

    Args:
      encoded: bytes of "image", "label" and, where there is one, "region".
      rule: what stored label values mean.
      pair: where they come from, named in errors.
      exif: see `decode_image`.

    Returns:
      `{"image": uint8[h, w, 3] RGB, "label": uint8[h, w]}`, 255 being ignored.

    Raises:
      InputError: names the file and the reason.

    Example:
      >>> import cv2
      >>> from segalias_jax.data.labels import identity_lookup
      >>> arrays = {"image": np.zeros((1, 2, 3)), "label": np.asarray([[0, 9]])}
      >>> encoded = {key: cv2.imencode(".png", a)[1].tobytes() for key, a in arrays.items()}
      >>> rule = LabelRule(2, identity_lookup(2, ignored=(9,)))
      >>> decode_pair(encoded, rule, Pair(Path("a.png"), Path("b.png"), "a"))["label"].tolist()
      [[0, 255]]
    """
    image = decode_image(encoded["image"], pair.image, exif=exif)
    return {"image": image, "label": decode_label(encoded, rule, pair, image.shape[:2])}


def decode_label(
    encoded: Mapping[str, bytes], rule: LabelRule, pair: Pair, size: tuple[int, ...]
) -> UInt8[np.ndarray, "h w"]:
    """Decodes the label of one sample, see `decode_pair`.

    Args:
      encoded: bytes of "label" and, where there is one, "region".
      rule: what stored label values mean.
      pair: where they come from, named in errors.
      size: (height, width) of the image.

    Returns:
      Class ids, and 255 for ignored pixels.

    Raises:
      InputError: names the file and the reason.
    """
    label = rule.read(encoded["label"], pair.label)
    _check_size(pair, pair.label, label, size)
    if "region" not in encoded:
        return label
    path = pair.region or pair.label
    region = decode_gray(encoded["region"], path) > _INSIDE
    _check_size(pair, path, region, size)
    if not region.any():
        raise InputError(
            f"{path}: no pixel is in the field of view, all gray values are at most "
            f"{_INSIDE}; save it as 0 and 255"
        )
    return np.where(region, label, np.uint8(IGNORE_LABEL))


def _check_files(pair: Pair, origin: Path) -> None:
    if not os.path.isfile(pair.image):
        raise InputError(f"{pair.image}: no such image, though {origin} names it")
    for path, what in ((pair.label, "label"), (pair.region, "field of view")):
        if path and not os.path.isfile(path):
            raise InputError(f"{pair.image}: image without {what}, {path} is missing")


def _check_size(pair: Pair, path: Path, label: np.ndarray, size: tuple[int, ...]) -> None:
    if label.shape == tuple(size):
        return
    turned = "; the image is turned by its EXIF data, which data.exif=False leaves out"
    raise InputError(
        f"{path}: the label has {label.shape[1]}x{label.shape[0]} pixels, "
        f"its image {pair.image} {size[1]}x{size[0]}; they must match"
        + turned
        * (label.shape == tuple(size[::-1]))
    )
