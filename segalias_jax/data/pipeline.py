"""Batches: order, randomness and prefetching by Grain.

A batch is `{"image": uint8[b, h, w, 3], "label": int32[b, h, w], "valid": bool[b]}`; "valid" is
False on rows that fill up the last batch. Pixels travel to the device as bytes and are normalized
there.

The training stream is a function of (seed, step): a run resumes by starting the stream at its step,
with any number of workers.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import multiprocessing
import os
import signal
import threading
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import cv2
import grain
import numpy as np
from absl import flags

from segalias_jax.data.geometry import Sample
from segalias_jax.data.settings import read_settings
from segalias_jax.data.sources import Source
from segalias_jax.data.transforms import apply_transforms, random_resize, training_transforms
from segalias_jax.errors import InputError
from segalias_jax.files import map_ahead
from segalias_jax.typing import IGNORE_LABEL

Batch = dict[str, Any]

_ENDLESS = 2**53  # samples; Grain's own endless length overflows

# What a stream is a function of besides the step, and its name in errors.
_STATE_NAMES = {
    "seed": "seed",
    "batch_size": "batch size",
    "images": "number of images",
    "names": "list of images (checksum)",
}


def train_batches(
    data_config: Any,
    source: Source,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Any]:
    """Returns an endless iterator of augmented training batches.

    Sample k of the stream is a function of (`seed`, k) alone, not of workers, threads or
    processes; every epoch has an order of its own. Step t of all processes together holds the
    samples t b, ..., (t + 1) b - 1 for a batch size b, and process p of n the p-th of n equal parts
    of them, so that the parts one after the other are the batch of a single process.

    Args:
      data_config: the recipe's `data` section, see `DataSettings`.
      source: the training split.
      batch_size: samples in a step, over all processes.
      seed: of order and augmentation.
      start_step: first step to yield; earlier ones are skipped without decoding.
      process_index: this process.
      process_count: number of processes.

    Returns:
      An endless generator of batches of `batch_size / process_count` rows, all valid; its `close()`
      ends the threads and workers.

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
    return stream_batches(
        source,
        functools.partial(apply_transforms, training_transforms(settings)),
        _stack,
        batch_size=batch_size,
        seed=seed,
        start_step=start_step,
        process_index=process_index,
        process_count=process_count,
        workers=settings.workers,
        threads=settings.threads,
    )


