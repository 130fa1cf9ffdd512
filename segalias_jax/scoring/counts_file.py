"""Counts of any number of images in constant memory, and a journal of a run that may be killed.

Counts lie in a file, a line an image, and in memory is only where each line begins. The file is a
journal in the folder of a report, from which a killed run resumes, or one without a name.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

from segalias_jax.errors import InputError
from segalias_jax.scoring.image_counts import CountPlan, ImageCounts

JOURNAL = "unfinished.jsonl"
"""Name of a journal in the folder of a report."""

_IN_MEMORY = 1 << 22  # bytes of a file without a name until it goes to the disk
_FORM = 1


class CountsFile(Sequence[ImageCounts]):
    """Counts of images in a file, in the order in which they were added.

    Args:
      plan: what was counted.
      file: where they go; None: memory, and a file without a name when they are many.

    Example:
      >>> from segalias_jax.scoring.counting import CountSettings
      >>> len(CountsFile(CountPlan(CountSettings(2))))
      0
    """

    def __init__(self, plan: CountPlan, file: BinaryIO | None = None):
        self.plan = plan
        self._file: Any = file or tempfile.SpooledTemporaryFile(_IN_MEMORY)
        self._places, self._sizes = array.array("q"), array.array("q")

    def __del__(self):
        if hasattr(self, "_file"):
            self._file.close()

    def add(self, counts: ImageCounts) -> None:
        """Adds an image.

        Raises:
          OSError: the disk is full.
        """
        self._write(b"", counts.to_json().encode("ascii"))

    def add_line(self, line: bytes) -> None:
        """Adds an image by what `ImageCounts.to_json` wrote."""
        self._write(b"", line)

    def _write(self, before: bytes, line: bytes) -> None:
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(before + line + b"\n")
        self._keep(place + len(before), len(line))

    def _keep(self, place: int, size: int) -> None:
        self._places.append(place)
        self._sizes.append(size)

    def lines(self) -> Iterator[bytes]:
        """Yields what `ImageCounts.to_json` wrote of each."""
        for place, size in zip(self._places, self._sizes, strict=True):
            self._file.seek(place)
            yield self._file.read(size)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[ImageCounts]:
        for line in self.lines():
            yield ImageCounts.from_json(line, self.plan)

    @overload
    def __getitem__(self, index: int) -> ImageCounts: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageCounts]: ...
    def __getitem__(self, index: int | slice) -> ImageCounts | list[ImageCounts]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        self._file.seek(self._places[index])
        return ImageCounts.from_json(self._file.read(self._sizes[index]), self.plan)

    def sort(self, order: Sequence[int]) -> None:
        """Puts the images into another order.

        Args:
          order: indices of all images.
        """
        for name in ("_places", "_sizes"):
            old = getattr(self, name)
            setattr(self, name, array.array("q", (old[i] for i in order)))


class Journal(CountsFile):
    """Counts in a file that outlives the process, each with the stamps of the files it was made of.

    Args:
      path: the file; its folder is made when missing.
      plan: what is counted.
      about: what else decides the counts, by name, such as how files are read.
      resume: continue with what is in the file, where there is one.

    Raises:
      InputError: the file is there and is not to be continued, or was written with other settings;
        the message names one.
      OSError: the disk is full or cannot be written.
    """

    def __init__(self, path: Path, plan: CountPlan, about: dict[str, str], *, resume: bool = False):
        head = {"form": _FORM, "plan": plan.to_json(), "about": about}
        # As it will be read.
        head = json.loads(json.dumps(head))
        self.path = path
        self._known: dict[str, tuple[list[Any], int, int]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume and path.exists():
            file = path.open("r+b", buffering=0)
            try:
                self._read(file, head, plan)
            except BaseException:
                file.close()
                raise
        else:
            try:
                file = path.open("x+b", buffering=0)
            except FileExistsError:
                raise InputError(
                    f"{path}: an unfinished run is in there; add --resume to continue it, or "
                    "remove it"
                ) from None
            file.write(json.dumps(head).encode("ascii") + b"\n")
        super().__init__(plan, file)  # pyright: ignore[reportArgumentType]  # raw, and binary

    def _read(self, file: Any, head: dict[str, Any], plan: CountPlan) -> None:
        """Finds the lines of an earlier run, and cuts off one that was not finished."""
        file.seek(0)
        place, good = 0, 0
        with os.fdopen(os.dup(file.fileno()), "rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                if place == 0:
                    self._check_head(line, head, plan)
                else:
                    stamps, tab, counts = line.partition(b"\t")
                    try:
                        name, *stamp = json.loads(stamps)
                    except (ValueError, TypeError):
                        break  # after a power cut, a line may be torn
                    if not tab or not counts.endswith(b"}\n"):
                        break
                    start = place + len(stamps) + 1
                    self._known[name] = (stamp, start, len(counts) - 1)
                place += len(line)
                good = place
        if not good:
            file.seek(0)
            file.truncate()
            file.write(json.dumps(head).encode("ascii") + b"\n")
            good = file.tell()
        file.truncate(good)

    def _check_head(self, line: bytes, head: dict[str, Any], plan: CountPlan) -> None:
        try:
            found = json.loads(line)
            before, about = CountPlan.from_json(found["plan"]), found["about"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self.path}: not a journal of scores; remove it") from None
        differences = before.differences(plan)
        differences += [
            (name, about.get(name), value)
            for name, value in head["about"].items()
            if about.get(name) != value
        ]
        if found.get("form") != _FORM:
            differences.append(("form of the journal", found.get("form"), _FORM))
        if differences:
            name, old, new = differences[0]
            raise InputError(
                f"{self.path}: the unfinished run has {name} {old}, not {new}; resume it with the "
                "same settings, or remove the file"
            )

    def drop_empty(self) -> None:
        """Removes the file, and its folder if that is empty then, where nothing was counted."""
        if len(self) or self._known:
            return
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()

    def take(self, name: str, stamp: list[Any]) -> bool:
        """Adds an image that an earlier run counted, if its files are as they were.

        Args:
          name: of the image.
          stamp: of its files.

        Returns:
          Whether there was one.
        """
        known, place, size = self._known.pop(name, (None, 0, 0))
        if known != stamp:
            return False
        self._keep(place, size)
        return True

    def knows(self, name: str, stamp: list[Any]) -> bool:
        """Whether `take` would add this image."""
        return name in self._known and self._known[name][0] == stamp

    def add_stamped(self, counts: ImageCounts, name: str, stamp: list[Any]) -> None:
        """Adds an image, so that a run that resumes need not count it again.

        Args:
          counts: of the image.
          name: by which `take` finds it.
          stamp: of the files that the counts were made of.
        """
        self._write(json.dumps([name, *stamp]).encode("ascii") + b"\t", counts.to_json().encode())


def file_stamp(path: Path) -> list[int]:
    """Returns what changes when a file does: its size and time of change, zeros where it is none.

    Example:
      >>> file_stamp(Path("missing"))
      [0, 0]
    """
    try:
        found = path.stat()
    except OSError:
        return [0, 0]
    return [found.st_size, found.st_mtime_ns]
