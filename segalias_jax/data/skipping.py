"""Unusable samples that are left out instead of ending a run: replaced, counted and listed.

A skipped sample keeps its place: it gives the next usable image without labels, so that the stream
of all others is what it was. Processes share the list of what was skipped in a temporary file. A
limit distinguishes bad files from a disk that went away.
"""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.data.instances import Instances, InstanceSource
from segalias_jax.data.transforms import Sample
from segalias_jax.errors import InputError
from segalias_jax.typing import IGNORE_LABEL


class SkippingSource:
    """A data set whose unusable samples give the next usable image, without any label.

    All pixels of such a sample are ignored, so it is in no loss and no score, and the order and
    randomness of all other samples stay as they are. What was skipped stands in a temporary file
    that the worker processes share; a sample in it is not read again.

    Args:
      source: the data set.
      max_skipped: more unusable samples than these end the run.

    Example:
      >>> from segalias_jax.data.settings import DataSettings
      >>> from segalias_jax.data.synthetic import SyntheticScenes
      >>> scenes = SyntheticScenes(DataSettings("synthetic"), "val")
      >>> SkippingSource(scenes, max_skipped=3).skipped()
      {}
    """

    def __init__(self, source: Any, *, max_skipped: int):
        self.names = source.names
        self.classes = source.classes
        self.palette = source.palette
        self.pairs = getattr(source, "pairs", [])
        self.rule = getattr(source, "rule", None)
        self._source = source
        self._most = max_skipped
        handle, record = tempfile.mkstemp(prefix="segalias_jax_skipped_")
        os.close(handle)
        self._record = Path(record)
        self._known: tuple[int, dict[int, str]] = (0, {})
        weakref.finalize(self, _remove, self._record, os.getpid())

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):  # what ends a plain `for` loop over the source
            raise IndexError(index)
        used, sample = self._first_usable(index, self._source.__getitem__)
        return sample if used == index else self.unlabeled(sample)

    def unlabeled(self, sample: Sample) -> Sample:
        """Returns a sample that no loss and no score counts."""
        return sample | {"label": np.full_like(sample["label"], IGNORE_LABEL)}

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of a sample in pixels."""
        return self._first_usable(index, self._source.size)[1]

    def check(self, index: int) -> None:
        """Notes a sample whose files are unusable; raises where there are too many."""
        try:
            self._source.check(index)
        except InputError as error:
            self._note(index, str(error))

    def skipped(self) -> dict[int, str]:
        """Returns what was skipped so far, in all processes of this machine: reason by index."""
        length = self._record.stat().st_size
        if length != self._known[0]:
            lines = self._record.read_text().splitlines()
            self._known = (length, dict(json.loads(line) for line in lines))
        return self._known[1]

    def _first_usable(self, index: int, read: Callable[[int], Any]) -> tuple[int, Any]:
        self._check_limit()  # another process may have found the last one
        for step in range(len(self)):
            place = (index + step) % len(self)
            if place in self.skipped():
                continue
            try:
                return place, read(place)
            except InputError as error:
                self._note(place, str(error))
        raise InputError(f"none of the {len(self)} samples can be used; check data.root")

    def _note(self, index: int, reason: str) -> None:
        # One write to a file that is open for appending: processes do not tear each other's lines.
        with self._record.open("ab", buffering=0) as file:
            file.write(json.dumps([index, reason]).encode() + b"\n")
        self._check_limit()

    def _check_limit(self) -> None:
        skipped = self.skipped()
        if len(skipped) > self._most:
            raise InputError(
                f"{len(skipped)} samples cannot be used, more than data.max_skipped="
                f"{self._most}; the first: {next(iter(skipped.values()))}"
            )


class SkippingInstances(SkippingSource, InstanceSource):
    """A data set of objects whose unusable images give the next usable one, not "valid".

    Rows that are not valid are in no loss and no score, see `SkippingSource`.

    Args:
      source: the data set.
      max_skipped: more unusable images than these end the run.

    Attributes:
      source: the data set, which raises where an image is unusable.

    Example:
      >>> SkippingInstances(InstanceSource([], classes=("cell",)), max_skipped=3).skipped()
      {}
    """

    def __init__(self, source: InstanceSource, *, max_skipped: int):
        super().__init__(source, max_skipped=max_skipped)
        self.source, self.exif = source, source.exif

    def unlabeled(self, sample: Sample) -> Sample:
        """Returns a sample that no loss and no score counts."""
        return sample | {"valid": np.asarray(False)}

    def instances(self, index: int, size: tuple[int, int] | None = None) -> Instances:
        """Reads the objects of a usable image, see `InstanceSource`."""
        return self.source.instances(index, size)

    def count(self, index: int) -> int:
        """Returns how many objects an image has, crowds not counted; 0 where it is unusable."""
        if index not in self.skipped():
            try:
                return self.source.count(index)
            except InputError as error:
                self._note(index, str(error))
        return 0


def describe_skipped(source: Any) -> str:
    """Lists what was skipped.

    Args:
      source: a data set; only a `SkippingSource` can have skipped anything.

    Returns:
      Their number and all reasons in one line, or "".

    Example:
      >>> describe_skipped([])
      ''
    """
    skipped = source.skipped() if isinstance(source, SkippingSource) else {}
    reasons = (skipped[index] for index in sorted(skipped))
    return f"{len(skipped)} of {len(source)}: {'; '.join(reasons)}" if skipped else ""


def _remove(record: Path, owner: int) -> None:
    if os.getpid() == owner:
        record.unlink(missing_ok=True)
