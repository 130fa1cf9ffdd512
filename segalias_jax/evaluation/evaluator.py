"""The one evaluation loop: a predict function and batches in, scores and a few pictures out."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from segalias_jax.evaluation.sliding import Prediction
from segalias_jax.metrics import BinaryScores, SegmentationScores
from segalias_jax.progress import progress_bar
from segalias_jax.scoring.counting import CountSettings, count_pair
from segalias_jax.scoring.probabilities import count_probabilities
from segalias_jax.scoring.reports.overlays import Sample
from segalias_jax.typing import IGNORE_LABEL, Array


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one pass over a data set gives.

    Attributes:
      scores: mergeable state of all scores.
      samples: the pictures that were kept.
      binary: mergeable state of the scores of two classes; None for other numbers of them.
    """

    scores: SegmentationScores
    samples: tuple[Sample, ...] = ()
    binary: BinaryScores | None = None


def evaluate(
    predict: Callable[[UInt8[np.ndarray, "b h w 3"]], Array | np.ndarray | Prediction],
    batches: Iterable[Mapping[str, Any]],
    *,
    num_classes: int,
    boundary: str = "laplacian",
    ignore: str = "reference",
    reduce_zero_label: bool = False,
    width: int = 15,
    keep: int = 0,
    total: int | None = None,
    progress: str | None = None,
) -> Evaluation:
    """Scores a predict function in one pass over batches.

    Counting runs behind the predictions, on the device where they are arrays. A `Prediction`, of
    a batch of one image, is counted on the host, which compiles nothing for each size.

    Args:
      predict: images as bytes to class ids [b, h, w], to logits [b, h, w, C], or the prediction
        of one image. Two classes are scored at all thresholds where there are logits, or where
        the prediction kept its probabilities.
      batches: dictionaries with "image", "label" (255 = ignored) and "valid"; rows whose "valid"
        is False count nowhere. "name", a list for the valid rows, names the samples.
      num_classes: number of classes C.
      boundary: see `metrics.ScoreRules`, as the next three.
      ignore: "reference" or "exclude".
      reduce_zero_label: labels hold k + 1 for class k, and 0 for ignored pixels.
      width: side of the square that dilates boundaries, in pixels.
      keep: number of samples kept, spread evenly over the data where `total` is given, else the
        first ones.
      total: number of images, for the progress bar and for `keep`.
      progress: title of the progress bar, which appears after two seconds; None: no bar.

    Returns:
      The scores and the samples.

    Raises:
      InputError: unknown rule.

    Example:
      >>> image = np.zeros((2, 4, 4, 3), np.uint8)
      >>> label = np.zeros((2, 4, 4), np.int32)
      >>> batch = {"image": image, "label": label, "valid": np.asarray([True, False])}
      >>> result = evaluate(lambda x: x[..., 0].astype(np.int32), [batch], num_classes=2, keep=1)
      >>> result.scores.compute()["pixels"], result.samples[0].name
      (np.int64(16), '0')
    """
    rules = {"boundary": boundary, "ignore": ignore, "width": width}
    scores = SegmentationScores.empty(num_classes, reduce_zero_label=reduce_zero_label, **rules)
    binary = BinaryScores.empty() if num_classes == 2 else None
    wanted = _spread(keep, total)
    samples: list[Sample] = []
    done = 0
    with progress_bar(progress, total) as bar, _HostCounts(scores, binary) as counts:
        for batch in batches:
            prediction = predict(batch["image"])
            if isinstance(prediction, Prediction):
                counts.add(prediction, batch)
            else:
                label = _countable(batch)
                scores, binary, prediction = _update(scores, binary, prediction, label)
            samples += _kept(batch, prediction, wanted, first=done)
            count = int(np.count_nonzero(batch["valid"]))
            done += count
            bar.update(count)
        jax.block_until_ready(scores)
        scores, binary = counts.added_to(scores, binary)
    return Evaluation(scores, tuple(samples), binary)


class _HostCounts:
    """Counts predictions in a thread of its own while the device works on the next ones."""

    def __init__(self, scores: SegmentationScores, binary: BinaryScores | None):
        self._settings = CountSettings(scores.num_classes, scores.rules, 0, ())
        self._regions: np.ndarray | None = None
        self._binary = binary
        self._waiting: collections.deque[Future] = collections.deque()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> _HostCounts:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, prediction: Prediction, batch: Mapping[str, Any]) -> None:
        label = _countable(batch)[0]
        self._waiting.append(self._pool.submit(self._count, prediction, label))
        if len(self._waiting) > 1:  # images that wait fill the memory
            self._take()

    def added_to(
        self, scores: SegmentationScores, binary: BinaryScores | None
    ) -> tuple[SegmentationScores, BinaryScores | None]:
        while self._waiting:
            self._take()
        if self._regions is None:
            return scores, binary
        regions = SegmentationScores.from_counts(self._regions, self._settings.rules)
        return scores.merge(regions), self._binary

    def _take(self) -> None:
        regions, counts = self._waiting.popleft().result()
        self._regions = regions if self._regions is None else self._regions + regions
        if counts is not None:
            self._binary = self._binary.add(counts)

    def _count(
        self, prediction: Prediction, label: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        classes, counts = prediction.classes(), None
        if self._binary is not None:
            kept = prediction.blocks[0][3] is not None
            foreground = prediction.scores()[..., 1] if kept else classes == 1
            counts = count_probabilities(foreground, label, self._settings.rules)[None]
        return count_pair(classes, label, self._settings).regions, counts


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _update(
    scores: SegmentationScores, binary: BinaryScores | None, prediction: Array, label: Array
) -> tuple[SegmentationScores, BinaryScores | None, Array]:
    """Counts a batch of class ids or logits, and returns its class ids too."""
    classes = prediction
    if prediction.ndim > label.ndim:
        classes = jnp.argmax(prediction, -1).astype(jnp.int32)
    if binary is not None:
        foreground = classes == 1
        if prediction.ndim > label.ndim:
            probability = jax.nn.softmax(prediction.astype(jnp.float32))[..., 1]
            # Rounding must not part the threshold 0.5 from the class of the larger logit.
            above = jnp.nextafter(jnp.float32(0.5), jnp.float32(1))
            foreground = jnp.where(
                foreground, jnp.maximum(probability, above), jnp.minimum(probability, 0.5)
            )
        binary = binary.update(foreground, scores.rules.class_label(label))
    return scores.update(classes, label), binary, classes


def _countable(batch: Mapping[str, Any]) -> np.ndarray:
    valid = np.asarray(batch["valid"])
    if valid.all():
        return batch["label"]
    return np.where(valid[:, None, None], batch["label"], IGNORE_LABEL)


def _spread(keep: int, total: int | None) -> set[int]:
    if total is None:
        return set(range(keep))
    return set(np.linspace(0, total - 1, min(keep, total)).round().astype(int).tolist())


def _kept(
    batch: Mapping[str, Any],
    prediction: Array | np.ndarray | Prediction,
    wanted: set[int],
    *,
    first: int,
) -> list[Sample]:
    rows = np.flatnonzero(batch["valid"])
    if isinstance(prediction, Prediction) and wanted & set(range(first, first + len(rows))):
        prediction = prediction.classes()[None]
    names = batch.get("name", [str(first + n) for n in range(len(rows))])
    return [
        Sample(
            np.asarray(batch["image"][row]),
            np.asarray(batch["label"][row]),
            np.asarray(prediction[row]),
            names[n],
        )
        for n, row in enumerate(rows)
        if first + n in wanted
    ]
