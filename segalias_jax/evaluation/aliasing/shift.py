"""How stable predictions of a data set are when its images move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from segalias_jax.evaluation.sliding import Prediction
from segalias_jax.metrics import SCORES
from segalias_jax.ops import shift_consistency
from segalias_jax.progress import progress_bar
from segalias_jax.typing import Array


def mean_shift_consistency(
    predict: Callable[
        [UInt8[np.ndarray, "b h w 3"]], Integer[Array | np.ndarray, "b h w"] | Prediction
    ],
    batches: Iterable[Mapping[str, Any]],
    *,
    total: int | None = None,
    progress: str | None = None,
) -> float:
    """Returns the mean over images of `ops.shift_consistency`, under shifts by one pixel.

    Args:
      predict: as for `evaluate`.
      batches: as for `evaluate`; labels are not read.
      total: number of images, for the progress bar.
      progress: title of the progress bar; None: no bar.

    Returns:
      A fraction in [0, 1], the score `shift_consistency` of `metrics.SCORES`.

    Example:
      >>> batch = {"image": np.zeros((2, 4, 4, 3), np.uint8), "valid": np.asarray([True, False])}
      >>> mean_shift_consistency(lambda x: x[..., 0].astype(int), [batch])
      1.0
    """

    def classes(image: Array) -> Array | np.ndarray:
        found = predict(np.asarray(image))
        return found.classes()[None] if isinstance(found, Prediction) else found

    kept: list[float] = []
    with progress_bar(progress, total) as bar:
        for batch in batches:
            found = np.asarray(shift_consistency(classes, batch["image"]), np.float64)
            kept += found[batch["valid"]].tolist()
            bar.update(int(np.count_nonzero(batch["valid"])))
    return SCORES["shift_consistency"].formula(kept)