def stream_batches(
    source: Any,
    augment: Callable[[Sample, np.random.Generator], Sample],
    stack: Callable[[Sequence[Sample]], Batch],
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    threads: int = 4,
) -> Iterator[Batch]:
    """Returns an endless iterator of training batches of whatever samples a source has.

    What `train_batches` says of order, randomness and processes is done here.

    Args:
      source: samples by index.
      augment: makes of a sample and a generator of its own what goes into a batch.
      stack: makes a batch of the samples of one.
      batch_size: samples in a step, over all processes.
      seed: of order and augmentation.
      start_step: first step to yield; earlier ones are skipped without decoding.
      process_index: this process.
      process_count: number of processes.
      workers: processes that prepare batches; 0 prepares them in threads of this one.
      threads: reading threads, in each process.

    Returns:
      An endless generator of batches; its `close()` ends the threads and workers.

    Raises:
      InputError: a batch size that the processes cannot share evenly.

    Example:
      >>> samples = [{"x": np.array([10])}, {"x": np.array([20])}]
      >>> add = lambda sample, rng: {"x": sample["x"] + rng.integers(10)}
      >>> stack = lambda samples: {"x": np.stack([sample["x"] for sample in samples])}
      >>> batch = next(stream_batches(samples, add, stack, batch_size=2, seed=0))
      >>> sorted((batch["x"] // 10).tolist())
      [[1], [2]]
    """
    rows = _rows_per_process(batch_size, process_count)
    samples = _in_order(grain.MapDataset.source(source), seed).random_map(augment)
    mine = _Mine(samples, batch_size, first=process_index * rows, rows=rows)
    samples = grain.MapDataset.range(start_step * rows, _ENDLESS).map(mine)
    batches = _generate(_read_ahead(samples, rows, stack, workers=workers, threads=threads))
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
      >>> from segalias_jax.data.settings import DataSettings
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> scenes = SyntheticScenes(DataSettings("synthetic", num_train=3), "train")
      >>> sorted(batch_names(scenes, batch_size=3, seed=0, step=2))
      ['train_00000', 'train_00001', 'train_00002']
    """
    order = _in_order(grain.MapDataset.range(len(source)), seed)
    steps = range((step - 1) * batch_size, step * batch_size)
    return [source.names[cast(int, order[k])] for k in steps]  # only filtered sets give None


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
      >>> from segalias_jax.data.settings import DataSettings
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> scenes = SyntheticScenes(DataSettings("synthetic", num_eval=3), "val")
      >>> [batch["valid"].tolist() for batch in eval_batches(scenes, batch_size=2)]
      [[True, True], [True, False]]
    """
    runs: deque[tuple[range, tuple[int, int]]] = deque()

    def indices() -> Iterator[int]:
        for run in _same_sizes(source, batch_size):
            runs.append(run)
            yield from run[0]

    samples: list[Sample] = []
    # The next batch is decoded while one is used.
    ahead = batch_size + threads
    for _, sample in map_ahead(source.__getitem__, indices(), threads=threads, ahead=ahead):
        samples.append(sample)
        if len(samples) == len(runs[0][0]):
            run, size = runs.popleft()
            yield _finish(source, batch_size, run, size, samples)
            samples = []


def stream_state(source: Source, *, step: int, batch_size: int, seed: int) -> dict[str, Any]:
    """Returns the position of a training stream, to be kept as JSON beside a checkpoint.

    Workers, threads and processes have no part in it.

    Args:
      source: the training split.
      step: the next step.
      batch_size: samples in a step, over all processes.
      seed: of order and augmentation.

    Returns:
      The arguments, the number of images and a checksum of their names in order.

    Example:
      >>> from segalias_jax.data.settings import DataSettings
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> scenes = SyntheticScenes(DataSettings("synthetic", num_eval=3), "val")
      >>> stream_state(scenes, step=20, batch_size=2, seed=0)
      {'step': 20, 'seed': 0, 'batch_size': 2, 'images': 3, 'names': 'f3949e00'}
    """
    names = zlib.crc32("\n".join(source.names).encode())
    return {
        "step": step,
        "seed": seed,
        "batch_size": batch_size,
        "images": len(source),
        "names": f"{names:08x}",
    }


def resume_step(state: Mapping[str, Any], source: Source, *, batch_size: int, seed: int) -> int:
    """Returns the step at which a stream resumes, or raises where it would be another stream.

    Args:
      state: what `stream_state` returned.
      source: the training split as it is now.
      batch_size: samples in a step, over all processes.
      seed: of order and augmentation.

    Raises:
      InputError: names what has changed.

    Example:
      >>> from segalias_jax.data.settings import DataSettings
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> scenes = SyntheticScenes(DataSettings("synthetic", num_train=3), "train")
      >>> state = stream_state(scenes, step=20, batch_size=2, seed=0)
      >>> resume_step(state, scenes, batch_size=2, seed=0)
      20
      >>> resume_step(state, scenes, batch_size=2, seed=1)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: the training stream cannot resume: its seed was 0 and is 1 \
now; restore it or train from the start in another folder
    """
    now = stream_state(source, step=state.get("step", 0), batch_size=batch_size, seed=seed)
    for key, name in _STATE_NAMES.items():
        if now[key] != state.get(key):
            raise InputError(
                f"the training stream cannot resume: its {name} was {state.get(key)} and is "
                f"{now[key]} now; restore it or train from the start in another folder"
            )
    return now["step"]


