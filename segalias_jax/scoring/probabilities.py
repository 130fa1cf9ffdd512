"""Probabilities of the foreground on the host: read from files, counted as on a device."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, Integer, Shaped

from segalias_jax.data.maps import MAX_PIXELS
from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.metrics.totals import BINS
from segalias_jax.scoring import host_bands


def count_probabilities(
    probability: Shaped[np.ndarray, "h w"],
    label: Integer[np.ndarray, "h w"],
    rules: ScoreRules,
    bins: int = BINS,
) -> Int[np.ndarray, "2 bins"]:
    """Counts the pixels of one image by true class and probability of the foreground.

    Args:
      probability: of the foreground in [0, 1], or whether a pixel is predicted as it.
      label: true labels of the same shape.
      rules: which labels are ignored, and how class 0 is written.
      bins: see `metrics.binary.probability_counts`.

    Returns:
      Counts, for `BinaryScores.add`.

    Example:
      >>> probability, label = np.asarray([[0.0, 0.5, 0.6, 1.0]]), np.asarray([[0, 0, 1, 255]])
      >>> count_probabilities(probability, label, ScoreRules(), 2).tolist()
      [[2, 0], [0, 1]]
    """
    total, (height, width) = np.zeros(2 * bins, np.int64), label.shape
    for rows in host_bands.strips(height, width):
        counted = ~host_bands.ignored_pixels(label[rows], rules)
        true = label[rows][counted].astype(np.int64) - int(rules.reduce_zero_label)
        scaled = np.ceil(np.nan_to_num(probability[rows][counted].astype(np.float32)) * bins)
        bin_of = np.clip(scaled, 1, bins).astype(np.int64) - 1
        cells = (true * bins + bin_of)[(true == 0) | (true == 1)]
        total += np.bincount(cells, minlength=2 * bins)
    return total.reshape(2, bins)


SUFFIXES = (".npy", ".npz", ".png")
"""Kinds of files that hold probabilities."""

_FORMS = "save numbers in 0..1 as npy [h, w] or npz [h, w, 2], or a gray PNG of 8 or 16 bits"


def read_probability(path: Path) -> Float[np.ndarray, "h w"]:
    """Reads a map of the probability of class 1.

    Args:
      path: npy of floats [h, w]; npy or npz of floats [h, w, 2], of which the last is class 1 (what
        `predict --probabilities` writes); or gray PNG whose 255 (8 bits) or 65535 (16) is 1.

    Returns:
      The probabilities, in [0, 1].

    Raises:
      InputError: unreadable, another shape or type, or numbers outside of [0, 1].

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.npy"
      >>> np.save(path, np.asarray([[0.0, 0.75]]))
      >>> read_probability(path).tolist()
      [[0.0, 0.75]]
    """
    values = _read_png(path) if path.suffix.lower() == ".png" else _read_array(path)
    if values.ndim == 3 and values.shape[-1] == 2:
        values = values[..., 1]
    if values.ndim != 2 or not 0 < values.size <= MAX_PIXELS:
        raise InputError(
            f"{path}: has shape {values.shape}, which is no map of two classes; {_FORMS}"
        )
    if not (values.min() >= 0 and values.max() <= 1):  # of nan, neither holds
        raise InputError(
            f"{path}: holds numbers from {values.min()} to {values.max()}, which are no "
            "probabilities; save them after the sigmoid or softmax"
        )
    return values


def _read_png(path: Path) -> np.ndarray:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if picture is None:
        raise InputError(f"{path}: not a whole PNG image; save it again")
    if picture.ndim != 2:
        raise InputError(f"{path}: holds colors, not probabilities; {_FORMS}")
    return picture / np.float32(255 if picture.dtype == np.uint8 else 65535)


def _read_array(path: Path) -> np.ndarray:
    try:
        content = np.load(path, allow_pickle=False)
        array = content if isinstance(content, np.ndarray) else content[content.files[0]]
    except (OSError, ValueError, EOFError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read ({reason}); save it again") from None
    if not isinstance(array, np.ndarray):  # bytes: a zip of other files
        raise InputError(f"{path}: holds no array; {_FORMS}")
    if array.dtype.kind != "f":
        raise InputError(f"{path}: holds {array.dtype}, not probabilities; {_FORMS}")
    return array
