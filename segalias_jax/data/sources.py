"""Data sets with random access: `len(source)`, `source[i]`, class names and colors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from tqdm import tqdm

from segalias_jax.data import classes
from segalias_jax.data.labels import LabelRule, identity_lookup, mapped_lookup
from segalias_jax.data.pairs import Pair, PairSource
from segalias_jax.data.prepared import PREFIX, PreparedSource
from segalias_jax.data.settings import DataSettings, read_settings
from segalias_jax.data.synthetic import SyntheticScenes
from segalias_jax.data.transforms import Sample
from segalias_jax.errors import InputError


@runtime_checkable
class Source(Protocol):
    """What every data set offers: samples by index, and what its labels mean.

    A sample is `{"image": uint8[h, w, 3] RGB, "label": uint8[h, w]}`, 255 being ignored.
    `size(i)` is its (height, width) without decoding, and `check(i)` raises `InputError` where
    its files are unusable.
    """

    names: list[str]
    classes: tuple[str, ...]
    palette: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of a sample in pixels."""
        ...

    def check(self, index: int) -> None:
        """Raises `InputError` where a sample's files are unusable."""
        ...


class CamVid(PairSource):
    """CamVid with 11 classes: images/SPLIT/NAME.jpg, labels/SPLIT/NAME.png, names in SPLIT.txt.

    Reference:
      Brostow et al., "Semantic object classes in video", 2009; split of Badrinarayanan et al.,
      "SegNet", PAMI 2017.
    """

    def __init__(self, settings: DataSettings, split: str):
        root = _existing_root(settings, f"images/, labels/ and {split}.txt")
        listing = root / f"{split}.txt"
        if not listing.is_file():
            raise _no_split(split, listing, root / "images")
        pairs = [
            Pair(root / "images" / split / f"{n}.jpg", root / "labels" / split / f"{n}.png", n)
            for n in listing.read_text().split()
        ]
        rule = LabelRule(11, identity_lookup(11, ignored=(11,)))
        names, palette = classes.CAMVID
        super().__init__(pairs, origin=listing, rule=rule, class_names=names, palette=palette)


class Cityscapes(PairSource):
    """Cityscapes, 19 classes: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine beside it.

    Labels are read from *_gtFine_labelTrainIds.png where all images have one, and otherwise
    mapped from *_gtFine_labelIds.png.

    Reference:
      Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016.
    """

    def __init__(self, settings: DataSettings, split: str):
        root = _existing_root(settings, "leftImg8bit/ and gtFine/")
        folder = root / "leftImg8bit" / split
        if not folder.is_dir():
            raise _no_split(split, folder, folder.parent)
        images = sorted(folder.glob("*/*_leftImg8bit.png"))
        pairs = [_cityscapes_pair(root, image, "labelTrainIds") for image in images]
        lookup = identity_lookup(19)
        if not all(pair.label.is_file() for pair in pairs):
            pairs = [_cityscapes_pair(root, image, "labelIds") for image in images]
            known = zip(classes.CITYSCAPES_IDS, range(19), strict=True)
            lookup = mapped_lookup(known, ignored=range(34))
        rule = LabelRule(19, lookup)
        names, palette = classes.CITYSCAPES
        super().__init__(pairs, origin=folder, rule=rule, class_names=names, palette=palette)


SOURCES = {"camvid": CamVid, "cityscapes": Cityscapes, "synthetic": SyntheticScenes}
"""Every data set by its name in a recipe; a class takes the settings and a split's name."""


def create_source(data_config: Any, split: str) -> Source:
    """Opens one split of the data set that a recipe names.

    Args:
      data_config: the recipe's `data` section, see `DataSettings`.
      split: a split's name, such as `data_config.train_split`.

    Returns:
      The split, with random access.

    Raises:
      InputError: an unknown name or key, a missing or empty root or split, an image without label.

    Example:
      >>> source = create_source({"source": "synthetic", "image_size": (64, 96)}, "train")
      >>> source[0]["image"].shape
      (64, 96, 3)
    """
    settings = read_settings(data_config)
    if settings.source.startswith(PREFIX):
        return PreparedSource(settings, split)
    if settings.source not in SOURCES:
        names = ", ".join(SOURCES)
        raise InputError(f"data.source: no data set {settings.source!r}; choose from {names}")
    return SOURCES[settings.source](settings, split)


def check_source(source: Source, *, threads: int = 4, progress: bool = True) -> None:
    """Reads every label and compares it with the classes and with the size of its image.

    Args:
      source: the data set.
      threads: files read at a time.
      progress: show a bar where it takes more than two seconds.

    Raises:
      InputError: names the first unusable file and the reason.

    Example:
      >>> check_source(create_source({"source": "synthetic"}, "val"))
    """
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(source.check, range(len(source)))
        bar = tqdm(
            results, "checking labels", len(source), unit="file", delay=2, disable=not progress
        )
        for _ in bar:
            pass


def _existing_root(settings: DataSettings, contents: str) -> Path:
    advice = f"pass --config.data.root=DIR, a folder that holds {contents}"
    if not settings.root:
        raise InputError(f"data.root: not set; {advice}")
    root = Path(settings.root)
    if not root.is_dir():
        raise InputError(f"data.root: no folder {root}; {advice}")
    if not any(root.iterdir()):
        raise InputError(f"data.root: the folder {root} is empty; {advice}")
    return root


def _no_split(split: str, missing: Path, folder: Path) -> InputError:
    choices = sorted(path.name for path in folder.glob("*/"))
    hint = f"choose from {', '.join(choices)}" if choices else "check data.root"
    return InputError(f"split {split!r}: {missing} is missing; {hint}")


def _cityscapes_pair(root: Path, image: Path, kind: str) -> Pair:
    name = image.name.removesuffix("_leftImg8bit.png")
    label = root / "gtFine" / Path(*image.parts[-3:-1]) / f"{name}_gtFine_{kind}.png"
    return Pair(image, label, name)
