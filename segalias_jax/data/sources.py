"""Data sets with random access: `len(source)`, `source[i]`, class names and colors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from tqdm import tqdm

from segalias_jax.data import classes
from segalias_jax.data.files import image_size, read_image, read_label
from segalias_jax.data.settings import DataSettings, read_settings
from segalias_jax.data.synthetic import SyntheticScenes
from segalias_jax.data.transforms import Sample
from segalias_jax.errors import InputError
from segalias_jax.typing import IGNORE_LABEL, UInt8

_UNKNOWN = 254  # marks, in a lookup table, a stored value that belongs to no class


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


class Pair(NamedTuple):
    """An image file, its label file, and the name both go by."""

    image: Path
    label: Path
    name: str


class PairSource:
    """A data set of image and label files.

    A stored label value v means class `lookup[v]`; 255 is ignored, 254 is no class at all.

    Args:
      pairs: the files, in order.
      origin: the list or folder that the pairs come from, named in errors.
      lookup: class of each of the 256 stored values.
      class_names: name of each class, by id.
      palette: RGB color of each class, by id.

    Raises:
      InputError: no pairs, or an image or label file that does not exist.

    Example:
      >>> PairSource([], origin=Path("val.txt"), lookup=identity_lookup(2),
      ...            class_names=("no", "yes"), palette=np.zeros((2, 3), np.uint8))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: val.txt: holds no images; check data.root and the split
    """

    def __init__(
        self,
        pairs: list[Pair],
        *,
        origin: Path,
        lookup: UInt8[np.ndarray, " 256"],
        class_names: tuple[str, ...],
        palette: UInt8[np.ndarray, "n 3"],
    ):
        if not pairs:
            raise InputError(f"{origin}: holds no images; check data.root and the split")
        for pair in pairs:
            if not pair.image.is_file():
                raise InputError(f"{pair.image}: no such image, though {origin} names it")
            if not pair.label.is_file():
                raise InputError(f"{pair.image}: image without label, {pair.label} is missing")
        self.pairs = pairs
        self.names = [pair.name for pair in pairs]
        self.classes = class_names
        self.palette = palette
        self._lookup = lookup

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        image = read_image(self.pairs[index].image)
        label = self._read_label(index)
        self._check_size(index, image.shape[:2], label)
        return {"image": image, "label": label}

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of a sample in pixels."""
        return image_size(self.pairs[index].image)

    def check(self, index: int) -> None:
        """Raises `InputError` where a label value or size is wrong or a file is unreadable."""
        self._check_size(index, self.size(index), self._read_label(index))

    def _read_label(self, index: int) -> np.ndarray:
        path = self.pairs[index].label
        stored = read_label(path)
        label = cv2.LUT(stored, self._lookup)
        unknown = stored[label == _UNKNOWN]
        if unknown.size:
            raise InputError(
                f"{path}: label value {unknown[0]} is outside the {len(self.classes)} classes "
                f"of this data set; map it to a class or to {IGNORE_LABEL} (ignored)"
            )
        return label

    def _check_size(self, index: int, size: tuple[int, int], label: np.ndarray) -> None:
        pair = self.pairs[index]
        if size != label.shape:
            raise InputError(
                f"{pair.label}: the label has {label.shape[1]}x{label.shape[0]} pixels, "
                f"its image {pair.image} {size[1]}x{size[0]}; they must match"
            )


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
        lookup = identity_lookup(11)
        lookup[11] = IGNORE_LABEL
        names, palette = classes.CAMVID
        super().__init__(pairs, origin=listing, lookup=lookup, class_names=names, palette=palette)


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
            lookup = np.full(256, _UNKNOWN, np.uint8)
            lookup[:34] = lookup[255] = IGNORE_LABEL
            lookup[list(classes.CITYSCAPES_IDS)] = range(19)
        names, palette = classes.CITYSCAPES
        super().__init__(pairs, origin=folder, lookup=lookup, class_names=names, palette=palette)


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


def identity_lookup(num_classes: int) -> UInt8[np.ndarray, " 256"]:
    """Returns the lookup table of a data set that stores class ids and 255 for ignored pixels.

    Args:
      num_classes: ids 0 to `num_classes - 1` are classes; at most 254.

    Returns:
      The class of each stored value; 254 marks values that belong to none.

    Example:
      >>> identity_lookup(2)[[0, 1, 2, 255]].tolist()
      [0, 1, 254, 255]
    """
    lookup = np.full(256, _UNKNOWN, np.uint8)
    lookup[:num_classes] = range(num_classes)
    lookup[IGNORE_LABEL] = IGNORE_LABEL
    return lookup


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
