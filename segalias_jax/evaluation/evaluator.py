"""The one evaluation loop: a predict function and batches in, scores and a few pictures out.

Two scorers of one interface count. Predictions that are arrays are counted on the device where they
are, by a program for each size of a batch, of which there are few. A `Prediction` is of one image
of any size; it is counted on the host with `scoring.counting`, which compiles nothing, in a thread
while the device works on the next image. Both count alike, and their states merge exactly.
"""

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
from segalias_jax.metrics import BinaryScores, ScoreRules, SegmentationScores
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
      binary: mergeable state of the scores of binary segmentation; None for more classes.
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

    Only the end waits for the counts, so the device predicts meanwhile.

    Args:
      predict: images as bytes to class ids [b, h, w], to logits [b, h, w, C], or, of a batch of
        one image, to its `Prediction`. Binary segmentation is scored at all thresholds where there
        are logits, or where the prediction kept its probabilities.
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
    scores = SegmentationScores.empty(
        num_classes,
        boundary=boundary,
        ignore=ignore,
        reduce_zero_label=reduce_zero_label,
        width=width,
    )
    binary = BinaryScores.empty() if num_classes == 2 else None
    if total is None:
        wanted = set(range(keep))
    else:
        wanted = set(np.linspace(0, total - 1, min(keep, total)).round().astype(int).tolist())
    samples: list[Sample] = []
    done = 0
    device, host = _DeviceScorer(scores, binary), _HostScorer(scores.num_classes, scores.rules)
    with progress_bar(progress, total) as bar, host:
        for batch in batches:
            prediction = predict(batch["image"])
            if isinstance(prediction, Prediction):
                read_classes = host.add(prediction, batch)
            else:
                read_classes = device.add(prediction, batch)
            rows = np.flatnonzero(batch["valid"])
            kept = [n for n in range(len(rows)) if done + n in wanted]
            if kept:
                classes = read_classes()
                names = batch.get("name", [str(done + n) for n in range(len(rows))])
                samples += [
                    Sample(
                        np.asarray(batch["image"][rows[n]]),
                        np.asarray(batch["label"][rows[n]]),
                        classes[rows[n]],
                        names[n],
                    )
                    for n in kept
                ]
            done += len(rows)
            bar.update(len(rows))
        scores, binary = device.result()
        if (counted := host.result()) is not None:
            scores = scores.merge(counted[0])
            if binary is not None and counted[1] is not None:
                binary = binary.merge(counted[1])
    return Evaluation(scores, tuple(samples), binary)


class _DeviceScorer:
    """Counts arrays of class ids or logits where they are."""

    def __init__(self, scores: SegmentationScores, binary: BinaryScores | None):
        self._scores, self._binary = scores, binary

    def add(
        self, prediction: Array | np.ndarray, batch: Mapping[str, Any]
    ) -> Callable[[], np.ndarray]:
        """Counts a batch and returns what reads its class ids [b, h, w]."""
        label = _countable(batch)
        self._scores, self._binary, classes = _update(self._scores, self._binary, prediction, label)
        return lambda: np.asarray(classes)

    def result(self) -> tuple[SegmentationScores, BinaryScores | None]:
        """Waits for all counts and returns them."""
        return jax.block_until_ready((self._scores, self._binary))


class _HostScorer:
    """Counts predictions of single images in a thread of its own."""

    def __init__(self, num_classes: int, rules: ScoreRules):
        self._settings = CountSettings(num_classes, rules, boundary_iou=0, tolerances=())
        self._regions: np.ndarray | None = None
        self._binary = BinaryScores.empty() if num_classes == 2 else None
        self._waiting: collections.deque[Future] = collections.deque()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> _HostScorer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, prediction: Prediction, batch: Mapping[str, Any]) -> Callable[[], np.ndarray]:
        """Counts a batch of one image, later, and returns what reads its class ids [1, h, w]."""
        label = _countable(batch)[0]
        self._waiting.append(self._pool.submit(self._count, prediction, label))
        if len(self._waiting) > 1:  # images that wait fill the memory
            self._take()
        return lambda: prediction.classes()[None]

    def result(self) -> tuple[SegmentationScores, BinaryScores | None] | None:
        """Waits for all counts and returns them; None where nothing was added."""
        while self._waiting:
            self._take()
        if self._regions is None:
            return None
        return SegmentationScores.from_counts(self._regions, self._settings.rules), self._binary

    def _take(self) -> None:
        regions, counts = self._waiting.popleft().result()
        self._regions = regions if self._regions is None else self._regions + regions
        if self._binary is not None:
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
    """The labels of a batch, of which those of padded rows count nowhere."""
    valid = np.asarray(batch["valid"])
    if valid.all():
        return batch["label"]
    return np.where(valid[:, None, None], batch["label"], IGNORE_LABEL)
