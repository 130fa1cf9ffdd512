"""Probabilities of the foreground on the host: read from files, counted as on a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segalias_jax.data.array_files import array_header, read_array
from segalias_jax.data.maps import MAX_PIXELS, map_size, read_map, stored_size
from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.metrics.totals import BINS
from segalias_jax.scoring import host_bands
from segalias_jax.typing import Float, Int, Integer, Shaped


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


def read_probability(
    path: Path, key: str | None = None, max_pixels: int = MAX_PIXELS
) -> Float[np.ndarray, "h w"]:
    """Reads a map of the probability of class 1.

    Args:
      path: npy of floats [h, w]; npy or npz of floats [h, w, 2], of which the last is class 1 (what
        `predict --probabilities` writes); or gray PNG whose 255 (8 bits) or 65535 (16) is 1.
      key: name of the array in an npz; None where there is one only.
      max_pixels: that a map may have.

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
    stored_size(path)  # refuses what is no file
    png = path.suffix.lower() == ".png"
    if png and _is_colored(path):
        raise InputError(f"{path}: holds colors, not probabilities; {_FORMS}")
    shape = map_size(path, max_pixels=max_pixels) if png else _array_shape(path, key)
    shape = shape[:-1] if len(shape) == 3 and shape[-1] == 2 else shape
    if len(shape) != 2 or not 0 < shape[0] * shape[1] <= max_pixels:
        raise InputError(
            f"{path}: has shape {shape}, which is no map of two classes of at most {max_pixels} "
            f"pixels; {_FORMS}"
        )
    values = read_map(path, max_pixels=max_pixels) if png else read_array(path, key)
    if values.ndim == 3:
        values = values[..., 1]
    if png:
        values = values / np.float32(255 if values.dtype == np.uint8 else 65535)
    if not (values.min() >= 0 and values.max() <= 1):  # of nan, neither holds
        raise InputError(
            f"{path}: holds numbers from {values.min()} to {values.max()}, which are no "
            "probabilities; save them after the sigmoid or softmax"
        )
    return values


def _is_colored(path: Path) -> bool:
    """Whether a PNG has a palette or channels of color; what is no PNG is for the decoder."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    return len(head) == 26 and head[25] != 0


def _array_shape(path: Path, key: str | None) -> tuple[int, ...]:
    try:
        header = array_header(path, key)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if header.dtype.kind != "f":
        raise InputError(f"{path}: holds {header.dtype}, not probabilities; {_FORMS}")
    return header.shape
