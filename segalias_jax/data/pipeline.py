"""Batches: order, randomness and prefetching by Grain.

A batch is `{"image": uint8[b, h, w, 3], "label": int32[b, h, w], "valid": bool[b]}`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import signal
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import grain
import numpy as np
from absl import flags

from segalias_jax.data.settings import DataSettings, read_settings
from segalias_jax.data.sources import Source
from segalias_jax.data.transforms import RandomResize, Sample, apply_transforms, training_transforms
from segalias_jax.errors import InputError
from segalias_jax.typing import IGNORE_LABEL

Batch = dict[str, Any]

_ENDLESS = 2**53  # samples; Grain's own endless length overflows where a batch has one row


def train_batches(
    data_config: Any,
    source: Source,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Yields augmented training batches without end.

    Sample k of the stream is a function of (`seed`, k) alone, not of workers, threads or
    processes; step t of all processes together holds the samples t b, ..., (t + 1) b - 1, and
    process p of n the p-th of n equal parts of them. Every epoch is shuffled anew.

    Args:
      data_config: the recipe's `data` section, see `DataSettings`.
      source: the training split.
      batch_size: samples in a step, over all processes.
      seed: of order and augmentation.
      start_step: first step to yield; earlier ones are skipped without decoding.
      process_index: this process.
      process_count: number of processes.

    Returns:
      An endless generator of batches of `batch_size / process_count` rows, all valid; its
      `close()` ends the threads and workers.

    Raises:
      InputError: a batch size that the processes cannot share evenly, or, where `data.pad` is
        off, a crop that can be larger than a resized image.

    Example:
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> config = {"source": "synthetic", "crop": (64, 64)}
      >>> scenes = SyntheticScenes(read_settings(config), "train")
      >>> next(train_batches(config, scenes, batch_size=2, seed=0))["image"].shape
      (2, 64, 64, 3)
    """
    settings = read_settings(data_config)
    check_crop(settings, source)
    rows, rest = divmod(batch_size, process_count)
    if rest or not rows:
        raise InputError(
            f"train.batch_size: {batch_size} images cannot be shared by {process_count} processes; "
            f"choose a multiple of {process_count}"
        )
    augment = functools.partial(apply_transforms, training_transforms(settings))
    stream = _in_order(grain.MapDataset.source(source), seed).random_map(augment)
    share = functools.partial(_share, stream, batch_size, rows, process_index * rows)
    mine = grain.MapDataset.range(_ENDLESS).map(share)
    steps = mine.batch(rows, batch_fn=_stack)[start_step:]
    batches = _generate(_read_ahead(steps, settings))
    atexit.register(_close, weakref.ref(batches))
    return batches


def batch_names(source: Source, *, batch_size: int, seed: int, step: int) -> list[str]:
    """Lists which images a step of `train_batches` holds, without reading them.

    Args:
      source: the training split.
      batch_size: samples in a step, over all processes.
      seed: of the order.
      step: of the run, 1 for the first one.

    Returns:
      Their names, in order.

    Example:
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> scenes = SyntheticScenes(DataSettings("synthetic", num_train=3), "train")
      >>> sorted(batch_names(scenes, batch_size=3, seed=0, step=2))
      ['train_00000', 'train_00001', 'train_00002']
    """
    order = _in_order(grain.MapDataset.range(len(source)), seed)
    return [source.names[order[k]] for k in range((step - 1) * batch_size, step * batch_size)]


def eval_batches(source: Source, *, batch_size: int, threads: int = 4) -> Iterator[Batch]:
    """Yields a data set once, in order, whole images.

    Consecutive images of one size share a batch; one of another size starts the next. Rows that
    a batch lacks are filled up with label 255 and `valid` False, so that sizes stay the same.

    Args:
      source: the data set.
      batch_size: rows in every batch.
      threads: images decoded at a time.

    Returns:
      An iterator of batches; `name` lists the names of the valid rows.

    Example:
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> scenes = SyntheticScenes(DataSettings("synthetic", num_eval=3), "val")
      >>> [batch["valid"].tolist() for batch in eval_batches(scenes, batch_size=2)]
      [[True, True], [True, False]]
    """
    waiting: list[Sample] = []
    first = 0
    for index, sample in enumerate(_decode_ahead(source, batch_size, threads)):
        changed = waiting and waiting[0]["label"].shape != sample["label"].shape
        if changed or len(waiting) == batch_size:
            yield _fill_up(waiting, batch_size) | {"name": source.names[first:index]}
            waiting, first = [], index
        waiting.append(sample)
    if waiting:
        yield _fill_up(waiting, batch_size) | {"name": source.names[first:]}


