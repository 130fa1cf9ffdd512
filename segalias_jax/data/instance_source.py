"""Data sets of objects by a recipe's settings, and the batches that a detector learns from.

A batch has one size, whatever its images: `{"image": uint8[b, h, w, 3], "valid": bool[b], "size":
int32[b, 2], "boxes": float32[b, g, 4], "classes": int32[b, g], "crowd": bool[b, g], "masks":
uint8[b, g, h, ceil(w / 8)]}`. "size" is (height, width) of an image without its padding, class 0
is no object, and masks are packed by `pack_masks`. The network is compiled once.

Padding has to be 0 after normalization, which no byte is: whoever normalizes multiplies by
(row < size[0]) (column < size[1]).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.data.coco import CocoSource
from segalias_jax.data.geometry import Sample
from segalias_jax.data.instance_maps import (
    CITYSCAPES_STUFF,
    ObjectRule,
    open_cityscapes,
    open_maps,
)
from segalias_jax.data.instance_settings import InstanceSettings, read_instance_settings
from segalias_jax.data.instance_transforms import (
    evaluation_resize,
    fixed_arrays,
    object_transforms,
    padded_size,
    training_resize,
)
from segalias_jax.data.instances import ChosenImages, InstanceSource
from segalias_jax.data.pipeline import Batch, batch_names, stream_batches
from segalias_jax.data.skipping import SkippingInstances
from segalias_jax.data.transforms import apply_transforms
from segalias_jax.errors import InputError
from segalias_jax.files import map_ahead
from segalias_jax.progress import progress_bar


def create_instance_source(
    data_config: Any, split: str, *, training: bool = False
) -> InstanceSource:
    """Opens one split of the data set of objects that a recipe names.

    Args:
      data_config: the recipe's `data` section, see `InstanceSettings`.
      split: a split's name, such as `data_config.train_split`.
      training: leave images without objects out, unless `empty` keeps them.

    Returns:
      The split, with random access.

    Raises:
      InputError: an unknown key, a missing root, file or split, or a file that is malformed.

    Example:
      >>> create_instance_source({"source": "coco", "root": "/no"}, "val2017")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.root: no folder /no; pass --config.data.root=DIR, the \
folder of the data set
    """
    settings = read_instance_settings(data_config)
    source, skips = open_instances(settings, split), settings.on_error == "skip"
    if training and not settings.empty:
        source = with_objects(source, threads=settings.threads, unusable=skips)
    return SkippingInstances(source, max_skipped=settings.max_skipped) if skips else source


def open_instances(settings: InstanceSettings, split: str) -> InstanceSource:
    """Opens a split as it is, whose unusable images raise where they are read.

    Args:
      settings: the recipe's `data` section.
      split: as for `create_instance_source`.

    Returns:
      The split, with random access.

    Raises:
      InputError: as for `create_instance_source`; with `on_error` "skip" not for missing files.

    Example:
      >>> open_instances(InstanceSettings("coco"), "val2017")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data.root: not set; pass --config.data.root=DIR, the folder \
of the data set
    """
    root = Path(settings.root)
    if not settings.root or not root.is_dir():
        what = f"no folder {root}" if settings.root else "not set"
        raise InputError(
            f"data.root: {what}; pass --config.data.root=DIR, the folder of the data set"
        )
    exif, complete = settings.exif, settings.on_error == "stop"
    if settings.source.startswith("cityscapes"):
        return open_cityscapes(root, split, stuff=settings.has_stuff, exif=exif, complete=complete)
    if settings.source == "coco":
        annotations = root / settings.annotations.replace("{split}", split)
        images = root / (settings.images or "{split}").replace("{split}", split)
        return CocoSource(
            annotations, images, classes=settings.classes, exif=exif, complete=complete
        )
    return open_maps(
        root,
        split,
        images=settings.images or "images/{split}/{name}.*",
        maps=settings.maps,
        names=settings.names,
        classes=settings.classes,
        rule=_object_rule(settings),
        exif=exif,
        complete=complete,
    )


def with_objects(
    source: InstanceSource, *, threads: int = 4, unusable: bool = False
) -> InstanceSource:
    """Returns the images of a data set that have an object, crowds not counted.

    Args:
      source: the data set.
      threads: maps read at a time.
      unusable: keep images that cannot be used, whose places in the order of training stay.

    Returns:
      The data set itself where all have.

    Raises:
      InputError: none has.

    Example:
      >>> with_objects(ChosenImages(InstanceSource([], classes=("a",)), []))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: data: none of the 0 images has an object; check the files, \
