"""Data sets that `data.tools.prepare` has written, read through TFDS without TensorFlow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from segalias_jax.data.geometry import Sample
from segalias_jax.data.labels import LabelRule
from segalias_jax.data.pairs import Pair, decode_label, decode_pair
from segalias_jax.data.settings import FOLDER_KEYS, DataSettings
from segalias_jax.errors import InputError

PREFIX = "tfds:"
"""What `data.source` begins with where it names a prepared set."""

VERSION = "1.0.0"
MANIFEST = "segalias.json"


class PreparedSource:
    """A split of a prepared set: the files of a folder, byte for byte, in a few large ones.

    Lies in ROOT/NAME/1.0.0, where `tfds.builder_from_directory` reads it too.

    Args:
      settings: `source` is "tfds:NAME", `root` the folder ROOT.
      split: a split's name.

    Raises:
      InputError: TFDS is not installed, or no such set or split, or one that is not whole.

    Example:
      >>> PreparedSource(DataSettings("tfds:cells", root="missing"), "train")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.root: missing/cells/1.0.0 holds no prepared set; \
write it by segalias prepare cells --root DIR --out missing
    """

    def __init__(self, settings: DataSettings, split: str):
        name = settings.source.removeprefix(PREFIX)
        self._folder = Path(settings.root) / name / VERSION
        manifest = read_manifest(self._folder)
        again = f"segalias prepare {name} --root DIR --out {settings.root}"
        if manifest is None:
            raise InputError(
                f"data.root: {self._folder} holds no prepared set; write it by {again}"
            )
        if "files" not in manifest:
            raise InputError(f"data.root: {self._folder} is not finished; call {again} once more")
        if split not in manifest["splits"]:
            choices = ", ".join(manifest["splits"])
            raise InputError(f"split {split!r}: not in {self._folder}; choose from {choices}")
        for file, expected in manifest["files"].items():
            path = self._folder / file
            if not path.is_file() or path.stat().st_size != expected["bytes"]:
                raise InputError(f"{path}: missing or incomplete; copy the folder again")
        _check_keys(settings, manifest["keys"])
        described = manifest["splits"][split]
        self.files = {  # see `data_condition`
            file: (there["bytes"], 0, there["sha256"]) for file, there in manifest["files"].items()
        }
        self._split = split
        self._sizes = described["sizes"]
        self.names = described["names"]
        self.classes = tuple(manifest["classes"])
        self.palette = np.asarray(manifest["palette"], np.uint8)
        self.rule = LabelRule(**described["rule"])
        self.exif = described["exif"]
        tfds = import_tfds()
        skip = {key: tfds.decode.SkipDecoding() for key in manifest["features"]}
        builder = tfds.builder_from_directory(self._folder)
        self._records: Any = builder.as_data_source(file_split(split), decoders=skip)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        return decode_pair(self.encoded(index), self.rule, self.pair(index), exif=self.exif)

    def pair(self, index: int) -> Pair:
        """Returns the name of a sample, and how errors call its files."""
        name = self.names[index]
        image, label, region = (
            Path(f"{self._folder}, {what} of {self._split} {name}")
            for what in ("image", "label", "field of view")
        )
        return Pair(image, label, name, region)

    def encoded(self, index: int) -> dict[str, bytes]:
        """Returns the bytes of the files "image", "label" and, if there is one, "region"."""
        if not 0 <= index < len(self):  # what ends a plain `for` loop over the source
            raise IndexError(index)
        record = self._records[index]
        return {key: value for key, value in record.items() if key != "name" and value}

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of a sample in pixels."""
        height, width = self._sizes[index]
        return height, width

    def check(self, index: int) -> None:
        """Raises `InputError` where a label value or size is wrong."""
        decode_label(self.encoded(index), self.rule, self.pair(index), self.size(index))


def label_keys(settings: DataSettings) -> dict[str, Any]:
    """Returns the keys of a recipe that a prepared set has settled, as JSON has them.

    Args:
      settings: the recipe's `data` section.

    Returns:
      Values by key.

    Example:
      >>> label_keys(DataSettings("camvid"))["exif"]
      True
    """
    values = {key: getattr(settings, key) for key in (*FOLDER_KEYS, "exif")}
    return json.loads(json.dumps(values))


def file_split(split: str) -> str:
    """Returns what a split is called in file names, where "+" has a meaning of its own.

    Args:
      split: as recipes name it.

    Returns:
      The name of letters, digits and underscores.

    Example:
      >>> file_split("train+val")
      'train_val'
    """
    return re.sub(r"\W", "_", split)


def import_tfds() -> ModuleType:
    """Imports tensorflow-datasets, which needs no TensorFlow here.

    Returns:
      The package.

    Raises:
      InputError: it is not installed.

    Example:
      >>> import_tfds().__name__  # doctest: +SKIP
      'tensorflow_datasets'
    """
    try:
        import tensorflow_datasets  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise InputError(
            "prepared data sets need tensorflow-datasets; pip install 'segalias_jax[tfds]'"
        ) from None
    return tensorflow_datasets


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Reads what a prepared set says about itself.

    Args:
      folder: of the set.

    Returns:
      The content of its `segalias.json`, None where there is none; key "files" is there once the
      set is whole.

    Raises:
      InputError: the file is damaged.

    Example:
      >>> read_manifest(Path("missing")) is None
      True
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); copy the folder again") from None


def _check_keys(settings: DataSettings, prepared: dict[str, Any]) -> None:
    defaults = label_keys(DataSettings(settings.source))
    for key, value in label_keys(settings).items():
        if value not in (defaults[key], prepared[key]):
            raise InputError(
                f"data.{key}: the set was prepared with {prepared[key]}, not {value}; "
                "remove the key, or prepare another set"
            )