def check_crop(data_config: Any, source: Source) -> None:
    """Raises where, without padding, a crop can be larger than a resized image.

    Args:
      data_config: the recipe's `data` section.
      source: the training split.

    Raises:
      InputError: names the image, both sizes and the keys.

    Example:
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> settings = DataSettings("synthetic", crop=(96, 96), pad=False)
      >>> check_crop(settings, SyntheticScenes(settings, "train"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.crop: 96x96 is larger than train_00000 (128x128), \
which ratio_range reduces to 64x64, and data.pad is off; make the crop smaller or set data.pad
    """
    settings = read_settings(data_config)
    if settings.pad:
        return
    resize = RandomResize(settings.ratio_range, settings.resize)
    for index, name in enumerate(source.names):
        size = source.size(index)
        smallest = resize.scaled_size(size, settings.ratio_range[0])
        if settings.crop[0] > smallest[0] or settings.crop[1] > smallest[1]:
            raise InputError(
                f"data.crop: {_text(settings.crop)} is larger than {name} ({_text(size)}), "
                f"which ratio_range reduces to {_text(smallest)}, and data.pad is off; "
                "make the crop smaller or set data.pad"
            )


def _share(stream: grain.MapDataset, batch_size: int, rows: int, first: int, k: int) -> Sample:
    """Sample k of a process that has the rows from `first` on of every batch."""
    return stream[k // rows * batch_size + first + k % rows]


def _in_order(samples: grain.MapDataset, seed: int) -> grain.MapDataset:
    return samples.seed(seed).shuffle().repeat()


def _read_ahead(steps: grain.MapDataset, settings: DataSettings) -> grain.IterDataset:
    options = grain.ReadOptions(settings.threads, prefetch_buffer_size=settings.threads + 1)
    dataset = steps.to_iter_dataset(options)
    if not settings.workers:
        return dataset
    if not flags.FLAGS.is_parsed():  # Grain's worker processes read absl flags
        flags.FLAGS.mark_as_parsed()
    workers = grain.MultiprocessingOptions(settings.workers, per_worker_buffer_size=2)
    return dataset.mp_prefetch(workers, worker_init_fn=_start_worker).map(_copy)


def _start_worker(index: int, count: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's reaches all; the run ends workers
    cv2.setNumThreads(1)  # the workers and their threads already fill the cores


def _generate(dataset: grain.IterDataset) -> Iterator[Batch]:
    with contextlib.closing(iter(dataset)) as batches:
        yield from batches


def _close(batches: weakref.ref) -> None:
    # Left to the interpreter's shutdown, Grain's threads and shared memory end in tracebacks.
    if (alive := batches()) is not None:
        alive.close()


def _copy(batch: Batch) -> Batch:
    # Workers hand over shared memory, which a batch that outlives the iterator would leak.
    return {key: np.array(array) for key, array in batch.items()}


def _stack(samples: Sequence[Sample]) -> Batch:
    return {
        "image": np.stack([sample["image"] for sample in samples]),
        "label": np.stack([sample["label"] for sample in samples]).astype(np.int32),
        "valid": np.ones(len(samples), bool),
    }


def _fill_up(samples: list[Sample], batch_size: int) -> Batch:
    missing = batch_size - len(samples)
    blank = {
        "image": np.zeros_like(samples[0]["image"]),
        "label": np.full_like(samples[0]["label"], IGNORE_LABEL),
    }
    return _stack(samples + [blank] * missing) | {"valid": np.arange(batch_size) < len(samples)}


def _decode_ahead(source: Source, ahead: int, threads: int) -> Iterator[Sample]:
    """Yields samples in order while the next batch is being decoded."""
    with ThreadPoolExecutor(threads) as pool:
        running = deque()
        for index in range(len(source)):
            running.append(pool.submit(source.__getitem__, index))
            if len(running) > ahead + threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