or set data.empty
    """

    def count(index: int) -> int:
        try:
            return source.count(index)
        except InputError:
            if not unusable:
                raise
            return 1

    counts = _counts(count, len(source), threads)
    indices = [index for index, count in enumerate(counts) if count]
    if not indices:
        raise InputError(
            f"data: none of the {len(source)} images has an object; check the files, or set "
            "data.empty"
        )
    return source if len(indices) == len(source) else ChosenImages(source, indices)


def repeated_by_objects(source: InstanceSource, *, threads: int = 4) -> InstanceSource:
    """Returns the images of a data set, those with many objects several times.

    An image with n objects is there max(1, round(n / mean)) times, where the mean is that of all
    images: crops of a crowded one show a small part of its objects each.

    Args:
      source: the data set.
      threads: maps read at a time.

    Returns:
      The repeated images, next to each other, in the order of the data set.

    Example:
      >>> len(repeated_by_objects(InstanceSource([], classes=("a",))))
      0
    """
    counts = np.asarray(_counts(source.count, len(source), threads))
    times = np.maximum(1, np.rint(counts / max(1, counts.sum()) * len(source))).astype(int)
    return ChosenImages(source, np.repeat(np.arange(len(source)), times).tolist())


def left_out(source: InstanceSource, max_objects: int, *, threads: int = 4) -> tuple[int, int]:
    """Counts what batches of at most `max_objects` objects an image leave out.

    Args:
      source: the data set.
      max_objects: of an image, the largest.
      threads: maps read at a time.

    Returns:
      How many images have more, and how many objects that are; crowds are not counted.

    Example:
      >>> left_out(InstanceSource([], classes=("a",)), 100)
      (0, 0)
    """
    counts = _counts(source.count, len(source), threads)
    more = [count - max_objects for count in counts if count > max_objects]
    return len(more), sum(more)


def batch_size_of(data_config: Any, source: InstanceSource, *, training: bool) -> tuple[int, int]:
    """Returns the (height, width) of a recipe's batches.

    Args:
      data_config: the recipe's `data` section.
      source: the split.
      training: whether it is trained on, or scored.

    Returns:
      `padded` where it is given, else the smallest that holds the crop or all images.

    Raises:
      InputError: an image that `padded` does not hold.

    Example:
      >>> settings = {"source": "coco", "crop": (100, 90)}
      >>> batch_size_of(settings, InstanceSource([], classes=("a",)), training=True)
      (128, 96)
    """
    settings = read_instance_settings(data_config)
    if training and settings.crop:
        largest = [settings.crop]
    else:
        resize = training_resize(settings) if training else evaluation_resize(settings)
        largest = [resize.largest_size(source.size(index)) for index in range(len(source))]
    if not settings.padded:
        return padded_size(largest)
    height, width = settings.padded
    for index, size in enumerate(largest):
        if size[0] > height or size[1] > width:
            what = "data.crop" if training and settings.crop else source.names[index]
            raise InputError(
                f"data.padded: {height}x{width} does not hold {what}, which is resized to "
                f"{size[0]}x{size[1]}; use {'x'.join(map(str, padded_size(largest)))}, or ()"
            )
    return height, width


class InstanceStream:
    """The training batches of a recipe about objects, those of one process, from any step on.

    Sample k is a function of (seed, k) alone, as in `train_batches`.

    Args:
      data_config: the recipe's `data` section.
      source: the training split.
      batch_size: samples in a step, over all processes.
      seed: of order and augmentation.
      process_index: this process.
      process_count: number of processes.

    Raises:
      InputError: an image that `padded` does not hold.

    Example:
      >>> settings = {"source": "coco", "crop": (64, 64)}
      >>> source = InstanceSource([], classes=("nucleus",))
      >>> InstanceStream(settings, source, batch_size=2, seed=0).size
      (64, 64)
    """

    def __init__(
        self,
        data_config: Any,
        source: InstanceSource,
        *,
        batch_size: int,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
    ):
        self.settings = read_instance_settings(data_config)
        self.source = source
        self.size = batch_size_of(self.settings, source, training=True)
        self._shown = source
        if self.settings.repeat_by_objects:
            self._shown = repeated_by_objects(source, threads=self.settings.threads)
        self._batch_size, self._seed = batch_size, seed
        self._process_index, self._process_count = process_index, process_count

    def start(self, step: int) -> Iterator[Batch]:
        """Returns the batches of the steps after `step`, without an end."""
        settings = self.settings
        transforms = object_transforms(settings)
        return stream_batches(
            self._shown,
            functools.partial(_training_row, transforms, self.size, settings.max_objects),
            stack_rows,
            batch_size=self._batch_size,
            seed=self._seed,
            start_step=step,
            process_index=self._process_index,
            process_count=self._process_count,
            workers=settings.workers,
            threads=settings.threads,
        )

    def describe(self, step: int) -> str:
        """Returns the names of the images of a step."""
        names = batch_names(self._shown, batch_size=self._batch_size, seed=self._seed, step=step)
        return ", ".join(names)


def instance_eval_batches(
    data_config: Any, source: InstanceSource, *, batch_size: int
) -> Iterator[Batch]:
    """Yields a data set of objects once, in order, resized and padded to one size.

    Args:
      data_config: the recipe's `data` section.
      source: the data set.
      batch_size: rows in every batch; those that the last one lacks are zeros and not `valid`,
        as are images that were skipped.

    Returns:
      An iterator of batches; `name` and `index` list the names and indices of the valid rows.

    Raises:
      InputError: an image that `padded` does not hold, or whatever is wrong with a file.

    Example:
      >>> settings = {"source": "coco", "padded": (64, 64)}
      >>> source = InstanceSource([], classes=("nucleus",))
      >>> list(instance_eval_batches(settings, source, batch_size=2))
      []
    """
    settings = read_instance_settings(data_config)
    if not len(source):
        return
    size = batch_size_of(settings, source, training=False)
    resize = evaluation_resize(settings)

    def row(index: int) -> Sample:
        sample = resize(source[index], np.random.default_rng(0))  # which draws nothing
        return fixed_arrays(sample, size, settings.max_objects)

    rows, threads = [], settings.threads
    ahead = map_ahead(row, range(len(source)), threads=threads, ahead=batch_size + threads)
    for index, made in ahead:
        rows.append(made)
        if len(rows) < batch_size and index + 1 < len(source):
            continue
        blank = {key: np.zeros_like(array) for key, array in made.items()}
        first = index + 1 - len(rows)
        batch = stack_rows(rows + [blank] * (batch_size - len(rows)))
        indices = (first + np.flatnonzero(batch["valid"])).tolist()
        yield batch | {"name": [source.names[k] for k in indices], "index": indices}
        rows = []


def stack_rows(rows: Sequence[Sample]) -> Batch:
    """Makes a batch of what `fixed_arrays` returned.

    Args:
      rows: of one size.

    Example:
      >>> stack_rows([{"size": np.array([3, 4])}])["size"].tolist()
      [[3, 4]]
    """
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def _object_rule(settings: InstanceSettings) -> ObjectRule:
    """What the values of maps mean, of the source "instance_maps"."""
    if not settings.classes:
        raise InputError("data.classes: not set; name the classes in the order of their ids from 1")
    count = len(settings.classes)
    for _, label in settings.id_map:
        if label > count:
            raise InputError(
                f"data.id_map: it names class {label}, but data.classes names {count}; use 1 to "
                f"{count}, or 0 for no object"
            )
    same = {label: label for label in range(1, count + 1)} if settings.divisor else {}
    for name in settings.stuff:
        if name not in settings.classes:
            raise InputError(
                f"data.stuff: {name!r} is none of data.classes; name those of them that are stuff"
            )
    return ObjectRule(
        settings.divisor, dict(settings.id_map) or same, stuff_numbers(settings, settings.classes)
    )


def stuff_numbers(settings: InstanceSettings, classes: Sequence[str]) -> tuple[int, ...]:
    """Returns which classes of a data set are stuff, by their numbers.

    Args:
      settings: the recipe's `data` section.
      classes: names of all classes, of which the first has number 1.

    Example:
      >>> settings = InstanceSettings("instance_maps", classes=("sky", "car"), stuff=("sky",))
      >>> stuff_numbers(settings, settings.classes)
      (1,)
    """
    cityscapes = settings.source == "cityscapes_panoptic"
    stuff = CITYSCAPES_STUFF.values() if cityscapes else settings.stuff
    return tuple(classes.index(name) + 1 for name in stuff)


def _training_row(
    transforms: Sequence[Callable[[Sample, np.random.Generator], Sample]],
    size: tuple[int, int],
    max_objects: int,
    sample: Sample,
    rng: np.random.Generator,
) -> Sample:
    return fixed_arrays(apply_transforms(transforms, sample, rng), size, max_objects)


def _counts(count: Callable[[int], int], images: int, threads: int) -> list[int]:
    counts = []
    with progress_bar("counting objects", images, unit=" files") as bar:
        for _, found in map_ahead(count, range(images), threads=threads):
            counts.append(found)
            bar.update()
    return counts
