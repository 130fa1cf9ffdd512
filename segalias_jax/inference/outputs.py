"""Predictions on the disk: maps of class ids, colored overlays, probabilities.

A folder holds the predictions of one run, and `predictions.json` names it: maps of two networks in
one folder could not be distinguished. Nothing is written into a folder without that file, which may
be a user's own. Each file is there whole or not at all.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segalias_jax.data.classes import CITYSCAPES, CITYSCAPES_IDS
from segalias_jax.errors import InputError
from segalias_jax.files import remove_left, write_bytes
from segalias_jax.inference.predictor import Result, color_overlay
from segalias_jax.typing import UInt8

MANIFEST = "predictions.json"
"""Says what made the files of a folder; a folder without it is never written into."""

MAPS, OVERLAYS, PROBABILITIES = "maps", "overlays", "probabilities"
_IHDR_END = 33  # bytes of a PNG's signature and header


class ResultFolder:
    """A folder with the results of one run, and the file that says so.

    Args:
      folder: new, empty, or of an earlier prediction of the same run, whose files are replaced by
        name.
      classes: names of the classes.
      palette: RGB color of each class.

    Raises:
      InputError: the folder holds something else.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> ResultFolder(folder, ["sky"], np.zeros((1, 3), np.uint8)).write_manifest({"run": "a"})
      >>> [path.name for path in folder.iterdir()]
      ['predictions.json']
    """

    probabilities = False
    """Whether the scores of a result are written."""

    def __init__(self, folder: Path, classes: Sequence[str], palette: UInt8[np.ndarray, "n 3"]):
        self.folder, self.classes, self.palette = Path(folder), tuple(classes), palette
        self._read_manifest()

    def _read_manifest(self) -> dict[str, Any]:
        """Returns what an earlier prediction wrote, if any; refuses a folder of other things."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: not a folder; choose another one for the predictions")
        files = list(self.folder.iterdir()) if self.folder.exists() else []
        # A call that was killed at its first file leaves that one's temporary form.
        if all(path.name.startswith(f".{MANIFEST}.") for path in files):
            return {}
        try:
            content = json.loads((self.folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            content = None
        # Other programs write files of this name, too.
        if not isinstance(content, dict) or not {"classes", "palette"} <= content.keys():
            raise InputError(
                f"{self.folder}: holds other files than predictions; choose another folder"
            )
        return content

    def write_manifest(self, about: dict[str, Any]) -> None:
        """Writes what the maps mean and where they come from.

        Args:
          about: further entries; "run" says which network made the maps.

        Raises:
          InputError: the folder holds maps of another run, or cannot be written.
        """
        before = self._read_manifest()
        remove_left(self.folder)
        there, here = (Path(str(entries.get("run", ""))) for entries in (before, about))
        if before and there.resolve() != here.resolve():
            raise InputError(
                f"{self.folder}: holds predictions of the run {there}; choose another folder for "
                f"those of {here}"
            )
        content = {"classes": self.classes, "palette": self.palette.tolist()} | about
        self.write_file(self.folder / MANIFEST, (json.dumps(content, indent=1) + "\n").encode())

    def write(self, name: str, result: Result) -> None:
        """Writes everything of one image.

        Args:
          name: of the image, without suffix, see `find_images`.
          result: with a prediction.

        Raises:
          InputError: there is no prediction, or a file cannot be written.
        """
        raise NotImplementedError

    def write_file(self, path: Path, data: bytes) -> None:
        """Writes a file of the folder, whole or not at all; `InputError` where it cannot be."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, data)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from None


class PredictionFolder(ResultFolder):
    """Writes results into a folder: `maps/`, and where wanted `overlays/` and `probabilities/`.

    Args:
      folder: new, empty, or of an earlier prediction of the same run, whose files are replaced by
        name.
      classes: names of the classes.
      palette: RGB color of each class.
      overlays: whether to write the image with the classes' colors over it.
      probabilities: whether to write them, float16 [h, w, c], as compressed npz files.
      label_ids: whether maps hold Cityscapes' own ids and have the names of its test server.

    Raises:
      InputError: the folder holds something else, or `label_ids` with other classes than those of
        Cityscapes.

    Example:
      >>> import tempfile
      >>> folder = PredictionFolder(Path(tempfile.mkdtemp()), ["sky"], np.zeros((1, 3), np.uint8))
      >>> folder.map_path("a/b").relative_to(folder.folder).as_posix()
      'maps/a/b.png'
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        palette: UInt8[np.ndarray, "n 3"],
        *,
        overlays: bool = False,
        probabilities: bool = False,
        label_ids: bool = False,
    ):
        if label_ids and tuple(classes) != CITYSCAPES[0]:
            raise InputError("label_ids is for the 19 classes of Cityscapes; leave it out")
        self.overlays, self.probabilities, self.label_ids = overlays, probabilities, label_ids
        super().__init__(folder, classes, palette)

    def map_path(self, name: str) -> Path:
        """Returns the file of a map."""
        if self.label_ids:
            name = name.removesuffix("_leftImg8bit") + "_gtFine_labelIds"
        return self.folder / MAPS / f"{name}.png"

    def write(self, name: str, result: Result) -> None:
        """Writes everything of one image, see `ResultFolder.write`."""
        if result.image is None or result.prediction is None:
            raise InputError(f"{result.source}: has no prediction to write ({result.error})")
        ids = result.prediction.classes()
        stored, colors = ids, self.palette
        if self.label_ids:
            stored = np.asarray(CITYSCAPES_IDS, np.uint8)[ids]
            colors = np.zeros((256, 3), np.uint8)
            colors[list(CITYSCAPES_IDS)] = self.palette
        self.write_file(self.map_path(name), encode_map(stored, colors))
        if self.overlays:
            picture = color_overlay(result.image, ids, self.palette)
            path = self.folder / OVERLAYS / f"{name}.png"
            self.write_file(path, encode_png(picture[..., ::-1]))
        if self.probabilities:
            path = self.folder / PROBABILITIES / f"{name}.npz"
            file = io.BytesIO()
            np.savez_compressed(file, result.prediction.scores().astype(np.float16))
            self.write_file(path, file.getvalue())


def encode_map(ids: UInt8[np.ndarray, "h w"], palette: UInt8[np.ndarray, "n 3"]) -> bytes:
    """Encodes a map of class ids as a palette PNG: ids for programs, colors for people.

    Args:
      ids: the map.
      palette: RGB color of each id, at most 256.

    Returns:
      The file's bytes.

    Example:
      >>> encode_map(np.zeros((2, 2), np.uint8), np.zeros((1, 3), np.uint8))[1:4]
      b'PNG'
    """
    colors = np.zeros((256, 3), np.uint8)  # ids beyond the palette stay legal
    colors[: len(palette)] = palette
    gray = encode_png(ids)
    header = bytearray(gray[12 : _IHDR_END - 4])
    header[13] = 3  # color type: palette
    return b"".join(
        (
            gray[:12],
            _with_checksum(header),
            struct.pack(">I", colors.size),
            _with_checksum(b"PLTE" + colors.tobytes()),
            gray[_IHDR_END:],
        )
    )


def _with_checksum(chunk: bytes | bytearray) -> bytes:
    return bytes(chunk) + struct.pack(">I", zlib.crc32(chunk))


def encode_png(picture: np.ndarray) -> bytes:
    """Encodes an array as PNG.

    Args:
      picture: as OpenCV writes it, colors in the order BGR.

    Example:
      >>> encode_png(np.zeros((2, 2), np.uint16))[1:4]
      b'PNG'
    """
    return cv2.imencode(".png", picture)[1].tobytes()