def check_crop(data_config: Any, source: Source) -> None:
    """Raises where, without padding, a crop can be larger than a resized image.

    Args:
      data_config: the recipe's `data` section.
      source: the training split.

    Raises:
      InputError: names the image, both sizes and the keys.

    Example:
      >>> from segalias_jax.data.settings import DataSettings
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
    resize = random_resize(settings)
    for index, name in enumerate(source.names):
        size = source.size(index)
        smallest = resize.smallest_size(size)
        if settings.crop[0] > smallest[0] or settings.crop[1] > smallest[1]:
            raise InputError(
                f"data.crop: {_text(settings.crop)} is larger than {name} ({_text(size)}), "
                f"which ratio_range reduces to {_text(smallest)}, and data.pad is off; "
                "make the crop smaller or set data.pad"
            )


@dataclasses.dataclass(frozen=True)
class _Mine:
    """From the samples of all processes those of this one; workers pickle it."""

    samples: grain.MapDataset
    batch_size: int
    first: int
    rows: int

    def __call__(self, index: int) -> Sample:
        step, row = divmod(index, self.rows)
        place = step * self.batch_size + self.first + row
        return cast(Sample, self.samples[place])  # only filtered sets give None


def _in_order(samples: grain.MapDataset, seed: int) -> grain.MapDataset:
    return samples.seed(seed).shuffle().repeat()


def _rows_per_process(batch_size: int, process_count: int) -> int:
    rows, rest = divmod(batch_size, process_count)
    if rest or not rows:
        raise InputError(
            f"batch_size is {batch_size}, which {process_count} processes cannot share evenly; "
            f"choose a multiple of {process_count}"
        )
    return rows


def _read_ahead(
    samples: grain.MapDataset,
    rows: int,
    stack: Callable[[Sequence[Sample]], Batch],
    *,
    workers: int,
    threads: int,
) -> grain.IterDataset:
    if workers:
        if not flags.FLAGS.is_parsed():  # Grain's worker processes read absl flags
            flags.FLAGS.mark_as_parsed()
        # Workers take turns, so each makes whole batches.
        options = grain.ReadOptions(threads, prefetch_buffer_size=threads)
        steps = samples.batch(rows, batch_fn=stack).to_iter_dataset(options)
        processes = grain.MultiprocessingOptions(workers, per_worker_buffer_size=2)
        batches = steps.mp_prefetch(processes, worker_init_fn=_start_worker).map(_copy)
    else:
        # All threads work on one batch, so the first one is there soon; the next is begun.
        options = grain.ReadOptions(threads, prefetch_buffer_size=rows + threads)
        batches = samples.to_iter_dataset(options).batch(rows, batch_fn=stack)
    # In a thread of its own: one batch waits while the next one is put together.
    return grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=1)


def _start_worker(index: int, count: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's reaches all; the run ends workers
    cv2.setNumThreads(1)  # the workers and their threads already fill the cores
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this worker with the run, however that ends; else it would wait for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


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


def _same_sizes(source: Source, most: int) -> Iterator[tuple[range, tuple[int, int]]]:
    """Yields runs of consecutive images of one size, `most` at a time."""
    first, shared = 0, None
    for index in range(len(source)):
        size = source.size(index)
        if shared is not None and (size != shared or index - first == most):
            yield range(first, index), shared
            first = index
        shared = size
    if shared is not None:
        yield range(first, len(source)), shared


def _finish(
    source: Source,
    rows: int,
    indices: range,
    size: tuple[int, int],
    samples: list[Sample],
) -> Batch:
    blank = {
        "image": np.zeros((*size, 3), np.uint8),
        "label": np.full(size, IGNORE_LABEL, np.uint8),
    }
    # An unusable sample may give another image, without labels: only its labels matter.
    samples = [s if s["label"].shape == tuple(size) else blank for s in samples]
    batch = _stack(samples + [blank] * (rows - len(samples)))
    names = [source.names[index] for index in indices]
    return batch | {"valid": np.arange(rows) < len(samples), "name": names}


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
